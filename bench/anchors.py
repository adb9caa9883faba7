"""Published figures that ours are compared with, each with where it comes from.

Utilisation is end to end: MACs of the network / (MAC units x cycles). Operations (two per MAC) per cycle and DSP take
the clock out of GOPS per DSP. Derived figures are computed here from the published ones.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ANCHORS", "Anchor"]


@dataclass(frozen=True)
class Anchor:
    """A published accelerator; None where the figure cannot be known."""

    work: str
    device: str
    network: str
    utilisation: float | None
    ops_per_dsp: float | None  # per cycle and DSP
    note: str


def _ops_per_dsp(gops: float, dsp: int, mhz: float) -> float:
    return gops * 1e3 / (dsp * mhz)


# Huang: 64 x 32 MACs at 300 MHz. CoQMoE: 1754 and 2635 DSPs. ops = 2 MACs.
ANCHORS = (
    Anchor(
        "Huang et al., IEEE TCAS-I 2023", "ZCU102", "ViT-T int8",
        616.1e9 / 2 / (2048 * 300e6), _ops_per_dsp(616.1, 1268, 300), "integer softmax, GELU and LayerNorm on chip",
    ),
    Anchor(
        "Huang et al., IEEE TCAS-I 2023", "ZCU102", "ViT-S int8",
        762.7e9 / 2 / (2048 * 300e6), _ops_per_dsp(762.7, 1268, 300), "integer softmax, GELU and LayerNorm on chip",
    ),
    Anchor(
        "ViTA, arXiv 2302.09108", "Zynq", "ViT int8", 0.90, None, "the authors' own measure, 'nearly 90 %'",
    ),
    Anchor(
        "EfficientViT accelerator, arXiv 2403.20230", "ZCU102", "EfficientViT int8", 780.2 / 819.2,
        _ops_per_dsp(780.2, 1024, 200), "peak layer figure; linear attention, so no softmax",
    ),
    Anchor(
        "CoQMoE, arXiv 2506.08496", "U280", "M3ViT-T int8", 1004.3 / (2 * 2635 * 0.25),
        _ops_per_dsp(1004.3, 2635, 250), "of one MAC per DSP",
    ),
    Anchor("Auto-ViT-Acc, arXiv 2208.05163", "ZCU102", "DeiT-B int8", None, _ops_per_dsp(1181.5, 1552, 150),
           "MACs also in LUTs; matrix products only"),
    Anchor("HeatViT RTL (YOUXINYANG/HeatViT), 2026", "XC7K325T", "pruned DeiT-T int8",
           753e6 / (230.8e6 * 192), None, "simulated; MACs in LUTs"),
)  # fmt: skip
