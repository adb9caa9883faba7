# amaranth: UnusedElaboratable=no
"""The driver's protocol on the gateware, over a simulated line that works."""

import random
import zlib
from collections import Counter

import pytest

from firmware.link.channel import LinkError
from firmware.link.client import Identity, Link
from hw.link.framer import Framer
from hw.link.register_port import RegisterPort
from hw.spec.link import (
    CHECKSUM_LIMIT,
    HELLO_KEY,
    PAYLOAD_LIMIT,
    SIMULATED,
    VERSION,
    WINDOW,
    Op,
    Response,
    Status,
    Window,
    crc32,
    frame,
    pack_response,
    unpack_response,
)  # fmt: skip
from sim.board.bench import (
    COUNT,
    FINGERPRINT,
    HANG,
    MEMORY,
    PLAIN,
    SHELL_REGISTER,
    SUM,
    open_link_bench,
)  # fmt: skip
from sim.board.faulty import FaultyChannel
from tests.support.streams import PRESSURES, run_streams, simulate

PATIENCE = 1e-4  # seconds, simulated


@pytest.fixture(params=["uart", "udp"])
def link(request):
    opened = Link(open_link_bench(request.param), patience=PATIENCE, seed=1)
    assert opened.hello() == Identity(FINGERPRINT, MEMORY, simulated=True)
    return opened


def exchange(link, request):
    """The device's answer to raw bytes."""
    link.channel.send(request)
    data = link.channel.receive(1e-3)
    while len(data) < 16:
        more = link.channel.receive(1e-3)
        assert more, data.hex()
        data += more
    return unpack_response(data[:16])


def test_registers_of_both_windows(link):
    link.write_registers([(PLAIN, 0x12345678), (Window.SHELL + SHELL_REGISTER, 0x9ABCDEF0)])
    assert link.read_register(PLAIN) == 0x12345678
    assert link.read_register(Window.SHELL + SHELL_REGISTER) == 0x9ABCDEF0
    values = [random.Random(4).randrange(1 << 20) for _ in range(100)]
    link.write_registers([(COUNT, value) for value in values])
    assert (link.read_register(COUNT), link.read_register(SUM)) == (100, sum(values))
    assert (link.statistics.repeated, link.statistics.silences) == (0, 0)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 1023, 1024, 1025, 5000])
def test_memory_at_any_byte(link, size):
    rng, memory = random.Random(size), link.channel.simulation.memory
    for at in (0, 1, 4095, MEMORY - size):
        data = rng.randbytes(size)
        before = bytes(memory)
        link.write_memory(at, data)
        assert bytes(memory) == before[:at] + data + before[at + size :]
        assert link.read_memory(at, size) == data
        assert link.checksums(at, size) == [zlib.crc32(data)]


def test_checksums_of_pieces(link):
    data = random.Random(1).randbytes(2 * CHECKSUM_LIMIT + 100)
    link.channel.simulation.write(8, data)
    pieces = [data[at : at + CHECKSUM_LIMIT] for at in range(0, len(data), CHECKSUM_LIMIT)]
    assert link.checksums(8, len(data)) == [zlib.crc32(piece) for piece in pieces]


@pytest.mark.parametrize(("line", "share"), [("uart", 0.97), ("udp", 0.94)])
def test_nine_tenths_of_the_line(line, share):
    """Bulk transfers, both ways, payload bytes against what the line could carry: simulated, exact to the cycle."""
    link = Link(open_link_bench(line), patience=PATIENCE, seed=1)
    link.hello()
    data = random.Random(2).randbytes(1 << 16)
    for transfer in (lambda: link.write_memory(3, data), lambda: link.read_memory(3, len(data))):
        before = link.channel.now()
        transfer()
        assert len(data) * link.channel.pace / (link.channel.now() - before) >= share


@pytest.mark.parametrize("line", ["uart", "udp"])
@pytest.mark.parametrize("start", [65500, 65519, 65533, 65535])
def test_numbers_wrap(line, start, monkeypatch):
    """A session whose requests' 16-bit numbers begin again, under way and while some are repeated."""
    channel = FaultyChannel(open_link_bench(line), rate=1 / 2000, seed=start)
    link = Link(channel, patience=PATIENCE, seed=1)
    monkeypatch.setattr(link._random, "randrange", lambda _stop: start)
    link.hello()
    data = random.Random(start).randbytes(40_000)
    link.write_memory(5, data)
    assert link.read_memory(5, len(data)) == data
    assert link.line.next < 200
    assert channel.faults > 10


