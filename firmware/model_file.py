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
from hw.spec.operators import Shiftmax

__all__ = ["VERSION", "load_model", "model_digest", "save_model"]

VERSION = 3
_OLD = 2  # whose I0 of Shiftmax was an attribute: the same laws
_KEY = "shiftwork"
_LOGIT_SCALE = "logit_scale"


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
    tensors[_LOGIT_SCALE] = np.ascontiguousarray(model.logit_scale, np.float32)
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
    metadata = {_KEY: json.dumps({**header, "digest": _digest(header, tensors)})}
    data = save(tensors, metadata)
    with writing(path) as file:
        file.write(data)
    return len(data)


def model_digest(path: str | Path) -> str:
    """What tells the model file from any other: the digest it carries, which `load_model` checks. Raises ModelError."""
    try:
        with safe_open(path, framework="numpy") as file:
            return str(json.loads((file.metadata() or {})[_KEY])["digest"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is not a Shiftwork integer model: {error}") from None


def load_model(path: str | Path) -> Model:
    """The model in `path`. Raises ModelError, in one sentence, for anything that is not a valid model file."""
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"there is no model file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(_KEY)
            names = list(file.keys())
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a whole safetensors file: {error}") from None
    except (AttributeError, TypeError, ValueError) as error:  # types and ranks that NumPy does not have
        raise ModelError(f"{path} has a tensor that is no integer array: {error}") from None
    if text is None:
        raise ModelError(f"{path} is a safetensors file, but not a Shiftwork integer model")
    try:
        header = json.loads(text)
        model = _model(path, header, tensors)
    except ModelError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ModelError(f"{path} has a malformed header: {error!r}") from None
    validate(model)
    return model


def _node(name: Any, op: Any, inputs: Any, attributes: Any) -> Node:
    if not isinstance(inputs, list) or not all(isinstance(text, str) for text in (name, op, *inputs)):
        raise ModelError(f"a node must have a name, an operator and names of inputs, not {name!r:.80}, {op!r:.80}")
    if not isinstance(attributes, dict):
        raise ModelError(f"node {name:.80} must have attributes by name, not {attributes!r:.80}")
    return Node(name, op, tuple(inputs), attributes)


def _model(path: Path, header: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Model:
    version = header["version"]
    if version not in (VERSION, _OLD):
        raise ModelError(
            f"{path} has model file version {version}, but this program reads {_OLD} and {VERSION}; make it again with "
            "import-ivit or quantize"
        )
    stored = header.pop("digest")
    found = _digest(header, tensors)
    if stored != found:
        raise ModelError(f"{path} was changed after it was written: digest {found[:16]}, but {stored[:16]} is stored")
    if _LOGIT_SCALE not in tensors:
        raise ModelError(f"{path} lacks the tensor {_LOGIT_SCALE}")
    channels, height, width = (int(size) for size in header["image"])
    nodes = tuple(_node(*entry) for entry in header["nodes"])
    features = header.get("features", False)
    if not isinstance(features, bool):
        raise ModelError(f"{path} must say true or false of features, not {features!r:.80}")
    if version == _OLD:
        nodes, tensors = _upgraded(nodes, tensors)
    return Model(
        name=str(header["name"]),
        image=(channels, height, width),
        classes=int(header["classes"]),
        nodes=nodes,
        tensors={name: array for name, array in tensors.items() if name != _LOGIT_SCALE},
        input_scale=float(header["input_scale"]),
        mean=tuple(map(float, header["mean"])),
        std=tuple(map(float, header["std"])),
        crop=float(header["crop"]),
        logit_scale=tensors[_LOGIT_SCALE],
        labels=tuple(map(str, header["labels"])),
        features=features,
    )


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
