"""Stores and caches, damaged: what is whole is believed, what is not is made again, and nothing else is ever used."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np

from bench.trust.campaign import Campaign, expect
from bench.trust.mutations import lines_of
from firmware.caches import digest, kept
from firmware.errors import UserError
from firmware.evaluate import store as stores
from firmware.evaluate.batch import Batch

__all__ = ["DAMAGE", "Stores", "flip", "header_of", "stored"]

_COUNT = 60
_HEADER = {"evaluation": 1, "model": "a" * 64, "images": "b" * 64, "count": _COUNT, "device": "golden"}


def stored(path: Path, seed: int) -> tuple[bytes, np.ndarray]:
    """A whole file of results, and its answers [60, 5]."""
    answers = np.random.default_rng(seed).integers(0, 10, (_COUNT, 5))
    store = stores.Store(path, header_of(seed), _COUNT)
    for start in range(0, _COUNT, 5):
        store.add(Batch(start, start + 5), answers[start : start + 5].tolist())
    store.close()
    return path.read_bytes(), answers


def header_of(seed: int) -> dict[str, object]:
    """What the results of `stored` are of."""
    return {**_HEADER, "model": str(seed) * 64}


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[random.Random(len(data)).randrange(len(data))] ^= 0x10
    path.write_bytes(data)


def stranger(path: Path) -> None:
    path.write_bytes(Path("/bin/true").read_bytes())


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "file").write_text("x")


def link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("nothing")


DAMAGE: tuple[Callable[[Path], None], ...] = (cut, empty, flip, stranger, directory, link_to_nothing, Path.unlink)


class Stores(Campaign):
    """A file of an evaluation's results or a thing in a cache each, damaged once or several times."""

    name, title, counted, goal, block = "stores", "damaged results and caches", "stores and caches", 10_000, 500
    sources = ("firmware/caches.py", "firmware/evaluate")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="trust-")
        self._path = Path(self._folder.name, "results")
        (self._whole, self._answers), (self._other, _) = (stored(self._path.with_name(n), int(n)) for n in "12")

    def close(self) -> None:
        self._folder.cleanup()

    def case(self, seed: int) -> None:
        draw = random.Random(seed)
        with patch.object(os, "fsync", lambda _: None):  # whether a disk keeps what it was given is not asked here
            if draw.randrange(3):
                self._results(lines_of(self._whole, self._other, draw))
            else:
                self._cache(draw, f"{seed:x}")
        self.counts["stores and caches"] += 1

    def _results(self, data: bytes) -> None:
        """Refused in one sentence and left alone, or what is missing is run again and every answer is right."""
        self._path.write_bytes(data)
        try:
            store = stores.Store(self._path, header_of(1), _COUNT)
        except UserError as error:
            expect("\n" not in str(error), f"not a sentence: {str(error)!r}")
            expect(self._path.read_bytes() == data, f"a refused file was changed: {error}")
            self.counts["results refused"] += 1
            return
        self.counts["results repaired" if store.damaged else "results whole"] += 1
        for batch in store.missing(7):
            store.add(batch, self._answers[batch.start : batch.stop].tolist())
        found, store_done = store.correct(self._answers[:, 2]), store.done
        store.close()
        right = int((self._answers[:, 0] == self._answers[:, 2]).sum())
        expect((found, store_done) == ((right, _COUNT), _COUNT), f"answers {found}, not {(right, _COUNT)}")
        again = stores.Store(self._path, header_of(1), _COUNT)
        expect((again.done, again.damaged) == (_COUNT, ()), "what was repaired is not whole")
        again.close()

    def _cache(self, draw: random.Random, name: str) -> None:
        """Made again exactly when it or its seal is not what it was, and then what it should be."""
        files = {f"{n}": draw.randbytes(draw.randrange(1, 5000)) for n in range(draw.choice((1, 1, 4)))}
        path = self._path.with_name(digest(name))

        def make(directory: Path) -> Path:
            made = directory / "made"
            if len(files) == 1:
                made.write_bytes(files["0"])
                return made
            (made / "deep").mkdir(parents=True)
            for key, content in files.items():
                (made / ("deep" if int(key) % 2 else "") / key).write_bytes(content)
            return made

        expect(kept(path, make) and not kept(path, make), "made other than once")
        for _ in range(draw.choice((1, 1, 3))):
            inside = path / draw.choice(["0", "2", "deep/1", "deep/3"]) if len(files) > 1 else path
            what = draw.choice((inside, inside, path.with_name(f"{path.name}.seal")))
            damage = draw.choice(DAMAGE)
            damage(what)
            expect(kept(path, make), f"{damage.__name__} of {what.name} was not seen")
            expect(not kept(path, make), f"after {damage.__name__} of {what.name} it is made again and again")
            found = {p.name: p.read_bytes() for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file()}
            expect(sorted(found.values()) == sorted(files.values()), f"other contents after {damage.__name__}")
            self.counts["cache damages seen"] += 1
