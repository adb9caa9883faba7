"""Damaged files: headers, tensors and bytes of safetensors files, and lines of results."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from firmware.model_file import _digest

__all__ = ["ModelFile", "bytes_of", "checkpoint_of", "lines_of"]

_TEXTS = ("", "input", "qact1", "x" * 5000, "\0", "\u2028", "head", "blocks.0.norm1")
_STRANGE = (
    None, True, False, 0, -1, 1, 2, 15, 255, 1 << 31, 1 << 70, 10**400, 1.5, -0.0, 1e308, float("inf"), float("nan"),
    *_TEXTS, [], [[]], {}, {"x": 1}, ["qact1"] * 3, [["a", "input", [], {}]], {"bits": 8}, [0] * 200,
)  # fmt: skip
_TYPES = ("I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "F16", "BF16", "F32", "F64", "BOOL", "F8_E4M3", "X", 8)
_DTYPES = ("i1", "u1", "i2", "u4", "i8", "u8", "f4", "f8", "?")

Array = NDArray[Any]


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something is, as paths of keys."""
    yield at
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from _places(value[key], (*at, key))


def _changed(value: Any, draw: random.Random, where: list[tuple[Any, ...]]) -> Any:
    """A copy in which one of the places `where` holds, lacks or repeats something."""
    value = deepcopy(value)
    *way, last = draw.choice(where)
    inside = value
    for key in way:
        inside = inside[key]
    kind = draw.randrange(6)
    if kind == 0:
        del inside[last]
    elif kind == 1 and isinstance(inside, list):
        inside.insert(draw.randrange(len(inside) + 1), deepcopy(inside[last]))
    elif kind == 2 and isinstance(inside, dict):
        inside[draw.choice(_TEXTS)] = inside.pop(last)
    elif kind == 3 and type(inside[last]) in (int, float):
        inside[last] = draw.choice((-inside[last], inside[last] + 1, inside[last] * 2, 0))
    else:
        inside[last] = draw.choice(_STRANGE)
    return value


