"""Outputs: told before the work when they cannot be, whole or untouched, and whatever is no file survives."""

import errno
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from firmware.__main__ import main
from firmware.cli import run
from firmware.errors import UserError
from firmware.files import Outputs, check, write, writing
from firmware.model_file import load_model
from hw.build.command import main as build

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits"
RUN = ["run", str(DIGITS / "digits.safetensors"), "--images", str(DIGITS / "images.npy"), "--count", "2"]
GOLDEN = [*RUN, "--device", "golden"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory; nothing temporary stays in it."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.rglob("*.part"))


@pytest.fixture
def full():
    """A device that takes nothing, of this test's own where the system allows one."""
    try:
        os.mknod("full", stat.S_IFCHR | 0o666, os.makedev(1, 7))
        os.close(os.open("full", os.O_WRONLY))
    except OSError:
        Path("full").unlink(missing_ok=True)
        Path("full").symlink_to("/dev/full")
    yield "full"
    assert stat.S_ISCHR(Path("full").stat().st_mode)


def refused(path):
    """The sentence, before and while writing; neither changes anything."""
    before = sorted(os.listdir())
    with pytest.raises(UserError) as checked:
        check(path)
    with pytest.raises(UserError) as written, writing(path) as file:
        file.write(b"x")
    assert str(checked.value) == str(written.value)
    assert sorted(os.listdir()) == before
    return str(checked.value)


def test_what_cannot_be_written_is_one_sentence():
    Path("file").write_text("old", encoding="utf-8")
    Path("dir").mkdir()
    Path("loop").symlink_to("loop")
    Path("to_dir").symlink_to("dir")
    Path("nowhere").symlink_to("no/file")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
        assert refused("socket") == "cannot write socket: it is a socket, not a file"
    assert refused("no/x.npy") == "cannot write no/x.npy: there is no directory no"
    assert refused("nowhere") == "cannot write nowhere: there is no directory no"
    assert refused("file/x") == "cannot write file/x: Not a directory"
    assert refused("dir") == "cannot write dir: it is a directory"
    assert refused("to_dir") == "cannot write to_dir: it is a directory"
    assert refused("new/") == "cannot write new/: it names a directory"
    assert refused("loop") == "cannot write loop: Too many levels of symbolic links"
    assert refused("a" * 300) == f"cannot write {'a' * 300}: File name too long"
    assert refused("/proc/x").startswith("cannot write /proc/x: ")  # where not even root makes files
    assert refused("/dev/fd/99") == "cannot write /dev/fd/99: Bad file descriptor"
    assert refused("") == "'' is no name of a file"
    assert refused("a\0b") == r"'a\x00b' is no name of a file"
    assert Path("file").read_text(encoding="utf-8") == "old"


def test_a_disk_is_no_output(monkeypatch):
    Path("disk").write_bytes(b"data")
    status = os.stat("disk")
    monkeypatch.setattr(Path, "stat", lambda *_, **__: os.stat_result((stat.S_IFBLK | 0o660, *status[1:])))
    monkeypatch.setattr(Path, "is_symlink", lambda _: False)
    with pytest.raises(UserError, match="cannot write disk: it is a disk, not a file"):
        check("disk")


def test_a_file_is_whole_or_as_it_was():
    write("new", "one")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(os.stat("new").st_mode) == 0o666 & ~mask
    os.chmod("new", 0o640)
    Path("link").symlink_to("new")
    Path("dangling").symlink_to("made")
    with suppress(KeyError), writing("link") as file:
        file.write(b"half")
        raise KeyError
    assert Path("new").read_text(encoding="utf-8") == "one"
    for name in ("link", "dangling"):
        write(name, "two")
        assert Path(name).is_symlink()
    assert [Path(name).read_text(encoding="utf-8") for name in ("new", "made")] == ["two", "two"]
    assert stat.S_IMODE(os.stat("new").st_mode) == 0o640


def test_a_file_that_cannot_be_replaced_is_written(monkeypatch):
    """One that is mounted into a container."""
    Path("mounted").write_text("old and long", encoding="utf-8")

    def busy(*_):
        raise OSError(errno.EBUSY, "busy")

    monkeypatch.setattr(Path, "replace", busy)
    inode = os.stat("mounted").st_ino
    write("mounted", "new")
    assert (Path("mounted").read_text(encoding="utf-8"), os.stat("mounted").st_ino) == ("new", inode)


def test_a_disk_without_room_leaves_the_old_file(monkeypatch):
    Path("file").write_text("old", encoding="utf-8")

    def no_room(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(UserError, match=r"^cannot write file: No space left on device$"):
        write("file", "new")
    assert os.listdir() == ["file"]
    assert Path("file").read_text(encoding="utf-8") == "old"


def test_pipes_and_devices_are_written_into(full):
    os.mkfifo("pipe")
    heard = []
    reader = threading.Thread(target=lambda: heard.append(Path("pipe").read_bytes()))
    reader.start()
    check("pipe")
    write("pipe", "through")
    reader.join(10)
    assert heard == [b"through"]
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)
    check(full)
    with pytest.raises(UserError, match="cannot write full: No space left on device"):
        write(full, "x")


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_standard_output_is_written_in_turn(name):
    """Into the file that a shell has opened, which stays the same and keeps what was printed before and after."""
    Path("link").symlink_to("/dev/stdout")
    code = f"from firmware.files import write; print('a'); write({name!r}, 'b\\n'); print('c')"
    with open("out", "w", encoding="utf-8") as file:
        inode = os.stat("out").st_ino
        subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, stdout=file, check=True)
    assert (Path("out").read_text(encoding="utf-8"), os.stat("out").st_ino) == ("a\nb\nc\n", inode)