def test_errors_of_the_bus_are_told_and_over(link):
    for address, message in (
        (0x10, "READ_REGISTER at 0x10 on the simulated line: the device's bus answered an error"),
        (Window.SHELL, "READ_REGISTER at 0x80000000 on the simulated line: the device's bus answered an error"),
    ):
        with pytest.raises(LinkError, match=message):
            link.read_register(address)
    with pytest.raises(LinkError, match=r"WRITE_REGISTER at 0x4 .* answered an error"):
        link.write_registers([(PLAIN, 1), (SUM, 2), (PLAIN, 3)])  # SUM cannot be written
    assert link.read_register(PLAIN) == 3
    link.channel.simulation.configure(error_base=0x2000, error_size=16)
    with pytest.raises(LinkError, match=r"READ_MEMORY at 0x1f00 .* answered an error"):
        link.read_memory(0x1F00, 1024)
    with pytest.raises(LinkError, match=r"WRITE_MEMORY at 0x1f00 .* answered an error"):
        link.write_memory(0x1F00, bytes(1024))
    with pytest.raises(LinkError, match=r"CHECKSUM at 0x1f00 .* answered an error"):
        link.checksums(0x1F00, 1024)
    with pytest.raises(LinkError, match=r"READ_MEMORY at 0x100000 .* answered an error"):
        link.read_memory(MEMORY, 16)
    link.channel.simulation.configure(error_size=0)
    assert link.read_memory(0x1F00, 1024) == bytes(1024)


def test_a_request_right_behind_a_read_that_failed_at_once(link):
    """The second word is still asked for when the first one's error has been answered."""
    link.channel.simulation.configure(latency=900, write_latency=900, error_base=0x2000, error_size=16)
    number, data = link.line.next, bytes(range(40))
    link.channel.send(frame(Op.READ_MEMORY, number, 0x2000, 64))
    link.channel.send(frame(Op.WRITE_MEMORY, number + 1, 0x3004, len(data), data))
    answers = b""
    while more := link.channel.receive(1e-4):
        answers += more
    assert [unpack_response(answers[at : at + 16]).status for at in range(0, len(answers), 16)] == [
        Status.BUS, Status.OK,
    ]  # fmt: skip
    assert bytes(link.channel.simulation.memory[0x3004:][:40]) == data


def test_a_bus_that_hangs_is_told_and_hangs_nothing_else(link):
    for _ in range(2):
        with pytest.raises(LinkError, match=r"READ_REGISTER at 0xc .* does not answer; was its memory started"):
            link.read_register(HANG)
    data = bytes(range(100))
    link.write_memory(5, data)
    assert link.read_memory(5, 100) == data


def test_a_memory_that_hangs_and_comes_back(link):
    """As before the DRAM is trained: answered TIMEOUT; the late answers are not taken for others'."""
    data = random.Random(6).randbytes(200)
    link.channel.simulation.write(0x500, data)
    link.channel.simulation.configure(latency=5000, write_latency=5000)
    with pytest.raises(LinkError, match=r"READ_MEMORY at 0x100 .* does not answer; was its memory started"):
        link.read_memory(0x100, 100)
    link.channel.simulation.serve(10_000)
    with pytest.raises(LinkError, match=r"WRITE_MEMORY at 0x200 .* does not answer; was its memory started"):
        link.write_memory(0x200, bytes(100))
    link.channel.simulation.configure(latency=21, write_latency=5)
    link.channel.simulation.serve(10_000)
    assert link.read_memory(0x500, 200) == data
    link.write_memory(0x203, data)
    assert link.read_memory(0x203, 200) == data


def test_random_memory_timing_changes_no_result():
    link = Link(open_link_bench("uart", random=7), patience=PATIENCE, seed=1)
    link.hello()
    data = random.Random(2).randbytes(3000)
    link.write_memory(77, data)
    assert link.read_memory(77, 3000) == data


def test_a_reset_is_told(link):
    link.write_registers([(PLAIN, 1)])
    link.channel.simulation.reset()
    with pytest.raises(LinkError, match="the device on the simulated line was reset: open it again"):
        link.read_register(PLAIN)
    link.hello()
    assert link.read_register(PLAIN) == 0


def test_a_reset_ends_an_access_that_hangs(link):
    """Of either kind; registers that answer do so again."""
    for way in (lambda: link.read_register(HANG), lambda: link.write_registers([(HANG, 1)])):
        with pytest.raises(LinkError, match="does not answer; was its memory started"):
            way()
        link.channel.simulation.reset()
        link.hello()
        link.write_registers([(PLAIN, 5)])
        assert link.read_register(PLAIN) == 5


def test_an_unplugged_line_is_told_and_can_be_opened_again():
    bench = open_link_bench("uart")
    data = random.Random(3).randbytes(20_000)
    for after in (0, 500, 1077, 7000):
        link = Link(FaultyChannel(bench, rate=0, seed=0, unplug_after=after), patience=PATIENCE, seed=after)
        with pytest.raises(LinkError, match="the faulty line is gone"):
            link.hello(), link.write_memory(0, data)
        link = Link(bench, patience=PATIENCE, seed=after)
        link.hello()
        link.write_memory(0, data)
        assert link.read_memory(0, len(data)) == data


