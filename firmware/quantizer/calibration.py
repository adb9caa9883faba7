"""A float network on its way to integers: builds the importer's graph and runs it while it is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.families import Family
from firmware.graph.constants import norm_bias, norm_bias_fits, norm_scale, quantized
from firmware.graph.rivals import Laws, RivalBuilder, exponent
from firmware.quantizer import power_factors
from firmware.quantizer.equalise import exponents
from firmware.quantizer.measure import Measurement
from firmware.quantizer.ragged import evaluate_ragged
from firmware.quantizer.ranges import choose_scale, symmetric_scale
from firmware.quantizer.recipes import Recipe
from hw.spec import rivals
from hw.spec.operators import Add, ModelError, Node, Value, operation

__all__ = ["Calibration"]

Array = NDArray[Any]
f32 = np.float32
_SPREAD = 4.5  # deviations that a result reaches
_BATCH = 16  # images per step of the laws, which need many times the memory of their result


class Calibration(RivalBuilder):
    """Chooses what an official state would hold as the graph needs it, and stores it as such a state.

    Every node is evaluated on the calibration `images` (float, normalised) as soon as it is there, in exact integers;
    an activation's scale is chosen by the `recipe` from what the integer operators before it computed. `weights` are a
    network of `family`, floats under official names; a recipe may change this copy of them. A `measure` is told
    everything.
    """

    def __init__(
        self, weights: Mapping[str, Array], images: Array, recipe: Recipe, family: Family, *,
        measure: Measurement | None = None,
    ) -> None:  # fmt: skip
        self.weights, self.images = dict(weights), images
        self.recipe, self.family, self.measure = recipe, family, measure
        self._exponents: dict[str, tuple[Array, Array]] = {}  # of scores: I0 and fraction bits of each head
        self._shares: dict[str, Array] = {}  # of a linear's inputs: each channel's scale over the largest
        self._reach = 0.0  # magnitude that the next quantizer is to hold, whatever it gets
        self._owed: dict[str, Array] = {}  # what a linear's bias makes good of its weights' rounding
        self._centres: dict[str, float | Array] = {}  # of a linear's inputs: the value of code 0, of all or of each
        if measure is not None:
            measure.start(self.weights, images, family)
        self.made = {name: self._float(name) for name in weights if name.endswith(family.constants)}
        super().__init__(self.made, Laws(recipe.softmax, recipe.gelu, recipe.norm))
        self._lengths = family.lengths(images)
        self._values: dict[str, Array] = {}
        self._known: dict[str, Value] = {}  # of all nodes

    def _float(self, name: str) -> Array:
        if name not in self.weights:
            raise ModelError(f"tensor {name} is missing from the checkpoint")
        value = np.asarray(self.weights[name])
        if not np.all(np.isfinite(value)):
            raise ModelError(f"tensor {name} contains NaN or infinity")
        return value.astype(f32)

    def _observe(self, name: str, real: Array, bits: int, use: str = "values") -> None:
        """Chooses the scale of quantizer `name` from the values it gets, images first, for what `use` makes of it."""
        use = self.laws.softmax if use == "shiftmax" else use
        scale = max(choose_scale(self.recipe.ranges, real, bits, use), symmetric_scale(self._reach, bits))
        self._reach = 0.0
        self.made[f"{name}.act_scaling_factor"] = np.asarray(scale, f32)
        self._told(real, scale, bits)

    def _told(self, real: Array, scale: Array, bits: int, centre: float | Array = 0.0) -> None:
        if self.measure is not None:
            self.measure.quantizer(real, np.asarray(scale, np.float64), bits, centre)

    def _gave(self, name: str, scale: Array) -> Array:
        """`scale`, which the integers of operator `name` have by its law."""
        if self.measure is not None:
            self.measure.record.scale(name, np.asarray(scale, np.float64))
        return scale

    def _real(self, node: str, scale: Array) -> Array:
        return self._values[node] * np.asarray(scale, np.float64)

    def _centre_of(self, name: str, inputs: int) -> Array:
        """The values that codes of 0 have at the `inputs` of linear `name`, at the scale that all of them share."""
        centre: Array = np.broadcast_to(self._centres.get(name, 0.0) / self._shares.get(name, f32(1)), (inputs,))
        return centre

    def _rounded(self, name: str, weight: Array, scale: Array, source: str | None, s_in: Array) -> Array:
        """int8 steps of `scale` [out] for `weight` [out, in] of `name`, which reads node `source` of scale `s_in`."""
        del name, source, s_in
        return quantized(weight, scale[:, None], 8).astype(np.int8)

    def _weights(self, name: str, s_in: Array, kind: str, *, bias: bool, source: str | None = None) -> None:
        """Quantizes weights per output channel, and the bias to the accumulator's scale.

        `source` is the node that is read, if it is read row by row.
        """
        weight = self._float(f"{name}.weight")
        if weight.ndim < 2 or not weight.size:
            raise ModelError(f"tensor {name}.weight must be a matrix, not {list(weight.shape)}")
        flat = weight.reshape(len(weight), -1) * self._shares.get(name, f32(1))
        scale = np.maximum(np.abs(flat).max(1) / f32(127), f32(2.0**-23))
        integers = self._rounded(name, flat, scale, source, s_in)
        self.made[f"{name}.weight_integer"] = integers.reshape(weight.shape)
        if self.measure is not None:
            self.measure.weight(name, flat, integers, scale)
            self.measure.record.weight(name, integers, scale[:, None] / self._shares.get(name, np.ones((), f32)))
        self.made[f"{name}.{kind}_scaling_factor"] = scale
        if bias:
            offset = np.zeros(len(flat), f32) if f"{name}.bias" not in self.weights else self._float(f"{name}.bias")
            if offset.shape != scale.shape:
                raise ModelError(f"tensor {name}.bias must have shape {list(scale.shape)}, not {list(offset.shape)}")
            shift = (integers @ self._centre_of(name, flat.shape[1])) * scale
            offset = offset + self._owed.get(name, f32(0))
            found = quantized((offset + shift).astype(f32), scale * f32(s_in), 32).astype(np.int32)
            self.made[f"{name}.bias_integer"] = found
            if self.measure is not None:
                self.measure.record.bias(name, found * (scale * np.float64(s_in)) - shift)

    # The graph

    def input_bits(self, linear: str) -> int:
        if self.measure is not None:
            self.measure.record.inputs.append(linear)
        return 16 if linear in self.recipe.wide else 8

    def node(self, name: str, op: str, *inputs: str, **attributes: int) -> None:
        super().node(name, op, *inputs, **attributes)
        node = self.nodes[-1]
        operator = operation(node, self.tensors)
        bits, (*shape, last) = operator.image_bits, self.images.shape[1:]
        self._known[name] = operator.value(self._known, Value((*shape, last * bits // 8), 8))
        if operator.image:
            value = quantized(operator.tokens(self.images), self.state.scale(name), bits).astype(f"int{bits}")
        else:
            value = self._evaluate(node, self._known[name].bits)
        if self.measure is not None:
            self.measure.node(node, self.tensors, value)
        if op == Add.name and attributes["bits"] == 16:
            self._values.clear()  # the residual stream: nothing before it is read again
        self._values[name] = value

    def _evaluate(self, node: Node, bits: int) -> Array:
        """What `node` computes, for a few images at a time; constants are the same for all."""
        inputs = [self._values[source] for source in node.inputs]
        kind = f"int{next(size for size in (8, 16, 32, 64) if size >= bits)}"
        if not inputs:
            return evaluate_ragged(self.tensors, node, [], None)
        parts = [slice(first, first + _BATCH) for first in range(0, len(self.images), _BATCH)]
        lengths = [None if self._lengths is None else self._lengths[part] for part in parts]
        results = [
            evaluate_ragged(self.tensors, node, [x if len(x) == 1 else x[part] for x in inputs], some)
            for part, some in zip(parts, lengths, strict=True)
        ]
        return np.concatenate([result if result.dtype.kind == "f" else result.astype(kind) for result in results])

    def result(self) -> Array:
        """What the last node computed."""
        return self._values[self.nodes[-1].name]

    def input(self) -> Array:
        self._observe("qact_input", self.images, 8)
        return super().input()

    def embedded(self) -> tuple[Array, int]:
        """No sum of two rows is clamped."""
        tables = (np.abs(self._float(f"embed.{name}")).max(axis=0) for name in ("word", "position"))
        scale = symmetric_scale(np.add(*tables).max(), 16)
        self.made["qact_input.act_scaling_factor"] = np.asarray(scale, f32)
        self._told(self.images[:, 0], scale, 16)
        return super().embedded()

    def patch_embed(self, s_in: Array, image: tuple[int, int, int], patch: int | None) -> tuple[Array, int]:
        self._weights("patch_embed.proj", s_in, "conv", bias=True)
        return super().patch_embed(s_in, image, patch)

    def quantized(self, name: str, values: Array, bits: int) -> tuple[Array, Array]:
        self._observe(name, values, bits)
        return super().quantized(name, values, bits)

    def requantize(
        self, name: str, source: str, s_in: Array, bits: int = 8, *, use: str = "values", heads: int = 0, axis: int = -1
    ) -> Array:
        self._observe(name, self._real(source, s_in), bits, use)
        return super().requantize(name, source, s_in, bits, use=use, heads=heads, axis=axis)

    def add(
        self, name: str, source: str, s_in: Array, identity: str, s_identity: Array, bits: int = 16, *,
        use: str = "values",
    ) -> Array:  # fmt: skip
        self._observe(name, self._real(source, s_in) + self._real(identity, s_identity), bits, use)
        return super().add(name, source, s_in, identity, s_identity, bits, use=use)

    @staticmethod
    def _summing_to_one(sums: Array, law: Array) -> Array:
        """Scales of probabilities whose rows have these sums; at most four of `law`'s, as flat rows may vanish."""
        return np.minimum(1 / np.maximum(sums, 1.0), 4 * np.float64(law)).astype(f32)

    def shiftmax(self, name: str, *sources: str, scale: Array, bits: int) -> Array:
        """Probabilities are floors, so their rows sum up to less than one in the law's scale."""
        law = super().shiftmax(name, *sources, scale=scale, bits=bits)
        if self.recipe.correct_attention:
            law = self._summing_to_one(self._values[name].sum(axis=-1).mean(), law)
        return self._gave(name, law)

    def most_probable(self, sources: tuple[str, ...], scale: Array) -> Array:
        """By the law that has more bits, of the calibration's scores."""
        scores, *masks = (self._values[source] for source in sources)
        hidden, constants = masks[0][:, :, None] if masks else None, exponent(scale)
        most = np.ones(constants["ln2"].size, np.int64)
        for first in range(0, len(scores), _BATCH):
            found = rivals.int_softmax(scores[first : first + _BATCH], mask=hidden, **dict[str, Any](constants))
            of_heads = np.moveaxis(found, -3, 0).reshape(found.shape[-3], -1).max(axis=1)
            most = np.maximum(most, of_heads if most.size > 1 else of_heads.max())
        octaves = np.array([max(8 - int(p).bit_length(), 0) for p in most])
        return octaves.reshape(constants["ln2"].shape)

    def given(self, name: str, scale: Array) -> Array:
        return self._gave(name, scale)

    def norm_constants(self, source: str) -> tuple[dict[str, int], dict[str, Array]]:
        """The shift with which squares of the calibration's rows sum up to 32 bits, as I-BERT learns it; factors."""
        if self.norm == "ptf_layer_norm":
            shift, factors = power_factors.chosen(self._values[source])
            return {"shift": shift}, {"exponents": factors}
        if self.norm != "int_layer_norm":
            return {}, {}
        y = self._values[source].astype(np.int64)
        y = y - np.rint(y.mean(axis=-1, keepdims=True)).astype(np.int64)
        return {"shift": next(s for s in range(8) if s == 7 or np.square(y >> s).sum(axis=-1).max() < 1 << 32)}, {}

    def shift_gelu(self, name: str, source: str, scale: Array) -> Array:
        return self._gave(name, super().shift_gelu(name, source, scale))

    def linear(
        self, name: str, source: str, s_in: Array, inputs: int, outputs: int | None = None, *, bias: bool = True
    ) -> Array:
        if np.size(s_in) > 1:  # of channels: the largest is everyone's, the weights take the others' share
            largest = np.max(s_in)
            self._shares[name] = np.asarray(s_in, f32) / largest
            s_in = largest
        self._weights(name, s_in, "fc", bias=bias, source=source)
        return super().linear(name, source, s_in, inputs, outputs, bias=bias)

    def hand_on(self, name: str, dim: int) -> None:
        self.features = True
        self.weights[f"{name}.weight"] = np.eye(dim, dtype=f32)
        self.weights[f"{name}.bias"] = np.zeros(dim, f32)

    def feature(self, name: str, source: str, norm: str, reader: str, s_in: Array) -> Array:
        """Each channel has a scale of its own and a centre, which the biases of `norm` and `reader` hold.

        A step is of a 127th of the largest distance from the mean, or of `_SPREAD` deviations where that is more: the
        images are few, and others reach further. The power of all channels counts as one more image.
        """
        real = self._real(source, s_in)
        shift = np.rint(-real.mean(0) / s_in.astype(np.float64)).astype(np.int64)
        bias = self.tensors[f"{norm}.bias"] + shift
        fits = np.abs(bias) < 1 << 33
        shift = np.where(fits, shift, 0)
        self.tensors[f"{norm}.bias"] = np.where(fits, bias, self.tensors[f"{norm}.bias"])
        self._values[source] = self._values[source] + shift
        centred = self._real(source, s_in)
        power = np.square(centred - centred.mean(0)).sum(0) + np.square(real).mean()
        reach = np.maximum(np.abs(centred).max(0), _SPREAD * np.sqrt(power / len(real)))
        s_out = np.maximum(reach / 127, 2.0**-23).astype(f32)
        self._centres[reader] = centre = -shift * s_in.astype(np.float64)
        self._told(real, s_out, 8, centre)
        return self.scaled(name, source, s_in, s_out, 8)

    def layer_norm(self, name: str, source: str, dim: int) -> Array:
        reader = self.family.reader(name)
        if reader is not None:
            self._migrate(name, reader, source)
        else:
            self._still(name)
        for part in ("weight", "bias"):
            self.made[f"{name}.{part}"] = self._float(f"{name}.{part}")
        return self._gave(name, super().layer_norm(name, source, dim))

    def _migrate(self, name: str, reader: str, source: str) -> None:
        """Shares the work of LayerNorm `name` and the linear `reader` in another way: the float network stays."""
        self._fold(name, reader)
        if self.recipe.equalise and f"{reader}.weight" in self.weights:
            self._equalise(name, reader, source)

    def _fold(self, name: str, reader: str) -> None:
        """Takes out of LayerNorm `name` what its integers cannot hold, and gives it to the linear that reads it.

        Offsets too large for their gains' integer biases go to the linear's bias. So do those of channels whose gain is
        so small that, with a normalised value of at most sqrt(C), they stay below an eighth of a step of the coarsest
        scale there could be: such a channel is constant, and its factor would need a shift beyond 63. A reader that has
        no bias takes nothing.
        """
        if f"{reader}.bias" not in self.weights:
            return
        keys = (f"{name}.weight", f"{name}.bias", f"{reader}.weight", f"{reader}.bias")
        gamma, beta, weight, bias = (self._float(key) for key in keys)
        if gamma.shape != beta.shape or gamma.shape != weight.shape[1:] or bias.shape != weight.shape[:1]:
            return  # refused where they are used
        reach = np.abs(gamma) * np.sqrt(f32(len(gamma)))
        least = (reach + np.abs(beta)).max() / (8 * 127)
        constant = reach < least
        moved = constant | ~norm_bias_fits(gamma, beta, self.norm)
        if not moved.any():
            return
        bias = (bias + weight[:, moved].astype(np.float64) @ beta[moved]).astype(f32)
        weight = np.where(constant, f32(0), weight)
        gamma = np.where(constant, f32(2 * least / np.sqrt(len(gamma))), gamma)
        self.weights.update(zip(keys, (gamma, np.where(moved, f32(0), beta), weight, bias), strict=True))

    def _still(self, name: str) -> None:
        """Gives channels of LayerNorm `name` that are 0 in 16 bits a gain that has a factor: a fourth of a step."""
        gamma, beta = self._float(f"{name}.weight"), self._float(f"{name}.bias")
        if gamma.shape != beta.shape or not gamma.size:
            return  # refused where they are used
        reach = np.abs(gamma) * np.sqrt(f32(len(gamma)))
        step = (reach + np.abs(beta)).max() / (1 << 15)
        still = (reach < step / 8) & (np.abs(beta) < step / 8)
        self.weights[f"{name}.weight"] = np.where(still, step / 4 / np.sqrt(f32(len(gamma))), gamma).astype(f32)

    def _normalised(self, name: str, reader: str, source: str) -> tuple[Array, Array, Array, Array] | None:
        """Gains, offsets, the reader's weights, and what LayerNorm `name` gives with these; None if shapes do not fit.

        They are refused where they are used.
        """
        gamma, beta, weight = (self._float(key) for key in (f"{name}.weight", f"{name}.bias", f"{reader}.weight"))
        if not (gamma.shape == beta.shape == self._values[source].shape[-1:] == weight.shape[1:]):
            return None
        attributes, constants = self.norm_constants(source)
        self.hold(name, bias=norm_bias(name, gamma, beta, self.norm), **constants)
        node = Node(name, self.norm, (source,), attributes)
        real = self._evaluate(node, 64) * norm_scale(gamma, self.norm).astype(np.float64)
        return gamma, beta, weight, real

    def _rescale(self, name: str, reader: str, gamma: Array, beta: Array, weight: Array, factor: Array) -> None:
        """Divides channels of LayerNorm `name`, and multiplies the weights that read them."""
        self.weights.update({
            f"{name}.weight": gamma / factor,
            f"{name}.bias": beta / factor,
            f"{reader}.weight": weight * factor,
        })

    def _equalise(self, name: str, reader: str, source: str) -> None:
        """Moves powers of two from the outputs of a LayerNorm to the weights that read them."""
        found = self._normalised(name, reader, source)
        if found is None:
            return
        gamma, beta, weight, real = found
        self._rescale(name, reader, gamma, beta, weight, np.exp2(exponents(real, weight)).astype(f32))
