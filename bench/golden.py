"""The golden model's speed on the host against PyTorch's float32, on the same processors in the same run."""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench import page
from bench.machine import machine
from firmware.architectures import architecture
from firmware.make_model import images, make_model
from firmware.preprocess import to_int8
from firmware.progress import step
from hw.spec import arith
from sim import golden
from sim.fast import fast_laws

__all__ = ["MODELS", "Timing", "register", "run"]

MODELS = ("deit_tiny_patch16_224", "deit_small_patch16_224")


@dataclass(frozen=True)
class Timing:
    """Seconds and processor seconds of one batch, each the best of all rounds."""

    model: str
    runner: str
    threads: int
    seconds: float
    cpu: float
    images: int

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds

    @property
    def cpu_per_image(self) -> float:
        """Processor seconds."""
        return self.cpu / self.images


def run(name: str, *, batch: int = 8, rounds: int = 20, threads: Sequence[int] = (1,)) -> list[Timing]:
    """Every runner in turn, `rounds` times, on each number of threads; then the laws themselves, once.

    Of each number of threads the golden model comes first, the float32 baseline second. Raises SystemExit without
    PyTorch, or if the fast logits are not those of the laws.
    """
    try:
        import torch

        from bench.torch_vit import VisionTransformer
    except ImportError:
        raise SystemExit("error: the baseline needs PyTorch: pip install 'shiftwork[train]'") from None
    shape = architecture(name)
    model = make_model(shape)
    pixels = to_int8(images(shape, batch, 1000), model)
    floats = torch.randn(batch, *model.image)
    laws = _best({"the laws on NumPy": lambda: golden.run(model, pixels[:1], laws=arith)}, 1)
    if not np.array_equal(golden.run(model, pixels[:1]), golden.run(model, pixels[:1], laws=arith)):
        raise SystemExit(f"error: the fast logits of {name} are not those of the laws")

    def eager(network: Any) -> Callable[[], Any]:
        network.eval()
        return torch.inference_mode()(lambda: network(floats))

    networks = {
        "PyTorch float32, eager": eager(VisionTransformer(shape)),
        "PyTorch float32, eager, fused attention": eager(VisionTransformer(shape, fused=True)),
    }
    try:
        import timm

        networks[f"timm {timm.__version__} float32, eager"] = eager(timm.create_model(name))
    except (ImportError, RuntimeError):  # not installed, or a torchvision of another build than torch
        pass
    ours = f"golden model, {getattr(fast_laws(), 'processor', 'NumPy')}"
    timings = []
    for count in threads:
        torch.set_num_threads(count)
        runners = {ours: functools.partial(golden.run, model, pixels, threads=count), **networks}
        timings += [Timing(name, runner, count, *best, batch) for runner, best in _best(runners, rounds).items()]
    return timings + [Timing(name, runner, 1, *best, 1) for runner, best in laws.items()]


def _best(runners: dict[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """Least seconds and processor seconds of each, taken in turn so that other work on the machine meets all alike."""
    best = dict.fromkeys(runners, (float("inf"), float("inf")))
    for turn in range(rounds + 1):
        for runner, function in runners.items():
            start, cpu = time.perf_counter(), time.process_time()
            function()
            taken = time.perf_counter() - start, time.process_time() - cpu
            if turn:  # the first one warms up
                best[runner] = min(best[runner][0], taken[0]), min(best[runner][1], taken[1])
    return best


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    every = sorted({1, os.cpu_count() or 1})
    host = page.add_command(commands, "golden", "the golden model against PyTorch's float32, on this machine", _command)
    host.add_argument("--only", nargs="+", choices=MODELS, default=MODELS, metavar="MODEL", help=", ".join(MODELS))
    host.add_argument("--batch", type=int, default=8)
    host.add_argument("--rounds", type=int, default=20, help="of which the best counts")
    host.add_argument("--threads", type=int, nargs="+", default=every, help="default: 1, and one per processor")


def _command(arguments: argparse.Namespace) -> int:
    """1 if the golden model is slower than the plain float32 network on any number of threads."""
    if min(arguments.batch, arguments.rounds, *arguments.threads) < 1:
        raise SystemExit("error: --batch, --rounds and --threads must be at least 1")
    body, every, slower = [], [], False
    for name in arguments.only:
        with step(name):
            timings = run(name, batch=arguments.batch, rounds=arguments.rounds, threads=arguments.threads)
        body += _rows(timings)
        every += timings
        for threads in arguments.threads:
            ours, plain = [t.rate for t in timings if t.threads == threads][:2]
            slower |= ours < plain
    head = ("model", "runner", "threads", "images/s", "ratio", "processor ms per image", "ratio of these")
    text = f"Measured on the host: {machine()}; batches of {arguments.batch}.\n\n{page.table(head, body)}"
    page.publish(arguments, text, {"timings": [asdict(timing) for timing in every]})
    return int(slower)


def _rows(timings: Sequence[Timing]) -> list[tuple[str, ...]]:
    """Each beside ours on as many threads."""
    ours = {t.threads: t for t in timings if t.runner == timings[0].runner}
    return [
        (
            t.model, t.runner, str(t.threads), f"{t.rate:.1f}", f"{ours[t.threads].rate / t.rate:.2f}",
            f"{t.cpu_per_image * 1e3:.1f}", f"{t.cpu_per_image / ours[t.threads].cpu_per_image:.2f}",
        )
        for t in timings if t.threads in ours
    ]  # fmt: skip