def _file(header: Any, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def _tensors(tensors: dict[str, Array], draw: random.Random) -> dict[str, Array]:
    """One or three of them lost, or of another length, shape, type or value."""
    others = dict(tensors)
    for name in draw.sample(sorted(others), draw.choice((1, 1, 3))):
        array = others[name].copy()
        what = draw.randrange(5)
        if what == 0:
            del others[name]
            continue
        if what == 1:
            array = array.reshape(-1)[: draw.randrange(array.size + 1)]
        elif what == 2:
            array = array[None]
        elif what == 3:
            array = array.astype(draw.choice(_DTYPES))
        elif array.size:
            array.reshape(-1)[draw.randrange(array.size)] = draw.choice((-1, 0, 1, 127, -128, 64))
        others[name] = array
    return others


def bytes_of(whole: bytes, draw: random.Random, head: int) -> bytes:
    """With one to four bits flipped or bytes lost, half of them among the first `head` bytes."""
    raw = bytearray(whole)
    for _ in range(draw.choice((1, 1, 4))):
        at = draw.choice((draw.randrange(len(raw)), draw.randrange(min(head, len(raw)))))
        if draw.randrange(8):
            raw[at] ^= 1 << draw.randrange(8)
        else:
            del raw[at : at + draw.choice((1, 8, len(raw)))]
            raw += b"\0"
    return bytes(raw)


def _outer(header: dict[str, Any], data: bytes, spots: list[tuple[Any, ...]], draw: random.Random) -> bytes:
    """What safetensors says of the tensors."""
    new = _changed(header, draw, spots)
    if draw.randrange(2):
        new = deepcopy(header)
        new[draw.choice([key for key in header if key != "__metadata__"])]["dtype"] = draw.choice(_TYPES)
    return _file(new, data)


class ModelFile:
    """A whole model file, and what can be made of it."""

    def __init__(self, whole: bytes) -> None:
        self.whole = whole
        self._length = int.from_bytes(whole[:8], "little")
        self._outer, self._data = json.loads(whole[8 : 8 + self._length]), whole[8 + self._length :]
        self._header = json.loads(self._outer["__metadata__"]["shiftwork"])
        self._tensors: dict[str, Array] = load(whole)
        del self._header["digest"]
        self._inner = [at for at in _places(self._header) if at]
        self._top = [at for at in self._inner if len(at) < 3]
        self._spots = [at for at in _places({k: v for k, v in self._outer.items() if k != "__metadata__"}) if at]

    def mutant(self, draw: random.Random) -> bytes:
        """Headers of ours with a right digest; tensors of other shapes, values and types; bytes."""
        kind = draw.randrange(6)
        if kind < 2:  # the graph and the numbers beside it
            new = _changed(self._header, draw, draw.choice((self._inner, self._top)))
            return save(self._tensors, {"shiftwork": json.dumps({**new, "digest": _digest(new, self._tensors)})})
        if kind == 2:  # constants
            others = _tensors(self._tensors, draw)
            return save(others, {"shiftwork": json.dumps({**self._header, "digest": _digest(self._header, others)})})
        if kind == 3:
            return _outer(self._outer, self._data, self._spots, draw)
        if kind == 4:  # ours, not JSON or not an object
            text = self._outer["__metadata__"]["shiftwork"]
            at = draw.randrange(len(text))
            bad = draw.choice((
                text[:at],
                text[:at] + draw.choice('{}[]",:0\\n\ud800') + text[at + 1 :],
                "[" * 9999,
                "3",
            ))
            return _file({**self._outer, "__metadata__": {"shiftwork": bad}}, self._data)
        return bytes_of(self.whole, draw, 8 + self._length)


def checkpoint_of(whole: bytes, tensors: dict[str, Array], draw: random.Random) -> bytes:
    """A safetensors checkpoint damaged: tensors, names, what is said of them, values that are no numbers, bytes."""
    length, kind = int.from_bytes(whole[:8], "little"), draw.randrange(5)
    header = json.loads(whole[8 : 8 + length])
    if kind == 0:
        return save(_tensors(tensors, draw))
    if kind == 1:
        return _outer(header, whole[8 + length :], [at for at in _places(header) if at], draw)
    if kind == 2:
        name = draw.choice(sorted(tensors))
        array = tensors[name].astype(np.float32)
        flat = array.reshape(-1)
        flat[draw.randrange(flat.size) :: draw.choice((1, 7, flat.size))] = draw.choice((
            np.nan,
            np.inf,
            -np.inf,
            1e38,
            -1e38,
            1e-45,
            0,
            -1,
            0.5,
        ))
        return save({**tensors, name: array})
    if kind == 3:
        others, name = dict(tensors), draw.choice(sorted(tensors))
        others[draw.choice((f"module.{name}", f"{name}.x", name[1:] or "x", *sorted(tensors)))] = others.pop(name)
        return save(others)
    return bytes_of(whole, draw, 8 + length)


def lines_of(whole: bytes, other: bytes, draw: random.Random) -> bytes:
    """Bytes flipped, lost, doubled, invented; lines lost, doubled, exchanged, another file's; files cut short."""
    data, lines = bytearray(whole), whole.splitlines(keepends=True)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        at, kind = draw.randrange(max(1, len(data))), draw.randrange(10)
        if kind < 4 and data:
            data[at] = draw.choice((data[at] ^ 1 << draw.randrange(8), draw.choice(b'0123456789[]{},:"\n')))
        elif kind == 4:
            del data[at : at + draw.choice((1, 1, 7, 200))]
        elif kind == 5:
            data[at:at] = draw.choice((draw.randbytes(draw.randrange(1, 9)), data[at : at + 1], b"\n"))
        elif kind == 6:
            del data[at:]
        else:
            place = draw.randrange(len(lines))
            more = draw.choice((lines, other.splitlines(keepends=True)))
            lines[place : place + draw.randrange(2)] = draw.choices(more, k=draw.randrange(3))
            data = bytearray(b"".join(lines))
    return bytes(data)
