"""A byte on its way between a line and the bridge."""

from amaranth.lib import data

__all__ = ["BYTE"]

BYTE = data.StructLayout({"data": 8, "last": 1})  # `last`: of a datagram; nothing on a line without datagrams
