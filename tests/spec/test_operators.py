"""The operators of the graph: what they infer is what their laws give; registration; one sentence for what is wrong."""

from dataclasses import replace

import numpy as np
import pytest

from firmware.quantizer import RECIPES
from hw.spec import arith
from hw.spec.model import validate, values
from hw.spec.operators import OPERATORS, Attribute, ModelError, Node, Operator, Value, operation, register, registered
from sim import golden
from tests.support.bert import random_bert
from tests.support.models import quantized_digits, random_model
from tests.support.rivals import MIXTURES, recipe_of
from tests.support.swin import random_swin

MODELS = {
    "vit": random_model(seed=1, depth=1),
    "table": quantized_digits(RECIPES["minmax"]),
    "pool": quantized_digits(RECIPES["mse"], pool="avg"),
    "norm of mean": quantized_digits(RECIPES["mse"], norm_of_mean=True),
    "bert": random_bert().of_tokens(5),
    "first token": random_bert(pool="token"),
    "swin": random_swin(image=(3, 64, 64)),
    "I-BERT": quantized_digits(recipe_of("minmax", MIXTURES["I-BERT"]), blocks=1),
    "logarithms": quantized_digits(recipe_of("mse", MIXTURES["log_int_softmax"]), blocks=1),
    "L1": quantized_digits(recipe_of("mse", MIXTURES["l1_layer_norm"]), blocks=1),
    "PTF": quantized_digits(recipe_of("mse", MIXTURES["ptf_layer_norm"]), blocks=1),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]


def test_inferred_is_computed(model):
    """Shape and width of every node, with the law itself and with the fast ones."""
    images, expected = np.full((2, *model.image), -128, np.int8), values(model)
    images[1] = np.random.default_rng(0).integers(-128, 128, model.image)
    for laws in (arith, None):
        trace = {}
        golden.run(model, images, trace, laws=laws)
        for node in model.nodes:
            value, limit = trace[node.name], 1 << expected[node.name].bits - 1
            assert value.shape[1:] == expected[node.name].shape, node
            assert -limit <= value.min(), node
            assert value.max() < limit, node


def test_every_operator_is_in_a_model():
    assert {node.op for model in MODELS.values() for node in model.nodes} == set(OPERATORS)


def changed(model, name, *, inputs=None, tensors=None, **attributes):
    nodes = tuple(
        replace(node, inputs=inputs or node.inputs, attributes={**node.attributes, **attributes})
        if node.name == name
        else node
        for node in model.nodes
    )
    return replace(model, nodes=nodes, tensors={**model.tensors, **(tensors or {})})


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("blocks.0.attn.int_softmax", {"terms": 14}, r"terms of blocks.0.attn.int_softmax must be 15, not 14"),
        ("blocks.0.mlp.act", {"terms": 20}, r"terms of blocks.0.mlp.act must be 23, not 20"),
        ("blocks.0.qact2", {"bits": 12}, r"bits of blocks.0.qact2 must be 8 or 16, not 12"),
        ("blocks.0.qact2", {"bits": True}, r"bits of blocks.0.qact2 must be 8 or 16, not True"),
        ("blocks.0.mlp.act", {"i0": 1024}, r"i0 of blocks.0.mlp.act must be from 1 to 1023, not 1024"),
        ("blocks.0.qact2", {"width": 3}, r"qact2 must have attributes \['bits'\], not \['bits', 'width'\]"),
        ("blocks.0.norm1", {"inputs": ("later",)}, "layer_norm blocks.0.norm1 reads later, which no earlier node"),
        ("blocks.0.norm1", {"inputs": ("qact1", "qact1")}, "layer_norm blocks.0.norm1 must have 1 inputs, not 2"),
        ("blocks.0.mlp.act", {"inputs": ("qact1",)}, "shift_gelu blocks.0.mlp.act needs rank 2, at most 8 bits, not"),
        ("blocks.0.attn.matmul_1", {"heads": 7}, "scores blocks.0.attn.matmul_1 cannot split 192 channels into 3 x 7"),
        ("head", {"tensors": {"head.bias": np.zeros(3, np.int32)}}, r"head.bias must have shape \[\d+\], not \[3\]"),
        ("head", {"tensors": {"head.bias": np.zeros(3)}}, "tensor head.bias must hold integers, not float64"),
        (
            "blocks.0.qact2", {"tensors": {"blocks.0.qact2.mult": np.array([-1])}},
            "tensor blocks.0.qact2.mult must be from 0 to 2147483648, not -1 to -1",
        ),
        (
            "blocks.0.qact2", {"tensors": {"blocks.0.qact2.mult": np.array([1, 1])}},
            r"tensor blocks.0.qact2.mult must have shape \[1\], not \[2\]",
        ),
    ],
)  # fmt: skip
def test_refusals(name, change, message):
    with pytest.raises(ModelError, match=message):
        validate(changed(MODELS["vit"], name, **change))


def test_sums_of_int16_fit_int32():
    """65,535 tokens at most; of one token a LayerNorm is one row."""
    pool = operation(Node("y", "pool", ("x",), {"first": 1}), {})
    known, image = {"x": Value((65536, 8), 16)}, Value((1, 1, 1), 8)
    assert pool.value(known, image) == Value((8,), 32)
    assert pool.value({"x": Value((1 << 20, 8), 8)}, image) == Value((8,), 32)
    with pytest.raises(ModelError, match="pool y of 65536 tokens of 16 bits may exceed int32"):
        pool.value({"x": Value((65537, 8), 16)}, image)
    norm = operation(Node("y", "layer_norm", ("x",)), {"y.bias": np.zeros(8, np.int64)})
    assert norm.value({"x": Value((8,), 16)}, image) == Value((8,), 35)
    with pytest.raises(ModelError, match="layer_norm y needs rank 2, at most 16 bits"):
        norm.value({"x": Value((2, 3, 8), 16)}, image)


def test_mask_wants_windows():
    model = MODELS["vit"]
    nodes = [replace(node, inputs=(*node.inputs, "mask")) if node.op == "shiftmax" else node for node in model.nodes]
    tensors = {**model.tensors, "mask.value": np.zeros((0, 17, 17), np.int8)}
    with pytest.raises(ModelError, match=r"must have shape \[windows, n, n\] of its scores \[2, 17, 17\]"):
        validate(replace(model, nodes=(nodes[0], Node("mask", "constant"), *nodes[1:]), tensors=tensors))


def test_registration():
    class Halve(Operator):
        """Half of each element, rounded towards minus infinity."""

        name = "halve"
        attributes = (Attribute("times", range(1, 4), "how often"),)

        def infer(self, x):
            return x

        def evaluate(self, _laws, x):
            return x >> self["times"]

    with registered(Halve):
        node = Node("y", "halve", ("x",), {"times": 2})
        assert operation(node, {}).value({"x": Value((3,), 8)}, Value((1, 1, 1), 8)) == Value((3,), 8)
        with pytest.raises(TypeError, match="operator halve is already Halve"):
            register(type("Other", (Halve,), {"__doc__": "Other."}))
    with pytest.raises(ModelError, match="node y has the unknown operator 'halve'"):
        operation(node, {})
    with pytest.raises(TypeError, match="operator Nameless must have name"):
        register(type("Nameless", (Operator,), {"__doc__": "None."}))
