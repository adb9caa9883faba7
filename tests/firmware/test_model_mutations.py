"""Damaged model files by the thousand: one sentence of our own, or a model that means what it says.

MODEL_MUTATIONS=50000 makes as many instead of those that every run makes.
"""

import os
import random
from pathlib import Path

import pytest

from bench.trust.mutations import ModelFile
from firmware.compiler import CompileError, compile_model
from firmware.model_file import load_model, save_model
from hw.boards.registry import BOARDS
from hw.spec.model import ModelError, validate
from tests.support.models import random_model
from tests.support.swin import random_swin

COUNT = int(os.environ.get("MODEL_MUTATIONS", "3000"))
DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.safetensors"


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
    file, draw = ModelFile(whole), random.Random(len(whole))
    for _ in range(COUNT // 3):
        data = file.mutant(draw)
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
