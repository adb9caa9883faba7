"""Models with inputs of 16 bits, made of models whose inputs have 8."""

from dataclasses import replace

from firmware.quantizer.budget import candidates, rewritten
from hw.spec.config import Config

__all__ = ["linears", "widened"]


def linears(model, kind=""):
    """Names of the linears whose last part is `kind`, or of all, that have an input to widen."""
    names = [node.name for node in model.nodes if node.op == "linear" and node.name.endswith(kind)]
    return [each.linear for each in candidates(model, names, Config()) if not each.linear.startswith("head")]


def widened(model, names):
    """`model` where what linears `names` read has 8 more bits behind the point, and their sums are scaled back."""
    wide = candidates(model, names, Config())
    tensors = dict(model.tensors)
    for each in wide:
        if f"{each.quantizer}.entries" in tensors:
            entries = tensors[f"{each.quantizer}.entries"].astype("int16")
            tensors[f"{each.quantizer}.entries"] = entries * 256 + (entries * 77) % 256
        else:
            tensors[f"{each.quantizer}.shift"] = tensors[f"{each.quantizer}.shift"] - 8
        behind = next(node.name for node in model.nodes if each.linear in node.inputs)
        tensors[f"{behind}.shift"] = tensors[f"{behind}.shift"] + 8
    return replace(rewritten(model, wide), tensors=tensors)
