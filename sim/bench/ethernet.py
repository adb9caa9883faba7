"""cocotb bench of the Ethernet link: LiteEth as a shell has it, on the pins of its MII, alone and with the bridge."""

import itertools
import random

import cocotb
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, Timer
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiRam
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether

from firmware.link.client import Identity, Link
from hw.shell.shell import IP_ADDRESS
from hw.spec.link import HEADER_BYTES, HELLO_KEY, RECEIVE_BYTES, UDP_PORT, Op, Status, frame, unpack_response
from sim.bench.limit import END
from sim.bench.network import BOARD_MAC, BYTE_NS, HOST_IP, HOST_MAC, HOST_PORT, Host, Tap, arrived, datagram
from sim.board.bench import COUNT, FINGERPRINT, MEMORY, SUM

RESET_CYCLES = 100  # many of the MII's clocks: the queues between the clocks have to be reset on both sides
PHY_RESET_CYCLES = 300
SIZES = (1, 16, 17, 18, 19, 1045, 1472)
ELSEWHERE = "192.168.1.51"


async def start(dut, *, direct):
    """The board, reset, and the host. The MII's clocks are a little off, as two crystals are."""
    for name in ("eth_col", "eth_crs", "udp_rx_ready", "udp_tx_valid"):
        getattr(dut, name).value = 0
    dut.direct.value = int(direct)
    dut.rst.value = 1
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    cocotb.start_soon(Clock(dut.eth_clocks_rx, 39.996, "ns").start())
    cocotb.start_soon(Clock(dut.eth_clocks_tx, 40.004, "ns").start())
    host = Host(dut)
    await ClockCycles(dut.clk, RESET_CYCLES)
    dut.rst.value = 0
    await ClockCycles(dut.clk, PHY_RESET_CYCLES)
    assert dut.eth_rst_n.value == 1
    return host


@cocotb.test(**END)
async def arp_is_answered(dut):
    host = await start(dut, direct=True)
    for target in (ELSEWHERE, IP_ADDRESS, HOST_IP, IP_ADDRESS):
        request = ARP(op=1, hwsrc=HOST_MAC, psrc=HOST_IP, pdst=target)
        host.send(Ether(src=HOST_MAC, dst="ff:ff:ff:ff:ff:ff") / request)
        answer = await host.receive(30_000)
        if target != IP_ADDRESS:
            assert answer is None
            continue
        arp = answer[ARP]
        assert (answer.src, answer.dst, arp.op) == (BOARD_MAC, HOST_MAC, 2)
        assert (arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst) == (BOARD_MAC, IP_ADDRESS, HOST_MAC, HOST_IP)


@cocotb.test(**END)
async def ping_is_answered(dut):
    """Up to 128 bytes, which is what LiteEth keeps."""
    host = await start(dut, direct=True)
    for size in (0, 56, 120):
        data = random.randbytes(size)
        ping = ICMP(type=8, id=0x1234, seq=size) / data
        host.send(Ether(src=HOST_MAC, dst=BOARD_MAC) / IP(src=HOST_IP, dst=IP_ADDRESS) / ping)
        answer = await host.receive()
        icmp = answer[ICMP]
        assert (answer[IP].src, answer[IP].dst, icmp.type, icmp.id, icmp.seq) == (IP_ADDRESS, HOST_IP, 0, 0x1234, size)
        assert bytes(icmp.payload)[:size] == data
        sent = icmp.chksum
        del icmp.chksum
        assert sent == ICMP(bytes(icmp)).chksum


@cocotb.test(**END)
async def datagrams_arrive(dut):
    """One by one, and back to back: bytes, length, ends, and who sent them."""
    host = await start(dut, direct=True)
    tap = Tap(dut)
    payloads = [random.randbytes(size) for size in SIZES]
    for number, payload in enumerate(payloads):
        host.send_datagram(payload, sport=HOST_PORT + number)
        assert await tap.take(host) == [arrived(payload, port=HOST_PORT + number)]
    shuffled = [*payloads[:5], *payloads[::-1], *payloads[:5]]
    for payload in shuffled:
        host.send_datagram(payload)
    assert await tap.take(host) == [arrived(payload) for payload in shuffled]


