"""A line with faults, and a device that lies."""

import random
import struct
import zlib

from firmware.link.channel import LinkError
from hw.spec.link import VERSION, WINDOW, Op, Response, Status, crc32, pack_response

__all__ = ["FaultyChannel", "ModelDevice"]


class FaultyChannel:
    """`channel` with faults in both directions: each byte is, with `rate`, flipped, dropped, doubled, or gets a
    stranger before it; with `shuffle`, so are whole datagrams dropped, doubled or delayed. ``faults`` counts them.
    `unplug_after` bytes sent, the line is gone.
    """

    def __init__(self, channel, *, rate, seed, shuffle=0.0, unplug_after=None):
        self.channel, self.rate, self.shuffle, self.unplug_after = channel, rate, shuffle, unplug_after
        self._late = {"send": None, "receive": None}
        self.name, self.pace, self.now = "the faulty line", channel.pace, channel.now
        self.faults = 0
        self._random = random.Random(seed)

    def send(self, data):
        if self.unplug_after is not None:
            self.unplug_after -= len(data)
            if self.unplug_after < 0:
                self.channel.send(data[: len(data) // 2])
                raise LinkError(f"{self.name} is gone")
        for datagram in self._shuffled("send", self._damage(data)):
            self.channel.send(datagram)

    def receive(self, timeout):
        return b"".join(self._shuffled("receive", self._damage(self.channel.receive(timeout))))

    def close(self):
        self.channel.close()

    def _shuffled(self, way, data):
        late, self._late[way] = self._late[way], None
        if data and self._random.random() < self.shuffle:
            self.faults += 1
            kind = self._random.randrange(3)
            if kind == 0:
                data = b""
            elif kind == 1:
                return [d for d in (data, late, data) if d]
            else:
                self._late[way], data = data, b""
        return [d for d in (data, late) if d]

    def _damage(self, data):
        out, at = bytearray(), 0
        draw = self._random
        while True:
            gap = int(draw.expovariate(self.rate)) if self.rate else len(data)
            if at + gap >= len(data):
                return bytes(out + data[at:])
            out += data[at : at + gap]
            at += gap
            self.faults += 1
            byte, kind = data[at], draw.randrange(4)
            at += 1
            if kind == 0:
                out.append(byte ^ 1 << draw.randrange(8))
            elif kind == 1:
                pass
            elif kind == 2:
                out += bytes((byte, byte))
            else:
                out += bytes((draw.randrange(256), byte))


class ModelDevice:
    """A device in Python at the end of a Channel: 64 registers, 1 MiB of memory, no faults of the line.

    `lie` gets each Response and its payload, data and final status, and returns what is sent instead, with right
    checks; `noise` is what the line carries whenever it would be quiet. Time passes by the byte, and in `receive`.
    """

    name, pace, fingerprint, memory_bits = "the line of the model", 1e-6, 0x600DCAFE, 20

    def __init__(self, lie=None, noise=b""):
        self.lie, self.noise, self.time, self.receives = lie, noise, 0.0, 0
        self.memory, self.registers = bytearray(1 << self.memory_bits), [0] * 64
        self.expected, self.done, self._out = None, {}, bytearray()

    def now(self):
        return self.time

    def close(self):
        pass

    def receive(self, timeout):
        self.receives += 1
        data, self._out = bytes(self._out) or self.noise, bytearray()
        self.time += len(data) * self.pace if data else max(timeout, self.pace)
        return data

    def send(self, data):
        self.time += len(data) * self.pace
        kind, number, address, argument = struct.unpack("<xBHII", data[:12])
        op, payload = kind & 15, data[16:-4]
        status, detail, value, answer = Status.OK, 0, 0, None
        if op == Op.HELLO:
            self.expected, self.done = (number + 1) % 65536, {}
            detail, value = VERSION << 8 | self.memory_bits, self.fingerprint
        elif self.expected is None:
            status = Status.CLOSED
        elif number in self.done:
            status, value = Status.REPEATED, self.done[number]
        elif number != self.expected:
            status = Status.ORDER
        else:
            value, answer = self._do(op, address, argument, payload)
            detail = argument if answer is not None else 0
            self.done[number] = Status.OK
            self.done.pop((number - WINDOW) % 65536, None)
            self.expected = (number + 1) % 65536
        self._give(Response(op, status, number, self.expected or 0, detail, value), answer)

    def _do(self, op, address, argument, payload):
        if op == Op.WRITE_REGISTER:
            self.registers[address // 4 % 64] = argument
        elif op == Op.WRITE_MEMORY:
            self.memory[address : address + argument] = payload
        elif op == Op.READ_MEMORY:
            return 0, bytes(self.memory[address : address + argument]) + bytes([Status.OK])
        elif op == Op.CHECKSUM:
            return zlib.crc32(self.memory[address : address + argument]), None
        return self.registers[address // 4 % 64] if op == Op.READ_REGISTER else 0, None

    def _give(self, response, payload):
        if self.lie is not None:
            response, payload = self.lie(response, payload)
        self._out += pack_response(response) + (payload + crc32(payload) if payload is not None else b"")
