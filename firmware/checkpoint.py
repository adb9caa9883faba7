"""Checkpoint files: tensors by name from PyTorch (.pth) or safetensors, nothing in them is ever executed."""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from firmware.errors import UserError

__all__ = ["load_checkpoint"]

Array = NDArray[Any]
_WRAPPERS = ("model", "state_dict")  # where training scripts put the state, official and timm's
_PARALLEL = "module."  # what DistributedDataParallel puts before every name


def load_checkpoint(path: str | Path) -> dict[str, Array]:
    """Tensors of a checkpoint by name, floats as float32; the state itself or one wrapped as {'model': state}.

    PyTorch files need the extra `import`. Raises UserError, in one sentence, for a file that is damaged or holds
    Python objects that are no tensors. Values are checked by those who use them.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}")
    with path.open("rb") as file:
        start = file.read(4)
    zipped, pickled = start.startswith(b"PK"), start.startswith(b"\x80")  # PyTorch's formats since 1.6, and before
    state = _pytorch(path, zipped=zipped) if zipped or pickled else _safetensors(path)
    if state and all(name.startswith(_PARALLEL) for name in state):
        state = {name.removeprefix(_PARALLEL): array for name, array in state.items()}
    if not state:
        raise UserError(f"checkpoint {path} holds no tensors")
    return state


def _safetensors(path: Path) -> dict[str, Array]:
    try:
        return {name: _numpy(array) for name, array in load_file(path).items()}
    except (TypeError, KeyError) as error:
        raise UserError(f"{path} must hold integers and floats of 16 to 64 bits that NumPy has: {error}") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is neither a PyTorch nor a safetensors checkpoint: {error}") from None


def _numpy(array: Array) -> Array:
    return array if array.dtype.kind in "iub" else array.astype(np.float32)


def _pytorch(path: Path, *, zipped: bool) -> dict[str, Array]:
    try:
        import torch
    except ImportError:
        raise UserError(f"{path} is a PyTorch file, which needs PyTorch: pip install 'shiftwork[import]'") from None
    if zipped:
        _check_archive(path)
    try:
        # DeiT's scripts store their arguments; a Namespace is a bag of plain values, it executes nothing.
        with torch.serialization.safe_globals([argparse.Namespace]):
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"refers to {found[1]}" if found else "is no plain pickle of tensors"
        raise UserError(f"{path} {what}: only tensors are read, code never; save its state_dict alone") from None
    except (RuntimeError, EOFError, LookupError, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise UserError(f"{path} is not a whole PyTorch checkpoint: {reason or type(error).__name__}") from None
    state = next(
        (stored[key] for key in _WRAPPERS if isinstance(stored, Mapping) and _is_state(stored.get(key))), stored
    )
    if not isinstance(state, Mapping):
        raise UserError(f"{path} must hold a state_dict, not a {type(state).__name__}")
    result = {}
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.is_quantized:
            raise UserError(f"{path} must hold plain tensors only, but {name} is a {type(tensor).__name__}")
        if tensor.is_complex():
            raise UserError(f"tensor {name} of {path} must be real, not {tensor.dtype}")
        result[str(name)] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return result


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping)


def _check_archive(path: Path) -> None:
    """Raises UserError for an archive that is cut off or has a record whose checksum is wrong."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        raise UserError(f"{path} is not a whole PyTorch checkpoint: {error}") from None
    if broken:
        raise UserError(f"{path} is damaged: the checksum of its record {broken} is wrong")
