"""Devices whose answers are whole and wrong: right results or one sentence, and always an end."""

import random
import re
import zlib

import pytest

from firmware.link.channel import LinkError
from firmware.link.client import Link
from firmware.link.transport import LinkTransport
from hw.spec.link import VERSION, Op, Status
from tests.support.link import ModelDevice

LIMIT = 400.0  # seconds of the model: seven silences of at most five, of each of ten requests


def talk(device, seed=1):
    """A bit of everything; what was read is what was written."""
    link = Link(device, seed=seed)
    link.hello()
    data = random.Random(seed).randbytes(5000)
    link.write_memory(77, data)
    link.write_registers([(8, 5), (12, 6)])
    return (
        link.read_memory(77, len(data)) == data,
        link.checksums(77, len(data)) == [zlib.crc32(data)],
        link.transact([(16, 7)], [8, 12, 16]) == [5, 6, 7],
    )


def told(device):
    with pytest.raises(LinkError) as caught:
        talk(device)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 220
    assert device.time < LIMIT
    return str(caught.value)


def of(op, change):
    """A lie about every response to `op`."""
    return lambda response, payload: change(response, payload) if response.op == op else (response, payload)


def test_an_honest_device():
    device = ModelDevice()
    assert talk(device) == (True, True, True)
    assert device.time < 0.1


LIES = [
    (Op.HELLO, lambda r, p: (r._replace(expected=(r.expected + 9) % 65536), p), "answers every HELLO with a session"),
    (Op.HELLO, lambda r, p: (r._replace(sequence=(r.sequence + 1) % 65536), p), "nothing answers on"),
    (Op.HELLO, lambda r, p: (r._replace(status=Status.ORDER), p), "speaks version"),
    (Op.HELLO, lambda r, p: (r._replace(detail=VERSION << 8 | 200), p), r"says it has 2\*\*200 bytes of memory, and"),
    (Op.READ_MEMORY, lambda r, p: (r, p[:-1] + b"\x0f"), "ended READ_MEMORY at 0x4d with status 15, which is none"),
    (Op.READ_MEMORY, lambda r, p: (r, p[:-1] + b"\x05"), "ended READ_MEMORY at 0x4d with status 5, which is none"),
    (Op.READ_MEMORY, lambda r, p: (r._replace(detail=r.detail - 1), p[1:]), "1024 bytes were asked for at 0x4d, 1023"),
    (Op.READ_MEMORY, lambda r, _: (r._replace(status=Status.VERSION), None), "does not answer any more: READ_MEMORY"),
    (Op.WRITE_MEMORY, lambda r, p: (r._replace(status=Status.REPEATED, value=13), p), "WRITE_MEMORY at 0x4d with sta"),
    (Op.WRITE_MEMORY, lambda r, p: (r._replace(status=Status.CLOSED), p), "was reset: open it again and load"),
    (Op.WRITE_MEMORY, lambda r, p: (r._replace(status=Status.CORRUPT, expected=r.sequence), p), "does not answer any"),
    (Op.WRITE_MEMORY, lambda r, p: (r._replace(op=Op.CHECKSUM), p), "does not answer any more: WRITE_MEMORY at 0x4d"),
    (Op.CHECKSUM, lambda r, p: (r._replace(status=Status.REPEATED), p), "does not answer any more: CHECKSUM at 0x4d"),
    (Op.CHECKSUM, lambda r, p: (r._replace(status=Status.ORDER, expected=(r.expected + 99) % 65536), p), "other host"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "lie", "sentence"), LIES)
def test_a_lie_for_ever_is_one_sentence(op, lie, sentence):
    text = told(ModelDevice(of(op, lie)))
    assert re.search(sentence, text), text


def test_a_hello_of_the_same_number_is_no_lie():
    """Once, and the host greets anew."""
    answers = []

    def once(response, payload):
        answers.append(response)
        return (response._replace(expected=(response.expected + 9) % 65536) if len(answers) == 1 else response), payload

    assert talk(ModelDevice(once)) == (True, True, True)


@pytest.mark.parametrize("noise", [b"\x00", b"\xc3" * 700, bytes(range(256))], ids=len)
def test_a_line_that_never_goes_quiet(noise):
    """Neither before the greeting nor after it: what is said is understood, and silence between is not waited for."""
    device = ModelDevice(noise=noise)
    assert talk(device) == (True, True, True)
    assert device.time < 5
    deaf = ModelDevice(of(Op.HELLO, lambda r, p: (r._replace(op=0), p)), noise)
    assert told(deaf).startswith("nothing answers on")


def test_a_failed_greeting_leaves_no_session():
    device = ModelDevice()
    link = Link(device)
    link.hello()
    device.lie = of(Op.HELLO, LIES[0][1])
    for _ in range(2):
        with pytest.raises(LinkError, match="answers every HELLO"):
            link.hello()
        with pytest.raises(LinkError, match=r"again and load the model: .*answers every HELLO"):
            link.read_register(8)
    device.lie = None
    link.hello()
    assert link.read_register(8) == 0


def test_waiting_for_a_run_ends():
    transport = LinkTransport(ModelDevice())
    for _ in range(3):
        before = transport.link.channel.time
        assert transport.wait() is False
        assert transport.link.channel.time - before < 1.1


def test_random_lies():
    """3,000 conversations in which some answers have other fields and right checks: no exception but LinkError."""
    draw, ends = random.Random(3), []
    for trial in range(3000):
        rate = draw.choice((0.02, 0.2, 1.0))

        def lie(response, payload, rate=rate):
            if draw.random() >= rate:
                return response, payload
            field = draw.choice(("op", "status", "sequence", "expected", "detail", "value"))
            top = {"op": 15, "status": 15, "value": (1 << 32) - 1}.get(field, 65535)
            near = (getattr(response, field) + draw.randrange(-3, 4)) & top
            response = response._replace(**{field: draw.choice((near, draw.randrange(top + 1)))})
            if payload is not None and draw.random() < 0.3:
                payload = payload[:-1] + bytes([draw.randrange(16)])
            return response, payload

        device = ModelDevice(lie)
        try:
            ends.append(talk(device, trial))
        except LinkError as error:
            ends.append(str(error))
        assert device.time < LIMIT
        assert device.receives < 20_000
    sentences = [end for end in ends if isinstance(end, str)]
    assert not [text for text in sentences if "\n" in text or len(text) > 220]
    assert 500 < len(sentences) < 2900
