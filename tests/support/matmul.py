"""What MATMUL instructions mean, from the laws, and a bench that runs them on the engine in Amaranth's simulator."""

import random
from itertools import product

import numpy as np

from hw.spec import arith
from hw.spec.isa import TOGETHER, Fault, Kind, Op, encode
from hw.spec.memory import channel_params, pack_stream
from hw.units.ports import INDEX_BITS
from tests.support.streams import simulate

__all__ = ["Machine", "beats_of", "issue_bits", "prepare", "program", "run_engine"]

_FIRST_INDEX = (1 << INDEX_BITS) - 1000  # of a program's first instruction: a late one of a long program
_TYPES = {Kind.INT8: "<i1", Kind.INT16: "<i2", Kind.INT32: "<i4", Kind.PLANES: "<i2"}


class Machine:
    """Scratchpad bytes, row maxima and the weight stream of a list of instructions, executed one after the other."""

    def __init__(self, config, seed=0):
        self.config = config
        self.rng = np.random.default_rng(seed)
        self.scratch = self.rng.integers(0, 256, config.scratch_bytes, dtype=np.uint8)
        self.before = self.scratch.copy()
        self.stream = []
        self.row_max = {}

    def weights(self, operands):
        """Random weights and parameters for `operands`, appended to the stream."""
        rng, depth = self.rng, operands["passes"] * self.config.rows
        weights = rng.integers(-128, 128, (operands["outputs"], depth))
        bias = rng.integers(-(2**31), 2**31, operands["outputs"]) >> rng.integers(0, 24, operands["outputs"])
        mult = rng.integers(2**30, 2**31 + 1, operands["outputs"])
        shift = rng.integers(34, 46, operands["outputs"])
        if not operands["per_channel"]:
            bias[:], mult[:], shift[:] = 0, operands["mult"], operands["shift"]
        entries = channel_params(bias, mult, shift, self.config) if operands["per_channel"] else None
        self.stream.append(pack_stream(weights.astype(np.int8), self.config, entries).reshape(-1, self.config.rows))
        return weights, bias, mult, shift

    def execute(self, operands):
        """The effect of one MATMUL."""
        o, width = operands, self.config.rows
        weights, bias, mult, shift = self.weights(o)
        words = self.scratch.reshape(-1, width)
        tokens = np.arange(o["rows"])[:, None]
        at = o["source"] + tokens * o["source_row"] + np.arange(o["passes"])
        x = words[at].view(np.int8).reshape(o["rows"], -1).astype(np.int64)
        if o["two_planes"]:
            x = 256 * x + words[at + o["source_plane"]].reshape(o["rows"], -1)
        acc = arith.wrap(x @ weights.T)
        kind = Kind(o["kind"])
        raw = kind == Kind.INT32
        result = arith.wrap(acc + bias) if raw else arith.requantize(acc + bias, mult, shift, kind.bits)
        step = o["dest_col"] if o["transpose"] else kind.step
        raw = np.ascontiguousarray(result.astype(_TYPES[kind])).view(np.uint8).reshape(o["rows"], o["outputs"], -1)
        for t, j in sorted(product(range(o["rows"]), range(o["outputs"])), key=lambda place: self._turn(o, *place)):
            byte = o["dest"] + t * o["dest_row"] + j * step
            if kind is Kind.PLANES:
                self.scratch[byte + o["dest_col"]], self.scratch[byte] = raw[t, j]
            else:
                self.scratch[byte : byte + raw.shape[2]] = raw[t, j]
        if o["track_max"]:
            for t in range(o["rows"]):
                self.row_max[o["row_max"] * self.config.tokens + t] = int(result[t].max())

    def _turn(self, o, token, output):
        """When this result is written: tile by tile, token by token, transposed four tokens' bytes at a time."""
        tokens = (o["dest"] % TOGETHER + token) // TOGETHER if o["transpose"] else token
        return output // self.config.cols, tokens, output

    def stream_words(self):
        return [int.from_bytes(word.tobytes(), "little") for block in self.stream for word in block]


