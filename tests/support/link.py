"""A device that lies."""

import struct
import zlib

from hw.spec.link import VERSION, WINDOW, Op, Response, Status, crc32, pack_response

__all__ = ["ModelDevice"]


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
