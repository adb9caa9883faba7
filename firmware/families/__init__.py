"""The families of networks: one folder each, with everything that only that family knows.

Nobody else tells them apart: others ask a `Family` (`firmware.families.family`). One that is not in this tree is made
known with `register`.
"""

from firmware.families.architecture import Architecture
from firmware.families.family import POOLS, Family, Stage, Wanted
from firmware.families.registry import (
    ARCHITECTURES,
    FAMILIES,
    family_of_model,
    family_of_tensors,
    official_tensors,
    register,
    registered,
    titles,
)

__all__ = [
    "ARCHITECTURES", "FAMILIES", "POOLS", "Architecture", "Family", "Stage", "Wanted", "family_of_model",
    "family_of_tensors", "official_tensors", "register", "registered", "titles",
]  # fmt: skip
