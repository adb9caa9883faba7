"""Import of official Swin states: constants, windows, the meaning of the mask, shapes, and refusals."""

from dataclasses import replace
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest

from firmware.families.swin.graph import mask_excludes
from firmware.families.swin.relative import relative_position_index
from firmware.ivit import model_from_state
from firmware.model_file import load_model, save_model
from hw.spec.model import ModelError, Node, validate, values
from sim import golden
from tests.support.swin import SHAPES, random_swin, shift_mask, swin_state

DATA = Path(__file__).parents[1] / "data" / "small_swin_a"
OURS = {"m": "mult", "e": "shift", "m_identity": "mult_identity", "e_identity": "shift_identity"}
MACS = {"swin_tiny": 4_490_566_656, "swin_small": 8_740_875_264, "swin_base": 15_430_946_816}


def load(part):
    with np.load(DATA / f"{part}.npz") as arrays:
        return dict(arrays)


def import_state(state, **options):
    return model_from_state(
        state, name="test", **{"image": (3, 56, 56), "mean": (0.5,) * 3, "std": (0.5,) * 3, **options}
    )


@pytest.fixture(scope="module")
def state():
    return load("state")


def test_constants_are_the_official_ones(state):
    model = import_state(state)
    nodes = {node.name: node for node in model.nodes}
    constants = load("constants")
    assert len(constants) > 100
    for key, value in constants.items():
        node, what = key.rsplit("/", 1)
        if what == "I0":
            got = nodes[node].attributes.get("i0", model.tensors.get(f"{node}.i0"))
        else:
            got = model.tensors[f"{node}.{OURS[what]}"]
        np.testing.assert_array_equal(got, value, err_msg=key)
    for node in model.nodes:
        if node.op == "layer_norm":
            np.testing.assert_array_equal(model.tensors[f"{node.name}.bias"], state[f"{node.name}.bias_integer"])
    assert (model.patch, model.classes, model.macs) == (4, 10, 12_180_864)


def test_relative_positions_are_the_official_ones(state):
    np.testing.assert_array_equal(relative_position_index(7), state["layers.0.blocks.0.attn.relative_position_index"])


