"""What each instruction does to scratchpad, weight stream, row maxima, statistics and memory, on NumPy arrays."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.spec import arith, memory, vector
from hw.spec.config import Config
from hw.spec.isa import OPERANDS, TOGETHER, Engine, Fault, Instruction, Kind, Op, Region, engine_of
from hw.spec.vector import Given, Second, VectorOp, result_bytes
from sim.hazards import Access

__all__ = ["SEQUENCER", "Instructions", "MachineFault", "engine_number"]

Array = NDArray[Any]
SEQUENCER = 7  # engine number of faults that no engine raised


class MachineFault(Exception):
    """The machine stopped: `fault`, the `engine`'s number (7: sequencer) and the instruction's `index`."""

    def __init__(self, fault: Fault, engine: int, index: int):
        super().__init__(f"{fault.name} at instruction {index}")
        self.fault, self.engine, self.index = fault, engine, index


class Slice:
    """What every slice has for itself: scratchpad, row maxima, statistics. Its scratchpad's first byte is `base`."""

    def __init__(self, config: Config, number: int):
        self.number, self.base = number, number * config.scratch_bytes
        self.scratch = np.zeros((config.scratch_words, config.word_bytes), np.uint8)
        self.row_max = np.zeros((config.row_max_banks, config.tokens), np.int8)
        self.mean = np.zeros((config.stat_banks, config.tokens), np.int64)
        self.factor = np.zeros((config.stat_banks, config.tokens), np.int64)