def test_after_an_interruption_nothing_old_is_mistaken(link):
    class Interrupted(Exception):
        pass

    def interrupt(_done):
        raise Interrupted

    data = random.Random(3).randbytes(20_000)
    with pytest.raises(Interrupted):
        link.write_memory(0, data, interrupt)
    link.write_memory(0, data)
    assert link.read_memory(0, len(data)) == data


def test_what_is_repeated_is_not_done_again(link):
    """The device answers a repeated doorbell with the status it had, as far back as the window."""
    start = link.line.next
    for number in range(WINDOW):
        assert exchange(link, frame(Op.WRITE_REGISTER, start + number, COUNT, 5)).status is Status.OK
    for number in range(WINDOW):
        answer = exchange(link, frame(Op.WRITE_REGISTER, start + number, COUNT, 5))
        assert (answer.status, answer.value) == (Status.REPEATED, Status.OK)
    assert exchange(link, frame(Op.WRITE_REGISTER, start + WINDOW, SUM, 5)).status is Status.BUS
    answer = exchange(link, frame(Op.WRITE_REGISTER, start + WINDOW, SUM, 5))
    assert (answer.status, answer.value) == (Status.REPEATED, Status.BUS)
    link.line.next += WINDOW + 1
    assert link.read_register(COUNT) == WINDOW


def hello_of_another_host(link, ahead):
    """As if it came just before this host's next request, with a number `ahead` of that."""
    answer = exchange(link, frame(Op.HELLO, (link.line.next + ahead) % 65536, 0, HELLO_KEY))
    assert (answer.op, answer.status) == (Op.HELLO, Status.OK)


@pytest.mark.parametrize("ahead", [0, 5, WINDOW, 1000, -2, -1000])
def test_another_session_is_never_taken_for_ones_own(link, ahead):
    """What this host sent before, or would have sent, was not executed in that one: it is not answered REPEATED."""
    link.write_registers([(COUNT, 1)] * 20)
    hello_of_another_host(link, ahead)
    with pytest.raises(LinkError, match=r"does another host use it|does not answer any more"):
        link.write_registers([(COUNT, 1)] * 10)
    with pytest.raises(LinkError, match="open the simulated line again and load the model: "):
        link.read_register(COUNT)
    link.hello()
    assert 20 <= link.read_register(COUNT) < 30


@pytest.mark.parametrize("reset", [False, True])
def test_an_interruption_is_not_resumed_on_what_others_left(link, reset):
    def interrupt(_done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        link.write_memory(0, bytes(20_000), interrupt)
    while link.channel.receive(1e-3):
        pass
    if reset:
        link.channel.simulation.reset()
    else:
        hello_of_another_host(link, 3000)
    for _ in range(2):
        with pytest.raises(LinkError, match="was reset, or another host used it"):
            link.write_memory(0, bytes(20_000))
    link.hello()
    assert link.read_register(COUNT) == 0


@pytest.mark.parametrize("start", [4321, 4320, 4311])
def test_stale_replies_have_the_same_numbers(link, start, monkeypatch):
    """A host died with a window of requests under way; the next one happens to use its very numbers."""
    data = random.Random(1).randbytes(2 * WINDOW * PAYLOAD_LIMIT)
    link.channel.simulation.write(0, data)
    link.channel.send(frame(Op.HELLO, 4321, 0, HELLO_KEY))
    for number in range(WINDOW):
        link.channel.send(frame(Op.READ_MEMORY, 4322 + number, number * PAYLOAD_LIMIT, PAYLOAD_LIMIT))
    other = Link(link.channel, patience=1e-2)  # longer than what is still coming
    monkeypatch.setattr(other._random, "randrange", lambda _stop: start)
    other.hello()
    half = WINDOW * PAYLOAD_LIMIT
    assert other.read_memory(half, half) == data[half:]
    assert other.line.next == start + 1 + WINDOW


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ((Op.READ_MEMORY, 0, 0, PAYLOAD_LIMIT + 1), Status.REFUSED),
        ((Op.READ_MEMORY, 0, 0, 0), Status.REFUSED),
        ((Op.CHECKSUM, 0, 0, CHECKSUM_LIMIT + 1), Status.REFUSED),
        ((Op.WRITE_MEMORY, 0, 0, 0), Status.REFUSED),
        ((9, 0, 0, 0), Status.REFUSED),
        ((Op.READ_REGISTER, 1, 0, 0), Status.ORDER),
        ((Op.READ_REGISTER, -17, 0, 0), Status.ORDER),
        ((Op.WRITE_MEMORY, 3, 0, 4, b"abcd"), Status.ORDER),
    ],
)
def test_what_cannot_be_done_is_refused(link, request_, status):
    op, number, *rest = request_
    answer = exchange(link, frame(op, (link.line.next + number) % 65536, *rest))
    assert answer.status is status
    assert not link.channel.simulation.memory[:8].any()


