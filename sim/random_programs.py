"""Random but legal programs: every instruction waits for exactly those before it that it conflicts with.

Some of them do what no compiler would: rows that miss their maximum, statistics of other rows, additions that
saturate twice, norm parameters of any bits, rows that all lie at one place, factors of zero, thresholds that nothing
asks for. The machine model says what comes of it. Where there are slices, each starts with a scratchpad of its own;
transfers are to and from any of them, to all, and of parts of words. What may be fetched is never stored to, since
nothing can wait for FETCH.
"""

from dataclasses import dataclass

import numpy as np

from hw.spec import memory
from hw.spec.isa import OPERANDS, TOGETHER, WAITED, Engine, Kind, Op, Region, decode, encode, engine_of
from sim.instructions import Instructions
from sim.random_rivals import rival_groups

__all__ = ["Generated", "random_program"]

_AREAS = 8  # parts of the scratchpad; an instruction's operands lie in different ones
_FACTORS = {"mult", "mult_identity", "shift", "shift_identity", "b", "c", "exp_mult"}  # operands that may be zero
_SELDOM = 0.03


@dataclass
class Generated:
    """A program, the regions before it and after it, as uint8 arrays; which of their words it reads or writes."""

    program: bytes
    before: dict[Region, np.ndarray]
    after: dict[Region, np.ndarray]
    touched: dict[Region, np.ndarray]