def test_mask_by_definition():
    """Two tokens of a window see each other if their distance in the unrolled grid is their distance in the window."""
    height, width, window, shift = 6, 9, 3, 1
    mask = shift_mask(height, width, window, shift)
    assert mask.shape == (6, 9, 9)
    for number, one in enumerate(mask):
        top, left = (index * window for index in divmod(number, width // window))
        where = [
            ((top + y + shift) % height - y, (left + x + shift) % width - x)
            for y in range(window) for x in range(window)
        ]  # fmt: skip
        assert [[int(a != b) for b in where] for a in where] == one.tolist()


def float_exp(d, i0):
    """ShiftExp of an exact difference that need be no integer, as the official float modules have it."""
    p = max(d + floor(d / 2) - floor(d / 16), Fraction(-15 * i0))
    q = floor(-p / i0)
    return floor((2 * i0 + p + q * i0) * 2 ** (15 - q) / 2)


@pytest.mark.parametrize("scale", [0.01, 0.035, 0.05, 0.1, 0.2, 0.25, 0.3, 0.3333])
def test_a_mask_of_minus_100_is_the_integer_mask(scale):
    """Wherever the importer says so, for every masked score and every maximum."""
    scale = np.float32(scale)
    assert mask_excludes(scale)
    i0, down = ceil(np.float32(1) / scale), Fraction(100) / Fraction(float(scale))
    for d in range(-255, 256):
        assert d - down < 0  # a masked score is never the maximum
        assert float_exp(d - down, i0) == i0


def test_coarse_scales_are_refused(state):
    assert not mask_excludes(np.float32(0.36))
    assert not mask_excludes(np.float32(1.5))
    name = "layers.0.blocks.{}.attn.qact2.act_scaling_factor"
    import_state({**state, name.format(0): np.float32(0.5)})  # no mask there
    with pytest.raises(
        ModelError, match=r"blocks.1.attn.qact2.act_scaling_factor is 0.5, too coarse for a mask of -100"
    ):
        import_state({**state, name.format(1): np.float32(0.5)})


@pytest.mark.parametrize("name", SHAPES)
def test_published_sizes(name):
    model = random_swin(image=(3, 224, 224), window=7, classes=1000, **SHAPES[name])
    assert model.macs == MACS[name]
    known, stages = values(model), SHAPES[name]["heads"]
    scores = [node for node in model.nodes if node.op == "scores"]
    assert sum(node.op == "shiftmax" and len(node.inputs) == 2 for node in model.nodes) == len(scores) // 2 - 1
    for stage, heads in enumerate(stages):
        assert known[f"layers.{stage}.blocks.0.attn.matmul_1"].shape == ((8 >> stage) ** 2, heads, 49, 49)
    assert known["avgpool"].shape == (8 * SHAPES[name]["dim"],)


def test_state_may_hold_mask_and_index(state):
    name = "layers.0.blocks.1.attn_mask"
    mask = -100.0 * shift_mask(14, 14, 7, 3)
    import_state({**state, name: mask})
    with pytest.raises(ModelError, match="attn_mask is not the mask of -100 of a shift by 3"):
        import_state({**state, name: mask / 2})
    index = "layers.0.blocks.0.attn.relative_position_index"
    without = import_state({key: value for key, value in state.items() if "position_index" not in key})
    assert without.nodes == import_state(state).nodes
    with pytest.raises(ModelError, match="relative_position_index is not the index of a 7 x 7 window"):
        import_state({**state, index: state[index].T})


def test_every_tensor_is_needed_or_known_to_be_unused(state):
    unused = ("act_out.", "softmax.", "matmul_1.", "matmul_2.", "mlp.act.", "relative_position_index")
    recomputed = ("norm_scaling_factor", "norm.bias_integer", "norm1.bias_integer", "norm2.bias_integer")
    for key in state:
        less = {name: value for name, value in state.items() if name != key}
        if any(part in key for part in unused) or key.endswith(recomputed):
            import_state(less)
        else:
            with pytest.raises(ModelError, match=f"tensor {key} is missing"):
                import_state(less)


@pytest.mark.parametrize(
    ("edit", "options", "message"),
    [
        ({"layers.0.blocks.0.attn.relative_position_bias_table": np.ones((168, 1))}, {},
         r"relative_position_bias_table must have \(2\*window-1\)\^2 rows, not 168"),
        ({"layers.0.blocks.0.attn.relative_position_bias_table": np.ones((169, 3))}, {},
         "3 heads of layers.0.blocks.0.attn.relative_position_bias_table do not divide the width 32"),
        ({}, {"image": (3, 60, 60)}, "window 7 of layers.0.blocks.0 must divide the grid 15 x 15"),
        ({}, {"image": (3, 84, 84)}, "layers.0.downsample cannot merge a grid of 21 x 21: it must be even"),
        ({"layers.7.blocks.0.norm1.weight": np.ones(32)}, {}, r"the stages are \[0, 1, 7\]"),
        ({"layers.0.blocks.5.norm1.weight": np.ones(32)}, {}, "tensor layers.0.blocks.2.attn.relative_position_bias"),
        ({}, {"patch": 8}, r"patch_embed.proj.weight_integer must have shape \[any, 3, 8, 8\]"),
        ({}, {"attention_bits": 7}, "attention_bits must be 8 or 16, not 7"),
    ],
)  # fmt: skip
def test_bad_states_are_refused(state, edit, options, message):
    with pytest.raises(ModelError, match=message) as caught:
        import_state({**state, **edit}, **options)
    assert "\n" not in str(caught.value)


def test_larger_images_are_other_windows(state):
    known = values(import_state(state, image=(3, 112, 56)))
    assert known["layers.0.blocks.1.attn_mask"].shape == (8, 49, 49)
    assert known["layers.1.blocks.1.attn.matmul_1"].shape == (2, 2, 49, 49)


def test_file_round_trip(tmp_path):
    model = random_swin(1, heads=(2, 4))
    save_model(model, tmp_path / "m")
    images = np.random.default_rng(0).integers(-128, 128, (2, 3, 32, 32)).astype(np.int8)
    np.testing.assert_array_equal(golden.run(load_model(tmp_path / "m"), images), golden.run(model, images))


@pytest.mark.parametrize(
    ("image", "window", "depths", "heads"),
    [((3, 32, 32), 4, (2, 2), (1, 2)), ((1, 32, 64), 4, (2, 2), (2, 2)), ((3, 48, 48), 3, (3, 1, 2), (1, 2, 4))],
)
def test_random_shapes_use_their_range(image, window, depths, heads):
    """The generator's models are fit for tests of a device: activations neither vanish nor saturate."""
    model = random_swin(2, image=image, window=window, depths=depths, heads=heads, dim=16)
    images = np.random.default_rng(0).integers(-128, 128, (2, *image)).astype(np.int8)
    trace = {}
    logits = golden.run(model, images, trace)
    assert len(np.unique(logits)) > 10
    masks = [node for node in model.nodes if node.op == "shiftmax" and len(node.inputs) == 2]
    assert masks
    for node in model.nodes:
        if node.op in {"requantize", "add"}:
            limit = 1 << (node.attributes["bits"] - 1)
            assert trace[node.name].std() > limit / 20, node.name
            assert (np.abs(trace[node.name]) >= limit - 1).mean() < 0.05, node.name


# --- hw.spec.model.validate ---


def with_node(name, **changes):
    return lambda model: replace(
        model, nodes=tuple(replace(node, **changes) if node.name == name else node for node in model.nodes)
    )


def with_attributes(name, **changes):
    def edit(model):
        node = next(node for node in model.nodes if node.name == name)
        return with_node(name, attributes={**node.attributes, **changes})(model)

    return edit


def with_tensor(name, function):
    return lambda model: replace(model, tensors={**model.tensors, name: function(model.tensors[name])})


def hide_all(mask):
    mask = mask.copy()
    mask[2, 5] = 1
    return mask


BLOCK = "layers.0.blocks.1"
SOFTMAX = f"{BLOCK}.attn.log_int_softmax"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (with_attributes(f"{BLOCK}.window_partition", height=7),
         "window_partition layers.0.blocks.1.window_partition needs 7 x 8 tokens, not 64"),
        (with_attributes(f"{BLOCK}.window_partition", window=3), "window 3 of .* must divide the grid 8 x 8"),
        (with_attributes(f"{BLOCK}.window_reverse", shift=4), "shift of .* must be below the window 4, not 4"),
        (with_attributes(f"{BLOCK}.window_reverse", shift=-1), "shift of .* must be from 0 to 255, not -1"),
        (with_attributes("layers.0.downsample.merge", width=4), "merge .* needs 8 x 4 tokens, not 64"),
        (with_attributes("layers.0.downsample.merge", height=1, width=64), "needs an even grid, not 1 x 64"),
        (with_attributes(f"{BLOCK}.attn.matmul_1", windows=5), "cannot split 64 tokens into 5 windows"),
        (with_attributes(f"{BLOCK}.attn.matmul_1", heads=5), "cannot split 96 channels into 3 x 5 heads"),
        (with_node(f"{BLOCK}.attn.matmul_1", attributes={"heads": 1}), "add .*attn.qact2 needs equal shapes, not"),
        (with_attributes(f"{BLOCK}.attn.matmul_2", windows=2), r"needs probabilities \[2, 1, 32, 32\], not"),
        (with_attributes(f"{BLOCK}.attn.matmul_1", patch=2), "must have attributes .*, not"),
        (with_node(SOFTMAX, inputs=(f"{BLOCK}.attn.qact2",) * 2), "the mask of shiftmax .* must be a constant"),
        (with_node(SOFTMAX, inputs=()), "must have 1 or 2 inputs, not 0"),
        (with_tensor(f"{BLOCK}.attn_mask.value", lambda mask: mask[:1]),
         r"the mask of .* must have shape \[windows, n, n\] of its scores \[4, 1, 16, 16\], not \[1, 16, 16\]"),
        (with_tensor(f"{BLOCK}.attn_mask.value", lambda mask: -mask), "must be a constant of 0 and 1"),
        (with_tensor(f"{BLOCK}.attn_mask.value", hide_all), "must leave something of every row"),
        (with_tensor(f"{BLOCK}.attn.qact_table.value", lambda table: table[:, 1:]), "add .* needs equal shapes"),
        (with_node("avgpool", inputs=("norm",)), "mean avgpool needs rank 2, at most 8 bits"),
        (with_node("avgpool", op="merge", attributes={"height": 4, "width": 4}), r"must have shape \[outputs, 256\]"),
    ],
)  # fmt: skip
def test_bad_models_are_refused(edit, message):
    model = random_swin()
    validate(model)
    with pytest.raises(ModelError, match=message) as caught:
        validate(edit(model))
    assert "\n" not in str(caught.value)


def test_vit_scores_take_no_mask():
    """A mask without windows has no shape that fits."""
    model = random_swin()
    square = Node("m", "constant")
    tensors = {**model.tensors, "m.value": np.zeros((4, 16, 16), np.int8)}
    at = [node.name for node in model.nodes].index(f"{BLOCK}.attn.matmul_1")
    nodes = (*model.nodes[:at], square, replace(model.nodes[at], attributes={"heads": 1}), *model.nodes[at + 1 :])
    nodes = tuple(
        replace(node, inputs=("layers.0.blocks.1.attn.qact_attn1", "m")) if node.name == SOFTMAX else node
        for node in nodes if node.name != f"{BLOCK}.attn.qact2"
    )  # fmt: skip
    with pytest.raises(ModelError, match="the mask of shiftmax"):
        validate(replace(model, nodes=nodes, tensors=tensors))


def test_a_state_without_heads_is_a_swin():
    with pytest.raises(ModelError, match="heads must be given"):
        import_state({"blocks.0.norm1.weight": np.ones(3)})
    assert swin_state(3).keys() == swin_state(4).keys()
