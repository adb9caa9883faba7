"""The ablation's networks and mixtures of operators: float weights, images that calibrate and images that judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from bench import photographs
from bench.dinov2 import Backbone, graph_file
from firmware.architectures import architecture
from firmware.dataset import open_dataset
from firmware.families import official_tensors
from firmware.identify import identify
from firmware.make_model import float_weights, images
from firmware.preprocess import normalise
from firmware.quantizer import RECIPES, Recipe, quantize
from hw.spec.model import Model

__all__ = ["MIXTURES", "NETWORKS", "TITLES", "Network", "integer_model", "laws", "recipe", "units"]

Array = NDArray[Any]
_RECIPE = RECIPES["minmax"]
_DIGITS = Path(__file__).parent.parent / "examples" / "digits"

_BERT = {"softmax": "int_softmax", "gelu": "int_gelu", "norm": "int_layer_norm"}
_EXACT = {"gelu": "table"}
_OWN = {"softmax": "shiftmax", "gelu": "shift", "norm": "layer_norm"}  # where a mixture does not say
MIXTURES: dict[str, dict[str, str]] = {
    "I-ViT": {"gelu": "shift"},
    "GELU by a table": _EXACT,
    "IntGELU (I-BERT)": {"gelu": "int_gelu"},
    "IntSoftmax (I-BERT), table": {**_EXACT, "softmax": "int_softmax"},
    "Log-Int-Softmax (FQ-ViT), table": {**_EXACT, "softmax": "log_int_softmax"},
    "IntLayerNorm (I-BERT), table": {**_EXACT, "norm": "int_layer_norm"},
    "L1 LayerNorm (Fully-8bit), table": {**_EXACT, "norm": "l1_layer_norm"},
    "8-bit norm inputs, PTF (FQ-ViT), table": {**_EXACT, "norm": "ptf_layer_norm"},
    "all of I-BERT": _BERT,
    "I-BERT's, L1 LayerNorm": {**_BERT, "norm": "l1_layer_norm"},
}
"""What a network has in place of some of I-ViT's operators, as a recipe says it.

Softmax and norms are replaced beside an exact GELU, whose errors do not hide theirs.
"""


@dataclass(frozen=True, eq=False)
class Network:
    """A float network with images that calibrate it and others that judge it."""

    weights: Mapping[str, Array]
    calibrate: NDArray[np.uint8]
    judge: NDArray[np.uint8]
    mean: Sequence[float]
    std: Sequence[float]
    options: Mapping[str, Any]
    labels: Array | None = None
    timm: str = "vit_tiny_patch16_224"  # what the package of that name calls it
    sizes: Mapping[str, Any] = field(default_factory=dict)  # that are others than that name's


def digits(_folder: Path) -> Network:
    """The example's."""
    pixels, labels = np.load(_DIGITS / "images.npy"), np.load(_DIGITS / "labels.npy")
    return Network(
        load_file(_DIGITS / "float.safetensors"), np.load(_DIGITS / "calibration.npy"), pixels, (0.5,), (0.5,),
        {"patch": 2, "heads": 2}, labels,
        sizes={"img_size": 8, "patch_size": 2, "in_chans": 1, "embed_dim": 64, "depth": 4, "num_heads": 2,
               "num_classes": 10},
    )  # fmt: skip


def _dinov2(folder: Path) -> Network:
    weights = Backbone(graph_file()).checkpoint()
    shape = identify(official_tensors(weights)[1])
    mean, std = shape.statistics
    found = []
    for name, half in zip(("calibrate", "held"), photographs.halves(photographs.photographs(), 0), strict=True):
        if not (folder / name).is_dir():
            photographs.cut(half, folder / name, 0)
        found.append(open_dataset(str(folder / name)).read(shape)[:: photographs.CUTS])
    return Network(
        weights, found[0], found[1], mean, std, {"patch": shape.patch, "heads": shape.heads[0]},
        timm="vit_small_patch14_dinov2",
        sizes={"img_size": shape.img_size, "num_classes": 0, "init_values": 0},  # LayerScale is in the weights
    )  # fmt: skip


def _random(name: str, count: int) -> Callable[[Path], Network]:
    def make(_folder: Path) -> Network:
        shape = architecture(name)
        mean, std = shape.statistics
        heads = {"heads": shape.heads[0]} if len(shape.heads) == 1 else {}
        return Network(
            float_weights(shape, 0), images(shape, count, 0), images(shape, count, 1000), mean, std,
            {"patch": shape.patch, **heads}, timm=name,
        )  # fmt: skip

    return make


NETWORKS: dict[str, Callable[[Path], Network]] = {
    "digits": digits,
    "dinov2": _dinov2,
    "deit": _random("deit_tiny_patch16_224", 8),
    "swin": _random("swin_tiny_patch4_window7_224", 4),
}
"""By case; a folder keeps what they read."""

TITLES = {
    "digits": "Digits ViT, trained, 360 test images; outputs are logits",
    "dinov2": "DINOv2 ViT-S/14, trained, a cut of each of 11 photographs held out; outputs are features",
    "deit": "DeiT-T, random weights, 8 images of noise like photographs; outputs are logits",
    "swin": "Swin-T, random weights, 4 images of noise like photographs; outputs are logits",
}


def laws(mixture: str) -> dict[str, str]:
    """By kind, what a recipe calls the operator that the mixture has."""
    return {**_OWN, **MIXTURES[mixture]}


def units(mixture: str) -> tuple[str, ...]:
    """Of Config.vector."""
    found = laws(mixture)
    return (found["softmax"], found["norm"], {"shift": "shift_gelu"}.get(found["gelu"], found["gelu"]), "add")


def recipe(mixture: str) -> Recipe:
    """With which its figures are found."""
    return replace(_RECIPE, **MIXTURES[mixture])


def integer_model(name: str, mixture: str, network: Network, *, quick: bool = False) -> Model:
    """Quantized by the recipe; `quick`: by one image and without the rounding that minds it.

    Its integers are others then, its graph and so its program's shape are the same.
    """
    how = replace(recipe(mixture), compensate=False) if quick else recipe(mixture)
    return quantize(
        network.weights, normalise(network.calibrate[: 1 if quick else None], network.mean, network.std), name=name,
        mean=network.mean, std=network.std, recipe=how, **network.options,
    )  # fmt: skip
