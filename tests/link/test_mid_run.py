"""Resets, silence, damage and other hosts while a model runs: exact logits or one error, and a fresh start is exact.

In simulated time, so that a busy machine changes nothing.
"""

import random

import numpy as np
import pytest

from firmware.compiler import compile_model
from firmware.device import Accelerator
from firmware.link.channel import LinkError
from firmware.link.transport import LinkTransport
from firmware.preprocess import to_int8
from firmware.transport import DeviceError
from hw.boards.registry import BOARDS
from hw.spec.link import HELLO_KEY, Op, frame
from hw.spec.regs import State
from sim import golden
from sim.board.board import DIVISOR, open_board
from sim.board.channel import UDP_PACE, SimulatedChannel
from sim.board.faulty import FaultyChannel
from tests.support.models import random_model

CONFIG = BOARDS["tiny"].config
PATIENCE = 5e-4  # seconds: 50,000 cycles, and the bridge forgets half a frame after 32,768
IMAGES = np.random.default_rng(1).integers(0, 256, (6, 1, 16, 16)).astype(np.uint8)
DEADLINE = 60 * PATIENCE  # of seven silences, each twice as long as the one before, up to eight times


class Line(SimulatedChannel):
    """The simulated line; while `silent` nothing comes through either way and the device's time stands still."""

    silent, unplugged, passed = False, False, 0.0

    def send(self, data):
        if self.unplugged:
            raise LinkError(f"{self.name} is gone: was it unplugged?")
        if not self.silent:
            super().send(data)

    def receive(self, timeout):
        if not self.silent:
            return super().receive(timeout)
        self.passed += timeout
        return b""

    def now(self):
        return super().now() + self.passed


class Machine:
    """The simulated board, and hosts that open it. `programs` are two models with the logits that `IMAGES` have."""

    def __init__(self, link):
        self.simulation = open_board(CONFIG, link, memory_size=1 << 22)
        self.byte_cycles = 10 * DIVISOR if link == "uart" else UDP_PACE

    def open(self):
        self.line = Line(self.simulation, byte_cycles=self.byte_cycles)
        device = Accelerator(LinkTransport(self.line), CONFIG)
        device.transport.link.line.patience = PATIENCE
        return device

    def loaded(self, number=0):
        device = self.open()
        device.load(PROGRAMS[number])
        return device

    def is_exact(self, number=0):
        """From the beginning, by a host that knows nothing of what was before."""
        return np.array_equal(self.loaded(number).run(IMAGES), LOGITS[number])


def _model(seed):
    return random_model(seed, image=(1, 16, 16), patch=8, dim=32, depth=1, heads=2, hidden=64)


MODELS = [_model(seed) for seed in (1, 2)]
PROGRAMS = [compile_model(model, CONFIG, batch=1) for model in MODELS]
LOGITS = [golden.run(model, to_int8(IMAGES, model)) for model in MODELS]


@pytest.fixture(scope="module", params=["uart", "udp"])
def machine(request):
    made = Machine(request.param)
    yield made
    made.simulation.close()


def while_running(device, action):
    """Does `action` once, between START and the end of the next run."""
    wait = device.transport.wait

    def first():
        device.transport.wait = wait
        assert device.state is State.RUNNING
        action()
        return wait()

    device.transport.wait = first


def fails(device, message):
    """One sentence in time; and what the device holds now is not run."""
    before = device.transport.link.channel.now()
    with pytest.raises(LinkError, match=message) as caught:
        device.run(IMAGES)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
    assert device.transport.link.channel.now() - before < DEADLINE
    for again in (lambda: device.run(IMAGES), lambda: device.load(PROGRAMS[0])):
        with pytest.raises(LinkError, match=r"^open the simulated line again and load the model: "):
            again()


def test_a_reset_of_the_board(machine):
    def reset():
        machine.simulation.reset()
        machine.simulation.memory[:] = 0xA5  # what a DRAM holds when nobody refreshes it

    device = machine.loaded()
    while_running(device, reset)
    fails(device, "the device on the simulated line was reset: open it again and load the model")
    assert machine.is_exact()


def test_a_short_silence(machine):
    device = machine.loaded()
    silences = device.transport.link.statistics

    def silence():
        machine.line.silent = True
        send = machine.line.send

        def speak_again(data):
            machine.line.silent = silences.silences < 2
            send(data)

        machine.line.send = speak_again

    while_running(device, silence)
    assert np.array_equal(device.run(IMAGES), LOGITS[0])
    assert silences.silences >= 2


def test_a_long_silence_and_another_model(machine):
    """The machine still runs what its host left when the next one loads: that must not write over the new model."""
    device = machine.loaded(0)
    while_running(device, lambda: setattr(machine.line, "silent", True))
    fails(device, r"the simulated line does not answer any more: READ_REGISTER at 0x[0-9a-f]+ was sent 7 times")
    device = machine.open()
    assert device.state is State.RUNNING
    device.load(PROGRAMS[1])
    assert device.state is State.IDLE
    assert np.array_equal(device.run(IMAGES), LOGITS[1])


