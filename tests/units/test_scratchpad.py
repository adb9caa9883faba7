# amaranth: UnusedElaboratable=no
"""Scratchpad: priorities, latency, masks and what a read sees of a write."""

import random

import pytest
from amaranth.hdl import Signal

from hw.units.ports import SCRATCH_ADDRESS_BITS
from hw.units.scratchpad import Scratchpad
from tests.support.streams import simulate

BANKS, BANK_WORDS, WORD_BITS = 4, 8, 16


def expected_grants(addresses):
    """The first of the ports that ask a bank gets it; `None` asks nothing."""
    served, grants = set(), []
    for address in addresses:
        bank = None if address is None else address // BANK_WORDS
        grants.append(address is not None and bank not in served)
        served.add(bank)
    return grants


@pytest.mark.parametrize("span", [BANKS * BANK_WORDS, BANK_WORDS + 2])
def test_equals_a_list_of_words(span):
    """Random requests on all six ports, over all banks or crowded into two, against the plainest model.

    Address bits that no bank has are anything. A reset keeps the words and forgets all answers, and what is asked then.
    """
    dut, reset = Scratchpad(word_bits=WORD_BITS, banks=BANKS, bank_words=BANK_WORDS), Signal()
    rng = random.Random(span)
    words = [0] * (BANKS * BANK_WORDS)
    answers = [[] for _ in dut.reads]  # (cycle, word) due on each port
    seen = {"granted": 0, "refused": 0, "forgotten": 0}

    def anywhere(address):
        return address | rng.randrange(1 << SCRATCH_ADDRESS_BITS) // len(words) * len(words)

    async def testbench(ctx):
        for cycle in range(600):
            resets = rng.random() < 0.05
            ctx.set(reset, resets)
            reads = [rng.randrange(span) if rng.random() < 0.7 else None for _ in dut.reads]
            writes = [rng.randrange(span) if rng.random() < 0.7 else None for _ in dut.writes]
            data = [(rng.getrandbits(WORD_BITS), rng.getrandbits(WORD_BITS // 8)) for _ in dut.writes]
            for port, address in zip(dut.reads, reads, strict=True):
                ctx.set(port.request.valid, address is not None)
                ctx.set(port.request.payload, anywhere(address or 0))
            for port, address, (value, mask) in zip(dut.writes, writes, data, strict=True):
                ctx.set(port.request.valid, address is not None)
                ctx.set(port.request.payload, {"address": anywhere(address or 0), "data": value, "mask": mask})
            for ports, addresses in ((dut.reads, reads), (dut.writes, writes)):
                granted = [bool(ctx.get(p.request.valid) and ctx.get(p.request.ready)) for p in ports]
                assert granted == expected_grants(addresses)
                seen["granted"] += sum(granted)
                seen["refused"] += sum(a is not None for a in addresses) - sum(granted)
            for port, due in zip(dut.reads, answers, strict=True):
                now = [word for when, word in due if when == cycle]
                assert ctx.get(port.valid) == len(now)
                assert not now or ctx.get(port.data) == now[0]
            if resets:
                seen["forgotten"] += sum(when > cycle for due in answers for when, _ in due)
                for due in answers:
                    due.clear()
                reads, writes = [None] * len(reads), [None] * len(writes)
            for due, address, grant in zip(answers, reads, expected_grants(reads), strict=True):
                if grant:
                    due.append((cycle + dut.latency, words[address]))
            for address, (value, mask), grant in zip(writes, data, expected_grants(writes), strict=True):
                if grant:
                    enable = sum(0xFF << 8 * byte for byte in range(WORD_BITS // 8) if mask >> byte & 1)
                    words[address] = value & enable | words[address] & ~enable
            await ctx.tick()

    simulate(dut, testbench, reset=reset)
    assert min(seen["granted"], seen["refused"]) > 200
    assert seen["forgotten"] > 20


def test_word_must_be_bytes():
    with pytest.raises(ValueError, match="multiple of 8, not 12"):
        Scratchpad(word_bits=12, banks=2, bank_words=8)
