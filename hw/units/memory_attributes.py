"""What synthesis is told of memories."""

__all__ = ["NEVER_TOGETHER"]

NEVER_TOGETHER = {"no_rw_check": 1}
"""What is read of an entry in the cycle in which it is written is used by nobody.

Otherwise yosys gives the old entry, as the description says: where a part's memories do not, such as an ECP5's, with a
comparison of both addresses, a delayed write and a multiplexer for every bit.
"""
