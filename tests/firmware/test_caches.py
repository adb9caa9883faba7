"""What is kept between runs: made once, and made again whenever it is not what was made."""

import ctypes
import shutil
import threading
import time

import pytest

from bench.trust.stores import DAMAGE, flip
from firmware.caches import digest, is_whole, kept, seal
from sim import libraries

SOURCE = 'extern "C" int answer() { return 42; }\n' + "".join(
    f'extern "C" long f{n}(long x) {{ return x * {n} + {n * n}; }}\n' for n in range(200)
)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes a small library as the product's are made; whether it had to be."""
    monkeypatch.setenv("SHIFTWORK_CACHE", str(tmp_path))

    def make(folder):
        (folder / "a.cpp").write_text(SOURCE)
        libraries.run(["g++", "-shared", "-fPIC", "-o", "a.so", "a.cpp"], folder, "g++")
        return folder / "a.so"

    return lambda: libraries.library("tests", (SOURCE,), make, "a test")


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("what", ["library", "seal"])
def test_damaged_libraries_are_compiled_again(made, damage, what):
    """No signal, no riddle: what cannot be believed is never opened."""
    path, new = made()
    assert new
    damage(path if what == "library" else path.with_name(f"{path.name}.seal"))
    assert made() == (path, True)
    assert made() == (path, False)
    assert libraries.load(path).answer() == 42


def test_a_library_in_use_is_not_touched(made):
    path, _ = made()
    used = libraries.load(path)
    path.unlink()
    path.write_bytes(b"")
    assert made() == (path, True)
    assert used.answer() == 42
    assert used.f7(ctypes.c_long(1)) == 56


def test_what_this_system_cannot_run_is_told(tmp_path):
    (tmp_path / "a.so").write_text("no library")
    with pytest.raises(libraries.BuildError, match=r"the compiled code cannot be used here: .*a\.so"):
        libraries.load(tmp_path / "a.so")


@pytest.mark.parametrize("place", ["/proc/none", "file"])
def test_no_place_to_keep_anything(made, place, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("SHIFTWORK_CACHE", place if place[0] == "/" else str(tmp_path / place))
    with pytest.raises(libraries.BuildError, match=r"code cannot be kept in .*; SHIFTWORK_CACHE names another"):
        made()


def make_folder(directory):
    built = directory / "built"
    (built / "deep").mkdir(parents=True)
    (built / "a").write_text("a")
    (built / "deep" / "b").write_text("b" * 1000)
    return built


def test_a_folder_is_one_thing(tmp_path):
    target = tmp_path / "bench-0123"
    assert kept(target, make_folder)
    for damage in (
        lambda: flip(target / "deep" / "b"),
        (target / "a").unlink,
        lambda: (target / "a").rename(target / "c"),
        lambda: (target / "new").write_text(""),
        lambda: shutil.rmtree(target),
        lambda: (shutil.rmtree(target), target.write_text("a file")),
    ):
        assert not kept(target, make_folder)
        damage()
        assert kept(target, make_folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        target.name,
        f"{target.name}.lock",
        f"{target.name}.seal",
    ]


def test_made_once_whoever_asks(tmp_path):
    """Eight at once, to whom the first fails."""
    calls, results = [], []

    def make(directory):
        calls.append(directory)
        time.sleep(0.05)
        if len(calls) == 1:
            raise KeyError
        (directory / "x").write_text("x")
        return directory / "x"

    def ask():
        try:
            results.append(kept(tmp_path / "x", make))
        except KeyError:
            results.append(None)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, results)) == ["False"] * 6 + ["None", "True"]
    assert len(calls) == 2
    assert not list(tmp_path.glob("build-*"))


def test_seals_say_of_what(tmp_path):
    path, mark = tmp_path / "a.v", tmp_path / "a.key"
    path.write_text("module")
    seal(path, digest("sources", "tools"), mark)
    assert is_whole(path, digest("sources", "tools"), mark)
    assert not is_whole(path, digest("sources", "other tools"), mark)
    assert not is_whole(path, digest("sourcestools"), mark)
    path.write_text("modul")
    assert not is_whole(path, digest("sources", "tools"), mark)
