"""The simulated board as users have it: a pseudo-terminal opened through pyserial, a UDP port, models run whole."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from firmware.device import Accelerator, StrangerError
from firmware.link.channel import LinkError
from firmware.model_file import load_model
from firmware.preprocess import to_int8
from hw.boards.registry import BOARDS
from hw.spec.link import Window
from sim import golden
from sim.__main__ import main
from sim.board.board import Pty, Udp, open_board

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
CONFIG = BOARDS["tiny"].config


class Served:
    """A server in a thread; `stop` ends it."""

    def __init__(self, server):
        self.server, self.device, self._stopped = server, server.device, False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while not self._stopped:
            self.server.step(0.05)

    def stop(self):
        self._stopped = True
        self._thread.join()
        self.server.close()


@pytest.fixture(scope="module", params=[Pty, Udp])
def board(request):
    link = "uart" if request.param is Pty else "udp"
    served = Served(request.param(open_board(CONFIG, link, memory_size=1 << 22)))
    yield served
    served.stop()


def test_digits_whole(board):
    """Through the line alone: weights, program and images in, logits out, equal to the golden model's."""
    model = load_model(DIGITS / "digits.safetensors")
    images = np.load(DIGITS / "images.npy")[:2]
    reports = []
    with Accelerator.open(board.device) as device:
        assert device.config == CONFIG  # by its fingerprint
        device.transport.on_transfer = lambda done, total: reports.append((done, total))
        program = device.load(model)
        sent = device.transport.link.statistics.written
        assert sent == len(program.code) + len(program.model_image)
        assert reports[-1] == (len(program.model_image), len(program.model_image))
        assert len(reports) > len(program.model_image) // 1024
        logits = device.run(images)
        assert device.profile().cycles > 0
    assert np.array_equal(logits, golden.run(model, to_int8(images, model)))
    with Accelerator.open(board.device) as device:  # it is all still there: only checksums travel
        device.load(model)
        assert device.transport.link.statistics.written == 0
        assert np.array_equal(device.run(images[1:]), logits[1:])


def test_a_stranger_is_refused_with_one_sentence(board):
    with pytest.raises(
        StrangerError, match=r"expected fingerprint 0x[0-9a-f]{8}, found 0x[0-9a-f]{8} on .*; the device is built from"
    ):
        Accelerator.open(board.device, BOARDS["arty_a7"].config)


def test_the_shells_registers_are_not_there(board):
    with Accelerator.open(board.device) as device, pytest.raises(LinkError, match="answered an error"):
        device.transport.link.read_register(Window.SHELL)


def test_the_command(tmp_path):
    """`python -m sim board` prints the device first and ends with an interrupt; the driver's command runs on it."""
    command = [sys.executable, "-m", "sim", "board", "tiny", "--udp", "0", "--memory", "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        try:
            device = served.stdout.readline().strip()
            assert device.startswith("udp:127.0.0.1:")
            done = subprocess.run(
                [sys.executable, "-m", "firmware", "run", DIGITS / "digits.safetensors", "--images",
                 DIGITS / "images.npy", "--count", "1", "--check", "--device", device, "--logits", tmp_path / "l.npy"],
                capture_output=True, text=True, check=False, timeout=300,
            )  # fmt: skip
            assert "bit_exact: true" in done.stdout, done.stderr
            assert done.returncode == 0
            os.kill(served.pid, signal.SIGINT)
            assert served.wait(30) == 0
        finally:
            served.kill()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["arty_b7", "--pty"], "unknown board 'arty_b7'; known boards: arty_a7, "),
        (["tiny", "--pty", "--divisor", "3"], "--divisor must be from 4 to 65535 cycles, not 3"),
        (["tiny", "--udp", "--memory", "3"], "--memory must be a power of two from 1 to 2048 MiB, not 3"),
        (["tiny", "--pty", "--litedram", "x"], "rows must be a multiple of 16, the bytes of LiteDRAM's port, not 8"),
        (["arty_a7", "--pty", "--memory", "512", "--litedram", "x"], "Digilent Arty A7-35T has 268435456 bytes of"),
        (["tiny", "--pty", "--set", "lanes"], "--set wants key=value, not 'lanes'"),
    ],
)
def test_wrong_commands_are_one_sentence(capsys, arguments, message):
    assert main(["board", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1


def test_a_port_in_use_is_one_sentence(capsys):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        assert main(["board", "tiny", "--udp", str(port), "--memory", "4"]) == 2
    error = capsys.readouterr().err
    assert error.endswith(f"error: cannot serve the board on port {port}: Address already in use\n")


def test_no_directory_for_a_shell_is_one_sentence(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["board", "arty_a7", "--pty", "--litedram", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err == f"error: --litedram must be a directory, and {tmp_path / 'file'} is a file\n"
