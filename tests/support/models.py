"""Random integer models: every constant in range, nothing trained; for compiler and machine tests."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from firmware.preprocess import normalise
from firmware.quantizer import quantize
from hw.spec.model import Model, Node

__all__ = ["quantized_digits", "random_model"]

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def _dyadic(rng, channels, ratio):
    """Mantissas and exponents with m/2^e near `ratio`."""
    mult = rng.integers(1 << 30, 1 << 31, channels)
    shift = np.full(channels, 31 + int(np.ceil(-np.log2(ratio))))
    return mult.astype(np.int64), shift.astype(np.int8)


def random_model(seed=0, *, image=(3, 32, 32), patch=8, dim=64, depth=2, heads=2, hidden=256, classes=10, bits=16):
    """A ViT whose activations neither vanish nor saturate throughout."""
    rng = np.random.default_rng(seed)
    nodes, tensors = [], {}

    def node(name, op, *inputs, attributes=None, **constants):
        nodes.append(Node(name, op, inputs, attributes or {}))
        tensors.update({f"{name}.{key}": value for key, value in constants.items()})
        return name

    def requantize(name, source, channels, ratio, bits, signed=False):
        mult, shift = _dyadic(rng, channels, ratio)
        if signed:
            mult = mult * rng.choice([-1, 1], channels)
        return node(name, "requantize", source, attributes={"bits": bits}, mult=mult, shift=shift)

    def linear(name, source, outputs, depth):
        weight = rng.integers(-127, 128, (outputs, depth)).astype(np.int8)
        return node(name, "linear", source, weight=weight, bias=rng.integers(-9999, 9999, outputs).astype(np.int32))

    def add(name, source, identity):
        m, e = _dyadic(rng, 1, 0.7)
        m1, e1 = _dyadic(rng, 1, 0.9)
        return node(
            name, "add", source, identity, attributes={"bits": 16}, mult=m, shift=e, mult_identity=m1, shift_identity=e1
        )

    def norm(name, source):
        return node(name, "layer_norm", source, bias=rng.integers(-(1 << 30), 1 << 30, dim).astype(np.int64))

    def gain(depth, rms, target):
        """Ratio that takes a dot product of `depth` terms with rms `rms` activations to rms `target`."""
        return target / (73 * rms * depth**0.5)

    count = (image[1] // patch) * (image[2] // patch)
    k = image[0] * patch * patch
    x = node("qact_input", "input")
    weight = rng.integers(-127, 128, (dim, k)).astype(np.int8)
    x = node("patch_embed.proj", "patch_embed", x, attributes={"patch": patch}, weight=weight,
             bias=rng.integers(-9999, 9999, dim).astype(np.int32))  # fmt: skip
    x = requantize("patch_embed.qact", x, dim, gain(k, 73, 6000), 16)
    x = node("concat_cls", "concat_cls", x, cls=rng.integers(-40000, 40000, (1, dim)).astype(np.int32))
    pos = node("qact_pos", "constant", value=rng.integers(-9000, 9000, (count + 1, dim)).astype(np.int16))
    x = add("qact1", x, pos)
    for b in range(depth):
        p = f"blocks.{b}."
        y = requantize(p + "qact1", norm(p + "norm1", x), dim, 2**-23 * 40 * dim**0.5 / 64, 8, signed=True)
        qkv = requantize(p + "attn.qact1", linear(p + "attn.qkv", y, 3 * dim, dim), 3 * dim, gain(dim, 40, 40), 8)
        s = node(p + "attn.matmul_1", "scores", qkv, attributes={"heads": heads})
        s = requantize(p + "attn.qact_attn1", s, 1, 40 / (40 * 40 * (dim // heads) ** 0.5), 8)
        attributes = {"bits": bits, "terms": 15}
        i0 = rng.integers(14, 40, 1).astype(np.int16)
        s = node(
            p + "attn.int_softmax", "shiftmax", s, attributes=attributes, i0=i0, fraction=np.zeros(1, np.int8)
        )  # fmt: skip
        y = node(p + "attn.matmul_2", "context", s, qkv, attributes={"heads": heads})
        y = requantize(p + "attn.qact2", y, 1, 2.0 ** (1 - bits) * 3, 8)
        y = requantize(p + "attn.qact3", linear(p + "attn.proj", y, dim, dim), dim, gain(dim, 40, 5000), 16)
        x = add(p + "qact2", y, x)
        y = requantize(p + "qact3", norm(p + "norm2", x), dim, 2**-23 * 40 * dim**0.5 / 64, 8, signed=True)
        y = requantize(p + "mlp.qact_gelu", linear(p + "mlp.fc1", y, hidden, dim), hidden, gain(dim, 40, 40), 8)
        attributes = {"i0": int(rng.integers(12, 30)), "terms": 23}
        y = node(p + "mlp.act", "shift_gelu", y, attributes=attributes)
        y = requantize(p + "mlp.qact1", y, 1, 1 / 100, 8)
        y = requantize(p + "mlp.qact2", linear(p + "mlp.fc2", y, dim, hidden), dim, gain(hidden, 30, 5000), 16)
        x = add(p + "qact4", y, x)
    x = node("class_token", "class_token", norm("norm", x))
    x = requantize("qact2", x, dim, 2**-23 * 40 * dim**0.5 / 64, 8, signed=True)
    linear("head", x, classes, dim)
    return Model(
        name=f"random-{seed}", image=image,
        classes=classes, nodes=tuple(nodes), tensors=tensors, input_scale=1 / 64, mean=(0.0,) * image[0],
        std=(1.0,) * image[0], logit_scale=np.full(classes, 2**-10, np.float32),
    )  # fmt: skip


def quantized_digits(recipe, images=48, *, blocks=4, norm_of_mean=False, **options):
    """The digits network, or its first blocks, quantized by `recipe` on a few images."""
    pixels, weights = np.load(DIGITS / "calibration.npy")[:images], load_file(DIGITS / "float.safetensors")
    weights = {name: w for name, w in weights.items() if not name.startswith("blocks.") or int(name[7]) < blocks}
    if norm_of_mean:
        weights |= {f"fc_norm.{kind}": weights.pop(f"norm.{kind}") for kind in ("weight", "bias")}
        options["pool"] = "avg"
    return quantize(
        weights, normalise(pixels, (0.5,), (0.5,)), name="digits", patch=2, heads=2,
        mean=(0.5,), std=(0.5,), recipe=recipe, **options,
    )  # fmt: skip
