"""Measures how far the official float32 emulation of I-ViT is from the integer laws: the tables in docs/numerics.md.

python -m sim.deviation          prints the tables
python -m sim.deviation --write  replaces them in docs/numerics.md
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.spec import arith

__all__ = ["LAWS", "document", "main", "measure", "measure_models", "model_table", "table"]

Array = NDArray[Any]

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data"
UNITS = DATA / "units"
MODELS = {"small_vit_t": "ViT, trained", "small_vit_a": "ViT, random", "small_swin_a": "Swin, random"}
DOCUMENT = ROOT / "docs" / "numerics.md"


def _convolution(v: Mapping[str, Array]) -> Array:
    patch = v["weight"].shape[-1]
    batch, channels, height, width = v["x"].shape
    x = v["x"].reshape(batch, channels, height // patch, patch, width // patch, patch).transpose(0, 2, 4, 1, 3, 5)
    out = arith.linear(x.reshape(*x.shape[:3], -1), v["weight"].reshape(len(v["weight"]), -1), v["bias"])
    return out.transpose(0, 3, 1, 2)


def _requantize(v: Mapping[str, Array]) -> Array:
    names = {"identity": "identity", "mult_identity": "m_identity", "shift_identity": "e_identity"}
    identity = {ours: v[theirs] for ours, theirs in names.items()} if "identity" in v else {}
    return arith.requantize(v["x"], v["m"], v["e"], int(v["bits"]), **identity)


LAWS: dict[str, Callable[[Mapping[str, Array]], Array]] = {
    "conv": _convolution,
    "linear": lambda v: arith.linear(v["x"], v["weight"], v["bias"]),
    "matmul": lambda v: arith.matmul(v["A"], v["B"]),
    "quantact": _requantize,
    "softmax": lambda v: arith.shiftmax(v["x"], int(v["I0"]), int(v["out_bits"]), int(v["n"])),
    "gelu": lambda v: arith.shift_gelu(v["x"], int(v["I0"]), int(v["n"])),
    "layernorm": lambda v: arith.layer_norm(v["x"], v["bias_int"]),
}
"""The law of each official module, on the arrays of its unit vectors."""

_TITLES = {
    "conv": "patch embedding (convolution)",
    "linear": "linear",
    "matmul": "Q @ K.T and P @ V",
    "quantact": "requantization, with and without residual",
    "softmax": "Shiftmax",
    "gelu": "ShiftGELU",
    "layernorm": "I-LayerNorm, 31-bit result",
}


def measure(folder: Path = UNITS) -> dict[str, tuple[int, int, int, int]]:
    """By operator: (vectors, outputs, outputs where float32 differs from the law, largest difference in LSB)."""
    found: dict[str, tuple[int, int, int, int]] = defaultdict(lambda: (0, 0, 0, 0))
    for path in sorted(folder.glob("*.npz")):
        operator = path.stem.split("_")[0]
        with np.load(path) as vectors:
            v = dict(vectors)
        kind = f"{operator} {int(v['out_bits'])}" if operator == "softmax" else operator
        off = np.abs(LAWS[operator](v) - v["out_fp32"].astype(np.int64))
        files, outputs, wrong, worst = found[kind]
        found[kind] = (files + 1, outputs + off.size, wrong + int(np.count_nonzero(off)), max(worst, int(off.max())))
        if "out_q8" in v:
            off = np.abs(v["out_q8"].astype(np.int64) - v["out_q8_fp32"])
            files, outputs, wrong, worst = found["layernorm 8"]
            found["layernorm 8"] = (
                files + 1, outputs + off.size, wrong + int(np.count_nonzero(off)), max(worst, int(off.max())),
            )  # fmt: skip
    return dict(found)


def table() -> str:
    """The measurement as a Markdown table."""
    lines = ["| operator | vectors | outputs | float32 differs | largest difference |", "|---|---|---|---|---|"]
    order = list(LAWS)
    for kind, (files, outputs, wrong, worst) in sorted(
        measure().items(), key=lambda item: order.index(item[0].split()[0])
    ):
        operator, *bits = kind.split()
        title = _TITLES[operator]
        if bits and operator == "softmax":
            title += f", {bits[0]}-bit probabilities"
        elif bits:
            title = "I-LayerNorm, after its 8-bit requantization"
        lines.append(f"| {title} | {files} | {outputs} | {100 * wrong / outputs:.2f} % | {worst} |")
    return "\n".join(lines) + "\n"


def measure_models(folder: Path = DATA) -> dict[str, tuple[int, int, float]]:
    """By model: (images, images of the same class, largest difference of a logit in deviations of the exact logits)."""
    found = {}
    for name in MODELS:
        with np.load(folder / name / "images.npz") as arrays:
            exact = arrays["acc_exact"] * arrays["logit_scale"].astype(np.float64)
            official = arrays["logits_fp32"].astype(np.float64)
        same = int(np.count_nonzero(exact.argmax(axis=1) == official.argmax(axis=1)))
        found[name] = (len(exact), same, float(np.abs(exact - official).max() / exact.std()))
    return found


def model_table() -> str:
    """The measurement of whole models as a Markdown table."""
    lines = ["| model | images | same class | largest difference of a logit |", "|---|---|---|---|"]
    for name, (images, same, worst) in measure_models().items():
        lines.append(f"| {MODELS[name]} (`{name}`) | {images} | {same} | {worst:.2f} deviations |")
    return "\n".join(lines) + "\n"


_TABLES: dict[str, Callable[[], str]] = {"deviation": table, "deviation of models": model_table}


def document(text: str) -> str:
    """`text` with each table between its marks replaced by a new measurement."""
    for mark, make in _TABLES.items():
        head, rest = text.split(f"<!-- {mark} -->\n")
        text = f"{head}<!-- {mark} -->\n\n{make()}\n<!-- /{mark} -->\n" + rest.split(f"<!-- /{mark} -->\n")[1]
    return text


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Deviation of the official float32 emulation from the integer laws.")
    parser.add_argument("--write", action="store_true", help="replace the tables in docs/numerics.md")
    if parser.parse_args(arguments).write:
        DOCUMENT.write_text(document(DOCUMENT.read_text()))
    print(*(make() for make in _TABLES.values()), sep="\n", end="")


if __name__ == "__main__":
    main()
