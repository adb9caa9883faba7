"""Mixtures of rivals of I-ViT's operators, as recipes and as units."""

from dataclasses import replace

from firmware.quantizer import RECIPES

__all__ = ["ALONE", "BERT", "MIXTURES", "recipe_of", "units_of"]

ALONE = {
    "int_softmax": {"softmax": "int_softmax"},
    "log_int_softmax": {"softmax": "log_int_softmax"},
    "int_gelu": {"gelu": "int_gelu"},
    "int_layer_norm": {"norm": "int_layer_norm"},
    "l1_layer_norm": {"norm": "l1_layer_norm"},
    "ptf_layer_norm": {"norm": "ptf_layer_norm"},
}
BERT = {**ALONE["int_softmax"], **ALONE["int_gelu"], **ALONE["int_layer_norm"]}
MIXTURES = {**ALONE, "I-BERT": BERT, "I-BERT, L1": {**BERT, "norm": "l1_layer_norm"}}


def units_of(mixture):
    """The units that a mixture needs, on top of ShiftGELU and I-ViT's others."""
    gelu = {"shift": "shift_gelu"}.get(mixture.get("gelu", "shift"), mixture.get("gelu"))
    return (mixture.get("softmax", "shiftmax"), mixture.get("norm", "layer_norm"), gelu, "add")


def recipe_of(recipe, mixture):
    """A recipe by its name, with a mixture's operators."""
    return replace(RECIPES[recipe], **{"gelu": "shift", **mixture})