def test_another_version_is_refused(link):
    assert exchange(link, frame(Op.HELLO, 5, 0, HELLO_KEY + 1)) == Response(
        Op.HELLO, Status.VERSION, 5, link.line.next, SIMULATED | VERSION << 8 | 20, HELLO_KEY
    )


class Other:
    """A device that answers HELLO with `status` and `detail`, or nothing at all."""

    name, pace = "the other line", 1e-6

    def __init__(self, status=None, detail=0, value=0):
        self.answer, self.time, self.sent = (status, detail, value), 0.0, b""

    def send(self, data):
        self.sent = data

    def receive(self, timeout):
        self.time += timeout
        status, detail, value = self.answer
        if status is None or not self.sent:
            return b""
        number = int.from_bytes(self.sent[2:4], "little")
        self.sent = b""
        return pack_response(Response(Op.HELLO, status, number, (number + 1) % 65536, detail, value))

    def now(self):
        return self.time


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((None,), "nothing answers on the other line: is the board configured, and is this its line?"),
        ((Status.OK, 9 << 8 | 28), "the device on the other line speaks version 9 of the protocol, this host 1"),
        ((Status.VERSION, 2 << 8, HELLO_KEY + 1), "speaks version 2 of the protocol, this host 1"),
    ],
)
def test_strangers_and_silence(answer, message):
    with pytest.raises(LinkError, match=message):
        Link(Other(*answer)).hello()


@pytest.mark.parametrize("write", [0, 1])
@pytest.mark.parametrize("window", Window)
def test_a_register_is_asked_once_for_an_access(window, write):
    """However long its bus takes to take the request and to answer it; the other window's is not asked at all."""
    dut, asked = RegisterPort(bus_cycles=64), Counter()
    buses = {Window.ACCELERATOR: dut.control, Window.SHELL: dut.csr}
    ways = {(number, name): bus for number, bus in buses.items() for name in ("aw", "w", "ar")}
    valids = [getattr(bus, f"{name}valid") for (_, name), bus in ways.items()]

    async def bench(ctx):
        for delay in (0, 1, 2, 9):
            ctx.set(dut.start.p, {"write": write, "address": window + 0x40, "data": 7})
            ctx.set(dut.start.valid, 1)
            await ctx.tick().until(dut.start.ready)
            ctx.set(dut.start.valid, 0)
            for cycle in range(30):
                for (_, name), bus in ways.items():
                    ctx.set(getattr(bus, f"{name}ready"), cycle >= delay)
                ctx.set(buses[window].bvalid if write else buses[window].rvalid, cycle == 2 * delay + 1)
                _, _, *valid = await ctx.tick().sample(*valids)
                if cycle >= delay:
                    asked.update(way for way, there in zip(ways, valid, strict=True) if there)

    simulate(dut, bench)
    assert asked == {(window, name): 4 for name in (("aw", "w") if write else ("ar",))}


@pytest.mark.parametrize("cycles", [16, 64])
def test_a_bus_has_its_time_to_answer(cycles):
    """So many cycles, and a few for what is registered."""
    dut, took = RegisterPort(bus_cycles=cycles), []

    async def bench(ctx):
        ctx.set(dut.start.valid, 1)
        await ctx.tick().until(dut.start.ready)
        ctx.set(dut.start.valid, 0)
        while not ctx.get(dut.done):
            await ctx.tick()
            took.append(ctx.get(dut.status))

    simulate(dut, bench)
    assert cycles <= len(took) <= cycles + 4
    assert took[-1] == Status.TIMEOUT


@pytest.mark.parametrize("pressure", PRESSURES)
def test_responses_with_payloads_are_whole_from_the_first(pressure):
    """Whether nothing or half a response came before a reset; their numbers are of nothing but the framer's input."""
    payloads = [b"abcde", b"f", b"ghi"]
    responses = [Response(Op.READ_MEMORY, Status.OK, 7, 8, len(data) - 1, 0x1234) for data in payloads]
    inputs = {
        "header": [response._asdict() for response in responses],
        "payload": [
            {"data": byte, "last": at == len(data)} for data in payloads for at, byte in enumerate(data, 1)
        ],
    }  # fmt: skip
    sent = [pack_response(response) + data + crc32(data) for response, data in zip(responses, payloads, strict=True)]
    found, _ = run_streams(Framer(), inputs, {"o": sum(map(len, sent))}, pressure=pressure, constants={"follows": 1})
    assert bytes(item["data"] for item in found["o"]) == b"".join(sent)
