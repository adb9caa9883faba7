"""The compiler: programs whose logits equal the golden model's on the machine model, hazards checked; refusals."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from firmware.compiler import CompileError, compile_model
from firmware.families.vit.pattern import recognise
from firmware.families.vit.place import cuts
from firmware.quantizer import RECIPES
from hw.boards.memory import Memory
from hw.boards.registry import BOARDS
from hw.spec import isa
from hw.spec.config import Config
from hw.spec.liveness import live_macs
from sim import golden
from sim.cycles import predict
from sim.machine import Machine
from tests.support.models import quantized_digits, random_model

ARTY, TINY = (BOARDS[name].config for name in ("arty_a7", "tiny"))
WIDE = Config(rows=16, cols=24, tokens=64, lanes=2, array="portable")


def run_machine(program, images):
    """The machine model after one run, with every dependency checked."""
    regions = {
        isa.Region.MODEL: program.model_image,
        isa.Region.WORK: np.zeros(program.work_bytes, np.uint8),
        isa.Region.INPUT: program.pack_images(images),
        isa.Region.OUTPUT: np.zeros(program.output_bytes, np.uint8),
    }
    machine = Machine(program.config, regions, check=True)
    machine.run(program.code)
    assert not machine.hazards
    assert not machine.unreached, "a row whose maximum is not its largest element"
    return machine


def execute(program, images):
    """Logits of one run on the machine model."""
    return program.unpack_logits(run_machine(program, images).regions[isa.Region.OUTPUT])


def images_for(model, count, seed=0):
    return np.random.default_rng(seed).integers(-128, 128, (count, *model.image)).astype(np.int8)


@pytest.mark.parametrize(
    "config", [BOARDS["arty_a7"].config, BOARDS["tiny"].config, WIDE], ids=["arty_a7", "tiny", "16x24"]
)
@pytest.mark.parametrize(("batch", "bits"), [(1, 16), (2, 8), (3, 16)])
def test_equals_golden(config, batch, bits):
    model = random_model(seed=batch, bits=bits)
    program = compile_model(model, config, batch=batch)
    images = images_for(model, batch)
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


@pytest.mark.parametrize("side", [56, 72])
def test_several_super_tiles(side):
    """50 and 82 tokens: several super-tiles, partial last words and tiles."""
    model = random_model(seed=side, image=(3, side, side), depth=2)
    program = compile_model(model, Config(tokens=32))
    assert len(program.tiles) > 1
    assert sum(program.tiles) == program.patches + 1
    images = images_for(model, 1)
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


@pytest.mark.parametrize("tokens", [1, 16, 17, 50, 64, 65, 197, 577])
def test_cuts_cover_the_tokens(tokens):
    config = Config()
    for tiles in cuts(tokens, config):
        assert sum(tiles) == tokens
        assert max(tiles) <= config.tokens
        assert all(size % config.rows == 0 for size in tiles[:-1])


@pytest.mark.parametrize("whole", [False, True])
def test_checkpoints_hold_the_residual_stream(whole):
    model = random_model(seed=8, image=(3, 56, 56), depth=3)
    program, images, trace = compile_model(model, Config(tokens=32), whole=whole), images_for(model, 1), {}
    golden.run(model, images, trace)
    assert [c.tensor for c in program.checkpoints] == ["qact1", "blocks.0.qact4", "blocks.1.qact4"]
    assert [c.rows for c in program.checkpoints] == [50, 50, 50 if whole else 1]
    for checkpoint in program.checkpoints:
        work = run_machine(program.until(checkpoint), images).regions[isa.Region.WORK].reshape(-1)
        expected = trace[checkpoint.tensor][0, : checkpoint.rows]
        found = work[checkpoint.offset : checkpoint.offset + 2 * expected.size].view("<i2").reshape(expected.shape)
        np.testing.assert_array_equal(found, expected)


def executed(program, layer):
    """Operands of a layer's MATMUL and VECTOR instructions."""
    by_engine = {engine: [] for engine in isa.Engine}
    for instruction in program.disassemble():
        if (engine := isa.engine_of(instruction.op)) is not None:
            by_engine[engine].append(instruction.operands)
    (ordinals,) = (each.instructions for each in program.layers if each.name == layer)
    return [by_engine[e][n] for e in (isa.Engine.MATMUL, isa.Engine.VECTOR) for n in ordinals.get(e, ())]


