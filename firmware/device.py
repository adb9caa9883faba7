"""The host API: open a device, load a model, run images, read where the cycles went."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from firmware.compiler import Program, compile_model
from firmware.layout import Layout, place
from firmware.preprocess import to_int8
from firmware.profile import EngineProfile, Profile, combined, layer_profiles
from firmware.registers import Registers, RunWatch
from firmware.transport import (
    DeviceError,
    DeviceTimeoutError,
    StrangerError,
    Target,
    Traced,
    Transport,
    open_transport,
    parse_target,
)
from hw.boards.board import Board, config_and_memory
from hw.boards.registry import installed
from hw.spec import isa
from hw.spec.config import Config, ConfigError
from hw.spec.isa import Engine, Fault, Region
from hw.spec.memory import align
from hw.spec.model import Model
from hw.spec.regs import MAGIC, Control, State, address

__all__ = ["Accelerator", "DeviceError", "DeviceFaultError", "StrangerError", "describe"]

PATIENCE = 1_000_000  # cycles without any progress after which a run is given up
_SLACK = 100  # times the compiler's estimate that a run may take, on the slowest memory
Progress = Callable[[int], None]


class DeviceFaultError(DeviceError):
    """The machine stopped with a fault; `fault`, `engine` and `index` say which, who and where."""

    def __init__(self, message: str, fault: Fault, engine: str, index: int) -> None:
        super().__init__(message)
        self.fault, self.engine, self.index = fault, engine, index


def describe(code: bytes, index: int) -> str:
    """Instruction `index` of `code` as text, for messages."""
    raw = code[index * isa.INSTRUCTION_BYTES : (index + 1) * isa.INSTRUCTION_BYTES]
    if len(raw) < isa.INSTRUCTION_BYTES:
        return "beyond the program"
    try:
        instruction = isa.decode(raw)
    except ValueError as error:
        return str(error)
    waits = {f"wait_{engine.name.lower()}": count for engine, count in instruction.waits.items()}
    fields = " ".join(f"{name}={value}" for name, value in {**instruction.operands, **waits}.items())
    return f"{instruction.op.name} {fields}".strip()


class Accelerator:
    """One device and the model loaded on it.

    It is what `target` says, whose memory models are compiled for, too. Raises StrangerError if the device is not one
    of ours, or is built from another Config.
    """

    clocked = True

    def __init__(self, transport: Transport, target: Board | Config) -> None:
        self.transport, self.target = transport, target
        self.config, _ = config_and_memory(target)
        self.program: Program | None = None
        self._layout: Layout | None = None
        self._profile: Profile | None = None
        self._programs: dict[tuple[int, int], Program] = {}  # of a model of text, by tokens and batch
        self._registers = Registers(transport)
        self._identify()

    @classmethod
    def open(cls, target: str, wanted: Board | Config | None = None) -> Self:
        """The device called `target`, for example ``sim:arty_a7``.

        It is `wanted`, or the board that `target` names, or the one whose fingerprint it shows.
        """
        try:
            where = parse_target(target)
            expected = wanted or where.board
        except ConfigError as error:
            raise DeviceError(str(error)) from error
        transport = open_transport(where, expected)
        try:
            return cls(transport, expected or _board_of(transport, where))
        except BaseException:
            transport.close()
            raise

    def load(self, model: Model | Program, *, batch: int = 1, tokens: int | None = None) -> Program:
        """Compiles `model` for `batch` images per run, or takes a Program, and writes it to device memory.

        A model of text is compiled for texts of so many `tokens`; programs for other lengths are kept, and constants
        that are there are not written again.

        Aborts whatever runs. Raises CompileError if the model cannot run on this Config, DeviceError if it does not fit
        the memory.
        """
        program = model if isinstance(model, Program) else self._compiled(model, batch, tokens)
        if program.config.fingerprint != self.config.fingerprint:
            raise StrangerError(
                f"the program is for fingerprint {program.config.fingerprint:#010x}, "
                f"but the device has {self.config.fingerprint:#010x}"
            )
        layout = place(program, self.transport.memory_size)
        if self.state not in (State.IDLE, State.DONE):
            self.reset()  # another run, whose host went away, would write over the model
        self.transport.write(layout.program, program.code)
        if not self._holds(program, layout):
            self.transport.write(layout.bases[Region.MODEL], program.model_image)
        self.program, self._layout, self._profile = program, layout, None
        return program

    def run(
        self, images: NDArray[Any], *, progress: Progress | None = None, patience: int = PATIENCE
    ) -> NDArray[np.int32]:
        """Integer logits [n, classes] of images [n, C, H, W], uint8 pixels or int8 as the model takes them.

        `progress` is called now and then with the cycles so far. Raises UserError for other images, DeviceFaultError if
        the machine stops with a fault, DeviceTimeoutError if nothing moves for `patience` cycles.
        """
        program, layout = self._loaded()
        images = to_int8(images, program.model)
        if not len(images):
            raise DeviceError("there are no images to run")
        padded = np.zeros((align(len(images), program.images), *program.model.image), np.int8)
        padded[: len(images)] = images
        batches = padded.reshape(-1, program.images, *program.model.image)
        results: list[NDArray[np.int32]] = []
        parts: list[Profile] = []
        for first in range(0, len(batches), layout.runs):
            some = batches[first : first + layout.runs]
            before = sum(part.cycles for part in parts)
            report = None if progress is None else partial(_report, progress, before)
            results.append(self._start(some, program, layout, report, patience))
            real = min(len(images), (first + len(some)) * program.images) - first * program.images
            parts.append(self._measure(real, len(some), program))
        self._profile = combined(parts)
        return np.concatenate(results)[: len(images)]

    def read_region(self, region: Region, offset: int, size: int) -> NDArray[np.uint8]:
        """`size` bytes of what the loaded program has left in `region`, from byte `offset` on."""
        _, layout = self._loaded()
        return self.transport.read(layout.bases[region] + offset, size)

    def profile(self) -> Profile:
        """Figures of the latest `run`."""
        if self._profile is None:
            raise DeviceError("there is nothing to profile: run images first")
        return self._profile

    def reset(self) -> None:
        """Aborts whatever runs and returns the machine to IDLE; the loaded model stays."""
        self._registers.write("control", Control.RESET)
        for _ in range(1000):
            if self.state is State.IDLE:
                return
        raise DeviceTimeoutError(f"the machine is still {self.state.name} after RESET")

    @property
    def model(self) -> Model | None:
        """The model that is loaded."""
        return self.program.model if self.program else None

    @property
    def state(self) -> State:
        return self._registers.state

    @property
    def figures(self) -> str:
        """Where the cycles of a profile come from."""
        return "simulated" if self.transport.simulated else "measured by the device's counters"

    @property
    def board(self) -> Board | None:
        """The board, which has a clock; None where it is known by its Config only."""
        return self.target if isinstance(self.target, Board) else None

    def close(self) -> None:
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _identify(self) -> None:
        _check_magic(self.transport)
        found, expected = self._registers.read("fingerprint"), self.config.fingerprint
        if found != expected:
            raise StrangerError(
                f"expected fingerprint {expected:#010x}, found {found:#010x}; the device is built from another "
                "configuration or version"
            )

    def _compiled(self, model: Model, batch: int, tokens: int | None) -> Program:
        if not model.text and tokens is None:
            return compile_model(model, self.target, batch=batch)
        model = model.of_tokens(tokens or model.image[1])
        if self._programs and next(iter(self._programs.values())).model.tensors is not model.tensors:
            self._programs.clear()
        key = (model.image[1], batch)
        if key not in self._programs:
            self._programs[key] = compile_model(model, self.target, batch=batch)
        return self._programs[key]

    def _holds(self, program: Program, layout: Layout) -> bool:
        """Are the constants of `program` those that are already in memory?"""
        if self.program is None or self._layout is None:
            return False
        there = self._layout.bases[Region.MODEL] == layout.bases[Region.MODEL]
        return there and self.program.model_image is program.model_image

    def _loaded(self) -> tuple[Program, Layout]:
        if self.program is None or self._layout is None:
            raise DeviceError("no model is loaded: call load first")
        return self.program, self._layout

    def _start(
        self, batches: NDArray[np.int8], program: Program, layout: Layout, progress: Progress | None, patience: int
    ) -> NDArray[np.int32]:
        if self.state not in (State.IDLE, State.DONE):
            self.reset()
        packed = np.concatenate([program.pack_images(batch) for batch in batches])
        self.transport.write(layout.bases[Region.INPUT], packed)
        for name, value in layout.registers(program, len(batches)).items():
            self._registers.write(name, value)
        if isinstance(self.transport, Traced):
            self.transport.clear_trace()
        self._registers.write("control", Control.START)
        self._finish(program, len(batches), progress, patience)
        raw = self.transport.read(layout.bases[Region.OUTPUT], len(batches) * program.output_bytes)
        return np.concatenate([program.unpack_logits(run) for run in raw.reshape(len(batches), -1)])

    def _finish(self, program: Program, runs: int, progress: Progress | None, patience: int) -> None:
        """Waits for DONE; see RunWatch."""
        limit = _SLACK * runs * program.estimated_cycles + 3 * patience
        watch = RunWatch(self._registers, runs * program.instructions, limit, patience)
        while True:
            self.transport.wait()
            state = self.state
            if state is State.DONE:
                return
            if state is State.FAULT:
                raise self._fault(program)
            cycles = watch.look(state)
            if progress is not None:
                progress(cycles)

    def _fault(self, program: Program) -> DeviceFaultError:
        fault, engine, index = self._registers.fault
        text = f"{engine} stopped with {fault.name} at instruction {index}: {describe(program.code, index)}"
        return DeviceFaultError(text, fault, engine, index)

    def _measure(self, images: int, runs: int, program: Program) -> Profile:
        """The counters of the START that just finished."""
        registers = self._registers
        cycles, beats = registers.read64("cycles"), registers.read64("beats")
        if not beats <= cycles or not cycles:
            raise DeviceError(f"the device says DONE after {cycles} cycles and {beats} array beats")
        engines = tuple(EngineProfile(engine.name, *registers.engine(engine, cycles)) for engine in Engine)
        trace = self.transport.intervals() if isinstance(self.transport, Traced) else None
        return Profile(
            images=images,
            cycles=cycles,
            instructions=registers.read("instructions"),
            beats=beats,
            macs=images * (program.macs // program.images),
            macs_per_cycle=self.config.macs_per_cycle,
            engines=engines,
            layers=layer_profiles(program, runs, trace) if trace else (),
        )


def _report(progress: Progress, before: int, cycles: int) -> None:
    progress(before + cycles)


def _check_magic(transport: Transport) -> None:
    found = transport.read32(address("magic"))
    if found != MAGIC:
        raise StrangerError(f"expected magic {MAGIC:#010x}, found {found:#010x}; this is not our accelerator")


def _board_of(transport: Transport, where: Target) -> Board:
    """The board whose fingerprint the device shows."""
    _check_magic(transport)
    found = transport.read32(address("fingerprint"))
    for board in installed().values():
        if board.config.fingerprint == found:
            return board
    raise StrangerError(
        f"fingerprint {found:#010x} of {where.scheme}:{where.name} is that of no board ({', '.join(installed())}); "
        "give the config it was built from"
    )
