"""Open processes whose installed trees (open_pdks, under PDK_ROOT) have the Liberty files that a build maps to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from firmware.errors import UserError

__all__ = ["PDKS", "liberty_files"]

PDKS: Mapping[str, tuple[str, ...]] = {
    "sky130A": ("libs.ref/sky130_fd_sc_hd/lib/sky130_fd_sc_hd__tt_025C_1v80.lib",),
    "gf180mcuD": ("libs.ref/gf180mcu_fd_sc_mcu7t5v0/lib/gf180mcu_fd_sc_mcu7t5v0__tt_025C_5v00.lib",),
    "ihp-sg13g2": (
        "libs.ref/sg13g2_stdcell/lib/sg13g2_stdcell_typ_1p20V_25C.lib",
        "libs.ref/sg13g2_sram/lib/RM_IHPSG13_2P_*_typ_1p20V_25C.lib",
    ),
}
"""Name -> files below it, typical corner; the first must be there, memory macros may be."""


def liberty_files(name: str) -> list[Path]:
    """The files of process `name`. Raises UserError where there is no such tree."""
    root = os.environ.get("PDK_ROOT")
    if not root:
        raise UserError(f"--pdk {name} wants PDK_ROOT to name the folder with {name}, and it is not set")
    tree = Path(root) / name
    cells, *others = PDKS[name]
    if not (tree / cells).is_file():
        raise UserError(f"--pdk {name} wants {tree / cells}, which is not there")
    return [tree / cells, *(path for pattern in others for path in sorted(tree.glob(pattern)))]
