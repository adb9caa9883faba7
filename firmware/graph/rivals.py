"""Graphs with rivals of I-ViT's operators: their constants, found from scales as the official code does, and nodes.

Sources as of `hw.spec.rivals`. Where a machine of int8 scores and int16 activations differs from I-BERT, which hands on
int32, a docstring says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.graph.builder import Builder
from firmware.graph.constants import dyadic
from hw.spec import rivals
from hw.spec.model import ModelError

__all__ = ["GELUS", "LEAST_GELU", "LEAST_SCORE", "NORMS", "SOFTMAXES", "Laws", "RivalBuilder", "exponent", "gelu"]

Array = NDArray[Any]
f32 = np.float32

SOFTMAXES = ("shiftmax", "int_softmax", "log_int_softmax")
GELUS = ("shift", "table", "int_gelu")
NORMS = ("layer_norm", "int_layer_norm", "l1_layer_norm", "ptf_layer_norm")

_LN2, _B, _C = f32(-0.6931), f32(0.96963238 / 0.35815147), f32(1 / 0.35815147)  # of I-BERT's exponential
_ERF_A, _ERF_B, _SQRT2 = f32(-0.2888), f32(-1.769), f32(1.4142)  # of its GELU
_FINE = 1 / 32  # scale of score differences that fraction bits reach
LEAST_SCORE = 0.0033  # the finest for which c fits 18 bits
LEAST_GELU = 8e-5  # likewise b 15 bits and c 31


@dataclass(frozen=True)
class Laws:
    """Which operators a graph has, by their names in the graph; GELU's as a recipe's."""

    softmax: str = "shiftmax"
    gelu: str = "shift"
    norm: str = "layer_norm"


def exponent(scale: Array) -> dict[str, Array]:
    """Constants of I-BERT's exponential for scores of `scale`, of any shape: ln2, b, c, fraction, exp_mult, exp_shift.

    I-BERT's scores are int32 accumulators; ours are int8, and fraction bits behind the point of their differences make
    its integer ln 2 as exact where the scale is coarse. The largest exponential, that of a row's maximum, calibrates
    its quantizer to 16 bits: E * mult / 2^(30 + shift) = 32767.
    """
    s = np.atleast_1d(np.asarray(scale, f32))
    fraction = np.clip(np.ceil(np.log2(np.maximum(s / _FINE, 1))), 0, 7).astype(np.int64)
    s = np.ldexp(s, -fraction.astype(np.int32)).astype(f32)
    if np.any(s < f32(LEAST_SCORE)) or np.any(s > f32(0.69)):
        raise ModelError(f"scores of I-BERT's softmax need scales from {LEAST_SCORE} to 88, not {np.min(scale):.3g}")
    ln2 = -np.floor(f32(1) / s * _LN2).astype(np.int64)
    b = np.floor(f32(1) / s * _B).astype(np.int64)
    c = np.floor(f32(1) / (s * s) * _C).astype(np.int64)
    most = (c.astype(np.float64) * 2.0**rivals.EXP_TERMS / rivals.EXP_MOST).astype(f32)
    mult, shift = dyadic(np.ones_like(most), most)
    full = mult == 1 << 31  # which has 32 bits
    mult, shift = np.where(full, 1 << 30, mult), np.where(full, shift - 1, shift) - rivals.EXP_TERMS
    return {"ln2": ln2, "b": b, "c": c, "fraction": fraction, "exp_mult": mult, "exp_shift": shift}


def gelu(scale: Array) -> tuple[int, int, Array]:
    """(b, c, scale of the result) of I-BERT's GELU of `scale`: magnitudes, which are I-BERT's with other signs."""
    s = f32(scale) / _SQRT2
    b, c = -np.floor(f32(1) / s * _ERF_B), -np.floor(f32(1) / (s * s) * (f32(1) / _ERF_A))
    unit = s * s * -_ERF_A * f32(2.0**rivals.GELU_SHIFT)
    return int(b), int(c), np.asarray(f32(scale) * unit / f32(2))


class RivalBuilder(Builder):
    """A `Builder` of graphs with the operators of `laws`."""

    def __init__(self, state: Mapping[str, Array], laws: Laws = Laws()) -> None:
        super().__init__(state)
        self.laws, self.norm = laws, laws.norm

    def shiftmax(self, name: str, *sources: str, scale: Array, bits: int) -> Array:
        if self.laws.softmax == "shiftmax":
            return super().shiftmax(name, *sources, scale=scale, bits=bits)
        constants, key, places = exponent(scale), "halve", 8
        if self.laws.softmax == "log_int_softmax":
            del constants["exp_mult"], constants["exp_shift"]
            key, places = "offset", bits - 1
        last = np.zeros_like(constants["ln2"])
        if bits == 8:
            octaves = self.most_probable(sources, scale)
            last = (octaves == 0).astype(np.int64) if key == "halve" else octaves
        self.hold(name, **{k: value.astype(np.int32) for k, value in (constants | {key: last}).items()})
        self.node(name, self.laws.softmax, *sources, bits=bits)
        found = np.ldexp(f32(2.0**-places), last.astype(np.int32) * (1 if key == "halve" else -1))
        return np.squeeze(found) if last.size == 1 else found

    def most_probable(self, sources: tuple[str, ...], scale: Array) -> Array:
        """How many octaves below 1 the largest probabilities of scores `sources` are, of all heads or each of them."""
        del sources
        return np.zeros(np.shape(np.atleast_1d(scale)), np.int64)

    def gelu(self, mlp: str, scale: Array) -> tuple[str, Array]:
        if self.laws.gelu != "int_gelu":
            return super().gelu(mlp, scale)
        if self.input_bits(f"{mlp}.fc2") != 8:
            raise ModelError(f"what I-BERT's GELU gives has 8 bits, so {mlp}.fc2 cannot read 16")
        scale = self.requantize(f"{mlp}.qact_gelu", f"{mlp}.fc1", scale, 16, use="int_gelu")
        b, c, scale = gelu(scale)
        self.node(f"{mlp}.act", "int_gelu", f"{mlp}.qact_gelu", b=b, c=c)
        scale = self.given(f"{mlp}.act", scale)
        return f"{mlp}.qact1", self.requantize(f"{mlp}.qact1", f"{mlp}.act", scale)

    def given(self, name: str, scale: Array) -> Array:
        """Told the `scale` that the integers of operator `name` have by its law; returns it."""
        del name
        return scale