# ---- the commands ----


def failed(capsys, arguments, command=main):
    """The sentence of a command that ends with 2."""
    assert command(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert ".part" not in error
    assert "Errno" not in error
    return error[7:-1]


@pytest.mark.parametrize("option", ["--logits", "--report", "--trace", "--roofline", "--timeline"])
def test_run_checks_before_it_works(option, capsys, monkeypatch):
    monkeypatch.setattr(run, "load_model", None)  # a call would be a TypeError
    assert failed(capsys, [*RUN, option, "no/x"]) == "cannot write no/x: there is no directory no"
    arguments = [*RUN, option, "x", "--logits" if option != "--logits" else "--report", "./x"]
    assert failed(capsys, arguments).endswith("are one file: every output needs a file of its own")
    assert os.listdir() == []


def test_names_are_literal():
    assert main([*GOLDEN, "--logits", "logits", "--report", "report"]) == 0
    assert np.load("logits").shape == (2, 10)
    assert json.loads(Path("report").read_text(encoding="utf-8"))["images"] == 2
    assert sorted(os.listdir()) == ["logits", "report"]


def test_one_output_that_fails_takes_no_other_with_it(full, capsys):
    assert (
        failed(capsys, [*GOLDEN, "--logits", full, "--report", "report"])
        == "cannot write full: No space left on device"
    )
    assert json.loads(Path("report").read_text(encoding="utf-8"))["images"] == 2
    assert failed(capsys, [*GOLDEN, "--logits", "logits", "--report", full]).endswith("full: No space left on device")
    assert np.load("logits").shape == (2, 10)
    assert failed(capsys, [*GOLDEN, "--logits", full, "--report", full]).count("No space left") == 2


def test_logits_go_through_a_pipe():
    command = [sys.executable, "-m", "firmware", *GOLDEN, "--logits", "/dev/fd/2"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=True)
    Path("x.npy").write_bytes(done.stderr)
    assert np.load("x.npy").shape == (2, 10)


def test_outputs_are_remembered_until_they_are_finished(full):
    outputs = Outputs(None, "a", full, "b", "/dev/null", "/dev/null")
    for path in (None, "a", full, "b"):
        outputs.write(path, lambda file: file.write(b"x"))
    assert Path("a").read_bytes() == Path("b").read_bytes() == b"x"
    with pytest.raises(UserError, match=r"^cannot write full: No space left on device$"):
        outputs.finish()


def test_other_commands_check_first(capsys, full):
    small = ["make-model", "deit_tiny_patch16_224", "--depth", "1", "--img-size", "32"]
    missing = "cannot write no/x: there is no directory no"
    model = str(DIGITS / "digits.safetensors")
    assert failed(capsys, [*small, "-o", "no/x"]) == missing
    assert failed(capsys, [*small, "-o", "m", "--images", "no/x"]) == missing
    assert failed(capsys, ["eval", model, "x", "--report", "no/x"]) == missing
    assert failed(capsys, ["quantize", "c", "--images", "i", "-o", "m", "--report", "no/x"]) == missing
    assert failed(capsys, ["import-ivit", "c", "-o", "no/x"]) == missing
    assert failed(capsys, [*small, "--dim", "64", "--heads", "1", "-o", "m", "--images", full]).endswith(
        "left on device"
    )
    load_model("m")
    assert sorted(os.listdir()) == ["full", "m"]


def test_directories_of_programs_and_builds(capsys):
    Path("file").write_text("old", encoding="utf-8")
    model = str(DIGITS / "digits.safetensors")
    compile_, board = ["compile", model, "--board", "tiny", "-o"], ["--board", "arty_a7", "--out"]
    for name, sentence in (
        ("file", "must be a directory, and file is a file"),
        ("file/dir", "must be a directory, and a part of file/dir is a file"),
        ("/proc/x", "cannot make the directory /proc/x: "),
        ("/proc", "cannot write /proc/"),
    ):
        assert sentence in failed(capsys, [*compile_, name])
        assert sentence in failed(capsys, [*board, name], build)
    Path("dir/report.json").mkdir(parents=True)
    assert failed(capsys, [*board, "dir"], build) == "cannot write dir/report.json: it is a directory"
    assert main([*compile_, "deep/program"]) == 0
    assert sorted(os.listdir("deep/program")) == ["listing.txt", "model.bin", "program.bin"]
    assert Path("file").read_text(encoding="utf-8") == "old"