class Instructions:
    """The machine's state and its engines' instructions; `sim.machine.Machine` decides their order.

    An instruction reads everything before it writes. ``accesses`` are those of the present one, if `check`; scratchpads
    are one behind the other there. ``scratch``, ``row_max``, ``mean`` and ``factor`` are those of the first slice.
    """

    def __init__(self, config: Config, regions: Mapping[Region, Array | bytearray], *, check: bool = False):
        self.config = config
        self.regions: dict[Region, Array] = {}
        for region in Region:
            content = regions.get(region, bytearray())
            array = np.frombuffer(content, np.uint8) if isinstance(content, bytearray) else content
            if array.dtype != np.uint8 or array.size % config.word_bytes:
                raise ValueError(f"region {region.name} must be uint8 and whole words of {config.word_bytes} bytes")
            self.regions[region] = array.reshape(-1, config.word_bytes)
        self.slices = [Slice(config, number) for number in range(config.slices)]
        self._slice = self.slices[0]  # that executes now
        self.stream: deque[tuple[Array, int]] = deque()  # runs of words and the ordinal of their FETCH
        self.executed = 0
        self.unreached: list[int] = []  # instructions with a row whose largest element is not what they have as that
        self.accesses: list[Access] | None = [] if check else None
        self.fetches: tuple[list[int], int] = ([], 0)  # FETCHes it took words from, and how many are used up
        self._at = (0, SEQUENCER)  # the present instruction and its engine

    @property
    def scratch(self) -> Array:
        return self.slices[0].scratch

    @property
    def row_max(self) -> Array:
        return self.slices[0].row_max

    @property
    def mean(self) -> Array:
        return self.slices[0].mean

    @property
    def factor(self) -> Array:
        return self.slices[0].factor

    @property
    def stream_words(self) -> int:
        """Words waiting in the weight stream."""
        return sum(len(words) for words, _ in self.stream)

    def begin(self, index: int, instruction: Instruction) -> bool:
        """Whether `instruction`, whose thresholds are met, has the stream words it needs. Raises ILLEGAL_OPERAND."""
        self._at = (index, engine_number(instruction))
        if self._illegal(instruction):
            raise self._fault(Fault.ILLEGAL_OPERAND)
        return instruction.op != Op.MATMUL or self.stream_words >= self.needs(instruction.operands)

    def execute(self, instruction: Instruction, ordinal: int) -> None:
        """Executes the instruction begun last, number `ordinal` of its engine. A faulting one changes nothing.

        But where only results that are transposed into the words of later slices leave the scratchpad.
        """
        self.accesses, self.fetches = None if self.accesses is None else [], ([], 0)
        row = vector.row_of(instruction.op)
        if row is not None:
            for present in self.slices:
                self._slice = present
                self._vector(row, instruction.operands)
        elif instruction.op == Op.FETCH:
            self._fetch(instruction.operands, ordinal)
        else:
            _EXECUTE[instruction.op](self, instruction.operands)
        self.executed += 1

    def needs(self, o: Mapping[str, int]) -> int:
        """Stream words of a MATMUL."""
        parameters = memory.param_words(self.config) if o["per_channel"] else 0
        return memory.tiles(o["outputs"], self.config) * self.config.cols * (o["passes"] + parameters)

    def _illegal(self, instruction: Instruction) -> bool:
        """Operands that this Config does not have, or that make no sense together."""
        o = instruction.operands
        for field in OPERANDS[instruction.op]:
            value, limit = o[field.name], getattr(self.config, field.limit) if field.limit else None
            if (limit is not None and value >= limit + field.count) or (field.nonzero and not value):
                return True
        if instruction.op != Op.MATMUL:
            return False
        kind = Kind(o["kind"])
        only_int8 = bool(o["transpose"] or o["track_max"])
        scattered = o["transpose"] and (o["dest_row"] != 1 or o["dest_col"] % TOGETHER)
        return bool((kind is not Kind.INT8 and only_int8) or scattered or (o["dest"] | o["dest_row"]) % kind.step)

    # --- state ---

    def _fault(self, fault: Fault) -> MachineFault:
        return MachineFault(fault, self._at[1], self._at[0])

    def _touch(self, space: str, addresses: Any, *, write: bool, in_place: bool = False) -> None:
        """A bank is the same one in every slice."""
        bank = space in ("row_max", "stats")
        if self.accesses is not None and not (bank and self._slice.number):
            self.accesses.append(Access(space, np.atleast_1d(addresses), write, in_place))

    def _inside(self, addresses: Array, size: int, fault: Fault) -> None:
        if int(addresses.max()) >= size:
            raise self._fault(fault)

    def _read(self, addresses: Array, *, in_place: bool = False) -> Array:
        """Scratchpad bytes at byte addresses. `in_place`: each is read before the instruction writes it."""
        self._inside(addresses, self.config.scratch_bytes, Fault.SCRATCH_ADDRESS)
        if self.accesses is not None:  # a read is of whole words
            words = np.unique(addresses // self.config.word_bytes)
            self._touch("scratch", self._slice.base + self._bytes(words), write=False, in_place=in_place)
        return self._slice.scratch.reshape(-1)[addresses]

    def _write(self, addresses: Array, values: Array) -> None:
        """Writes scratchpad bytes in the arrays' order: the last one to an address stays."""
        self._inside(addresses, self.config.scratch_bytes, Fault.SCRATCH_ADDRESS)
        self._touch("scratch", self._slice.base + addresses, write=True)
        self._slice.scratch.reshape(-1)[addresses.ravel()] = values.ravel()

    def _bytes(self, words: Array) -> Array:
        """Byte addresses of scratchpad words, one more axis."""
        return words[..., None] * self.config.word_bytes + np.arange(self.config.word_bytes)

    def _row_bytes(self, o: Mapping[str, int], base: str, size: int) -> Array:
        """Byte addresses [rows, length * size] of the tensor at operand `base`."""
        words = o[base] + np.arange(o["rows"]) * o[f"{base}_row"]
        return words[:, None] * self.config.word_bytes + np.arange(o["length"] * size)

    def _rows(self, o: Mapping[str, int], base: str, *, shrink: bool = False) -> Array:
        """Elements [rows, length] of a VECTOR operand; results may take the very place of each.

        With `shrink`, of rows that are read one after the other, smaller results or nearer rows from the same place on
        may, too: none of them comes before what was read there.
        """
        size = 1 + o.get(f"wide_{base}", 0)
        place, wanted = (o[base], o[f"{base}_row"], size), (o.get("dest"), o.get("dest_row", 0), result_bytes(o))
        in_place = place == wanted
        if shrink and place[0] == wanted[0] and not o.get("planes", 0):
            in_place = wanted[1] <= place[1] and wanted[2] <= place[2]
        raw = self._read(self._row_bytes(o, base, size), in_place=in_place)
        return raw.view(f"<i{size}").astype(np.int64)

    def _statistics(self, o: Mapping[str, int]) -> tuple[Array, Array]:
        """Mean and factor [rows, 1]. A row's are read before they are written, so an instruction may do both."""
        self._touch("stats", o["stats"], write=False, in_place=True)
        here = self._slice
        return here.mean[o["stats"], : o["rows"], None], here.factor[o["stats"], : o["rows"], None]

    # --- FETCH, LOAD, STORE ---

    def _fetch(self, o: Mapping[str, int], ordinal: int) -> None:
        region = Region(o["region"])
        words = o["offset"] + np.arange(o["words"])
        self._inside(words, len(self.regions[region]), Fault.REGION_ADDRESS)
        self._touch(region.name, words, write=False)
        self.stream.append((self.regions[region][words], ordinal))

    def _transfer(self, o: Mapping[str, int]) -> tuple[Region, Array, Array]:
        """(region, memory words, scratchpad words), in order."""
        k0, k1, k2 = np.arange(o["run"]), np.arange(o["count1"])[:, None], np.arange(o["count2"])[:, None, None]
        words = (o["offset"] + k2 * o["offset2"] + k1 * o["offset1"] + k0).ravel()
        scratch = (o["scratch"] + k2 * o["scratch2"] + k1 * o["scratch1"] + k0 * o["scratch0"]).ravel()
        return Region(o["region"]), words, scratch

    def _load(self, o: Mapping[str, int]) -> None:
        region, words, scratch = self._transfer(o)
        self._inside(words, len(self.regions[region]), Fault.REGION_ADDRESS)
        self._touch(region.name, words, write=False)
        for present in self.slices if o["every"] else [self.slices[o["slice"]]]:
            self._slice = present
            self._write(self._bytes(scratch), self.regions[region][words])

    def _store(self, o: Mapping[str, int]) -> None:
        region, words, scratch = self._transfer(o)
        self._slice = self.slices[o["slice"]]
        data = self._read(self._bytes(scratch))
        self._inside(words, len(self.regions[region]), Fault.REGION_ADDRESS)
        self._touch(region.name, words, write=True)
        for word, content, part in zip(words, data, self._parts(o), strict=True):
            self.regions[region][word, part] = content[part]

    def _parts(self, o: Mapping[str, int]) -> list[slice]:
        """The bytes of each word that a STORE writes."""
        runs = [slice(o["skip"] if not run else 0, None) for run in range(o["count1"])]
        runs[-1] = slice(runs[-1].start, self.config.word_bytes - o["drop"])
        return [part for part in runs for _ in range(o["run"])] * o["count2"]

    # --- MATMUL ---

    def _take(self, count: int) -> Array:
        """The next words of the weight stream."""
        parts, ordinals = [], []
        while count:
            words, ordinal = self.stream.popleft()
            parts.append(words[:count])
            ordinals.append(ordinal)
            if len(words) > count:
                self.stream.appendleft((words[count:], ordinal))
            count -= len(parts[-1])
        used_up = ordinals[-1] + (0 if self.stream and self.stream[0][1] == ordinals[-1] else 1)
        self.fetches = ([ordinal for ordinal in ordinals if ordinal >= 0], max(used_up, 0))
        return np.concatenate(parts)

    def _matmul(self, o: Mapping[str, int]) -> None:
        config, outputs, kind = self.config, o["outputs"], Kind(o["kind"])
        tiles, passes = memory.tiles(outputs, config), o["passes"]
        words = (o["source"] + np.arange(o["rows"]) * o["source_row"])[:, None] + np.arange(passes)
        stream = self._take(self.needs(o)).reshape(tiles, -1, config.word_bytes)
        entry_words = memory.param_words(config) * config.cols if o["per_channel"] else 0
        weight = stream[:, entry_words:].reshape(tiles, passes, config.cols, config.rows).transpose(0, 2, 1, 3)
        weight = weight.reshape(tiles * config.cols, -1).view(np.int8)[:outputs]
        bias, mult, shift = np.zeros(1, np.int64), np.array([o["mult"]]), np.array([o["shift"]])
        if o["per_channel"]:
            entries = stream[:, :entry_words].reshape(tiles * config.cols, -1)
            bias, mult, shift = (values[:outputs] for values in memory.read_channel_params(entries))
        for present in self.slices:
            self._slice = present
            x = self._read(self._bytes(words)).reshape(o["rows"], -1).view(np.int8).astype(np.int64)
            if o["two_planes"]:
                x = (x << 8) + self._read(self._bytes(words + o["source_plane"])).reshape(o["rows"], -1)
            total = arith.wrap(arith.matmul(x, weight.T)) + bias
            raw = kind == Kind.INT32
            out = arith.wrap(total) if raw else arith.requantize(total, mult, shift, kind.bits)
            if o["track_max"]:
                self._touch("row_max", o["row_max"], write=True)
                self._slice.row_max[o["row_max"], : o["rows"]] = out.max(axis=1)
            self._put_results(o, kind, out.astype(f"<i{kind.bits // 8}"))

    def _dest(self, o: Mapping[str, int]) -> int:
        """First byte; of transposed results within its word where this slice's tokens begin."""
        if not o["transpose"]:
            return o["dest"]
        word, byte = divmod(o["dest"], self.config.word_bytes)
        moved = byte + self._slice.number * o["rows"]
        return word * self.config.word_bytes + moved % self.config.word_bytes

    def _put_results(self, o: Mapping[str, int], kind: Kind, out: Array) -> None:
        """Writes [rows, outputs], tile by tile, within a tile token by token or, transposed, few by few of them."""
        cols, places = self.config.cols, np.arange(out.itemsize)  # of a result's bytes
        step = o["dest_col"] if o["transpose"] else kind.step
        at = self._dest(o) + np.arange(o["rows"])[:, None] * o["dest_row"] + np.arange(o["outputs"]) * step
        at = at[..., None] + (places[::-1] * o["dest_col"] if kind is Kind.PLANES else places)
        raw = np.ascontiguousarray(out).view(np.uint8).reshape(at.shape)
        if o["transpose"]:
            token, output = np.indices((o["rows"], o["outputs"]))
            few = (at[0, 0, 0] % TOGETHER + token) // TOGETHER
            order = np.lexsort([key.ravel() for key in (token, output, few, output // cols)])
            self._write(at.ravel()[order], raw.ravel()[order])
            return
        starts = range(cols, o["outputs"], cols)
        parts = [np.concatenate([part.ravel() for part in np.split(array, starts, axis=1)]) for array in (at, raw)]
        self._write(*parts)

    # --- VECTOR ---

    def _vector(self, row: VectorOp, o: Mapping[str, int]) -> None:
        """What the table says of an opcode: reads it, applies its law, writes it."""
        outcome = row.law(self._given(row, o))
        if outcome.results is not None:
            self._put_rows(row, o, outcome.results)
        if row.writes:
            self._touch("stats", o["stats"], write=True)
        for name, values in (("mean", outcome.mean), ("factor", outcome.factor)):
            if name in row.writes:
                getattr(self._slice, name)[o["stats"], : o["rows"]] = values

    def _given(self, row: VectorOp, o: Mapping[str, int]) -> Given:
        x = self._rows(o, "source", shrink=not row.grouped)
        own = bool(o.get("own_max", 0))
        mean, factor = self._statistics(o) if row.reads or own else (None, None)
        maxima = None
        if own and mean is not None:
            maxima = arith.wrap(mean, 8)
        elif row.operand("row_max"):
            self._touch("row_max", o["row_max"], write=False)
            maxima = self._slice.row_max[o["row_max"], : o["rows"], None].astype(np.int64)
        if maxima is not None and np.any(x.max(axis=1, keepdims=True) != maxima):
            self.unreached.append(self._at[0])
        return Given(
            x=x, operands=o, row_max=maxima, mean=mean, factor=factor,
            identity=self._rows(o, "identity") if row.second is Second.IDENTITY else None,
            parameters=self._parameters(o) if row.second is Second.PARAMETERS else None,
            entries=self._entries(o) if row.second is Second.TABLE else None,
        )  # fmt: skip

    def _parameters(self, o: Mapping[str, int]) -> tuple[Array, Array, Array]:
        words = o["params"] + np.arange(o["length"] * memory.param_words(self.config))
        return memory.read_norm_params(self._read(self._bytes(words)).reshape(o["length"], -1))

    def _entries(self, o: Mapping[str, int]) -> Array:
        words = o["params"] + np.arange(memory.table_words(self.config))
        return memory.read_table_entries(self._read(self._bytes(words)))

    def _put_rows(self, row: VectorOp, o: Mapping[str, int], results: Array) -> None:
        """int8 or int16 elements, or two byte planes; of a padded row whole words."""
        size = result_bytes(o)
        if row.padded:
            length = memory.align(o["length"], self.config.word_bytes // size)
            results = np.pad(results, ((0, 0), (0, length - o["length"])))
            o = {**o, "length": length}
        at = self._row_bytes(o, "dest", size)
        if o.get("planes", 0):
            planes = np.stack(arith.planes(results)).astype(np.uint8)
            self._write(np.stack([at, at + o["dest_plane"] * self.config.word_bytes]), planes)
        else:
            self._write(at, np.ascontiguousarray(results.astype(f"<i{size}")).view(np.uint8))


def engine_number(instruction: Instruction) -> Engine:
    """The engine of an instruction that has one."""
    engine = engine_of(instruction.op)
    assert engine is not None
    return engine


_EXECUTE: dict[Op, Callable[[Instructions, Mapping[str, int]], None]] = {
    Op.LOAD: Instructions._load,
    Op.STORE: Instructions._store,
    Op.MATMUL: Instructions._matmul,
}
