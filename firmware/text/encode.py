"""Sentences through a device: texts of equal length together, short ones so that weights are read once for many."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from firmware.device import Accelerator
from firmware.devices import Device
from firmware.errors import UserError
from firmware.text.tokenizer import Tokenizer
from hw.spec.model import Model
from hw.spec.operators import Embedded, operation

__all__ = ["at_once", "embedded", "encode", "normalised", "sums", "tokens_of"]

Progress = Callable[[int], object]


def encode(device: Device, texts: Sequence[str], *, progress: Progress = lambda _: None) -> NDArray[np.float32]:
    """Features [n, width] of length 1 of `texts`, by the model of text that is loaded on `device`.

    `progress` is called with the texts so far. Raises UserError for an empty text or one of too many tokens, and if
    there is no model of text; DeviceError as `device` does.
    """
    model = device.model
    if model is None:
        raise UserError("no model is loaded: call load first")
    if not texts:
        return np.zeros((0, model.classes), np.float32)
    ids = tokens_of(model, texts)
    return normalised(model, sums(device, model, ids, progress=progress))


def embedded(model: Model) -> Embedded:
    """The operator that looks tokens up. Raises UserError for a model of images."""
    if not model.text:
        raise UserError(f"model {model.name} reads images, not text")
    found = operation(model.nodes[0], model.tensors)
    assert isinstance(found, Embedded)
    return found


def tokens_of(model: Model, texts: Sequence[str]) -> list[NDArray[np.int64]]:
    """Token numbers of each text. Raises UserError."""
    tables = embedded(model)
    return Tokenizer.of(model).numbers(texts, len(tables.tensor("word")), len(tables.tensor("position")))


def at_once(device: Device, tokens: int) -> int:
    """Texts of so many tokens in one program: as many as the accumulators hold, so that every slot has some."""
    return max(1, device.config.tokens // tokens) if isinstance(device, Accelerator) else 1


def sums(
    device: Device, model: Model, ids: Sequence[NDArray[np.int64]], *, progress: Progress = lambda _: None
) -> NDArray[np.int32]:
    """What the pooling of `model` gives, int32 [n, width], of texts by their token numbers, in their order.

    The model is loaded for each length of them.
    """
    tables = embedded(model)
    found = np.zeros((len(ids), model.classes), np.int32)
    done = 0
    for tokens in sorted({len(each) for each in ids}):
        those = [number for number, each in enumerate(ids) if len(each) == tokens]
        runs = -(-len(those) // at_once(device, tokens))
        device.load(model, tokens=tokens, batch=-(-len(those) // runs))
        found[those] = device.run(tables.rows(np.stack([ids[number] for number in those])))
        done += len(those)
        progress(done)
    return found


def normalised(model: Model, values: NDArray[np.int32]) -> NDArray[np.float32]:
    """Sums [n, width] as features of length 1, of all zeros as zeros."""
    real = values * model.logit_scale.astype(np.float64)
    lengths = np.linalg.norm(real, axis=1, keepdims=True)
    return (real / np.where(lengths > 0, lengths, 1)).astype(np.float32)
