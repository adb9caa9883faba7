"""FETCH, LOAD and STORE: on AXI4 pins against a third-party memory model, and their throughput."""

import pytest
from amaranth.hdl import Cat, Signal

from hw.dma import FetchEngine, LoadEngine, StoreEngine
from hw.spec import isa
from hw.spec.isa import Op
from hw.units.ports import INDEX_BITS
from sim.bench.dma_top import DmaTop
from tests.support.cocotb import run_bench
from tests.support.streams import simulate

SIZES = {
    "narrow": {"word_bits": 64, "banks": 2, "bank_words": 128, "stream_words": 64, "burst_beats": 4},
    "arty": {"word_bits": 128, "banks": 4, "bank_words": 128, "stream_words": 128, "burst_beats": 16},
}


@pytest.mark.parametrize("pressure", [0.0, 0.3])
@pytest.mark.parametrize("size", SIZES)
def test_random_transfers(size, pressure):
    assert bench(size, "random_transfers", pressure) == 1


@pytest.mark.parametrize("size", SIZES)
def test_faults_and_halts(size):
    assert bench(size, None, 0.3) > 30


def bench(size, testcase, pressure):
    sizes = SIZES[size]
    env = {
        "WORD_BITS": sizes["word_bits"],
        "SCRATCH_WORDS": sizes["banks"] * sizes["bank_words"],
        "BURST_BEATS": sizes["burst_beats"],
        "PRESSURE": pressure,
        "TRANSFERS": 12,
    }
    return run_bench(DmaTop(**sizes), "sim.bench.dma", name="dma_top", env=env, testcase=testcase)


LATENCY = 20  # cycles from an address to its first word, as a DRAM controller's


def memory(bus, counts):
    """A read-only memory that answers a word's own number, LATENCY cycles after the address, one word per cycle."""

    async def answer(ctx):
        queue, cycle = [], 0
        ctx.set(bus.ar.ready, 1)
        while counts["cycles"] < counts["patience"] and not counts["done"]:
            due = bool(queue) and queue[0][0] <= cycle
            ctx.set(bus.r.valid, due)
            if due:
                _, word, last = queue.pop(0)
                ctx.set(bus.r.payload, {"data": word, "id": 0, "error": 0, "last": last})
                counts["words"].append(cycle)
            _, _, valid, burst = await ctx.tick().sample(bus.ar.valid, bus.ar.payload)
            if valid:
                first = int(burst.address) // 8
                queue += [(cycle + LATENCY, first + k, k == burst.last) for k in range(burst.last + 1)]
            cycle += 1
            counts["cycles"] = cycle

    return answer


def rate(stamps):
    return (len(stamps) - 1) / (stamps[-1] - stamps[0])


def issue_of(op, **operands):
    word = int.from_bytes(isa.encode(op, **operands), "little")
    return {"op": op, "operands": word >> isa.OPCODE_BITS + isa.WAIT_BITS * len(isa.WAITED), "index": 5}


def run_reads(dut, issue, extra):
    """Runs one instruction against the memory above; returns the cycles in which words arrived."""
    counts = {"cycles": 0, "patience": 3000, "words": [], "done": False}

    async def control(ctx):
        ctx.set(dut.regions, [{"base": 0, "size": 1 << 20}] * 4)
        ctx.set(dut.issue.payload, issue)
        ctx.set(dut.issue.valid, 1)
        await ctx.tick().until(dut.issue.ready)
        ctx.set(dut.issue.valid, 0)
        await ctx.tick().until(dut.retired)
        counts["done"] = True

    simulate(dut, control, memory(dut.bus, counts), *extra)
    assert counts["done"]
    return counts["words"]


def test_fetch_throughput():
    """Long weight matrices: at least 0.9 words per cycle at a DRAM's latency, in order."""
    dut = FetchEngine(word_bits=64, stream_words=128, burst_beats=16)
    got = []

    async def take(ctx):
        ctx.set(dut.stream.ready, 1)
        async for _, _, valid, word in ctx.tick().sample(dut.stream.valid, dut.stream.payload):
            if valid:
                got.append(int(word))
            if len(got) == 800:
                return

    stamps = run_reads(dut, issue_of(Op.FETCH, region=0, offset=3, words=800), [take])
    assert got == list(range(3, 803))
    assert rate(stamps) >= 0.9