@pytest.mark.parametrize(("batch", "config"), [(1, Config(tokens=32)), (2, TINY), (3, WIDE)])
def test_tokens_that_reach_no_output_are_not_computed(batch, config):
    """Of the last block K and V are, and one row of everything else; the logits are those of the whole."""
    model = random_model(seed=batch, image=(3, 56, 56), depth=3)
    whole, program = (compile_model(model, config, batch=batch, whole=whole) for whole in (True, False))
    images = images_for(model, batch)
    expected = golden.run(model, images)
    np.testing.assert_array_equal(execute(whole, images), expected)
    np.testing.assert_array_equal(execute(program, images), expected)
    assert program.estimated_cycles < whole.estimated_cycles
    roles = recognise(model)
    for block in roles.blocks:
        for node in (node for node in block.nodes() if node.op != "requantize"):
            rows, all_rows = ([use["rows"] for use in executed(p, node.name)] for p in (program, whole))
            if block is not roles.blocks[-1] or node is block.norm1:
                assert sum(rows) == sum(all_rows)
            elif node is block.qkv:  # Q of one token
                assert sum(all_rows) - sum(rows) == batch * (roles.tokens - 1)
            else:
                assert set(rows) == {1}, node.name


@pytest.mark.parametrize("how", [{"pool": "avg"}, {"norm_of_mean": True}])
def test_where_all_tokens_reach_the_outputs_nothing_is_left_out(how):
    model = quantized_digits(RECIPES["mse"], **how)
    program, whole = compile_model(model, TINY), compile_model(model, TINY, whole=True)
    assert program.code == whole.code
    assert program.macs == whole.macs == model.macs


def test_same_inputs_same_program():
    model = random_model(seed=5)
    assert compile_model(model, Config(), batch=2).code == compile_model(model, Config(), batch=2).code


def test_every_layer_with_macs_is_executed():
    model = random_model(seed=1)
    assert sum(layer.macs for layer in compile_model(model, Config(), whole=True).layers) == model.macs
    assert {layer.name: layer.macs for layer in compile_model(model, Config()).layers if layer.macs} == {
        name: macs for name, macs in live_macs(model).items() if macs
    }


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        ({}, replace(Config(), bank_words=64), "wants .* scratchpad words, but only"),
        ({}, replace(Config(), rows=32, cols=8), None),
        ({"dim": 40, "heads": 5}, Config(), r"dim must be a multiple of rows \(16\), not 40"),
        ({"hidden": 250}, Config(max_row=128), r"a row of 256 elements exceeds max_row \(128\)"),
        ({}, replace(Config(), max_row=64), "exceeds max_row"),
    ],
)
def test_refusals(change, config, message):
    model = random_model(seed=2, **change)
    if message is None:
        assert compile_model(model, config).instructions
        return
    with pytest.raises(CompileError, match=message):
        compile_model(model, config)


def without(model, index):
    """The model without one of its nodes, whose readers read its input; valid where that has a fitting shape."""
    gone = model.nodes[index]
    kept = [node for node in model.nodes if node is not gone]
    new = [replace(n, inputs=tuple(gone.inputs[0] if name == gone.name else name for name in n.inputs)) for n in kept]
    return replace(model, nodes=tuple(new))


def test_wrong_graph():
    model = random_model(seed=2)
    with pytest.raises(CompileError, match="where a ViT has layer_norm"):
        compile_model(without(model, 6), Config())