def program(config, count, seed):
    """`count` random instructions. Sources lie in the lower half of the scratchpad, results in the upper one."""
    rng = random.Random(seed)
    half, words, result = config.scratch_bytes // 2, config.scratch_words // 2, []
    for _ in range(count):
        kind = rng.choice([Kind.INT8, Kind.INT8, Kind.INT16, Kind.INT32, Kind.PLANES, Kind.PLANES])
        transpose = int(kind == Kind.INT8 and rng.random() < 0.3)
        rows = rng.choice([1, 2, 3, 5, config.cols, config.tokens, rng.randint(1, config.tokens)])
        passes, outputs = rng.randint(1, 4), rng.randint(1, 3 * config.cols + 1)
        size, two_planes = kind.step, rng.randint(0, 1)
        source_row = rng.randint(0, 2 * passes)
        plane = rng.randint(0, words // 4)
        reach = (rows - 1) * source_row + passes + plane
        if transpose:
            whole = -(-rows // TOGETHER)  # fewer, and results lie one over another
            dest_row, dest_col = 1, TOGETHER * rng.choice([whole, whole + 1, whole + 1, rng.randint(0, whole)])
            extent = rows + (outputs - 1) * dest_col
        else:
            slack = rng.choice([0, 1, 2 * config.rows - outputs % config.rows])
            dest_row, dest_col = size * (outputs + slack), rng.randint(0, 65535)
            if rng.random() < 0.5:  # whole words
                dest_row = -(-dest_row // config.rows) * config.rows
            extent = rows * dest_row
            if kind is Kind.PLANES:
                dest_col = extent + rng.choice([0, 1, -extent % config.rows])
                extent += dest_col
        dest = half + rng.randrange((half - extent) // size) * size
        if rng.random() < 0.5:
            dest = dest // config.rows * config.rows
        result.append({
            "source": rng.randrange(words - reach), "source_row": source_row, "source_plane": plane, "rows": rows,
            "passes": passes, "outputs": outputs, "two_planes": two_planes, "dest": dest, "dest_row": dest_row,
            "dest_col": dest_col, "kind": int(kind), "transpose": transpose, "per_channel": rng.randint(0, 1),
            "mult": rng.randint(2**30, 2**31), "shift": rng.randint(34, 46),
            "track_max": int(kind == Kind.INT8 and rng.random() < 0.7), "row_max": rng.randrange(config.row_max_banks),
        })  # fmt: skip
    return result


def issue_bits(operands, op=Op.MATMUL):
    """The operand bits of an instruction, as the sequencer hands them over."""
    return int.from_bytes(encode(op, **operands), "little") >> (5 + 64)


def beats_of(operands, config):
    """Array beats that an instruction takes."""
    tiles = -(-operands["outputs"] // config.cols)
    return tiles * operands["passes"] * operands["rows"] * (1 + operands["two_planes"])


def prepare(path, config, instructions):
    """Writes what `sim.bench.matmul` reads: a list of instructions, what they find and what they leave."""
    machine = Machine(config, seed=5)
    for operands in instructions:
        machine.execute(operands)
    np.savez(
        path, scratch=machine.before, expected=machine.scratch, stream=np.concatenate(machine.stream),
        operands=np.array([list(issue_bits(o).to_bytes(24, "little")) for o in instructions], np.uint8),
        maxima=np.array(sorted(machine.row_max.items())), beats=sum(beats_of(o, config) for o in instructions),
    )  # fmt: skip


def run_engine(dut, config, machine, instructions, *, latency=3, pressure=0.0, seed=0, patience=3000, halt_after=None):
    """Runs encoded `instructions` [(op, operand bits)] with the machine's stream against a behavioural scratchpad.

    Stops when all have retired or, 200 cycles later, after a fault or the `halt_after`-th write. Returns a dict:
    scratch bytes, row maxima by address, cycles of issue, beats, writes and retirements, counter sums, the fault.
    """
    rng = random.Random(seed)
    width = config.rows
    scratch = bytearray(machine.before.tobytes())
    words = machine.stream_words()
    log = {"issues": [], "beats": [], "writes": [], "retired": [], "started": 0, "fault": None,
           "busy": 0, "wait_in": 0, "wait_out": 0}  # fmt: skip
    read, write = dut.scratch_read, dut.scratch_write.request
    probes = [
        dut.issue.ready, dut.stream.ready, read.request.valid, read.request.payload, write.valid, write.p.address,
        write.p.data, write.p.mask, dut.beat, dut.started, dut.retired, dut.busy, dut.wait_in, dut.wait_out,
        dut.fault, dut.fault_index,
    ]  # fmt: skip

    async def bench(ctx):
        answers, taken, issued, cycle, quiet, tail = [None] * latency, 0, 0, 0, 0, None
        offered = False  # a word that waits stays offered
        held = None
        while tail != 0:
            issue = issued < len(instructions)
            if issue:
                op, bits = instructions[issued]
                ctx.set(dut.issue.payload, {"op": int(op), "operands": bits, "index": _FIRST_INDEX + issued})
            ctx.set(dut.issue.valid, issue)
            offered = (offered or rng.random() >= pressure) and taken < len(words)
            ctx.set(dut.stream.valid, offered)
            if offered:
                ctx.set(dut.stream.payload, words[taken])
            read_ready, write_ready = rng.random() >= pressure, rng.random() >= pressure
            ctx.set(read.request.ready, read_ready)
            ctx.set(write.ready, write_ready)
            answer = answers.pop(0)
            ctx.set(read.valid, answer is not None)
            ctx.set(read.data, answer if answer is not None else rng.getrandbits(8 * width))
            _, _, *seen = await ctx.tick().sample(*probes)
            (issue_ready, stream_ready, asked, address, put, place, value, mask, beat, started, retired, busy, wait_in,
             wait_out, fault, index) = map(int, seen)  # fmt: skip
            if asked and read_ready:
                answers.append(int.from_bytes(scratch[address * width : (address + 1) * width], "little"))
            else:
                answers.append(None)
            assert not (halt_now and cycle > halt_now[0] + 1 and (put or asked)), "access after halt"
            now = (place, mask, value) if put else None
            assert held is None or halt_now or held == now, "a waiting write changed"
            held = None if write_ready else now
            if put and write_ready:
                for byte in range(width):
                    if mask >> byte & 1:
                        scratch[place * width + byte] = value >> 8 * byte & 255
                log["writes"].append(cycle)
                assert mask, "a write of nothing"
            if issue and issue_ready:
                issued += 1
                log["issues"].append(cycle)
            taken += offered and bool(stream_ready)
            offered = offered and not stream_ready
            assert busy + wait_in + wait_out <= 1
            log["started"] += started
            log["busy"] += busy
            log["wait_in"] += wait_in
            log["wait_out"] += wait_out
            if beat:
                log["beats"].append(cycle)
            if retired:
                log["retired"].append(cycle)
            if fault:
                assert log["fault"] is None, "a second fault"
                log["fault"] = (Fault(fault), index - _FIRST_INDEX)
            stop = fault or (halt_after is not None and len(log["writes"]) >= halt_after)
            if stop and not halt_now:
                halt_now.append(cycle)
                ctx.set(dut.halt, 1)
            if tail is None and (halt_now or len(log["retired"]) == len(instructions)):
                tail = 200 if halt_now else 8
            elif tail is not None:
                tail -= 1
            quiet = 0 if beat or put or offered != stream_ready else quiet + 1
            assert quiet < patience, f"nothing moved; {taken} of {len(words)} words, {len(log['retired'])} retired"
            cycle += 1
        log["stream_left"] = len(words) - taken
        log["row_max"] = {}
        for address in machine.row_max:
            ctx.set(dut.row_max_address, address)
            for _ in range(dut.row_max_latency):
                await ctx.tick()
            log["row_max"][address] = ctx.get(dut.row_max_data)

    halt_now = []
    simulate(dut, bench)
    log["scratch"] = np.frombuffer(bytes(scratch), np.uint8)
    return log
