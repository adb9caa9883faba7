"""A float network of text, ready to be quantized on sentences."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.cli.trials import Subject, Texts
from firmware.errors import UserError
from firmware.families import Family
from firmware.identify import foreign
from firmware.quantizer import Measurement, Recipe, quantize
from firmware.text import Tokenizer, read_lines
from firmware.text.settings import settings_beside
from hw.spec.model import Model

__all__ = ["texts"]

_TOKENS, _BATCH = 32, 2  # of the program whose cycles a budget counts
_LONGEST = 128  # tokens of a text that calibrates; what is behind is cut off
_ALONE = 32  # texts that show what each quantizer costs: they are shorter than images
_UNUSED = ("arch", "patch", "dim", "classes", "img_size", "depth", "mean", "std", "crop", "labels")


def texts(arguments: argparse.Namespace, family: Family, weights: Mapping[str, NDArray[Any]]) -> Subject:
    """The network, which it says what it is taken for. Raises UserError."""
    for option in _UNUSED:
        if getattr(arguments, option) is not None:
            raise UserError(
                f"{arguments.checkpoint} reads text: --{option.replace('_', '-')} is for networks of images"
            )
    unknown = foreign(weights)
    if unknown:
        raise UserError(f"{arguments.checkpoint} has the tensor {unknown[0]}, which no encoder of text has")
    beside = settings_beside(arguments.checkpoint)
    shape = family.examine(weights)
    heads = arguments.heads[0] if arguments.heads else beside.heads or shape.heads[0]
    pool = arguments.pool or beside.pool
    shape = replace(shape, heads=(heads,))
    shape.check()
    print(f"{arguments.checkpoint}: taken for a {family.titles[0]} of {shape.depths[0]} blocks, {shape.dim} wide")
    told = [word for word in ("heads" if arguments.heads or beside.heads else "", pool) if word]
    for remark in family.remarks(weights, shape, told):
        print(remark)
    tokenizer = _tokenizer(arguments, beside.tokenizer)
    rows = {name: len(weights[f"embed.{name}"]) for name in ("word", "position")}
    lines = read_lines(arguments.images)[: arguments.count]
    made = Tokenizer(tokenizer, "the tokenizer")
    ids = [each[:_LONGEST] for each in made.numbers(lines, rows["word"], rows["position"])]

    def make(recipe: Recipe, measure: Measurement, of: Sequence[NDArray[np.int64]]) -> Model:
        model = quantize(
            weights, Texts(of, weights).rows(), name=arguments.name or Path(arguments.output).stem,
            heads=heads, mean=(0.0,), std=(1.0,), attention_bits=arguments.attention_bits, pool=pool, recipe=recipe,
            measure=measure,
        )  # fmt: skip
        return model.of_tokens(min(_TOKENS, rows["position"]))

    def shared() -> tuple[Sequence[NDArray[np.int64]], Texts | None]:
        held = ids[3::4]
        used = [each for number, each in enumerate(ids) if number % 4 != 3]
        return used, Texts(held, weights) if held else None

    return Subject(
        every=ids, called="texts", make=make, shared=shared, batch=_BATCH, alone=_ALONE,
        finish=lambda model: replace(model, crop=1.0, tokenizer=tokenizer),
    )  # fmt: skip


def _tokenizer(arguments: argparse.Namespace, beside: Path | None) -> str:
    path = Path(arguments.tokenizer) if arguments.tokenizer else beside
    if path is None:
        raise UserError(
            f"there is no tokenizer.json beside {arguments.checkpoint}: --tokenizer says where the tokenizer is"
        )
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no tokenizer: {error}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
