"""Checkpoint files: tensors by name from PyTorch (.pth) or safetensors, nothing in them is ever executed."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from firmware.errors import UserError

__all__ = ["Checkpoint", "load_checkpoint"]

Array = NDArray[Any]

# Where training scripts put a state, those of averaged weights (EMA) first: timm's, DeiT's and I-ViT's, then the usual.
_WRAPPERS = ("state_dict_ema", "model_ema", "ema", "ema_state_dict", "model", "state_dict", "model_state_dict", "net")
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.")
"""What DistributedDataParallel, torch.compile and networks around the network put before every name."""
_HEADS = ("head.", "fc.", "classifier.", "fc_norm.")  # such tensors may stand beside a network that has a prefix

# safetensors' names of the types that are read; NumPy has no bfloat16, which is the upper half of a float32.
_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip

_LONGEST = 200  # characters of a tensor's name: messages say it


class Checkpoint(NamedTuple):
    """A state: its tensors by name, floats as float32, and ``taken``: in words, which of several was chosen and which
    prefix of every name was left out, or empty."""

    tensors: dict[str, Array]
    taken: str


def load_checkpoint(path: str | Path) -> Checkpoint:
    """The state in a checkpoint file: the state itself, or one wrapped as {'model': state}, averaged weights preferred.

    PyTorch files need the extra `import`. Raises UserError, in one sentence, for a file that is damaged, holds
    Python objects that are no tensors, or numbers of 8-bit floating point. Values are checked by those who use them.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}")
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file has its header's length, 64 bits which may be any of PyTorch's first bytes, and then JSON.
    safe = start[4:] == b"\0\0\0\0{"
    zipped, pickled = start.startswith(b"PK"), start.startswith(b"\x80")  # PyTorch's formats since 1.6, and before
    state, taken = _pytorch(path, zipped=zipped) if not safe and (zipped or pickled) else (_safetensors(path), [])
    state, prefix = _without_prefix(state)
    if not state:
        raise UserError(f"checkpoint {path} holds no tensors")
    return Checkpoint(state, "; ".join([*taken, *([f"names without their prefix {prefix!r}"] if prefix else [])]))


def _without_prefix(state: dict[str, Array]) -> tuple[dict[str, Array], str]:
    """`state` without what stands before all names, but for those of a head."""
    removed = ""
    while True:
        inner = [name for name in state if not name.startswith(_HEADS)]
        prefix = next((p for p in _PREFIXES if inner and all(name.startswith(p) for name in inner)), None)
        if prefix is None:
            return state, removed
        state = {name.removeprefix(prefix): array for name, array in state.items()}
        removed += prefix


def _safetensors(path: Path) -> dict[str, Array]:
    try:
        found = deserialize(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is neither a PyTorch nor a safetensors checkpoint: {error!s:.300}") from None
    _check_names(path, [name for name, _ in found])
    return {name: _numpy(path, name, tensor) for name, tensor in found}


def _check_names(path: Path, names: Iterable[Any]) -> None:
    """Raises UserError for one that no message can say."""
    for name in map(str, names):
        if len(name) > _LONGEST or not name.isprintable():
            raise UserError(
                f"{path} has a tensor whose name is {name[:40]!a}, of {len(name)} characters: at most {_LONGEST} "
                f"are wanted, all printable"
            )


def _numpy(path: Path, name: str, tensor: Mapping[str, Any]) -> Array:
    kind = tensor["dtype"]
    if kind not in _TYPES:
        raise UserError(
            f"tensor {name} of {path} is of type {kind}, which is not supported; save it with 16 or 32 bits"
        )
    array = np.frombuffer(tensor["data"], _TYPES[kind]).reshape(tensor["shape"])
    if kind == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array if array.dtype.kind in "iub" else array.astype(np.float32)


def _pytorch(path: Path, *, zipped: bool) -> tuple[dict[str, Array], list[str]]:
    try:
        import torch
    except ImportError:
        raise UserError(f"{path} is a PyTorch file, which needs PyTorch: pip install 'shiftwork[import]'") from None
    if zipped:
        _check_archive(path)
    try:
        # Training scripts store their arguments and NumPy's numbers: bags of plain values, which execute nothing.
        # PyTorch warns of how long sparse tensors take to check, which are refused.
        with torch.serialization.safe_globals([argparse.Namespace, *_numpy_globals()]), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"refers to {found[1]}" if found else "is no plain pickle of tensors"
        raise UserError(f"{path} {what}: only tensors are read, code never; save its state_dict alone") from None
    except (RuntimeError, EOFError, LookupError, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise UserError(f"{path} is not a whole PyTorch checkpoint: {reason or type(error).__name__:.300}") from None
    state, taken = _unwrapped(stored)
    if not isinstance(state, Mapping):
        raise UserError(f"{path} must hold a state_dict, not a {type(state).__name__}")
    _check_names(path, state)
    result = {}
    for name, tensor in state.items():
        if isinstance(tensor, np.ndarray | np.generic) and tensor.dtype.kind in "iufb":
            tensor = torch.from_numpy(np.array(tensor))
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.is_quantized:
            raise UserError(f"{path} must hold plain tensors only, but {name} is a {type(tensor).__name__}")
        if tensor.is_complex() or (tensor.is_floating_point() and tensor.element_size() < 2):
            raise UserError(f"tensor {name} of {path} must be real and of 16 to 64 bits, not {tensor.dtype}")
        tensor = tensor.detach()  # of a Parameter
        result[str(name)] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return result, taken


def _numpy_globals() -> list[Any]:
    """What a pickle of NumPy arrays and scalars refers to, under the names of NumPy 1 and 2."""
    scalar: Any = np.float64(0).__reduce__()[0]
    rebuild: Any = np.zeros(0).__reduce__()[0]
    dtypes = vars(np.dtypes).values()
    named = [
        (function, f"numpy.{core}.multiarray.{function.__name__}")
        for function in (scalar, rebuild)
        for core in ("core", "_core")
    ]
    return [np.ndarray, np.dtype, *(kind for kind in dtypes if isinstance(kind, type)), *named]


def _unwrapped(stored: Any) -> tuple[Any, list[str]]:
    """The state in `stored`, and which of several it is."""
    taken = []
    while isinstance(stored, Mapping):
        states = [key for key in _WRAPPERS if isinstance(stored.get(key), Mapping) and stored[key]]
        if not states:
            break
        if len(states) > 1:
            taken.append(f"{states[0]} of {', '.join(states)}")
        stored = stored[states[0]]
    return stored, taken


def _check_archive(path: Path) -> None:
    """Raises UserError for an archive that is cut off or has a record whose checksum is wrong."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        raise UserError(f"{path} is not a whole PyTorch checkpoint: {error!s:.300}") from None
    if broken:
        raise UserError(f"{path} is damaged: the checksum of its record {ascii(broken)[:80]} is wrong")