@cocotb.test(**END)
async def datagrams_are_sent(dut):
    """The first one after an ARP request; then back to back."""
    host = await start(dut, direct=True)
    tap = Tap(dut)
    payloads = [random.randbytes(size) for size in SIZES]
    sending = cocotb.start_soon(send_all(tap, payloads))
    for payload in payloads:
        assert await host.receive_datagram() == payload
    await sending
    assert host.arp_requests == 1
    assert await host.receive(10_000) is None


async def send_all(tap, payloads):
    for payload in payloads:
        await tap.send(payload)


@cocotb.test(**END)
async def what_is_not_for_us_is_dropped(dut):
    """And the datagram behind it arrives."""
    host = await start(dut, direct=True)
    tap = Tap(dut)
    ether, ip, udp = Ether(src=HOST_MAC, dst=BOARD_MAC), IP(src=HOST_IP, dst=IP_ADDRESS), UDP(dport=UDP_PORT)
    others = [
        datagram(b"another port", port=UDP_PORT + 1),
        datagram(b"another address", ip=ELSEWHERE),
        datagram(b"another computer", ip=ELSEWHERE, mac="02:00:00:00:00:51"),
        datagram(b"everybody", ip="192.168.1.255", mac="ff:ff:ff:ff:ff:ff"),
        ether / IP(src=HOST_IP, dst=IP_ADDRESS, chksum=0x1234) / udp / b"a wrong header",
        ether / IP(src=HOST_IP, dst=IP_ADDRESS, proto=6) / bytes(udp / b"not UDP"),
        ether / IP(src=HOST_IP, dst=IP_ADDRESS, options=[b"\x01" * 4]) / udp / b"options",
        Ether(src=HOST_MAC, dst=BOARD_MAC, type=0x86DD) / bytes(ip / udp / b"not IPv4"),
    ]
    for number, other in enumerate([*others, *others]):
        good = random.randbytes(1 + 30 * number)
        host.send(other)
        host.send_datagram(good)
        if number < len(others):
            assert await tap.take(host) == [arrived(good)], bytes(other)


@cocotb.test(**END)
async def what_is_broken_hides_nothing(dut):
    """LiteEth passes on a datagram whose check sequence is wrong; the frames in it have a CRC-32 of their own.

    Of a frame that ends in its headers the next one is taken for the rest: it is lost, and no other.
    """
    host = await start(dut, direct=True)
    tap = Tap(dut)
    wrong, good = random.randbytes(100), random.randbytes(50)
    host.send_datagram(wrong, fcs=1)
    host.send_datagram(good)
    assert await tap.take(host) == [arrived(wrong), arrived(good)]
    headers = 42 + 4  # the checker of the check sequence keeps the last 4 bytes back
    for cut in (1, 7, 13, 14, 20, 33, 34, 41, 42, 45, 46, 47, 64, 100, 143, 145):
        host.send_datagram(wrong, cut=cut)
        host.send_datagram(good)
        host.send_datagram(good[::-1])
        received = await tap.take(host)
        if cut > headers:
            assert received[:-1] == [(wrong[: cut - headers], *arrived(wrong)[1:]), arrived(good)]
        else:
            assert good not in [payload for payload, *_ in received]
            assert len(received) <= 2
        assert received[-1] == arrived(good[::-1])


def memory_of(dut, *, pause=0):
    """The bridge's memory; it answers nothing for `pause` cycles after each word."""
    memory = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=MEMORY)
    if pause:
        memory.read_if.r_channel.set_pause_generator(itertools.cycle([*[True] * pause, False]))
    return memory


class Wire:
    """The driver's channel, from its thread, to the host's network interface."""

    name, pace = "the simulated MII", BYTE_NS * 1e-9

    def __init__(self, host):
        self._host = host

    @resume
    async def send(self, data):
        self._host.send_datagram(data)

    @resume
    async def receive(self, timeout):
        return await self._host.receive_datagram(max(1, round(timeout * 1e9))) or b""

    @resume
    async def now(self):
        return get_sim_time("ns") * 1e-9

    def close(self):
        pass


