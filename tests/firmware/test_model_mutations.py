"""Damaged model files by the thousand: one sentence of our own, or a model that means what it says.

MODEL_MUTATIONS=50000 makes as many instead of those that every run makes.
"""

import json
import os
import random
from copy import deepcopy
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save

from firmware.compiler import CompileError, compile_model
from firmware.model_file import _digest, load_model, save_model
from hw.boards.registry import BOARDS
from hw.spec.model import ModelError, validate
from tests.support.models import random_model
from tests.support.swin import random_swin

COUNT = int(os.environ.get("MODEL_MUTATIONS", "3000"))
DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.safetensors"
TEXTS = ("", "input", "qact1", "x" * 5000, "\0", "\u2028", "head", "blocks.0.norm1")
STRANGE = (
    None, True, False, 0, -1, 1, 2, 15, 255, 1 << 31, 1 << 70, 10**400, 1.5, -0.0, 1e308, float("inf"), float("nan"),
    *TEXTS, [], [[]], {}, {"x": 1}, ["qact1"] * 3, [["a", "input", [], {}]], {"bits": 8}, [0] * 200,
)  # fmt: skip
TYPES = ("I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "F16", "BF16", "F32", "F64", "BOOL", "F8_E4M3", "X", 8)


def places(value, at=()):
    """Where something is, as paths of keys."""
    yield at
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*at, key))


def changed(value, draw, where):
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
        inside[draw.choice(TEXTS)] = inside.pop(last)
    elif kind == 3 and type(inside[last]) in (int, float):
        inside[last] = draw.choice((-inside[last], inside[last] + 1, inside[last] * 2, 0))
    else:
        inside[last] = draw.choice(STRANGE)
    return value


def safetensors_of(header, data):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def mutants(whole, count, seed):
    """Headers of ours with a right digest; tensors of other shapes, values and types; bytes."""
    draw = random.Random(seed)
    length = int.from_bytes(whole[:8], "little")
    outer, data = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    header = json.loads(outer["__metadata__"]["shiftwork"])
    Path("whole").write_bytes(whole)
    tensors = load_file("whole")
    del header["digest"]
    inner = [at for at in places(header) if at]
    spots = [at for at in places({k: v for k, v in outer.items() if k != "__metadata__"}) if at]
    top = [at for at in inner if len(at) < 3]
    for _ in range(count):
        kind = draw.randrange(6)
        if kind < 2:  # the graph and the numbers beside it
            new = changed(header, draw, draw.choice((inner, top)))
            yield save(tensors, {"shiftwork": json.dumps({**new, "digest": _digest(new, tensors)})})
        elif kind == 2:  # constants
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
                    array = array.astype(draw.choice(("i1", "u1", "i2", "u4", "i8", "u8", "f4", "f8", "?")))
                else:
                    array.reshape(-1)[draw.randrange(array.size)] = draw.choice((-1, 0, 1, 127, -128, 64))
                others[name] = array
            yield save(others, {"shiftwork": json.dumps({**header, "digest": _digest(header, others)})})
        elif kind == 3:  # what safetensors says of the tensors
            new = changed(outer, draw, spots)
            if draw.randrange(2):
                entry = draw.choice([value for key, value in outer.items() if key != "__metadata__"])
                new = deepcopy(outer)
                new[next(key for key, value in outer.items() if value is entry)]["dtype"] = draw.choice(TYPES)
            yield safetensors_of(new, data)
        elif kind == 4:  # ours, not JSON or not an object
            text = outer["__metadata__"]["shiftwork"]
            at = draw.randrange(len(text))
            bad = draw.choice((
                text[:at],
                text[:at] + draw.choice('{}[]",:0\\n\ud800') + text[at + 1 :],
                "[" * 9999,
                "3",
            ))
            yield safetensors_of({**outer, "__metadata__": {"shiftwork": bad}}, data)
        else:
            raw = bytearray(whole)
            for _ in range(draw.choice((1, 1, 4))):
                at = draw.choice((draw.randrange(len(raw)), draw.randrange(min(8 + length, len(raw)))))
                if draw.randrange(8):
                    raw[at] ^= 1 << draw.randrange(8)
                else:
                    del raw[at : at + draw.choice((1, 8, len(raw)))]
                    raw += b"\0"
            yield bytes(raw)


@pytest.mark.parametrize("name", ["vit", "swin", "digits"])
def test_no_mutation_is_a_riddle(name, tmp_path, monkeypatch):
    """Loading raises ModelError, in one sentence, or gives a valid model, which compiles or is refused."""
    monkeypatch.chdir(tmp_path)
    if name == "digits":
        whole = DIGITS.read_bytes()
    else:
        save_model(random_model(dim=32, depth=1, hidden=64) if name == "vit" else random_swin(), "model")
        whole = Path("model").read_bytes()
    ends, sentences = {"refused": 0, "not compiled": 0, "compiled": 0}, []
    for data in mutants(whole, COUNT // 3, seed=len(whole)):
        Path("mutant").write_bytes(data)
        try:
            model = load_model("mutant")
            validate(model)
        except ModelError as error:
            sentences.append(str(error))
            ends["refused"] += 1
            continue
        if data[8:] == whole[8:] or sum(ends.values()) % 4:  # compiling takes longer than all else
            continue
        try:
            compile_model(model, BOARDS["arty_a7"])
        except (CompileError, ModelError) as error:
            sentences.append(str(error))
            ends["not compiled"] += 1
        else:
            ends["compiled"] += 1
    assert not [text for text in sentences if "\n" in text or len(text) > 900]
    assert ends["refused"] > COUNT // 6, ends
    assert ends["compiled"], ends
