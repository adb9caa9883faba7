"""The search for a short schedule: what is kept, where it leaves off, and that few blocks stand for all."""

from dataclasses import replace
from math import inf

import pytest

from firmware.architectures import architecture
from firmware.compiler import CompileError, compile_model
from firmware.families.vit import place
from firmware.families.vit.pattern import recognise
from firmware.make_model import make_model
from firmware.planner.program import UnitError
from firmware.planner.search import code_cycles, ranked
from hw.boards.registry import BOARDS
from hw.spec.config import Config
from sim.cycles import predict
from tests.support.models import random_model
from tests.support.wide import linears, widened


def test_ranked():
    limits = []

    def makespan(way, limit):
        limits.append(limit)
        if way < 0:
            raise CompileError(f"no way {way}")
        return way // 10 if way // 10 <= limit else None

    assert ranked([305, -1, 301, 100, 105, 110, 400], makespan, 1.1) == [100, 110]
    assert limits == [inf, 33.0, 33.0, 33.0, 11.0, 11.0, 11.0]
    with pytest.raises(CompileError, match="no way -2"):
        ranked([-1, -2], makespan)


def test_a_missing_unit_ends_the_search():
    tried = []

    def makespan(way, _limit):
        tried.append(way)
        raise UnitError("there is no such unit")

    with pytest.raises(UnitError):
        ranked([1, 2], makespan)
    assert tried == [1]


@pytest.mark.parametrize("board", ["tiny", "arty_a7", "arty_a7_100"])
@pytest.mark.parametrize("batch", [1, 2])
def test_few_blocks_find_the_way_that_all_do(board, batch, monkeypatch):
    """Or one that is as good within a hundredth by the cycle model; the schedule is that of all blocks either way."""
    model = random_model(seed=4, image=(3, 56, 56), depth=7, dim=64, hidden=128)
    found = compile_model(model, BOARDS[board], batch=batch)
    monkeypatch.setattr(place, "_few_blocks", lambda roles: roles)
    best = compile_model(model, BOARDS[board], batch=batch)
    assert predict(found).cycles <= 1.01 * predict(best).cycles
    assert best.estimated_cycles <= found.estimated_cycles <= 1.01 * best.estimated_cycles
    assert {layer.name for layer in found.layers} == {layer.name for layer in best.layers}


def test_the_cycle_model_judges_the_best(monkeypatch):
    """Where memory is the limit the scheduler is wrong about many small super-tiles."""
    model, board = make_model(architecture("deit_tiny", depth=4), seed=0), BOARDS["genesys2"]
    found = compile_model(model, board)
    monkeypatch.setattr(place, "_FINALISTS", 1)
    shortest = compile_model(model, board)
    assert shortest.estimated_cycles < found.estimated_cycles
    assert predict(found).cycles < 0.99 * predict(shortest).cycles


def test_finalists_differ_in_their_super_tiles(monkeypatch):
    """Of each the best number of slots is tried on all blocks."""
    model, tried = random_model(seed=4, image=(3, 56, 56), depth=6), []
    plan = place.Plan

    def note(job, roles, image, tiles, banks):
        tried.append((roles.depth, tiles))
        return plan(job, roles, image, tiles, banks)

    monkeypatch.setattr(place, "Plan", note)
    monkeypatch.setattr(place, "_NEAR", 10.0)
    compile_model(model, replace(Config(), tokens=32))
    whole = [tiles for depth, tiles in tried if depth == 6]
    assert len(whole) == len(set(whole)) == 2


def test_cycles_of_instructions():
    """As of a program's, but for where its regions lie."""
    program = compile_model(random_model(seed=3), BOARDS["tiny"])
    cycles = code_cycles(program.code, program.config, program.memory)
    assert cycles == pytest.approx(predict(program).cycles, rel=0.01)


def test_few_blocks_are_two_of_each_kind_and_the_last():
    model = random_model(seed=3, depth=9)
    wide = widened(model, linears(model, "4.mlp.fc2") + linears(model, "5.mlp.fc2") + linears(model, "6.mlp.fc2"))
    for each, blocks in ((model, (0, 1, 8)), (wide, (0, 1, 4, 5, 8))):
        roles = recognise(each)
        assert place._few_blocks(roles).blocks == tuple(roles.blocks[number] for number in blocks)


def test_what_fits_few_blocks_only_is_searched_on_all(monkeypatch):
    """Every finalist is refused."""
    model, tried = random_model(seed=4, image=(3, 56, 56), depth=6), []
    plan = place.Plan

    def refuse(job, roles, image, tiles, banks):
        tried.append(roles.depth)
        if roles.depth == 6 and tried.count(6) <= 2:
            raise CompileError("not this one")
        return plan(job, roles, image, tiles, banks)

    monkeypatch.setattr(place, "Plan", refuse)
    monkeypatch.setattr(place, "_NEAR", 10.0)
    assert compile_model(model, replace(Config(), tokens=32)).estimated_cycles > 0
    assert tried.count(6) > 2
