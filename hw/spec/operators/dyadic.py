"""Dyadic factors: the tensors of operators that rescale."""

from __future__ import annotations

from hw.spec.operators.operator import ONE, Shape, Tensor, Value

__all__ = ["ONE_CHANNELS_OR_HEADS", "ONE_OR_HEADS", "factor"]


def _heads(value: Value) -> tuple[tuple[int, ...], ...]:
    return ((value.shape[-3], 1, 1),) if len(value.shape) > 2 else ()


ONE_OR_HEADS = Shape("[1] or [heads, 1, 1]", lambda value: ((1,), *_heads(value)))
ONE_CHANNELS_OR_HEADS = Shape(
    "[1], [channels] or [heads, 1, 1]", lambda value: (*_heads(value), (1,), value.shape[-1:])
)


def factor(suffix: str = "", *, shape: Shape = ONE, signed: bool = False) -> tuple[Tensor, Tensor]:
    """The tensors ``mult`` and ``shift``, with `suffix`, of a factor mult / 2^shift."""
    return (
        Tensor(f"mult{suffix}", -(1 << 31) if signed else 0, 1 << 31, shape, "mantissa of the factor"),
        Tensor(f"shift{suffix}", 0, 63, shape, "the factor is mult / 2^shift"),
    )