@pytest.mark.parametrize("suffix", ["", "_identity"])
def test_residual_beyond_the_adder(suffix):
    model = random_model(seed=2)
    factors = {f"blocks.1.qact4.mult{suffix}": np.array([1 << 31]), f"blocks.1.qact4.shift{suffix}": np.array([21])}
    with pytest.raises(CompileError, match=r"blocks\.1\.qact4 scales an operand by 1024 or more"):
        compile_model(replace(model, tensors={**model.tensors, **factors}), Config())


UNITS = ("shiftmax", "layer_norm", "shift_gelu", "add")


@pytest.mark.parametrize("absent", UNITS)
def test_units_that_are_not_built(absent):
    """One sentence names the model, the unit and the first node that needs it."""
    model, there = random_model(seed=2), ", ".join(unit for unit in UNITS if unit != absent)
    config = Config(vector=tuple(unit for unit in UNITS if unit != absent))
    message = rf"model random-2 needs the unit {absent} \(node [a-z0-9_.]+\), and this configuration has {there}"
    with pytest.raises(CompileError, match=message):
        compile_model(model, config)


@pytest.mark.parametrize("config", [ARTY, TINY], ids=["arty_a7", "tiny"])
def test_fraction_bits_of_each_head(config):
    """Scores that no I0 = ceil(1/scale) follows: of a scale near 1 or above."""
    model = random_model(seed=4)
    factors = {
        "blocks.0.attn.int_softmax.i0": np.array([29, 700]).reshape(2, 1, 1),
        "blocks.0.attn.int_softmax.fraction": np.array([4, 7]).reshape(2, 1, 1),
        "blocks.1.attn.int_softmax.i0": np.array([1]),
        "blocks.1.attn.int_softmax.fraction": np.array([3]),
    }
    changed, images = replace(model, tensors={**model.tensors, **factors}), images_for(model, 1)
    logits = execute(compile_model(changed, config), images)
    np.testing.assert_array_equal(logits, golden.run(changed, images))
    assert not np.array_equal(logits, golden.run(model, images))


def test_tables_need_neither_shift_gelu_nor_maxima_of_the_hidden_channels():
    """Of one unit too few a sentence says which node needs it."""
    model = quantized_digits(RECIPES["minmax"])
    units = ("shiftmax", "layer_norm", "add", "table")
    program, images = compile_model(model, replace(TINY, vector=units)), images_for(model, 2)
    np.testing.assert_array_equal(execute(program, images[:1]), golden.run(model, images[:1]))
    code = isa.decode_program(program.code)
    count = Counter(instruction.op for instruction in code)
    assert sum(i.operands["track_max"] for i in code if i.op is isa.Op.MATMUL) == count[isa.Op.SHIFTMAX_SUM] > 0
    assert count[isa.Op.TABLE] == 3 * len(program.tiles) + 1  # of the last block the class token's alone
    assert count[isa.Op.SHIFT_GELU] == 0
    with pytest.raises(
        CompileError, match=r"needs the unit table \(node blocks.0.mlp.act\), and this configuration has"
    ):
        compile_model(model, replace(TINY, vector=units[:3]))


def test_wrong_batch():
    with pytest.raises(CompileError, match="batch must be from 1 to 64, not 0"):
        compile_model(random_model(seed=2), Config(), batch=0)


def test_a_board_is_planned_for_its_own_memory():
    """Of few words a cycle each is read for as many tokens as there is room for: less traffic, fewer cycles."""
    model = random_model(image=(3, 224, 224), patch=16, dim=192, depth=1, heads=3, hidden=768)
    board = BOARDS["ulx3s_85f"]
    planned, bare = compile_model(model, board), compile_model(model, board.config)
    assert planned.memory == board.core_memory
    assert bare.memory == Memory() != board.core_memory
    assert len(planned.tiles) < len(bare.tiles)
    predicted, otherwise = (predict(program, memory=board.core_memory).cycles for program in (planned, bare))
    assert predicted == predict(planned).cycles < 0.95 * otherwise
