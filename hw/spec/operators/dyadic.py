"""Dyadic factors: the tensors of operators that rescale."""

from __future__ import annotations

from hw.spec.operators.operator import ONE, Shape, Tensor

__all__ = ["ONE_OR_CHANNELS", "factor"]

ONE_OR_CHANNELS = Shape("[1] or [channels]", lambda value: ((1,), value.shape[-1:]))


def factor(suffix: str = "", *, shape: Shape = ONE, signed: bool = False) -> tuple[Tensor, Tensor]:
    """The tensors ``mult`` and ``shift``, with `suffix`, of a factor mult / 2^shift."""
    return (
        Tensor(f"mult{suffix}", -(1 << 31) if signed else 0, 1 << 31, shape, "mantissa of the factor"),
        Tensor(f"shift{suffix}", 0, 63, shape, "the factor is mult / 2^shift"),
    )