class _Writer:
    """Executes what it emits, in program order, and so knows every access."""

    def __init__(self, config, seed):
        self.config, self.rng = config, np.random.default_rng(seed)
        self.area = config.scratch_words // _AREAS
        self.model, self.model_words = [], 0
        self.code = []
        self.counts = dict.fromkeys(Engine, 0)
        self.full = {}  # (space, bank) -> rows written
        self.last = {}  # (space, engine, write) -> ordinal + 1 of the last access of each address

    def number(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability):
        return self.rng.random() < probability

    def prepare(self, regions):
        self.machine = Instructions(self.config, regions, check=True)
        spaces = {region.name: len(words) for region, words in self.machine.regions.items()}
        scratch = self.config.slices * self.config.scratch_bytes
        self.touched = {region.name: np.zeros(len(words), bool) for region, words in self.machine.regions.items()}
        self.sizes = spaces | {"scratch": scratch, "row_max": 16, "stats": 16}

    def emit(self, op, *, exactly=False, **operands):
        """With an operand of zero here and there, but `exactly`."""
        if not exactly:
            operands = self._with_zeros(op, operands)
        bare = decode(encode(op, **operands))
        engine = engine_of(op)
        if engine is None:
            self.code.append(encode(op))
            self.counts, self.last = dict.fromkeys(Engine, 0), {}
            return
        assert self.machine.begin(len(self.code), bare)
        self.machine.execute(bare, self.counts[engine])
        waits = self._waits(engine)
        self.counts[engine] += 1
        for space, addresses, write, _ in self.machine.accesses:
            last = self.last.setdefault((space, engine, write), np.zeros(self.sizes[space], np.int32))
            last[addresses.ravel()] = self.counts[engine]
            if space in self.touched:
                self.touched[space][addresses.ravel()] = True
        self.code.append(encode(op, waits, **operands))
        for space, name in (("row_max", "row_max" if op is Op.MATMUL and operands["track_max"] else None),
                            ("stats", "stats" if op is Op.MOMENTS else None)):  # fmt: skip
            if name:
                key = space, operands[name]
                self.full[key] = max(operands["rows"], self.full.get(key, 0))

    def _with_zeros(self, op, operands):
        may = {field.name for field in OPERANDS[op] if not field.nonzero} & _FACTORS
        may |= {f"{base}_row" for base in ("source", "identity") if operands.get(base) != operands.get("dest", -1)}
        may |= {"scratch0"} if op is Op.STORE or operands.get("run") == 1 else set()
        may |= {"dest_row"} if operands.get("rows") == 1 else set()  # else a byte is written twice
        may |= {"dest_plane"} if not operands.get("planes", 1) else set()
        return operands | {name: 0 for name in sorted(may & operands.keys()) if self.chance(_SELDOM)}

    def _waits(self, engine):
        """What it has to wait for, and seldom something else that has been before."""
        waits = dict.fromkeys(WAITED, 0)
        other = WAITED[self.number(0, len(WAITED) - 1)]
        if self.counts[other] and self.chance(_SELDOM):
            waits[other] = self.number(1, self.counts[other])
        for space, addresses, write, _ in self.machine.accesses:
            for other in WAITED:
                for former in (True, False):
                    if not (write or former) or (space, other, former) not in self.last:
                        continue
                    if other is engine and (engine is not Engine.MATMUL or write or not former):
                        continue  # in order by themselves, except a MATMUL that reads what the former one writes
                    count = int(self.last[space, other, former][addresses.ravel()].max())
                    waits[other] = max(waits[other], count)
        return {other: count for other, count in waits.items() if count}

    def written(self, space, bank, rows):
        """A bank of which this program has written all of the first `rows` rows: `bank` or another one."""
        banks = [other for (name, other), count in self.full.items() if name == space and count >= rows]
        return banks[self.number(0, len(banks) - 1)] if banks else bank

    def areas(self, count):
        """First words of different areas, with room for `area` / 2 words behind each."""
        chosen = self.rng.permutation(_AREAS)[:count]
        first = [0 if self.chance(0.1) else self.number(0, self.area // 2) for _ in chosen]
        return [int(number) * self.area + at for number, at in zip(chosen, first, strict=True)]

    def rows(self, words):
        """(rows, words from row to row) that fit half an area."""
        step = self.number(words, words + 1)
        return self.number(1, min(self.config.tokens, self.area // 2 // step)), step

    # --- groups of instructions ---

    def transfer(self, op, region, size):
        first = self.areas(1)[0]
        run, runs, groups = self.number(1, 24), self.number(1, 4), self.number(1, 3)
        step0 = self.number(1, 2) if run * runs * groups < self.area // 8 else 1
        step1, step2 = run * step0 + self.number(0, 2), 0
        step2 = runs * step1
        offset1, offset2 = self.number(0, run + 5), self.number(0, 100)
        span = (run - 1) + (runs - 1) * offset1 + (groups - 1) * offset2
        while (run - 1) * step0 + (runs - 1) * step1 + (groups - 1) * step2 >= self.area // 2 or span >= size:
            run, groups = max(1, run // 2), 1
            span = (run - 1) + (runs - 1) * offset1
        self.emit(
            op, region=region, offset=self.number(0, size - 1 - span), scratch=first, run=run, scratch0=step0,
            count1=runs, offset1=offset1, scratch1=step1, count2=groups, offset2=offset2, scratch2=step2,
            **self.slice(op),
        )  # fmt: skip

    def slice(self, op):
        """Operands that say whose words a transfer is of, and which parts of them."""
        slices, word = self.config.slices, self.config.word_bytes
        if slices == 1:
            return {}
        operands = {"slice": self.number(0, slices - 1)}
        if op is Op.LOAD:
            return operands | {"every": int(self.chance(0.3))}
        return operands | {name: self.number(0, word - 1) if self.chance(0.5) else 0 for name in ("skip", "drop")}

    def load(self):
        region = Region(self.number(0, len(Region) - 1))
        self.transfer(Op.LOAD, region, self.sizes[region.name])

    def store(self):
        region = (Region.WORK, Region.OUTPUT)[self.number(0, 1)]
        self.transfer(Op.STORE, region, self.sizes[region.name])

    def matmul(self, **fixed):
        """A MATMUL with its weights; returns its operands."""
        weight = self.weights[self.number(0, len(self.weights) - 1)]
        source, low, dest = self.areas(3)
        planes = self.chance(0.3)
        rows, step = self.rows(weight["passes"])
        kind = fixed.get("kind", Kind(self.number(0, 3)))
        size = kind.step
        transpose = bool(kind == Kind.INT8 and self.chance(0.3)) and "transpose" not in fixed
        outputs = weight["outputs"]
        word = self.config.word_bytes
        span = -(-(rows if transpose else outputs * size) // word)
        lines = outputs if transpose else rows
        pitch = span + self.number(0, 1)
        half = self.area // 4 - 1 if kind is Kind.PLANES else self.area // 2  # two planes share it, and a word between
        half -= transpose and self.config.slices > 1  # later slices begin within a word
        if lines * pitch > half:
            rows = half // pitch if not transpose else rows
            pitch = span if transpose else pitch
        dest_col = pitch * word if transpose else 0
        if kind is Kind.PLANES:
            dest_col = rows * pitch * word + self.number(0, 1) * self.number(0, word)
        low = low if low > source else source + self.area // 2
        if (
            low + rows * step > self.config.scratch_words
            or low <= dest < low + self.area
            or dest <= low < dest + self.area
        ):
            planes = False
        track = kind == Kind.INT8
        operands = {
            "source": source, "source_row": step, "source_plane": low - source if planes else 0, "rows": rows,
            "passes": weight["passes"], "outputs": outputs, "two_planes": int(planes),
            "dest": dest * word + (0 if "transpose" in fixed else self.number(0, (TOGETHER - 1) ** transpose) * size),
            "dest_row": 1 if transpose else pitch * word, "dest_col": dest_col, "kind": kind,
            "transpose": int(transpose), "per_channel": int(weight["per_channel"]), "mult": self.mantissa(),
            "shift": self.number(20, 45), "track_max": int(track),
            "row_max": self.number(0, self.config.row_max_banks - 1),
        }  # fmt: skip
        spare = self.sizes[Region.INPUT.name] - weight["words"]
        if weight["per_channel"] or spare < 0 or self.chance(0.7):
            self.fetch(Region.MODEL, weight["offset"], weight["words"])
        else:  # weights of any bytes
            self.fetch(Region.INPUT, self.number(0, spare), weight["words"])
        self.emit(Op.MATMUL, **operands)
        return operands | {"pitch": pitch, "dest_word": dest}

    def mantissa(self):
        return self.number(1 << 30, 1 << 31) if self.chance(0.9) else self.number(0, 1 << 31)

    def fetch(self, region, offset, words):
        while words:
            part = words if self.chance(0.6) else self.number(1, words)
            self.emit(Op.FETCH, region=region, offset=offset, words=part)
            offset, words = offset + part, words - part

    def attention(self):
        done = self.matmul(kind=Kind.INT8, transpose=False)
        stats, i0 = self.number(0, self.config.stat_banks - 1), self.number(1, 60)
        shape = {
            "source": done["dest_word"],
            "source_row": done["pitch"],
            "rows": done["rows"],
            "length": done["outputs"],
        }
        dest = self._elsewhere(done["dest_word"])
        common = {"row_max": done["row_max"], "i0": i0}
        if self.chance(0.3):
            common["row_max"] = self.written("row_max", done["row_max"], done["rows"])
        biased = self.chance(0.4)
        if not biased and self.chance(0.4):
            dyadic = {"mult": self.mantissa(), "shift": self.number(35, 50)}
            words = 2 * done["rows"] * done["pitch"]
            if self.chance(0.4) and done["dest_word"] + words <= self.config.scratch_words:
                dest = done["dest_word"]
            planes = self.planes(done["rows"] * done["pitch"])
            self.emit(Op.SHIFT_GELU, **shape, **common, dest=dest, dest_row=done["pitch"], **dyadic, **planes)
            return
        common |= {"own_max": int(biased), "fraction": self.number(0, 7)}
        if biased:  # in place; what is added lies anywhere
            bias = self._elsewhere(done["dest_word"])
            dyadics = {"mult": self.mantissa(), "mult_identity": self.mantissa(), "shift": 31, "shift_identity": 32}
            self.emit(
                Op.ADD_MAX, **shape, **dyadics, dest=shape["source"], dest_row=shape["source_row"], stats=stats,
                identity=bias, identity_row=done["pitch"],
            )  # fmt: skip
        self.emit(Op.SHIFTMAX_SUM, **shape, **common, stats=stats, start=i0 * self.number(0, 60))
        if self.chance(0.2) and not biased:
            stats = self.written("stats", stats, done["rows"])
        row = -(-done["outputs"] // self.config.word_bytes)
        planes = self.planes(done["rows"] * row)
        self.emit(Op.SHIFTMAX, **shape, **common, stats=stats, dest=dest, dest_row=row, **planes)

    def planes(self, words):
        """Operands of results in two byte planes, of at least `words` words each, half of the time."""
        if self.chance(0.5):
            return {"planes": 1, "dest_plane": words}
        return {"planes": 0, "dest_plane": self.number(0, (1 << 16) - 1)}

    def _elsewhere(self, taken):
        """An area that does not hold word `taken`, with the whole area behind it."""
        choices = [n for n in range(_AREAS) if n != taken // self.area and n != (taken + self.area // 2) // self.area]
        return choices[self.number(0, len(choices) - 1)] * self.area

    def norm(self):
        source, params, dest = (number * self.area for number in self.rng.permutation(_AREAS)[:3].tolist())
        entry = memory.param_words(self.config)
        length = self.number(1, self.norm_length)
        self.emit(
            Op.LOAD, region=Region.MODEL, offset=self.norm_offset, scratch=params, run=length * entry, scratch0=1,
            count1=1, offset1=0, scratch1=0, count2=1, offset2=0, scratch2=0, every=int(self.config.slices > 1),
        )  # fmt: skip
        wide, wide_dest = self.number(0, 1), self.number(0, 1)
        words = -(-length * 2 // self.config.word_bytes)
        rows, step = self.rows(words)
        shape = {"source": source, "source_row": step, "rows": rows, "length": length, "wide_source": wide}
        shape["stats"] = self.number(0, self.config.stat_banks - 1)
        self.emit(Op.MOMENTS, **shape)
        if self.chance(0.2):
            shape["stats"] = self.written("stats", shape["stats"], rows)
        planes = self.planes(rows * step)
        self.emit(Op.LAYER_NORM, **shape, **planes, dest=dest, dest_row=step, wide_dest=wide_dest, params=params)

    def table(self):
        """Of any bytes; int8 results, or high bytes of two planes, in place half of the time."""
        source, params, dest = self.areas(3)
        length, wide = self.number(1, 40), self.number(0, 1)
        rows, step = self.rows(-(-length * 2 // self.config.word_bytes))
        rows = max(1, rows // 2)
        planes = self.planes(rows * step)
        if (planes["planes"] or not wide) and self.chance(0.5):
            dest = source
        self.emit(
            Op.TABLE, source=source, source_row=step, dest=dest, dest_row=step, rows=rows, length=length,
            wide_dest=wide, params=params, **planes,
        )  # fmt: skip

    def add(self):
        source, identity, dest = self.areas(3)
        length, least = self.number(1, 40), 0 if self.chance(0.3) else 28  # exponents at which most operands saturate
        rows, step = self.rows(-(-length * 2 // self.config.word_bytes))
        wide = {f"wide_{name}": self.number(0, 1) for name in ("source", "identity", "dest")}
        self.emit(
            Op.ADD, source=source, source_row=step, identity=identity, identity_row=step, dest=dest, dest_row=step,
            rows=rows, length=length, mult=self.mantissa(), shift=self.number(least, 36), mult_identity=self.mantissa(),
            shift_identity=self.number(least, 36), **wide,
        )  # fmt: skip

    # --- the model region ---

    def constants(self):
        """Weight streams of several shapes, norm parameters, noise."""
        rng, config = self.rng, self.config
        parts, self.weights, at = [], [], 0
        for _ in range(6):
            outputs, passes, per_channel = self.number(1, 3 * config.cols), self.number(1, 5), self.chance(0.6)
            weights = rng.integers(-127, 128, (outputs, passes * config.rows)).astype(np.int8)
            params = None
            if per_channel:
                params = memory.channel_params(
                    rng.integers(-(1 << 20), 1 << 20, outputs), rng.integers(1 << 29, 1 << 31, outputs),
                    rng.integers(36, 48, outputs), config,
                )  # fmt: skip
            parts.append(memory.pack_stream(weights, config, params).reshape(-1, config.word_bytes))
            self.weights.append({
                "outputs": outputs, "passes": passes, "per_channel": per_channel, "offset": at, "words": len(parts[-1]),
            })  # fmt: skip
            at += len(parts[-1])
        self.norm_offset, self.norm_length = at, min(24, self.area // 2 // memory.param_words(config))
        norms = memory.norm_params(
            rng.integers(-(1 << 33), 1 << 33, self.norm_length), rng.integers(-(1 << 31), 1 << 31, self.norm_length),
            rng.integers(38, 56, self.norm_length), config,
        )  # fmt: skip
        strange = rng.random(self.norm_length) < 0.2  # any bits, the sign extended or not
        norms[strange] = rng.integers(0, 256, norms[strange].shape)
        parts.append(norms.reshape(-1, config.word_bytes))
        parts.append(rng.integers(0, 256, (64, config.word_bytes)).astype(np.uint8))
        return np.concatenate(parts)

    def copy_scratchpad(self, op, region, offset):
        """All of it, one slice's after the other, in the longest runs there are."""
        run = min(1024, self.config.scratch_words)
        for slice_ in range(self.config.slices):
            for first in range(0, self.config.scratch_words, run):
                self.emit(
                    op, exactly=True, region=region, offset=offset + slice_ * self.config.scratch_words + first,
                    scratch=first, run=run, scratch0=1, count1=1, offset1=0, scratch1=0, count2=1, offset2=0,
                    scratch2=0, slice=slice_,
                )  # fmt: skip


def random_program(config, seed, groups=12):
    """Fills the scratchpad, does `groups` random things, and stores the scratchpad at the end of WORK."""
    writer = _Writer(config, seed)
    rng, words = writer.rng, config.slices * config.scratch_words
    shapes = {Region.WORK: 300 + words, Region.INPUT: words, Region.OUTPUT: 200}
    before = {
        region: rng.integers(0, 256, (size, config.word_bytes)).astype(np.uint8) for region, size in shapes.items()
    }
    before[Region.MODEL] = writer.constants()
    after = {region: content.copy() for region, content in before.items()}
    writer.prepare(after)
    writer.copy_scratchpad(Op.LOAD, Region.INPUT, 0)
    kinds = (writer.load, writer.store, writer.matmul, writer.attention, writer.norm, writer.add, writer.table)
    kinds += rival_groups(writer)
    for _ in range(groups):
        kinds[writer.number(0, len(kinds) - 1)]()
        if writer.chance(0.05):
            writer.emit(Op.SYNC)
    writer.copy_scratchpad(Op.STORE, Region.WORK, 300)
    writer.emit(Op.HALT)
    touched = {region: writer.touched[region.name] for region in Region}
    return Generated(b"".join(writer.code), before, writer.machine.regions, touched)
