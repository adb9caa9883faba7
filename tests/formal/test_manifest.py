# amaranth: UnusedElaboratable=no
"""What docs/trust.md lists is what is proved, at the sizes of the boards' cores; a proof of nothing is noticed."""

import importlib
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from amaranth.hdl import Assert, Fragment, Module, Signal

from hw.accelerator import Accelerator
from hw.boards.registry import BOARDS
from hw.dma.burst_generator import BurstGenerator
from hw.dma.burst_queue import BurstQueue
from hw.dma.fetch import FetchEngine
from hw.dma.load import LoadEngine
from hw.dma.store import StoreEngine
from hw.sequencer.instruction_queue import InstructionQueue
from hw.sequencer.program_reader import ProgramReader
from hw.sequencer.sequencer import Sequencer
from hw.units.credit_queue import CreditQueue
from hw.units.divider import Divider
from hw.units.reciprocal import Reciprocal
from hw.units.round_saturate import RoundSaturate
from hw.units.square_root import SquareRoot
from hw.units.stream_fifo import StreamFIFO
from hw.vector.packer import Packer
from hw.vector.result_clamp import ResultClamp
from hw.vector.shift_exp import ShiftExp
from hw.vector.unpacker import Unpacker
from tests.formal.test_burst_generator import BURSTS
from tests.formal.test_burst_queue import BURST_QUEUES
from tests.formal.test_credit_queue import CREDITS
from tests.formal.test_divider import DIVISIONS
from tests.formal.test_fetch import FETCHES
from tests.formal.test_instruction_queue import INSTRUCTION_QUEUES
from tests.formal.test_load import MOVERS
from tests.formal.test_packer import PACKERS
from tests.formal.test_program_reader import PROGRAMS
from tests.formal.test_reciprocal import RECIPROCALS
from tests.formal.test_result_clamp import CLAMPS
from tests.formal.test_round_saturate import ROUNDINGS
from tests.formal.test_sequencer import SEQUENCERS
from tests.formal.test_shift_exp import TERMS
from tests.formal.test_square_root import ROOTS
from tests.formal.test_stream_fifo import QUEUES
from tests.formal.test_unpacker import UNPACKERS
from tests.support.formal import ProofError, listed, mutated, prove

HERE = Path(__file__).parent


def test_the_page_lists_every_proof():
    modules = [importlib.import_module(f"tests.formal.{path.stem}") for path in sorted(HERE.glob("test_*.py"))]
    proofs = [proof for module in modules for proof in getattr(module, "PROOFS", ())]
    assert listed() == [(proof.name, proof.what, proof.reach) for proof in proofs]


def test_sizes_are_those_of_the_boards():
    """Wherever the boards' cores round, queue and cut bursts, and those of one lane, it is at sizes that are proved."""
    units = (
        RoundSaturate, CreditQueue, BurstGenerator, Divider, ResultClamp, StreamFIFO, ProgramReader, ShiftExp,
        SquareRoot, Packer, Unpacker, BurstQueue, Sequencer, FetchEngine, LoadEngine, StoreEngine,
        InstructionQueue, Reciprocal,
    )  # fmt: skip
    found = {unit: [] for unit in units}

    def recorded(unit):
        init = unit.__init__

        def record(self, **sizes):
            found[unit].append(sizes)
            init(self, **sizes)

        return patch.object(unit, "__init__", record)

    with ExitStack() as stack:
        for unit in units:
            stack.enter_context(recorded(unit))
        one_lane = replace(BOARDS["arty_a7_100"].config, lanes=1, drain_lanes=1)
        for config in dict.fromkeys([*(board.config for board in BOARDS.values()), one_lane]):
            Fragment.get(Accelerator(config), None)
    assert {(s["value_bits"], s["out_bits"]) for s in found[RoundSaturate]} == set(ROUNDINGS)
    assert {s["depth"] for s in found[CreditQueue]} == set(CREDITS)
    assert {(s["word_bits"], s["burst_beats"]) for s in found[BurstGenerator]} == set(BURSTS)
    sizes = ("dividend_bits", "divisor_bits", "quotient_bits")
    assert {(*(s[size] for size in sizes), s.get("bits_per_cycle", 1)) for s in found[Divider]} == set(DIVISIONS)
    assert {(s["bits"], s["lanes"]) for s in found[ResultClamp]} == set(CLAMPS)
    assert {(s["depth"], s.get("block", False)) for s in found[StreamFIFO]} == set(QUEUES)
    assert {(s["rows"], s["lanes"]) for s in found[Packer]} == set(PACKERS)
    assert {(s["rows"], s["lanes"]) for s in found[Unpacker]} == set(UNPACKERS)
    assert {(s["depth"], s.get("block", False)) for s in found[BurstQueue]} == set(BURST_QUEUES)
    assert {(s["word_bits"], s["stream_words"], s["burst_beats"]) for s in found[FetchEngine]} == set(FETCHES)
    sizes = ("word_bits", "scratch_words", "burst_beats", "slices")
    assert {tuple(s[size] for size in sizes) for s in found[LoadEngine]} == set(MOVERS)
    assert {tuple(s[size] for size in sizes) for s in found[StoreEngine]} == set(MOVERS)
    assert {(s["word_bits"], s["queue_depth"], s["burst"]) for s in found[Sequencer]} == set(SEQUENCERS)
    sizes = ("engines", "depth", "word_bits", "burst")
    assert {tuple(s[size] for size in sizes) for s in found[InstructionQueue]} == set(INSTRUCTION_QUEUES)
    assert {s["terms"] for s in found[ShiftExp]} == set(TERMS)
    assert {(s["value_bits"], s["bits_per_cycle"]) for s in found[SquareRoot]} == set(ROOTS)
    assert {(s.get("divisor_bits", 31), s.get("bits_per_stage", 1)) for s in found[Reciprocal]} == set(RECIPROCALS)
    assert {(s["word_bits"], s["burst"]) for s in found[ProgramReader]} == {(bits, 4) for bits, _ in PROGRAMS}


def test_a_prover_that_proves_nothing_is_noticed():
    free = Signal(2)
    for mode in ("bmc", "cover"):
        m = Module()
        m.d.comb += Signal().eq(free[0])
        with pytest.raises(ProofError, match="nothing to"):
            prove(m, ports=[free], depth=1, mode=mode)
    m = Module()
    m.d.comb += Assert(free != 2)
    with pytest.raises(ProofError, match="Assert failed"):
        prove(m, ports=[free], depth=1)


def test_a_mutant_must_be_in_its_file():
    with pytest.raises(ProofError, match="0 times"):
        mutated(CreditQueue, "not there", "x")
