"""Which families there are."""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from firmware.errors import UserError
from firmware.families.architecture import Architecture
from firmware.families.bert.family import Bert
from firmware.families.family import Family
from firmware.families.huggingface import timm_names
from firmware.families.swin.family import Swin
from firmware.families.vit.family import Vit
from firmware.planner.program import CompileError
from hw.spec.model import Model, ModelError

__all__ = [
    "ARCHITECTURES", "FAMILIES", "family_of_model", "family_of_tensors", "official_tensors", "register", "registered",
    "titles",
]  # fmt: skip

_FC_NORM = re.compile(r"^fc_norm\.")
FAMILIES: dict[str, Family] = {}
"""By name."""

ARCHITECTURES: dict[str, Architecture] = {}
"""Those of every family, by name."""


def register(family: Family) -> Family:
    """Makes a family known to compiler, importer and quantizer. Raises ValueError for a name that is taken."""
    if family.name in FAMILIES:
        raise ValueError(f"there is already a family {family.name}")
    taken = [shape.name for shape in family.architectures if shape.name in ARCHITECTURES]
    if taken:
        raise ValueError(f"there is already an architecture {taken[0]}")
    FAMILIES[family.name] = family
    ARCHITECTURES.update({shape.name: shape for shape in family.architectures})
    return family


@contextmanager
def registered(family: Family) -> Generator[Family, None, None]:
    """The same for as long as a context lasts."""
    register(family)
    try:
        yield family
    finally:
        del FAMILIES[family.name]
        for shape in family.architectures:
            del ARCHITECTURES[shape.name]


def _latest() -> Iterator[Family]:
    """Those registered last are asked first, so that a family may be a special case of another."""
    return reversed(FAMILIES.values())


def family_of_model(model: Model) -> Family:
    """The family whose graph `model` is, right or wrong. Raises CompileError for a graph of none."""
    for family in _latest():
        if family.has_graph(model):
            return family
    raise CompileError(f"the graph of {model.name} is that of no {titles()}")


def family_of_tensors(names: Collection[str]) -> Family:
    """The family that checkpoints with tensors of these names are of. Raises ModelError where there is none."""
    for family in _latest():
        if family.has_tensors(names):
            return family
    raise ModelError(f"there are no blocks that we know: these are no tensors of a {titles()}")


def official_tensors(
    weights: Mapping[str, NDArray[Any]], *, pool: str | None = None
) -> tuple[Family, dict[str, NDArray[Any]]]:
    """The family of a float checkpoint, and its tensors under the names and in the form that the graph asks for.

    `weights` have timm's names or Hugging Face's; official ones stay as they are. Raises ModelError where they are of
    no family, UserError for tensors that do not fit one another. A norm behind the pooling (`fc_norm`) is the last norm
    where a class token is the `pool`; of what it is must be said.
    """
    named = timm_names(weights)
    if pool == "token" and "norm.weight" not in named:
        named = {_FC_NORM.sub("norm.", name): array for name, array in named.items()}
    family = family_of_tensors(named)
    if pool is None and any(_FC_NORM.match(name) and family.tensor.fullmatch(name) for name in named):
        raise UserError(
            "the network has a norm behind its pooling (fc_norm): of the mean of the patches, which --pool avg says, "
            "or of the class token, which --pool token says"
        )
    return family, family.official_names(named)


def titles() -> str:
    """All of them, as a person says it: "ViT, DeiT or Swin"."""
    *most, last = (title for family in FAMILIES.values() for title in family.titles)
    return f"{', '.join(most)} or {last}" if most else last


for _family in (Vit(), Swin(), Bert()):
    register(_family)
