"""Inputs of 16 bits, which linears read in two byte planes: bit-exact from the graph to the RTL, and what they cost."""

import json

import numpy as np
import pytest

import firmware
from firmware.__main__ import main
from firmware.compiler import compile_model
from firmware.planner.allocator import Arena
from firmware.planner.program import CompileError
from firmware.quantizer import RECIPES
from firmware.quantizer.budget import Wide, afforded, bought, candidates
from hw.boards.registry import BOARDS
from hw.spec import arith
from hw.spec.config import Config
from hw.spec.isa import Kind, Op
from hw.spec.liveness import live_macs
from hw.spec.model import validate
from sim import golden
from tests.firmware.test_compiler import execute, images_for
from tests.support.models import DIGITS, quantized_digits, random_model
from tests.support.swin import random_swin
from tests.support.wide import linears, widened

KINDS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "")


def wide_model(make, kind):
    model = make()
    names = linears(model, kind)
    assert names
    wide = widened(model, names)
    validate(wide)
    return wide


@pytest.mark.parametrize("board", ["arty_a7", "tiny"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind or "all")
def test_vit_equals_golden(kind, board):
    model = wide_model(lambda: random_model(seed=3), kind)
    images = images_for(model, 2)
    program = compile_model(model, BOARDS[board].config, batch=2)
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


@pytest.mark.parametrize("kind", [*KINDS[:-1], "downsample.reduction", ""], ids=lambda kind: kind or "all")
def test_swin_equals_golden(kind):
    model = wide_model(lambda: random_swin(seed=5, image=(3, 32, 32)), kind)
    images = images_for(model, 1)
    program = compile_model(model, Config())
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


@pytest.mark.parametrize("kind", ["mlp.fc2", ""], ids=lambda kind: kind or "all")
def test_table_equals_golden(kind):
    model = wide_model(lambda: quantized_digits(RECIPES["minmax"], images=16), kind)
    images = images_for(model, 2)
    program = compile_model(model, BOARDS["tiny"].config, batch=2)
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


@pytest.mark.parametrize("make", [random_model, random_swin], ids=["vit", "swin"])
def test_equals_golden_on_the_rtl(make):
    model = wide_model(lambda: make(seed=2), "")
    images = images_for(model, 2)
    with firmware.open("sim:tiny?random=3") as device:
        device.load(model, batch=2)
        np.testing.assert_array_equal(device.run(images), golden.run(model, images))


def test_only_wide_inputs_are_read_in_planes():
    model = random_model(seed=3)
    names = linears(model, "0.attn.proj") + linears(model, "1.mlp.fc2")
    wide = widened(model, names)
    program = compile_model(wide, Config())
    operands = [i.operands for i in program.disassemble() if i.op == Op.MATMUL]
    layers = [layer for layer in program.layers if layer.op == "linear"]
    assert {node.name for node in wide.nodes if node.attributes.get("bits") == 16 and "qact" in node.name} >= {
        "blocks.0.attn.qact2", "blocks.1.mlp.qact1"
    }  # fmt: skip
    assert any(o["kind"] == Kind.PLANES for o in operands)
    assert any(o["two_planes"] and o["per_channel"] for o in operands)
    assert sum(layer.macs for layer in layers) == sum(live_macs(wide)[layer.name] for layer in layers)
    assert program.macs == compile_model(model, Config()).macs  # counted once, whatever the passes


def test_fast_laws_of_wide_inputs_are_exact():
    rng = np.random.default_rng(0)
    x = rng.integers(-(1 << 15), 1 << 15, (3, 17, 96)).astype(np.int16)
    x.flat[:2] = -(1 << 15), (1 << 15) - 1
    weight = rng.integers(-128, 128, (40, 96)).astype(np.int8)
    weight[0] = -128
    bias = rng.integers(-(1 << 28), 1 << 28, 40).astype(np.int32)
    laws = golden.fast_laws()
    weight[:, 64:] = np.where(np.arange(40)[:, None] == 1, weight[:, 64:], 0)
    np.testing.assert_array_equal(laws.linear(x, weight, bias), arith.linear(x, weight, bias))
    over = np.full((2, 4096), 127, np.int8)  # sums that leave 32 bits: the law's, in 64
    y = np.full((1, 4096), 32767, np.int16)
    np.testing.assert_array_equal(laws.linear(y, over, bias[:2]), arith.linear(y, over, bias[:2]))


def test_a_low_plane_is_right_behind_its_high_one():
    arena = Arena(0, 100)
    high = arena.allocate("hidden", 4, 10)
    both = arena.with_low_plane(high)
    assert (both.start, both.words, both.row, both.plane) == (0, 80, 10, 40)
    assert arena.room == 20
    assert both.part(1, 2).access().stop == 40 + 10 + 20
    arena.free(both)
    high = arena.allocate("hidden", 4, 10)
    arena.allocate("behind", 1, 10)
    with pytest.raises(CompileError, match="buffer hidden wants 40 scratchpad words more for its low byte plane"):
        arena.with_low_plane(high)


# What to widen


WIDES = [Wide(linear=f"blocks.{k}.{kind}", quantizer=f"{kind}{k}", cycles=c)
         for k in range(2) for kind, c in (("fc2", 40), ("proj", 10))]  # fmt: skip
NOISE = {"fc20": 8.0, "fc21": 1.0, "proj0": 1.0, "proj1": 3.0}


def test_the_best_for_its_cycles_is_bought_first():
    assert [each.quantizer for each in bought(WIDES, NOISE, 55)] == ["proj1", "fc20"]
    assert [each.quantizer for each in bought(WIDES, NOISE, 49)] == ["proj1", "proj0"]
    assert bought(WIDES, NOISE, 0) == []


def test_a_budget_is_kept():
    def cycles(wide):
        return 1000 + sum(each.cycles for each in wide)

    spending = afforded(WIDES, NOISE, cycles, 1.06)
    assert [each.quantizer for each in spending.bought] == ["proj1", "fc20", "proj0"]
    assert (spending.before, spending.after, spending.ratio) == (1000, 1060, 1.06)


def test_a_kind_that_costs_more_than_its_pass_is_left_alone():
    def cycles(wide):
        return 1000 + sum(each.cycles for each in wide) + 300 * any("fc2" in each.linear for each in wide)

    spending = afforded(WIDES, NOISE, cycles, 1.1)
    assert [each.quantizer for each in spending.bought] == ["proj1", "proj0"]
    assert spending.after == 1020


def test_what_has_no_program_is_left_alone():
    def cycles(wide):
        return None if any("fc2" in each.linear for each in wide) else 1000 + sum(each.cycles for each in wide)

    assert [each.quantizer for each in afforded(WIDES, NOISE, cycles, 1.1).bought] == ["proj1", "proj0"]
    assert afforded(WIDES, NOISE, lambda _: None, 1.1).bought == ()


def test_sums_of_candidates_stay_in_32_bits():
    model = random_model(seed=1)
    name = "blocks.0.mlp.fc2"
    assert [each.linear for each in candidates(model, [name], Config())] == [name]
    model.tensors[f"{name}.bias"][0] = 1 << 23
    assert candidates(model, [name], Config()) == []


def test_the_command_spends_a_budget(tmp_path, capsys):
    """Of the digits: some inputs get 16 bits, the outputs come nearer, and the report says which and for what."""
    files = [str(DIGITS / "float.safetensors"), "--calibrate", str(DIGITS / "calibration.npy"), "--count", "64"]
    sizes = ["--patch", "2", "--heads", "2", "--mean", "0.5", "--std", "0.5", "--recipe", "mse", "--board", "tiny"]
    ends = {}
    for budget in ("1.0", "1.2"):
        out, report = tmp_path / f"{budget}.safetensors", tmp_path / f"{budget}.json"
        options = ["--budget", budget, "-o", str(out), "--report", str(report)]
        assert main(["quantize", *files, *sizes, *options]) == 0
        ends[budget] = json.loads(report.read_text())
    assert "times those of 8-bit inputs (the scheduler's estimate)" in capsys.readouterr().out
    narrow, wide = ends["1.0"], ends["1.2"]
    assert "budget" not in narrow
    assert narrow["wide"] == []
    assert wide["wide"] == sorted(each["linear"] for each in wide["budget"]["wide"]) != []
    assert 1 < wide["budget"]["cycles"] / wide["budget"]["cycles_all_8_bit"] <= 1.2
    assert wide["end_to_end"]["logit_sqnr"] > narrow["end_to_end"]["logit_sqnr"]
    model = firmware.load_model(tmp_path / "1.2.safetensors")
    names = {each["quantizer"] for each in wide["budget"]["wide"]}
    assert {node.attributes["bits"] for node in model.nodes if node.name in names} == {16}
    program = compile_model(model, BOARDS["tiny"])
    assert program.estimated_cycles == wide["budget"]["cycles"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--budget", "0.9"], "--budget must be at least 1, the cycles of 8-bit inputs, not 0.9"),
        (["--budget", "nan"], "--budget must be at least 1, the cycles of 8-bit inputs, not nan"),
        (["--board", "nowhere"], "nowhere"),
    ],
)
def test_wrong_budgets_are_refused(tmp_path, capsys, options, said):
    files = [str(DIGITS / "float.safetensors"), "--calibrate", str(DIGITS / "calibration.npy")]
    assert main(["quantize", *files, "-o", str(tmp_path / "m.safetensors"), *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "m.safetensors").exists()
