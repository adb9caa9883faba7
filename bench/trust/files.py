"""Model files and checkpoints, damaged: one sentence of ours or a valid model, nothing executed, memory bounded."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from bench.trust.campaign import Campaign, expect
from bench.trust.mutations import ModelFile, bytes_of, checkpoint_of
from firmware.__main__ import parser
from firmware.architectures import architecture
from firmware.compiler import CompileError, compile_model
from firmware.errors import UserError
from firmware.make_model import make_model
from firmware.model_file import load_model, save_model
from hw.boards.registry import BOARDS
from hw.spec.model import ModelError, validate

__all__ = ["Files"]

_ROOT = Path(__file__).parents[2]
_SIZES = {"img_size": 32, "patch": 8, "dim": 32, "depth": 1, "heads": 2, "classes": 10}
_SWIN = {"img_size": 32, "patch": 4, "window": 4, "dim": 32, "depth": (1, 1), "heads": (1, 2), "classes": 10}
_STATES = {"small_vit_t": ("--heads", "2"), "small_swin_a": ("--dim", "32", "--depth", "2", "2", "--img-size", "56")}
_SENTENCE = 900  # characters at most
_FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "ctypes.dlopen",
)
_EVERY = 8  # of the valid models, one in so many is compiled, which takes longer than all else


class Files(Campaign):
    """A damaged file each: of two in three a model file, else a checkpoint of I-ViT's official training."""

    name, title, counted, goal, block = "files", "damaged model files and checkpoints", "files", 50_000, 400
    sources, memory = ("firmware", "hw/spec", "hw/boards"), 2 << 30

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="trust-")
        self._path, self._out = Path(self._folder.name, "mutant"), Path(self._folder.name, "out")
        small = make_model(architecture("deit_tiny", **_SIZES), seed=0)
        windows = make_model(architecture("swin_tiny", **_SWIN), seed=0, attention_bits=8)
        wholes = [(_ROOT / "examples/digits/digits.safetensors").read_bytes()]
        for model in (small, windows):
            save_model(model, self._path)
            wholes.append(self._path.read_bytes())
        self._models = [ModelFile(whole) for whole in wholes]
        self._states: dict[str, dict[str, Any]] = {}
        for name in _STATES:
            with np.load(_ROOT / "tests/data" / name / "state.npz") as arrays:
                self._states[name] = {key: np.array(value, np.float32, order="C") for key, value in arrays.items()}
        self._pytorch = (_ROOT / "tests/data/small_vit_t/checkpoint.pth.tar").read_bytes()
        self._watching = False
        sys.addaudithook(self._hear)
        for name in _STATES:  # what is whole is read, and every module is there before anybody listens
            expect(self._imported(name, save(self._states[name])), f"{name} whole is not imported")
        with suppress(UserError):  # "needs PyTorch", where it is not installed
            self._imported("small_vit_t", self._pytorch)
        compile_model(small, BOARDS["arty_a7"])

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Of what the interpreter does, what no file may make it do."""
        if not self._watching:
            return
        written = event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        outside = written and not arguments[0].startswith(self._folder.name)
        if event in _FORBIDDEN or outside:
            self._watching = False
            raise RuntimeError(f"a file made the interpreter do {event} {arguments!r:.200}")

    def case(self, seed: int) -> None:
        draw = random.Random(seed)
        self._out.unlink(missing_ok=True)
        self._watching = True
        try:
            if draw.randrange(3):
                self._model(draw)
            else:
                self._checkpoint(draw)
        except (UserError, ModelError) as error:
            self._sentence(error)
        finally:
            self._watching = False
        self.counts["files"] += 1

    def close(self) -> None:
        self._folder.cleanup()

    def _sentence(self, error: Exception) -> None:
        text = str(error)
        expect("\n" not in text and 0 < len(text) <= _SENTENCE, f"not a sentence: {text[:2000]!r}")
        expect(not self._out.exists(), f"a file was written in spite of {text!r}")
        self.counts["refused"] += 1

    def _model(self, draw: random.Random) -> None:
        self._path.write_bytes(draw.choice(self._models).mutant(draw))
        model = load_model(self._path)
        validate(model)
        if draw.randrange(_EVERY):
            self.counts["valid models"] += 1
            return
        try:
            compile_model(model, BOARDS["arty_a7"])
        except CompileError as error:
            self._sentence(error)
        else:
            self.counts["valid models, compiled"] += 1

    def _checkpoint(self, draw: random.Random) -> None:
        name = draw.choice(list(_STATES))
        if draw.randrange(8) == 0:  # a zip file of a pickle, which without PyTorch nobody reads
            content = bytes_of(self._pytorch, draw, 1 << 12)
        else:
            content = checkpoint_of(save(self._states[name]), self._states[name], draw)
        if self._imported(name, content):
            validate(load_model(self._out))
            self.counts["checkpoints imported"] += 1

    def _imported(self, name: str, content: bytes) -> bool:
        self._path.write_bytes(content)
        line = ["import-ivit", str(self._path), *_STATES[name], "-o", str(self._out)]
        arguments: argparse.Namespace = parser().parse_args(line)
        with redirect_stdout(StringIO()):
            return arguments.function(arguments) == 0
