"""Numbers of requests: executed once, remembered as far as the window and the session go."""

import pytest

from hw.link.session import Session
from hw.spec.link import WINDOW
from tests.support.streams import simulate


@pytest.mark.parametrize("first", [0, 65_530])
def test_what_is_known_of_a_number(first):
    """Against a list: the next one, those executed in this session, and no others, up to `WINDOW` of them."""
    dut = Session()

    async def bench(ctx):
        async def look(number):
            ctx.set(dut.sequence, number % 65536)
            await ctx.tick().repeat(2)
            return ctx.get(dut.current), ctx.get(dut.repeated), ctx.get(dut.past)

        async def pulse(signal):
            ctx.set(signal, 1)
            await ctx.tick()
            ctx.set(signal, 0)

        assert not ctx.get(dut.opened)
        for start in (first, first + 7, first - 3, first + 4):  # each session begins near the one before
            await look(start)
            await pulse(dut.hello)
            assert ctx.get(dut.opened)
            done = []
            for number in range(start + 1, start + 2 * WINDOW):
                for back in range(-2, WINDOW + 3):
                    current, repeated, past = await look(number - back)
                    known = number - back in done[-WINDOW:]
                    assert (current, repeated) == (back == 0, known)
                    assert not known or past == (number - back) % 3
                await look(start)
                await pulse(dut.hello)  # once more, which changes nothing
                await look(number)
                ctx.set(dut.status, number % 3)
                await pulse(dut.done)
                done.append(number)
                assert ctx.get(dut.expected) == (number + 1) % 65536

    simulate(dut, bench)