def test_unplugged_and_plugged_in_again(machine):
    device = machine.loaded(1)
    while_running(device, lambda: setattr(machine.line, "unplugged", True))
    fails(device, "the simulated line is gone: was it unplugged?")
    assert machine.is_exact(0)


@pytest.mark.parametrize("seed", [1])
def test_damage_while_polling(machine, seed):
    device = machine.loaded()
    link = device.transport.link
    faulty = FaultyChannel(machine.line, rate=1 / 100, seed=seed)

    def damage():
        link.channel = link.line.channel = faulty

    while_running(device, damage)
    try:
        logits = device.run(IMAGES)
    except DeviceError:
        logits = LOGITS[0]
    assert np.array_equal(logits, LOGITS[0])
    assert faulty.faults > 5
    assert machine.is_exact()


@pytest.mark.parametrize("distance", [1000, 40_000, 1, 0], ids="{} numbers ahead".format)
def test_another_host_says_hello(machine, distance):
    """Whatever number it takes. Only if that is the very one that this host would have used may the run go on."""
    device = machine.loaded()

    def greet():
        number = (device.transport.link.line.next - 1 + distance) % (1 << 16)
        machine.simulation.send(frame(Op.HELLO, number, 0, HELLO_KEY))
        machine.simulation.serve(20_000)
        machine.simulation.receive()

    while_running(device, greet)
    if distance:
        fails(device, "waits for request [0-9]+, .* does another host use it?")
    else:
        assert np.array_equal(device.run(IMAGES), LOGITS[0])
    assert machine.is_exact()


def test_strangers_frames(machine):
    """Requests out of order, unfinished ones and noise, of somebody without a session, change nothing."""
    device = machine.loaded()
    draw = random.Random(1)

    def disturb():
        numbers = [(device.transport.link.line.next + ahead) % 65536 for ahead in (5000, 5001, 5002)]
        for stranger in (
            frame(Op.WRITE_REGISTER, numbers[0], 0, 2),
            frame(Op.WRITE_MEMORY, numbers[1], 0, 64, bytes(64)),
            frame(Op.WRITE_MEMORY, numbers[2], 0, 64, bytes(64))[:30],
            draw.randbytes(50),
        ):
            machine.simulation.send(stranger)

    while_running(device, disturb)
    assert np.array_equal(device.run(IMAGES), LOGITS[0])


class Killed(BaseException):
    """The host's process is no more."""


class Mortal(Line):
    """Its host dies with the request number `last`, half of which is sent."""

    last = 1 << 30

    def send(self, data):
        self.last -= 1
        if self.last < 0:
            super().send(data[: len(data) // 2])
            raise Killed
        super().send(data)


@pytest.mark.parametrize("machine", ["udp"], indirect=True)
def test_a_host_killed_in_mid_load(machine):
    """While it greets, compares and sends: the next host, whatever it loads, has what it loads."""
    for last, number in ((1, 1), (6, 0), (12, 1), (19, 0)):
        machine.simulation.memory[:] = 0  # nothing of the models is there
        line = Mortal(machine.simulation, byte_cycles=machine.byte_cycles)
        line.last = last
        with pytest.raises(Killed):
            Accelerator(LinkTransport(line), CONFIG).load(PROGRAMS[0])
        assert machine.is_exact(number)


class Shared(Line):
    """Now and then, when its host listens, another host acts; what comes meanwhile is the other's."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.other, self.draw, self.acting = None, random.Random(0), False

    def receive(self, timeout):
        if self.other is not None and not self.acting and self.draw.random() < self.rate:
            self.acting = True
            try:
                self.other()
            finally:
                self.acting = False
        return super().receive(timeout)


@pytest.mark.parametrize("machine", ["udp"], indirect=True)
def test_two_hosts_at_once(machine):
    """Each opens, loads its own model and runs, again and again, into the other's midst: exact or one sentence."""
    draw, runs, errors = random.Random(1), [], []

    def host(number, line):
        try:
            device = Accelerator(LinkTransport(line), CONFIG)
            device.transport.link.line.patience = PATIENCE
            device.load(PROGRAMS[number])
            for _ in range(2):
                runs.append(np.array_equal(device.run(IMAGES[:2]), LOGITS[number][:2]))
        except DeviceError as error:
            errors.append(str(error))

    for rate in (0.002, 0.02):
        line = Shared(machine.simulation, byte_cycles=machine.byte_cycles)
        line.draw, line.rate = draw, rate
        other = Line(machine.simulation, byte_cycles=machine.byte_cycles)
        line.other = lambda other=other: host(1, other)
        host(0, line)
    assert runs
    assert all(runs)
    assert errors
    assert not [text for text in errors if "\n" in text]
    assert machine.is_exact()
