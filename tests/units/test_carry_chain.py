import pytest
from amaranth.hdl import Cat, Module, Shape, Signal

from hw.units.carry_chain import count_down, plus, total, up_down
from tests.support.streams import simulate

BITS = 4
EVERY = range(1 << BITS)


def everything(inputs, value):
    """What `value`, BITS of them, is for each value of `inputs`."""
    m, got = Module(), []
    o = Signal(BITS)
    m.d.comb += o.eq(value)

    async def bench(ctx):
        for bits in range(1 << len(inputs)):
            ctx.set(inputs, bits)
            await ctx.delay(1e-9)
            got.append(ctx.get(o))

    simulate(m, bench)
    return got


def test_every_sum():
    a, b, carry = Signal(BITS), Signal(BITS), Signal()
    sums = [(x + y + c) % (1 << BITS) for c in range(2) for y in EVERY for x in EVERY]
    assert everything(Cat(a, b, carry), plus(Cat(a), Cat(b), carry)) == sums


def test_every_count_down():
    level, value, load = Signal(BITS), Signal(BITS), Signal()
    counts = [(x - 1) % (1 << BITS) for _ in EVERY for x in EVERY] + [y for y in EVERY for _ in EVERY]
    assert everything(Cat(level, value, load), count_down(level, load=load, value=value)) == counts


def test_every_step():
    level, up, down = Signal(BITS), Signal(), Signal()
    steps = [(x + u - d) % (1 << BITS) for d in range(2) for u in range(2) for x in EVERY]
    assert everything(Cat(level, up, down), up_down(level, up=up, down=down)) == steps


@pytest.mark.parametrize("bits", [3, 5, 9])
@pytest.mark.parametrize("signs", [(0,), (0, 0), (1, 0), (0, 1, 0), (1, 1, 1, 1), (0, 0, 1, 0, 0)])
def test_every_total(signs, bits):
    """Of up to five numbers of two or three bits, with signs and without; of the low bits where there are fewer."""
    m, got = Module(), []
    numbers = [Signal(Shape(2 + (k < 1), bool(sign)), name=f"number{k}") for k, sign in enumerate(signs)]
    found, o = total(m, numbers, bits, "found"), Signal(Shape(bits, any(signs)))
    m.d.comb += o.eq(found)
    sums = []

    async def bench(ctx):
        for together in range(1 << sum(map(len, numbers))):
            ctx.set(Cat(*numbers), together)
            await ctx.delay(1e-9)
            got.append(ctx.get(o) % (1 << bits))
            sums.append(sum(ctx.get(number) for number in numbers) % (1 << bits))

    simulate(m, bench)
    assert got == sums
