"""Ports and addresses that are wrong, silent or gone: one sentence each, and an end."""

import contextlib
import os
import socket
import tty

import pytest

from firmware.link.channel import LinkError
from firmware.link.serial import SerialChannel
from firmware.link.udp import UDPChannel
from firmware.transport import DeviceError, open_transport


@pytest.fixture
def terminal():
    master, slave = os.openpty()
    tty.setraw(slave)
    yield master, os.ttyname(slave)
    for descriptor in (master, slave):
        with contextlib.suppress(OSError):
            os.close(descriptor)


@pytest.fixture
def nobody():
    """An address of this machine where something is bound that never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield "{}:{}".format(*sock.getsockname())


def one_sentence(error, start):
    text = str(error.value)
    assert text.startswith(start), text
    assert "\n" not in text
    assert len(text) < 200


def repeat(function, argument):
    for _ in range(100):
        function(argument)


def test_no_such_port():
    with pytest.raises(LinkError) as error:
        open_transport("serial:/dev/ttyUSB77")
    one_sentence(error, "cannot open /dev/ttyUSB77: there is no such port; ports: ")


def test_not_a_port(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LinkError) as error:
        open_transport(f"serial:{tmp_path}/file")
    one_sentence(error, f"cannot open {tmp_path}/file: ")


def test_no_permission(monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("firmware.link.serial.serial.Serial", refuse)
    with pytest.raises(LinkError) as error:
        open_transport("serial:/dev/ttyUSB1")
    one_sentence(error, "cannot open /dev/ttyUSB1: no permission: is the user in the port's group (often dialout)?")


def test_a_port_in_use(terminal):
    channel = SerialChannel(terminal[1])
    with pytest.raises(LinkError) as error:
        SerialChannel(terminal[1])
    one_sentence(error, f"cannot open {terminal[1]}: another program uses it")
    channel.close()


def test_a_silent_port(terminal, monkeypatch):
    monkeypatch.setattr("firmware.link.client.ATTEMPTS", 2)
    with pytest.raises(LinkError) as error:
        open_transport(f"serial:{terminal[1]}?baud=1000000")
    one_sentence(error, f"nothing answers on {terminal[1]} at 1000000 baud: is the board configured")


def test_bytes_go_both_ways(terminal):
    channel = SerialChannel(terminal[1])
    channel.send(bytes(range(256)))
    assert os.read(terminal[0], 300) == bytes(range(256))
    os.write(terminal[0], b"\x00\xff\x11\x13\r\n")
    assert channel.receive(1.0) == b"\x00\xff\x11\x13\r\n"
    assert channel.receive(0.01) == b""
    channel.close()
    channel.close()


def test_an_unplugged_port(terminal):
    channel = SerialChannel(terminal[1])
    os.close(terminal[0])
    with pytest.raises(LinkError) as error:
        repeat(channel.receive, 0.1)
    one_sentence(error, f"{terminal[1]} at 4000000 baud is gone: was it unplugged?")
    channel.close()


def test_a_port_that_takes_nothing(terminal, monkeypatch):
    monkeypatch.setattr("firmware.link.serial._WRITE_TIMEOUT", 0.1)
    channel = SerialChannel(terminal[1])
    with pytest.raises(LinkError) as error:
        repeat(channel.send, bytes(4096))
    one_sentence(error, f"{terminal[1]} at 4000000 baud takes no more bytes")
    channel.close()


def test_nobody_at_an_address(nobody, monkeypatch):
    monkeypatch.setattr("firmware.link.client.ATTEMPTS", 2)
    with pytest.raises(LinkError) as error:
        open_transport(f"udp:{nobody}")
    one_sentence(error, f"nothing answers on {nobody}: is the board configured")


def test_a_closed_address(monkeypatch):
    monkeypatch.setattr("firmware.link.client.ATTEMPTS", 2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with pytest.raises(LinkError) as error:
        open_transport(f"udp:127.0.0.1:{port}")
    one_sentence(error, f"nothing answers on 127.0.0.1:{port}")


def test_an_address_that_is_none():
    with pytest.raises(LinkError) as error:
        UDPChannel("256.256.256.256")
    one_sentence(error, "cannot reach 256.256.256.256:1234: ")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("udp:127.0.0.1:port", "a UDP port is a number from 1 to 65535, not 'port'"),
        ("udp:127.0.0.1:70000", "a UDP port is a number from 1 to 65535, not '70000'"),
        ("udp:127.0.0.1?baud=3", "unknown option 'baud' of a udp device; known options: none"),
        ("serial:/dev/null?speed=1", "unknown option 'speed' of a serial device; known options: baud"),
        ("serial:/dev/null?baud=fast", "baud must be a number, not 'fast'"),
        ("serial:", "a device is written scheme:name"),
    ],
)
def test_wrong_targets(target, message):
    with pytest.raises(DeviceError) as error:
        open_transport(target)
    one_sentence(error, message)
