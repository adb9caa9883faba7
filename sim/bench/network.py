"""Both sides of LiteEth: a computer at the end of the MII (cocotbext-eth, scapy), and the gateware's datagrams."""

import ipaddress
import random
import struct

import cocotb
from cocotb.queue import Queue
from cocotb.triggers import RisingEdge, SimTimeoutError, Timer, with_timeout
from cocotbext.eth import GmiiFrame, MiiSink, MiiSource
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.utils import checksum

from hw.shell.shell import IP_ADDRESS
from hw.spec.link import UDP_PORT

__all__ = ["BOARD_MAC", "BYTE_NS", "HOST_IP", "HOST_MAC", "HOST_PORT", "Host", "Tap", "arrived", "datagram"]

BOARD_MAC = "10:e2:d5:00:00:00"
HOST_MAC, HOST_IP, HOST_PORT = "02:00:00:00:00:07", "192.168.1.7", 40_001
BYTE_NS = 80
_BROADCAST = "ff:ff:ff:ff:ff:ff"
_PREAMBLE = bytes([0x55] * 7 + [0xD5])
_GAP_BYTES = 12
_SHORTEST, _LONGEST = 60, 1514  # bytes of a frame, without its check sequence
_PS = 1000  # simulated steps of a ns


class Host:
    """Sends frames to the board, and takes those of the board, each of which has to be a whole and proper one.

    ARP requests for `HOST_IP` are answered and counted; everything else is kept in order.
    """

    def __init__(self, dut):
        self._source = MiiSource(dut.eth_rx_data, dut.eth_rx_er, dut.eth_rx_dv, dut.eth_clocks_rx)
        self._source.ifg = 2 * _GAP_BYTES  # the model counts nibbles
        self._sink = MiiSink(dut.eth_tx_data, None, dut.eth_tx_en, dut.eth_clocks_tx)
        self._packets = Queue()
        self.arp_requests = 0
        cocotb.start_soon(self._listen())

    def send(self, packet, *, fcs=0, cut=None):
        """Queues a frame; `fcs` is added to its right check sequence, `cut` ends it after that many bytes."""
        frame = GmiiFrame.from_payload(bytes(packet))
        frame.data[-4:] = struct.pack("<L", (struct.unpack("<L", frame.get_fcs())[0] + fcs) % 2**32)
        if cut is not None:
            del frame.data[len(_PREAMBLE) + cut :]
        self._source.send_nowait(frame)

    def send_datagram(self, payload, *, sport=HOST_PORT, **frame):
        self.send(datagram(payload, sport=sport), **frame)

    async def sent(self):
        """Until the line is idle."""
        await self._source.wait()

    async def receive(self, timeout_ns=200_000):
        """The board's next frame, or None."""
        try:
            return await with_timeout(self._packets.get(), timeout_ns, "ns")
        except SimTimeoutError:
            return None

    async def receive_datagram(self, timeout_ns=200_000, *, sport=HOST_PORT):
        """Payload of the board's next datagram, whose header has to be right, or None."""
        packet = await self.receive(timeout_ns)
        if packet is None:
            return None
        ip, udp = packet[IP], packet[UDP]
        assert (packet.src, packet.dst) == (BOARD_MAC, HOST_MAC)
        assert (ip.src, ip.dst, ip.version, ip.ihl) == (IP_ADDRESS, HOST_IP, 4, 5)
        assert checksum(bytes(ip)[:20]) == 0
        assert (udp.sport, udp.dport) == (UDP_PORT, sport)
        assert udp.chksum == 0  # none
        assert ip.len == 20 + udp.len
        payload, padding = bytes(udp)[8 : udp.len], bytes(udp)[udp.len :]
        assert not any(padding)
        assert len(payload) == udp.len - 8
        assert len(bytes(packet)) == max(42 + len(payload), _SHORTEST)
        return payload

    async def _listen(self):
        before = None
        while True:
            frame = await self._sink.recv()
            assert frame.error is None
            assert frame.get_preamble() == _PREAMBLE
            assert frame.check_fcs(), "a frame with a wrong check sequence"
            if before is not None:
                assert frame.sim_time_start - before >= _GAP_BYTES * BYTE_NS * _PS * 0.99, "too small a gap"
            before = frame.sim_time_end
            data = bytes(frame.get_payload())
            assert _SHORTEST <= len(data) <= _LONGEST
            packet = Ether(data)
            if packet.haslayer(ARP) and packet[ARP].op == 1:
                self._answer(packet)
            else:
                self._packets.put_nowait(packet)

    def _answer(self, packet):
        arp = packet[ARP]
        assert (packet.src, packet.dst) == (BOARD_MAC, _BROADCAST)
        assert (arp.hwsrc, arp.psrc, arp.pdst) == (BOARD_MAC, IP_ADDRESS, HOST_IP)
        self.arp_requests += 1
        answer = ARP(op=2, hwsrc=HOST_MAC, psrc=HOST_IP, hwdst=BOARD_MAC, pdst=IP_ADDRESS)
        self.send(Ether(src=HOST_MAC, dst=BOARD_MAC) / answer)


def datagram(payload, *, port=UDP_PORT, ip=IP_ADDRESS, mac=BOARD_MAC, sport=HOST_PORT):
    """An Ethernet frame with a datagram, without its check sequence."""
    return Ether(src=HOST_MAC, dst=mac) / IP(src=HOST_IP, dst=ip) / UDP(sport=sport, dport=port) / payload


class Tap:
    """The gateware's side of the datagrams, on the pins; takes bytes with short pauses."""

    def __init__(self, dut):
        self.dut, self.received, self._bytes = dut, [], bytearray()
        cocotb.start_soon(self._take())

    async def _take(self):
        dut, rng = self.dut, random.Random(1)
        while True:
            dut.udp_rx_ready.value = rng.random() < 0.5
            await RisingEdge(dut.clk)
            if dut.udp_rx_valid.value == 1 and dut.udp_rx_ready.value == 1:
                self._bytes.append(int(dut.udp_rx_data.value))
                sender = tuple(int(getattr(dut, f"udp_rx_{name}").value) for name in ("ip_address", "port", "length"))
                if len(self._bytes) == 1:
                    self._sender = sender
                assert sender == self._sender, "the sender changes within a datagram"
                if dut.udp_rx_last.value == 1:
                    self.received.append((bytes(self._bytes), *sender))
                    self._bytes.clear()

    async def take(self, host):
        """Everything that has come when the line has become idle."""
        await host.sent()
        await Timer(5, "us")
        assert not self._bytes, "a datagram has no end"
        received, self.received = self.received, []
        return received

    async def send(self, payload):
        dut = self.dut
        dut.udp_tx_ip_address.value = int(ipaddress.ip_address(HOST_IP))
        dut.udp_tx_port.value = HOST_PORT
        dut.udp_tx_length.value = len(payload)
        for number, value in enumerate(payload):
            dut.udp_tx_data.value = value
            dut.udp_tx_last.value = int(number == len(payload) - 1)
            dut.udp_tx_valid.value = 1
            await RisingEdge(dut.clk)
            while dut.udp_tx_ready.value == 0:
                await RisingEdge(dut.clk)
        dut.udp_tx_valid.value = 0


def arrived(payload, *, port=HOST_PORT):
    return payload, int(ipaddress.ip_address(HOST_IP)), port, len(payload)