@cocotb.test(**END)
@cocotb.parametrize(pause=[0, 100])
async def the_driver_reads_and_writes(dut, pause):
    """The whole way; nothing has to be sent twice, and nine tenths of the line are payload (92.2 % is the most).

    Also from a memory that takes 100 cycles more for every word: one word lasts 128 cycles on the line, and a frame
    cannot wait.
    """
    host = await start(dut, direct=False)
    memory = memory_of(dut, pause=pause)
    data = random.randbytes(10_000)

    @bridge
    def play():
        link = Link(Wire(host), patience=2e-3, seed=1)
        assert link.hello() == Identity(FINGERPRINT, MEMORY, simulated=True)
        link.write_registers([(COUNT, 5)] * 20)
        assert (link.read_register(COUNT), link.read_register(SUM)) == (20, 100)
        times = [link.channel.now()]
        link.write_memory(3, data)
        times.append(link.channel.now())
        assert link.read_memory(3, len(data)) == data
        times.append(link.channel.now())
        assert (link.statistics.repeated, link.statistics.silences, link.statistics.damaged) == (0, 0, 0)
        return [len(data) * link.channel.pace / (end - begin) for begin, end in itertools.pairwise(times)]

    shares = await play()
    assert min(shares) >= 0.91, shares
    assert memory.read(0, 3 + len(data))[3:] == data
    assert host.arp_requests == 1


@cocotb.test(**END)
async def many_writes_after_a_silence(dut):
    """After a second (here 5 ms) without traffic LiteEth asks for the host's hardware address again.

    The host's answer comes behind what it has sent by then, which is more than the device keeps.
    """
    host = await start(dut, direct=False)
    memory = memory_of(dut)
    data = random.randbytes(2 * RECEIVE_BYTES)
    link = Link(Wire(host), patience=2e-3, seed=1)
    await bridge(link.hello)()
    await Timer(5.2, "ms")
    begin = get_sim_time("ns")
    await bridge(link.write_memory)(0, data)
    took = get_sim_time("ns") - begin
    assert host.arp_requests == 2
    assert took < 4 * len(data) * BYTE_NS
    assert link.statistics.silences == 0
    assert memory.read(0, len(data)) == data


@cocotb.test(**END)
async def damage_on_the_way_changes_nothing(dut):
    """Requests with a wrong bit, in frames with a wrong check sequence: their own checks find it."""
    host = await start(dut, direct=False)
    memory = memory_of(dut)

    async def ask(request, **how):
        host.send_datagram(request, **how)
        answer = await host.receive_datagram(50_000, sport=how.get("sport", HOST_PORT))
        return answer and unpack_response(answer[:HEADER_BYTES])

    assert (await ask(frame(Op.HELLO, 7, 0, HELLO_KEY))).status is Status.OK
    count = bytearray(frame(Op.WRITE_REGISTER, 8, COUNT, 5))
    for at in range(len(count)):
        damaged = bytes(count[:at]) + bytes([count[at] ^ 0x10]) + bytes(count[at + 1 :])
        assert await ask(damaged, fcs=1) is None
    assert (await ask(bytes(count))).status is Status.OK
    payload = frame(Op.WRITE_MEMORY, 9, 0x100, 100, bytes(range(100)))
    assert (await ask(payload[:50] + b"?" + payload[51:], fcs=1)).status is Status.CORRUPT
    assert (await ask(payload[:80], cut=14 + 20 + 8 + 60)).status is Status.CORRUPT
    assert (await ask(payload)).status is Status.OK
    assert memory.read(0x100, 100) == bytes(range(100))
    answer = await ask(frame(Op.READ_REGISTER, 10, COUNT, 0), sport=HOST_PORT + 1)  # to who asked last
    assert (answer.status, answer.value) == (Status.OK, 1)
