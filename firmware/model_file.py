"""The integer model file: one safetensors file, integer tensors, and a JSON graph with version and digest inside.

Nothing in it is executed. Loading validates everything and refuses with one sentence.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from firmware.files import writing
from hw.spec.model import Model, ModelError, Node, validate
from hw.spec.model_header import KEY, LOGIT_SCALE, OLD, TOKENIZER, VERSION, Header, HeaderError, decode, read
from hw.spec.operators import Shiftmax

__all__ = ["load_model", "model_digest", "save_model"]


def _digest(header: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over the header and every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_model(model: Model, path: str | Path) -> int:
    """Writes `model` to `path`, whole or not at all. Returns the file's bytes.

    Raises ModelError if it is not valid, UserError if it cannot be written.
    """
    validate(model)
    tensors = {name: np.ascontiguousarray(array) for name, array in model.tensors.items()}
    tensors[LOGIT_SCALE] = np.ascontiguousarray(model.logit_scale, np.float32)
    if model.tokenizer:
        tensors[TOKENIZER] = np.frombuffer(model.tokenizer.encode(), np.uint8)
    header: dict[str, Any] = {
        "version": VERSION,
        "name": model.name,
        "image": list(model.image),
        "classes": model.classes,
        "input_scale": model.input_scale,
        "mean": list(model.mean),
        "std": list(model.std),
        "crop": model.crop,
        "labels": list(model.labels),
        **({"features": True} if model.features else {}),
        "nodes": [[n.name, n.op, list(n.inputs), {k: int(v) for k, v in n.attributes.items()}] for n in model.nodes],
    }
    header["digest"] = _digest(header, tensors)
    try:
        decode(header)
    except HeaderError as error:
        raise ModelError(f"model {model.name!r:.80} cannot be written: {error!s:.300}") from None
    metadata = {KEY: json.dumps(header)}
    data = save(tensors, metadata)
    with writing(path) as file:
        file.write(data)
    return len(data)


def model_digest(path: str | Path) -> str:
    """What tells the model file from any other: the digest it carries, which `load_model` checks. Raises ModelError."""
    try:
        with safe_open(path, framework="numpy") as file:
            return decode(read((file.metadata() or {})[KEY])).digest
    except (SafetensorError, OSError, KeyError, HeaderError) as error:
        raise ModelError(f"{path} is not a Shiftwork integer model: {error!s:.300}") from None


def load_model(path: str | Path) -> Model:
    """The model in `path`. Raises ModelError, in one sentence, for anything that is not a valid model file."""
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"there is no model file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(KEY)
            names = list(file.keys())
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a whole safetensors file: {error!s:.300}") from None
    except (AttributeError, TypeError, ValueError) as error:  # types and ranks that NumPy does not have
        raise ModelError(f"{path} has a tensor that is no integer array: {error!s:.300}") from None
    if text is None:
        raise ModelError(f"{path} is a safetensors file, but not a Shiftwork integer model")
    content, header = _header(path, text)
    stored = content.pop("digest")
    found = _digest(content, tensors)
    if stored != found:
        raise ModelError(f"{path} was changed after it was written: digest {found[:16]}, but {stored[:16]} is stored")
    if LOGIT_SCALE not in tensors:
        raise ModelError(f"{path} lacks the tensor {LOGIT_SCALE}")
    model = _model(header, tensors)
    validate(model)
    return model


def _header(path: Path, text: str) -> tuple[dict[str, Any], Header]:
    """As it stands in the file, which the digest is of, and typed."""
    try:
        content = read(text)
        if content.get("version") in (VERSION, OLD):
            return content, decode(content)
    except HeaderError as error:
        raise ModelError(f"{path} has a malformed header: {error!s:.300}") from None
    raise ModelError(
        f"{path} has model file version {content.get('version')!r:.80}, but this program reads {OLD} and {VERSION}; "
        "make it again with import-ivit or quantize"
    )


def _model(header: Header, tensors: dict[str, NDArray[Any]]) -> Model:
    nodes = tuple(Node(entry.name, entry.op, tuple(entry.inputs), entry.attributes) for entry in header.nodes)
    if header.version == OLD:
        nodes, tensors = _upgraded(nodes, tensors)
    return Model(
        name=header.name,
        image=header.image,
        classes=header.classes,
        nodes=nodes,
        tensors={name: array for name, array in tensors.items() if name not in {LOGIT_SCALE, TOKENIZER}},
        input_scale=header.input_scale,
        mean=tuple(header.mean),
        std=tuple(header.std),
        crop=header.crop,
        logit_scale=tensors[LOGIT_SCALE],
        labels=tuple(header.labels),
        features=header.features,
        tokenizer=_tokenizer(tensors.get(TOKENIZER)),
    )


def _tokenizer(stored: NDArray[Any] | None) -> str:
    """The text, empty if there is none. Raises ModelError."""
    if stored is None:
        return ""
    try:
        if stored.dtype == np.uint8 and stored.ndim == 1:
            return stored.tobytes().decode()
    except UnicodeDecodeError:
        pass
    raise ModelError(f"tensor {TOKENIZER} must be UTF-8 text as uint8 [n], not {stored.dtype}{list(stored.shape)}")


def _upgraded(
    nodes: tuple[Node, ...], tensors: dict[str, NDArray[Any]]
) -> tuple[tuple[Node, ...], dict[str, NDArray[Any]]]:
    """Version 2 as version 3: I0 of Shiftmax is a tensor, beside the fraction bits that there were not."""
    tensors, found = dict(tensors), []
    for node in nodes:
        attributes = dict(node.attributes)
        if node.op == Shiftmax.name:
            i0 = attributes.pop("i0", None)
            if not isinstance(i0, int) or not 0 < i0 < 1 << 10:
                raise ModelError(f"i0 of {node.name} must be from 1 to 1023, not {i0!r:.80}")
            tensors[f"{node.name}.i0"] = np.array([i0], np.int16)
            tensors[f"{node.name}.fraction"] = np.zeros(1, np.int8)
        found.append(replace(node, attributes=attributes))
    return tuple(found), tensors
