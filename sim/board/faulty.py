"""A line with faults."""

import random

from firmware.link.channel import LinkError

__all__ = ["FaultyChannel"]


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
