"""Recipes: which freedoms of the integer graph a quantization uses, and how it chooses ranges."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RECIPES", "Recipe"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A way to quantize a whole network. All of them run on the same device in the same cycles, but for the table."""

    ranges: str = "ema"  # of `firmware.quantizer.ranges.RANGES`
    equalise: bool = False  # powers of two between LayerNorm outputs and the linear that reads them
    correct_attention: bool = False  # probabilities, which are floors, stand for what makes their rows sum up to one
    balance: float | None = None  # gains and centres instead: the share of the outliers that stays in activations
    heads: bool = False  # one scale for each head of Q, K, V, scores, probabilities and context; K and V centred
    gelu: str = "shift"  # or "table": the function itself, between quantizers with a zero point; or "int_gelu"
    softmax: str = "shiftmax"  # or "int_softmax", "log_int_softmax": operators of `firmware.graph.rivals`
    norm: str = "layer_norm"  # or "int_layer_norm", "l1_layer_norm", "ptf_layer_norm"
    compensate: bool = False  # weights are rounded so that sums over the calibration's inputs are nearest
    wide: frozenset[str] = frozenset()  # linears, by their nodes' names, whose inputs have 16 bits
    doc: str = ""


RECIPES = {
    "official": Recipe(doc="I-ViT's scales: one per tensor, running ranges, ShiftGELU"),
    "mse": Recipe(ranges="mse", doc="one scale per tensor, of least squared error behind each operator; ShiftGELU"),
    "minmax": Recipe(
        ranges="minmax", balance=0.5, heads=True, gelu="table", compensate=True,
        doc="whole ranges, LayerNorm outputs centred and balanced, a scale per head, GELU by table, weights rounded "
        "for the inputs they get",
    ),
    "percentile": Recipe(
        ranges="percentile", balance=0.5, heads=True, gelu="table", compensate=True,
        doc="the same, the last 0.01 % clamped",
    ),
}  # fmt: skip
"""Those that are tried, by name."""
