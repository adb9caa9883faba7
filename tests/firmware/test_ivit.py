"""Import of official states: constants equal the official ones, and bad states are refused in one sentence."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from firmware import ivit
from hw.spec.model import ModelError, Node, validate, values

DATA = Path(__file__).parents[1] / "data"
OURS = {"m": "mult", "e": "shift", "m_identity": "mult_identity", "e_identity": "shift_identity"}


def load(name, part):
    with np.load(DATA / name / f"{part}.npz") as arrays:
        return dict(arrays)


def import_state(state, **options):
    options = {"patch": 8, "heads": 2, "image": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3} | options
    return ivit.model_from_state(state, name="test", **options)


@pytest.fixture(scope="module")
def state():
    return load("small_vit_a", "state")


@pytest.mark.parametrize("name", ["small_vit_a", "small_vit_t"])
def test_constants_are_the_official_ones(name):
    state, model = load(name, "state"), import_state(load(name, "state"))
    nodes = {node.name: node for node in model.nodes}
    for key, value in load(name, "constants").items():
        node, what = key.rsplit("/", 1)
        if what == "I0":
            got = nodes[node].attributes.get("i0", model.tensors.get(f"{node}.i0"))
        else:
            got = model.tensors[f"{node}.{OURS[what]}"]
        np.testing.assert_array_equal(got, value, err_msg=key)
    for node in model.nodes:
        if node.op == "layer_norm":
            np.testing.assert_array_equal(model.tensors[f"{node.name}.bias"], state[f"{node.name}.bias_integer"])
            gamma = state[f"{node.name}.weight"]
            np.testing.assert_array_equal(ivit.norm_scale(gamma), state[f"{node.name}.norm_scaling_factor"])
    assert (model.patch, model.classes, model.macs) == (8, 10, 1_942_400)


def test_dyadic_is_the_closest_31_bit_mantissa():
    rng = np.random.default_rng(0)
    s_in = (rng.uniform(0.5, 1, 500) * 2.0 ** rng.integers(-30, 5, 500)).astype(np.float32)
    s_in[::7] *= -1
    s_out = np.float32(0.0371)
    mult, shift = ivit.dyadic(s_in, s_out)
    for s, m, e in zip(s_in.tolist(), mult.tolist(), shift.tolist(), strict=True):
        ratio = Fraction(s / float(s_out)) * 2**e  # one float64 division, as in the official code
        assert abs(ratio - m) <= Fraction(1, 2)
        assert 2**30 <= abs(m) <= 2**31
    assert [part.tolist() for part in ivit.dyadic(np.float32([1, 0.25, 2]), np.float32(1))] == [
        [1 << 30] * 3,
        [30, 32, 29],
    ]


def test_floats_holding_integers_are_accepted(state):
    """Official checkpoints store everything as float32."""
    floats = {key: np.asarray(value, np.float32) for key, value in state.items()}
    a, b = import_state(state), import_state(floats)
    assert a.nodes == b.nodes
    for key, tensor in a.tensors.items():
        np.testing.assert_array_equal(tensor, b.tensors[key])


def test_every_tensor_is_needed_or_known_to_be_unused(state):
    """Leaving out any tensor is a ModelError naming it, except those the official modules recompute or never use."""
    unused = ("act_out.", "qact_softmax.", "int_softmax.", "matmul_1.", "matmul_2.", "mlp.act.")
    recomputed = ("norm_scaling_factor", "norm1.bias_integer", "norm2.bias_integer", "norm.bias_integer")
    for key in state:
        less = {name: value for name, value in state.items() if name != key}
        if any(part in key for part in unused) or key.endswith(recomputed):
            import_state(less)
        else:
            with pytest.raises(ModelError, match=f"tensor {key} is missing"):
                import_state(less)


def change(key, index, value):
    def apply(state):
        array = np.array(state[key], np.float32)
        array[index] = value
        return {**state, key: array}

    return apply


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change("blocks.0.attn.qkv.weight_integer", (0, 0), np.nan), "qkv.weight_integer contains NaN"),
        (change("blocks.0.attn.qkv.weight_integer", (0, 0), 128), "qkv.weight_integer must fit int8"),
        (change("blocks.0.attn.qkv.weight_integer", (0, 0), 0.5), "qkv.weight_integer must hold whole numbers"),
        (change("head.bias_integer", 0, 3e9), "head.bias_integer must fit int32"),
        (change("qact1.act_scaling_factor", (), 0), "qact1.act_scaling_factor must be positive, not 0"),
        (change("qact1.act_scaling_factor", (), np.inf), "qact1.act_scaling_factor contains NaN or infinity"),
        (change("head.fc_scaling_factor", 3, 0), "head.fc_scaling_factor must be positive, but channel 3 is 0"),
        (change("blocks.1.norm2.weight", 5, 0), "norm2 channel 5 needs an integer bias beyond 34 bits: gamma 0.0"),
        (change("blocks.1.norm2.weight", 5, 1e-7), "norm2 channel 5 needs an integer bias beyond 34 bits"),
        (change("blocks.0.attn.qact_attn1.act_scaling_factor", (), 1e-4), "I0 of blocks.0.attn.int_softmax must be"),
        (change("blocks.0.mlp.qact_gelu.act_scaling_factor", (), 1e-4), "I0 of blocks.0.mlp.act must be"),
        (change("blocks.0.qact1.act_scaling_factor", (), 1e8), "scales around blocks.0.qact1 need a shift of"),
        (change("cls_token", (0, 0, 0), 1e9), "cls_token does not fit 32 bits"),
        (lambda state: {**state, "head.bias_integer": np.zeros(9)}, r"head.bias_integer must have shape \[10\]"),
        (lambda state: {**state, "pos_embed": np.zeros((1, 5, 64))}, r"pos_embed must have shape \[1, 17, 64\]"),
        (lambda state: {**state, "qact1.act_scaling_factor": np.ones(2)}, "must be one number"),
        (lambda state: {k: v for k, v in state.items() if "blocks" not in k}, "these are no tensors of a ViT, DeiT"),
    ],
)  # fmt: skip
def test_bad_states_are_refused(state, edit, message):
    with pytest.raises(ModelError, match=message) as caught:
        import_state(edit(state))
    assert "\n" not in str(caught.value)


def test_bad_options_are_refused(state):
    with pytest.raises(ModelError, match="attention_bits"):
        import_state(state, attention_bits=12)
    with pytest.raises(ModelError, match="heads do not divide"):
        import_state(state, heads=3)
    with pytest.raises(ModelError, match="labels must name 10"):
        import_state(state, labels=("one",))


# --- hw.spec.model.validate ---


def test_values_are_shapes_and_widths(state):
    known = values(import_state(state))
    assert known["blocks.0.attn.matmul_1"].shape == (2, 17, 17)
    assert (known["blocks.1.qact4"].shape, known["blocks.1.qact4"].bits) == ((17, 64), 16)
    assert known["head"].shape == (10,)


def with_tensor(name, function):
    return lambda model: replace(model, tensors={**model.tensors, name: function(model.tensors[name])})


def with_node(name, **changes):
    return lambda model: replace(
        model, nodes=tuple(replace(node, **changes) if node.name == name else node for node in model.nodes)
    )


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (with_node("qact2", op="relu"), "node qact2 has the unknown operator 'relu'"),
        (with_node("qact2", inputs=("nowhere",)), "reads nowhere, which no earlier node computes"),
        (with_node("qact2", inputs=()), "must have 1 inputs, not 0"),
        (with_node("qact2", attributes={"bits": 9}), "bits of qact2 must be 8 or 16, not 9"),
        (with_node("qact2", attributes={}), "must have attributes"),
        (with_node("blocks.0.attn.qact1", attributes={"bits": 16}), "matmul_1 needs rank 2, at most 8 bits"),
        (with_node("blocks.0.attn.int_softmax", attributes={"bits": 4, "terms": 15}), "bits of .* not 4"),
        (lambda model: replace(model, nodes=(*model.nodes, model.nodes[-1])), "node head occurs twice"),
        (lambda model: replace(model, nodes=model.nodes[:-1]), "qact2 must give 10 int32 logits"),
        (lambda model: replace(model, nodes=(Node("late", "class_token", ("head",)),)), "no earlier node"),
        (lambda model: replace(model, tensors={**model.tensors, "x.y": np.zeros(1)}), "x.y belongs to no node"),
        (lambda model: replace(model, tensors={k: v for k, v in model.tensors.items() if k != "head.bias"}),
         "tensor head.bias is missing"),
        (lambda model: replace(model, input_scale=float("nan")), "input_scale must be a positive number"),
        (lambda model: replace(model, logit_scale=np.float32([1])), "logit_scale must be 10 finite numbers"),
        (lambda model: replace(model, std=(1.0, 0.0, 1.0)), "std above 0"),
        (with_tensor("head.weight", lambda w: w.astype(np.float32)), "head.weight must hold integers, not float32"),
        (with_tensor("head.weight", lambda w: w[:, 1:]), r"head.weight must have shape \[outputs, 64\]"),
        (with_tensor("head.bias", lambda b: b + np.int32(2**31 - 1 - b.max())), "accumulator .* can exceed 32 bits"),
        (with_tensor("qact2.shift", lambda s: s + np.int8(50)), "qact2.shift must be from 0 to 63"),
        (with_tensor("qact2.shift", lambda s: s[:1]), "mult and shift of qact2 must have the same shape"),
        (with_tensor("qact2.mult", lambda m: m * 4), "qact2.mult must be from"),
        (with_tensor("norm.bias", lambda b: b + (1 << 33)), "norm.bias must be from"),
        (with_tensor("qact_pos.value", lambda v: v[:5]), "add qact1 needs equal shapes"),
    ],
)  # fmt: skip
def test_bad_models_are_refused(state, edit, message):
    model = import_state(state)
    validate(model)
    with pytest.raises(ModelError, match=message) as caught:
        validate(edit(model))
    assert "\n" not in str(caught.value)
