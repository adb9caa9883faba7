"""Devices at the end of a line: ``serial:PORT[?baud=RATE]`` and ``udp:IP[:PORT]``."""