@pytest.mark.parametrize(("run", "least"), [(400, 0.75), (16, 0.7)])
def test_load_throughput(run, least):
    """Long runs at a DRAM's latency, with the FIFO's two bursts outstanding; every word is written once, in order."""
    dut = LoadEngine(word_bits=64, scratch_words=1024, burst_beats=16)
    got = []

    async def take(ctx):
        request = dut.scratch.request
        ctx.set(request.ready, 1)
        async for _, _, valid, word in ctx.tick().sample(request.valid, request.payload):
            if valid:
                got.append((int(word.address), int(word.data)))
            if len(got) == 400:
                return

    operands = {"run": run, "count1": 400 // run, "offset1": 2 * run, "scratch0": 1, "scratch1": run, "scratch": 9}
    stamps = run_reads(dut, issue_of(Op.LOAD, region=1, offset=32, **operands), [take])
    assert got == [(9 + n, 32 + n // run * 2 * run + n % run) for n in range(400)]
    assert rate(stamps) >= least


def test_store_throughput():
    """Long runs: 0.9 words per cycle although each response takes a DRAM's latency; retired with the last of them."""
    dut = StoreEngine(word_bits=64, scratch_words=1024, burst_beats=16)
    sent, responses, retired = [], [], []
    request = dut.scratch.request

    async def scratchpad(ctx):
        ctx.set(request.ready, 1)
        words = [0, 0]
        for _ in range(700):
            _, _, valid, address = await ctx.tick().sample(request.valid, request.payload)
            words = [words[1], (1 << 63 | int(address)) if valid else 0]
            ctx.set(dut.scratch.valid, words[0] != 0)
            ctx.set(dut.scratch.data, words[0])

    async def bus(ctx):
        ctx.set(dut.regions, [{"base": 0, "size": 1 << 20}] * 4)
        operands = {"region": 2, "offset": 5, "run": 200, "count1": 2, "offset1": 200, "scratch0": 2, "scratch1": 400}
        ctx.set(dut.issue.payload, issue_of(Op.STORE, **operands))
        ctx.set(dut.issue.valid, 1)
        ctx.set(Cat(dut.bus.aw.ready, dut.bus.w.ready), 3)
        for cycle in range(700):
            ctx.set(dut.bus.b.valid, cycle in responses)
            sampled = (dut.issue.ready, dut.bus.w.valid, dut.bus.w.payload, dut.retired)
            _, _, begun, valid, word, done = await ctx.tick().sample(*sampled)
            if begun:
                ctx.set(dut.issue.valid, 0)
            if valid:
                sent.append((cycle, int(word.data)))
                if word.last:
                    responses.append(cycle + LATENCY)
            if done:
                retired.append(cycle)

    simulate(dut, bus, scratchpad)
    assert [word & 0xFFFF for _, word in sent] == [2 * n for n in range(400)]
    assert retired == [responses[-1]]
    assert rate([cycle for cycle, _ in sent]) >= 0.9


ALL_ONES = (1 << INDEX_BITS) - 1
MOVERS = {
    Op.FETCH: lambda: FetchEngine(word_bits=64, stream_words=16, burst_beats=4),
    Op.LOAD: lambda: LoadEngine(word_bits=64, scratch_words=64, burst_beats=4, slices=3),
    Op.STORE: lambda: StoreEngine(word_bits=64, scratch_words=64, burst_beats=4, slices=3),
}


@pytest.mark.parametrize("index", [ALL_ONES, ALL_ONES >> 1, 1 << 12])
@pytest.mark.parametrize("op", MOVERS)
def test_any_index_is_told_with_a_fault(op, index):
    """Of a transfer in a region of no words."""
    dut, found = MOVERS[op](), []

    async def control(ctx):
        operands = {"words": 1} if op is Op.FETCH else {"run": 1, "count1": 1, "count2": 1}
        ctx.set(dut.issue.payload, issue_of(op, region=2, **operands) | {"index": index})
        ctx.set(dut.issue.valid, 1)
        await ctx.tick().until(dut.issue.ready)
        ctx.set(dut.issue.valid, 0)
        ctx.set(dut.issue.payload, issue_of(op, region=1, **operands) | {"index": 5})
        fault, where = await ctx.tick().sample(dut.fault, dut.fault_index).until(dut.fault.any())
        found.append((fault, where))

    simulate(dut, control)
    assert found == [(isa.Fault.REGION_ADDRESS, index)]


def written(dut, words):
    """A memory that takes every word at once, appends (word, strobe) to `words`, and answers each burst."""

    async def accept(ctx):
        ctx.set(Cat(dut.bus.aw.ready, dut.bus.w.ready), 3)
        async for _, _, valid, word in ctx.tick().sample(dut.bus.w.valid, dut.bus.w.payload):
            if valid:
                words.append((int(word.data), int(word.strobe)))
            ctx.set(dut.bus.b.valid, valid and word.last)

    return accept


def addresses_as_words(dut):
    """A scratchpad whose words are their own addresses."""

    async def answer(ctx):
        ctx.set(dut.scratch.request.ready, 1)
        async for _, _, valid, address in ctx.tick().sample(dut.scratch.request.valid, dut.scratch.request.payload):
            ctx.set(dut.scratch.valid, valid)
            ctx.set(dut.scratch.data, address)

    return answer


@pytest.mark.parametrize("op", [Op.LOAD, Op.STORE])
def test_words_are_asked_for_in_the_slice_that_is_named(op):
    """Of instructions one behind the other; of LOADs also whether in every slice."""
    dut, counts = MOVERS[op](), {"cycles": 0, "patience": 400, "words": [], "done": False}
    named = [(0, 0), (2, 0), (1, 1), (2, 1), (0, 0), (1, 0)]
    if op is Op.STORE:
        named = [(slice_, 0) for slice_, _ in named]
    found = []

    async def control(ctx):
        ctx.set(dut.regions, [{"base": 0, "size": 1 << 20}] * 4)
        for slice_, every in named:
            operands = {"run": 3, "count1": 1, "count2": 1, "slice": slice_} | ({"every": 1} if every else {})
            ctx.set(dut.issue.payload, issue_of(op, region=1, **operands))
            ctx.set(dut.issue.valid, 1)
            await ctx.tick().until(dut.issue.ready)
        ctx.set(dut.issue.valid, 0)
        await ctx.tick().repeat(100)
        counts["done"] = True

    async def scratchpad(ctx):
        request = dut.scratch.request
        ctx.set(request.ready, 1)
        sampled = (request.valid, dut.slice, dut.every if op is Op.LOAD else Cat())
        async for _, _, valid, slice_, every in ctx.tick().sample(*sampled):
            if op is Op.STORE:
                ctx.set(dut.scratch.valid, valid)  # a cycle after it was asked for
            if valid:
                found.append((slice_, every))

    if op is Op.LOAD:
        simulate(dut, control, memory(dut.bus, counts), background=[scratchpad])
    else:
        simulate(dut, control, background=[scratchpad, written(dut, [])])
    assert found == [name for name in named for _ in range(3)]


@pytest.mark.parametrize(("skip", "drop"), [(0, 0), (1, 0), (0, 7), (3, 2), (7, 0), (5, 5)])
@pytest.mark.parametrize("runs", [1, 2, 3])
def test_bytes_that_are_not_written(runs, skip, drop):
    """The first ones of a group's first run, the last ones of its last run, of words of 8 bytes."""
    dut, words = MOVERS[Op.STORE](), []
    operands = {"run": 2, "count1": runs, "count2": 2, "offset1": 2, "offset2": 6, "scratch0": 1, "scratch1": 2,
                "scratch2": 6, "skip": skip, "drop": drop}  # fmt: skip

    async def control(ctx):
        ctx.set(dut.regions, [{"base": 0, "size": 1 << 20}] * 4)
        ctx.set(dut.issue.payload, issue_of(Op.STORE, region=1, **operands))
        ctx.set(dut.issue.valid, 1)
        await ctx.tick().until(dut.issue.ready)
        ctx.set(dut.issue.valid, 0)
        await ctx.tick().until(dut.retired)

    simulate(dut, control, background=[written(dut, words), addresses_as_words(dut)])
    expected = []
    for group in range(2):
        for run in range(runs):
            kept = range(skip if run == 0 else 0, 8 - (drop if run == runs - 1 else 0))
            expected += [(6 * group + 2 * run + word, sum(1 << byte for byte in kept)) for word in range(2)]
    assert words == expected


@pytest.mark.parametrize("op", MOVERS)
def test_a_reset_ends_a_fault(op):
    """And whatever the engine had come to: the next instruction is as if it were the first one."""
    dut, reset, counts = MOVERS[op](), Signal(), {"cycles": 0, "patience": 1000, "words": [], "done": False}
    operands = {"words": 9} if op is Op.FETCH else {"run": 9, "count1": 1, "count2": 1, "scratch0": 1}
    words, faults = [], []

    async def issue(ctx, size, until):
        ctx.set(dut.regions, [{"base": 0, "size": size}] * 4)
        ctx.set(dut.issue.payload, issue_of(op, region=1, **operands))
        ctx.set(dut.issue.valid, 1)
        await ctx.tick().until(dut.issue.ready)
        ctx.set(dut.issue.valid, 0)
        _, fault = await ctx.tick().sample(until, dut.fault).until(until)
        return fault

    async def control(ctx):
        if op is not Op.STORE:
            ctx.set(dut.stream.ready if op is Op.FETCH else dut.scratch.request.ready, 1)
        assert await issue(ctx, 8 * 6, dut.fault.any()) == isa.Fault.REGION_ADDRESS
        await ctx.tick().repeat(100)
        for patience in (1, 20):
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            words.clear()
            faults.append(await issue(ctx, 8 * 9, dut.retired | dut.fault.any()))
            await ctx.tick().repeat(patience)
        counts["done"] = True

    if op is Op.STORE:
        simulate(dut, control, background=[written(dut, words), addresses_as_words(dut)], reset=reset)
        assert words == [(number, 255) for number in range(9)]
    else:
        simulate(dut, control, memory(dut.bus, counts), reset=reset)
    assert faults == [0, 0]


@pytest.mark.parametrize("before", [0, 3, 9, 30])
def test_a_store_waits_for_the_scratchpad(before):
    """It is what ``wait_in`` counts, until the first burst is announced; then it awaits the bus.

    Also if it is the first one after a reset, so many cycles after another's start.
    """
    dut, reset, seen = MOVERS[Op.STORE](), Signal(), []

    async def issue(ctx, run):
        ctx.set(dut.regions, [{"base": 0, "size": 1 << 20}] * 4)
        ctx.set(dut.issue.payload, issue_of(Op.STORE, region=1, run=run, count1=1, count2=1, scratch0=1))
        ctx.set(dut.issue.valid, 1)
        await ctx.tick().until(dut.issue.ready)
        ctx.set(dut.issue.valid, 0)

    async def cycles(ctx, count, *, granted):
        ctx.set(dut.scratch.request.ready, granted)
        for _ in range(count):
            _, _, asked, *activity = await ctx.tick().sample(
                dut.scratch.request.valid, dut.wait_in, dut.wait_out, dut.busy
            )
            ctx.set(dut.scratch.valid, asked and granted)
            seen.append(tuple(activity))

    async def control(ctx):
        if before:
            await issue(ctx, 30)
            await cycles(ctx, before, granted=1)
            ctx.set(dut.scratch.valid, 0)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            seen.clear()
        await issue(ctx, 2)
        await cycles(ctx, 20, granted=0)
        await cycles(ctx, 20, granted=1)

    simulate(dut, control, reset=reset)
    assert set(seen[:20]) == {(1, 0, 0)}
    assert seen[-1] == (0, 1, 0)


def test_a_fetch_waits_for_words_that_are_asked_for():
    """That is ``wait_in``; a word that arrives is ``busy``, and behind the last one there is neither."""
    dut, seen = MOVERS[Op.FETCH](), []

    async def control(ctx):
        ctx.set(dut.regions, [{"base": 0, "size": 1 << 20}] * 4)
        ctx.set(dut.issue.payload, issue_of(Op.FETCH, words=1))
        ctx.set(Cat(dut.issue.valid, dut.bus.ar.ready, dut.stream.ready), 0b111)
        await ctx.tick().until(dut.issue.ready)
        ctx.set(dut.issue.valid, 0)
        await ctx.tick().until(dut.bus.ar.valid)
        for cycle in range(30):
            ctx.set(dut.bus.r.valid, cycle == 20)
            ctx.set(dut.bus.r.payload, {"data": 0, "id": 0, "error": 0, "last": 1})
            seen.append(tuple(ctx.get(signal) for signal in (dut.wait_in, dut.wait_out, dut.busy)))
            await ctx.tick()

    simulate(dut, control)
    assert seen == [(1, 0, 0)] * 20 + [(0, 0, 1)] + [(0, 0, 0)] * 9


@pytest.mark.parametrize("cycles", [3, 20, 60])
@pytest.mark.parametrize("op", MOVERS)
def test_a_halt_lets_no_burst_begin(op, cycles):
    """Nor, but in its first cycle, an access of the scratchpad; what was asked for before is taken and answered."""
    dut, counts = MOVERS[op](), {"cycles": 0, "patience": 1000, "words": [], "done": False}
    operands = {"words": 300} if op is Op.FETCH else {"run": 300, "count1": 1, "count2": 1}
    begun, accesses = [], []

    async def control(ctx):
        request = dut.bus.aw if op is Op.STORE else dut.bus.ar
        scratch = Cat() if op is Op.FETCH else dut.scratch.request.valid
        if op is not Op.STORE:
            ctx.set(dut.stream.ready if op is Op.FETCH else dut.scratch.request.ready, 1)
        ctx.set(dut.regions, [{"base": 0, "size": 1 << 20}] * 4)
        ctx.set(dut.issue.payload, issue_of(op, region=1, **operands))
        ctx.set(dut.issue.valid, 1)
        await ctx.tick().until(dut.issue.ready)
        ctx.set(dut.issue.valid, 0)
        await ctx.tick().repeat(cycles)
        ctx.set(dut.halt, 1)
        for cycle in range(150):
            _, _, valid, access = await ctx.tick().sample(request.valid, scratch)
            begun.extend([cycle] * valid)
            accesses.extend([cycle] * access)
        assert ctx.get(dut.quiet)
        counts["done"] = True

    if op is Op.STORE:
        simulate(dut, control, background=[written(dut, []), addresses_as_words(dut)])
    else:
        simulate(dut, control, memory(dut.bus, counts))
    assert begun in ([], [0])
    assert accesses in ([], [0])
