"""Programs for arrays of every width: tiles of keys, channels and weights that end nowhere near a word or a head."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from firmware.__main__ import main
from firmware.compiler import CompileError, compile_model
from firmware.device import Accelerator
from firmware.families.vit.place import cuts
from firmware.model_file import save_model
from firmware.planner.allocator import Buffer
from firmware.planner.key_values import KeyValues
from hw.spec.config import Config
from sim import golden
from sim.cycles import predict
from tests.firmware.test_compiler import execute, images_for
from tests.support.models import random_model
from tests.support.swin import random_swin

SMALL = Config(rows=8, cols=4, tokens=16, lanes=1, bank_words=512, stream_words=256, array="portable")
VIT = {"image": (3, 32, 32), "dim": 32, "hidden": 64, "heads": 2, "depth": 2}  # 17 tokens: two super-tiles or more
SWIN = {"image": (3, 32, 32), "dim": 16, "heads": (1, 2), "depths": (1, 1)}


@pytest.mark.parametrize("cols", range(2, 65, 2))
def test_every_even_number_of_columns(cols):
    config = replace(SMALL, cols=cols)
    for model in (random_model(seed=cols, **VIT), random_swin(seed=cols, **SWIN)):
        images = images_for(model, 1)
        np.testing.assert_array_equal(execute(compile_model(model, config), images), golden.run(model, images))


ODD = {
    "a ViT in super-tiles of 8 tokens": random_model(seed=10, **VIT),
    "windows and a last grid of 12x12": random_swin(
        seed=1, image=(3, 96, 96), window=12, dim=16, depths=(2, 1), heads=(1, 2)
    ),
    "a last grid of 18x18": random_swin(seed=2, image=(3, 72, 72), window=6, dim=16, depths=(2,), heads=(2,)),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_columns_on_the_gateware(name):
    """10 columns and 16 tokens: nothing ends with a tile, and whatever can be cut is."""
    model = ODD[name]
    images = images_for(model, 1)
    with Accelerator.open("sim:tiny?cols=10,tokens=16") as device:
        program = device.load(model)
        assert max(program.tiles) <= 16
        np.testing.assert_array_equal(device.run(images), golden.run(model, images))
        assert predict(program).cycles == pytest.approx(device.profile().cycles, rel=0.02)


@pytest.mark.parametrize("tokens", [5, 17, 26, 197])
@pytest.mark.parametrize("cols", [2, 6, 10, 16, 22, 64])
@pytest.mark.parametrize(("heads", "words"), [(1, 3), (2, 3), (3, 1)])
def test_keys_are_stored_where_they_are_streamed(tokens, cols, heads, words):
    """However the tokens are cut at words, each word of K is written once, to where the array wants it."""
    config = Config(cols=cols, tokens=64)
    there = KeyValues(config=config, start=1000, tokens=tokens, heads=1 + heads, head=16 * words)
    width = heads * words + 2
    for tiles in cuts(tokens, config):
        found = {}
        for number, count in enumerate(tiles):
            first = sum(tiles[:number])
            rows = Buffer("keys", 0, there.key_rows(first, count) * width, width)
            for pattern in there.store_keys(1, heads, rows.column(2), first, count):
                o = pattern.operands()
                for c, b, a in np.ndindex(o["count2"], o["count1"], o["run"]):
                    at = o["offset"] + c * o["offset2"] + b * o["offset1"] + a
                    row, word = divmod(o["scratch"] + c * o["scratch2"] + b * o["scratch1"] + a * o["scratch0"], width)
                    assert at not in found
                    found[at] = first + row, word - 2
        assert min(found) >= there.keys(1).offset
        for at, (key, word) in found.items():
            head, rest = divmod(at - there.keys(1).offset, there.keys_words)
            tile, rest = divmod(rest, cols * words)
            assert (tile * cols + rest % cols, head * words + rest // cols) == (key, word)
        assert {(key, word) for key, word in found.values()} >= {*product(range(tokens), range(heads * words))}


def test_more_bytes_in_a_word_than_tokens():
    with pytest.raises(CompileError, match=r"17 tokens must be cut at multiples of rows \(32\), but tokens \(16\)"):
        compile_model(random_model(), replace(SMALL, rows=32, tokens=16, lanes=2))


def test_refused_before_a_simulation_is_compiled(tmp_path, monkeypatch, capsys):
    save_model(random_model(), tmp_path / "model")
    np.save(tmp_path / "images.npy", images_for(random_model(), 1))
    monkeypatch.setattr("firmware.device.open_transport", lambda *_: pytest.fail("the device was opened"))
    command = ["run", str(tmp_path / "model"), "--images", str(tmp_path / "images.npy")]
    assert main([*command, "--device", "sim:tiny?max_row=64"]) == 2
    assert capsys.readouterr().err == "error: a row of 256 elements exceeds max_row (64)\n"
