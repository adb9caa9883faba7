"""The memory port's crossing: nothing is lost, invented or torn, at any ratio and phase, whoever is reset when."""

import pytest

from hw.axi.crossing import AxiCrossing
from hw.axi.crossing_reset import CrossingReset
from tests.support.crossing import TwoClocks

RATIOS = (0.37, 0.8, 1.0, 1.25, 2.9)
BYTES, IDS, BEATS, SPAN = 4, 2, 8, 256  # words of SPAN of memory
PATIENCE = 3000  # cycles of `sync` that anything may take


class Memory:
    """The memory's side: answers in order, at random times; checks requests and words. `words`: what it holds."""

    def __init__(self, dut, clocks):
        self.bus, self.clocks = dut.memory, clocks
        self.words = [initial(address) for address in range(SPAN)]
        self.taken = self.wordless = 0  # requests taken; words that came with no byte
        self.forget()

    def forget(self):
        self.reads, self.writes, self.answers = [], [], 0
        self.left, self.held = 0, {}

    @property
    def idle(self):
        return not (self.reads or self.writes or self.answers)

    async def process(self, ctx):
        read, write, draw = self.bus.read, self.bus.write, self.clocks.random
        ways = {"ar": read.ar, "aw": write.aw, "w": write.w}
        values = [signal for way in ways.values() for signal in (way.valid, way.ready, way.payload.as_value())]
        values += [read.r.valid, read.r.ready, write.b.valid, write.b.ready]
        async for _, reset, *seen in ctx.tick("sync").sample(*values):
            if reset:
                self.forget()
                for signal in (read.r.valid, write.b.valid, *(way.ready for way in ways.values())):
                    ctx.set(signal, 0)
                continue
            for name, way in ways.items():
                valid, ready, value = seen[:3]
                del seen[:3]
                if name in self.held:
                    assert valid, f"{name} was withdrawn"
                    assert value == self.held[name], f"{name} changed while it waited"
                self.held.pop(name, None)
                if valid and not ready:
                    self.held[name] = value
                if valid and ready:
                    getattr(self, name)(way.payload.shape().from_bits(value))
            if seen[0] and seen[1]:
                burst = self.reads[0]
                burst[1] -= 1
                burst[0] += 1
                if not burst[1]:
                    self.reads.pop(0)
            if seen[2] and seen[3]:
                self.answers -= 1
            for way in ways.values():
                ctx.set(way.ready, draw.random() < 0.7)
            ctx.set(write.w.ready, bool(self.writes) and draw.random() < 0.7)
            if not seen[0] or seen[1]:
                ctx.set(read.r.valid, bool(self.reads) and draw.random() < 0.7)
                if self.reads:
                    address, left, tag = self.reads[0]
                    ctx.set(read.r.payload, {"data": self.words[address], "id": tag, "error": 0, "last": left == 1})
            if not seen[2] or seen[3]:
                ctx.set(write.b.valid, self.answers > 0 and draw.random() < 0.7)

    def ar(self, request):
        self.taken += 1
        self.reads.append([request.address // BYTES, request.last + 1, request.id])

    def aw(self, request):
        self.taken += 1
        self.writes.append([request.address // BYTES, request.last + 1])

    def w(self, word):
        assert self.writes, "a word without a request"
        burst = self.writes[0]
        assert word.last == (burst[1] == 1)
        assert word.strobe in (0, (1 << BYTES) - 1), "a part of a word"
        if word.strobe:
            assert word.data % SPAN == burst[0], "a word of another address"
            self.words[burst[0]] = word.data
        self.wordless += not word.strobe
        burst[0], burst[1] = burst[0] + 1, burst[1] - 1
        if not burst[1]:
            self.writes.pop(0)
            self.answers += 1


def initial(address):
    return 0xABCD << 16 | address


class Core:
    """The accelerator's side: bursts at random, checked against what it has written since the last reset."""

    def __init__(self, dut, clocks, memory):
        self.dut, self.clocks, self.memory = dut, clocks, memory
        self.version = self.done = self.lives = 0
        self.begin()

    def begin(self):
        self.reads, self.words, self.unanswered, self.busy, self.unread = [], [], [], set(), set()
        self.life = 0

    async def process(self, ctx):
        bus, draw = self.dut.core, self.clocks.random
        read, write = bus.read, bus.write
        ways = (read.ar, write.aw, write.w)
        answers = (read.r.valid, read.r.ready, read.r.payload, write.b.valid, write.b.ready)
        values = [signal for way in ways for signal in (way.valid, way.ready)]
        async for _, reset, hold, *seen in ctx.tick("core").sample(self.dut.hold, *values, *answers):
            if reset or hold:
                self.lives += bool(self.life)
                self.begin()
                for signal in (*(way.valid for way in ways), read.r.ready, write.b.ready):
                    ctx.set(signal, 0)
                continue
            self.life += 1
            went = [seen[n] and seen[n + 1] for n in (0, 2, 4)]
            if seen[6] and seen[7]:
                self.read(seen[8])
            if seen[9] and seen[10]:
                address, length = self.unanswered.pop(0)
                self.busy -= set(range(address, address + length))
                self.done += 1
            for index, (way, make) in enumerate(zip(ways, (self.ask, self.announce, self.give), strict=True)):
                if seen[2 * index] and not went[index]:
                    continue
                payload = make() if draw.random() < 0.7 else None
                ctx.set(way.valid, payload is not None)
                if payload is not None:
                    ctx.set(way.payload, payload)
            ctx.set(read.r.ready, draw.random() < 0.8)
            ctx.set(write.b.ready, draw.random() < 0.8)

    def free(self, taken):
        """A burst of words that nobody is at."""
        draw = self.clocks.random
        for _ in range(5):
            address, length = draw.randrange(SPAN - BEATS), draw.choice([1, 2, BEATS, draw.randint(1, BEATS)])
            if not taken & set(range(address, address + length)):
                return address, length
        return None

    def ask(self):
        if len(self.reads) > 10 or not (found := self.free(self.busy)):
            return None
        address, length = found
        tag = self.clocks.random.randrange(1 << IDS)
        self.reads.append([address, length, tag])
        self.unread |= set(range(address, address + length))
        return {"address": address * BYTES, "last": length - 1, "id": tag}

    def announce(self):
        if len(self.unanswered) > 10 or not (found := self.free(self.busy | self.unread)):
            return None
        address, length = found
        self.busy |= set(range(address, address + length))
        self.unanswered.append([address, length])
        for word in range(address, address + length):
            self.version += 1
            self.words.append((self.version << 8 | word, word == address + length - 1))
        return {"address": address * BYTES, "last": length - 1}

    def give(self):
        if not self.words:
            return None
        data, last = self.words.pop(0)
        return {"data": data, "strobe": (1 << BYTES) - 1, "last": last}

    def read(self, answer):
        burst = self.reads[0]
        assert answer.data == self.memory.words[burst[0]]
        assert (answer.id, answer.last, answer.error) == (burst[2], burst[1] == 1, 0)
        burst[0], burst[1] = burst[0] + 1, burst[1] - 1
        if not burst[1]:
            self.reads.pop(0)
            self.unread = {w for a, n, _ in self.reads for w in range(a, a + n)}
            self.done += 1


def bench(ratio, seed, **options):
    dut = AxiCrossing(word_bits=8 * BYTES, id_bits=IDS, address_bits=10, burst_beats=BEATS)
    clocks = TwoClocks(dut, ratio=ratio, seed=seed, **options)
    memory = Memory(dut, clocks)
    return clocks, memory, Core(dut, clocks, memory)


async def finish(ctx, clocks, memory, core):
    """With the core in reset, what it began comes to its end, and stays there."""
    ctx.set(clocks.core.rst, 1)
    await clocks.until(ctx, lambda: memory.idle and not ctx.get(core.dut.open))
    await clocks.wait(ctx, 50)
    assert memory.idle
    assert memory.held == {}


@pytest.mark.parametrize("ratio", RATIOS)
def test_bursts_cross(ratio):
    clocks, memory, core = bench(ratio, seed=1)

    async def main(ctx):
        await clocks.until(ctx, lambda: core.done > 300, 9000)

    clocks.run(main, memory.process, core.process)
    assert not memory.wordless


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ratio", RATIOS)
def test_resets_in_the_middle(ratio, seed):
    """Of either side, of one cycle and of several, alone or while the last one is still being dealt with."""
    clocks, memory, core = bench(ratio, seed)
    draw = clocks.random

    async def main(ctx):
        for _ in range(12):
            done = core.done
            await clocks.until(ctx, lambda done=done: core.done > done + 8)
            for _ in range(draw.choice([1, 1, 2, 3])):
                await clocks.pulse(ctx, draw.choice(["core", "core", "sync"]), draw.choice([1, 2, 3, 9]))
                await clocks.wait(ctx, draw.choice([0, 0, 1, 5, 20]))
        await finish(ctx, clocks, memory, core)

    clocks.run(main, memory.process, core.process)
    assert core.lives >= 12
    assert memory.wordless
    assert all(word % SPAN == address for address, word in enumerate(memory.words))


@pytest.mark.parametrize("seed", range(3))
def test_a_clock_that_stands_still(seed):
    """The core's reset is noticed without its clock: what it began is ended; it begins again when the clock runs."""
    clocks, memory, core = bench(1.25, seed, stoppable=True)

    async def main(ctx):
        for _ in range(5):
            done = core.done
            await clocks.until(ctx, lambda done=done: core.done > done + 8)
            clocks.frozen = True
            ctx.set(clocks.core.rst, 1)
            await clocks.until(ctx, lambda: memory.idle and not ctx.get(core.dut.open))
            clocks.frozen = False
            await clocks.wait(ctx, 20)
            ctx.set(clocks.core.rst, 0)
        await finish(ctx, clocks, memory, core)

    clocks.run(main, memory.process, core.process)
    assert core.lives >= 5


OWED = 16  # bursts of each kind that a memory may take and not answer


@pytest.mark.parametrize("kind", ["read", "write"])
def test_as_many_bursts_as_a_memory_may_owe(kind):
    """From a memory that answers none, that many are asked for and no more; one more for each that it answers."""
    dut = AxiCrossing(word_bits=8 * BYTES, id_bits=IDS, address_bits=10, burst_beats=BEATS)
    clocks, taken = TwoClocks(dut, ratio=1.25, seed=2), 0
    core, memory = getattr(dut.core, kind), getattr(dut.memory, kind)
    (ask, asked), answer = ((core.ar, memory.ar), memory.r) if kind == "read" else ((core.aw, memory.aw), memory.b)

    async def count(ctx):
        nonlocal taken
        async for _, reset, valid, ready in ctx.tick("sync").sample(asked.valid, asked.ready):
            taken += valid and ready and not reset

    async def main(ctx):
        ctx.set(ask.valid, 1)
        ctx.set(asked.ready, 1)
        if kind == "read":
            ctx.set(core.r.ready, 1)
            ctx.set(answer.p.last, 1)
        else:
            ctx.set(core.w.valid, 1)
            ctx.set(memory.w.ready, 1)
            ctx.set(core.b.ready, 1)
        for answered in range(4):
            await clocks.wait(ctx, 300)
            assert taken == OWED + answered
            ctx.set(answer.valid, 1)
            await clocks.wait(ctx, 1)
            ctx.set(answer.valid, 0)

    clocks.run(main, count)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ratio", RATIOS)
def test_nothing_is_open_while_the_cores_side_is_cleared(ratio, seed):
    """Neither before the core begins nor when its reset, of one cycle or several, is over."""
    dut = CrossingReset()
    clocks, opened = TwoClocks(dut, ratio=ratio, seed=seed), 0
    draw = clocks.random

    async def watch(ctx):
        nonlocal opened
        async for _, _, open_, clear in ctx.tick("sync").sample(dut.open, dut.clear):
            assert not (open_ and clear)
            opened += open_

    async def main(ctx):
        ctx.set(dut.drained, 1)
        for _ in range(30):
            await clocks.until(ctx, lambda: ctx.get(dut.open))
            await clocks.wait(ctx, draw.choice([1, 2, 5, 30]))
            await clocks.pulse(ctx, "core", draw.choice([1, 2, 3, 9]))
            await clocks.wait(ctx, draw.choice([0, 1, 5, 20]))

    clocks.run(main, watch)
    assert opened
