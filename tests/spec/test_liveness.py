"""What reaches the outputs: every operator's rule against its law, whole networks with everything else overwritten."""

import numpy as np
import pytest

from firmware.quantizer import RECIPES
from hw.spec import arith
from hw.spec.liveness import live, live_macs
from hw.spec.model import values
from hw.spec.operators import OPERATORS, evaluate, operation
from sim import golden
from tests.support.bert import random_bert
from tests.support.models import quantized_digits, random_model
from tests.support.rivals import ALONE, BERT, recipe_of
from tests.support.swin import random_swin

TOKEN = {
    "vit": random_model(seed=1),
    "8 bits": random_model(seed=2, bits=8),
    "table": quantized_digits(RECIPES["minmax"]),
    "I-BERT": quantized_digits(recipe_of("official", BERT), 8, blocks=2),
    "L1": quantized_digits(recipe_of("official", ALONE["l1_layer_norm"]), 8, blocks=2),
    "PTF": quantized_digits(recipe_of("official", ALONE["ptf_layer_norm"]), 8, blocks=2),
    "powers of two": quantized_digits(recipe_of("official", ALONE["log_int_softmax"]), 8, blocks=2),
}
ALL = {
    "pool": quantized_digits(RECIPES["mse"], pool="avg"),
    "norm of mean": quantized_digits(RECIPES["mse"], norm_of_mean=True),
    "swin": random_swin(image=(3, 64, 64)),
    "text": random_bert(),
}
MODELS = TOKEN | ALL


def noise(rng, value):
    """A batch of one, of any numbers that fit."""
    limit = 1 << value.bits - 1
    return rng.integers(-limit, limit, (1, *value.shape))


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]


def test_every_operator_is_tried():
    assert {node.op for model in MODELS.values() for node in model.nodes} == set(OPERATORS)


def test_what_is_not_needed_changes_nothing(model):
    """Each node alone: of its output one element, a row, and a few, with noise in all of its inputs that they do not
    need."""
    rng, known, trace = np.random.default_rng(0), values(model), {}
    golden.run(model, rng.integers(-128, 128, (1, *model.image)).astype(np.int8), trace)
    spared = 0
    for node in model.nodes:
        inputs = [trace[name] for name in node.inputs]
        masked = node.op == "shiftmax" and len(inputs) == 2  # noise is no mask
        for chosen in range(3):
            wanted = rng.random(known[node.name].shape) < 0.02
            if chosen < 2:
                place = tuple(rng.integers(size) for size in wanted.shape[: wanted.ndim - chosen])
                wanted[...], wanted[place] = False, True
            needed = operation(node, model.tensors).needs(wanted, *(known[name] for name in node.inputs))
            assert [mask.shape for mask in needed] == [known[name].shape for name in node.inputs]
            changed = [
                np.where(mask, x, noise(rng, known[name]))
                for mask, x, name in zip(needed, inputs, node.inputs, strict=True)
            ]
            if masked:
                changed[1] = inputs[1]
            if inputs:
                found, expected = (evaluate(model.tensors, node, x, arith)[0] for x in (changed, inputs))
                np.testing.assert_array_equal(found[wanted], expected[wanted], str(node))
            spared += sum(int(mask.size - mask.sum()) for mask in needed)
    assert spared > 0


def test_what_is_not_live_reaches_no_output(model):
    """The whole network, with noise in place of every element that is not live."""
    rng, known, masks = np.random.default_rng(1), values(model), live(model)
    image = rng.integers(-128, 128, (1, *model.image)).astype(np.int8)
    found = {}
    for node in model.nodes:
        inputs = [image] if OPERATORS[node.op].image else [found[name] for name in node.inputs]
        exact = evaluate(model.tensors, node, inputs, arith)
        found[node.name] = np.where(masks[node.name], exact, noise(rng, known[node.name]))
    np.testing.assert_array_equal(found[model.nodes[-1].name], golden.run(model, image))


@pytest.mark.parametrize("name", TOKEN)
def test_a_class_token_needs_keys_and_values_of_all_tokens_and_its_own_row_of_the_rest(name):
    model = TOKEN[name]
    masks, blocks = live(model), [node.name for node in model.nodes if node.op == "scores"]
    dead = {name: mask for name, mask in masks.items() if not mask.all()}
    last = blocks[-1].split(".attn")[0]
    assert {name for name in dead if "blocks." in name} == {
        node.name
        for node in model.nodes
        if node.name.startswith(last) and node.name not in {f"{last}.norm1", f"{last}.qact1"}
    }
    for name, mask in dead.items():
        tokens = mask.any(axis=-1)
        if name.endswith(("attn.qkv", "attn.qact1")):
            query = mask.shape[-1] // 3
            assert mask[:, query:].all(), name
            tokens = mask[:, :query].all(axis=1)
            assert tokens.sum() == mask[:, :query].any(axis=1).sum() == 1, name
        assert tokens[..., 0].all(), name
        assert not tokens[..., 1:].any(), name


@pytest.mark.parametrize("name", ALL)
def test_a_mean_needs_all(name):
    model = ALL[name]
    assert all(mask.all() for mask in live(model).values())
    assert live_macs(model) == model.layer_macs


def test_macs_of_a_class_token():
    """Of the last block K and V of all tokens, and the rest of one."""
    model = random_model(seed=1, depth=3, dim=64, hidden=256, heads=2)
    tokens, found = 17, live_macs(model)
    assert {name for name, macs in found.items() if macs != model.layer_macs[name]} == {
        f"blocks.2.{name}" for name in ("attn.qkv", "attn.matmul_1", "attn.matmul_2", "attn.proj", "mlp.fc1", "mlp.fc2")
    }
    assert found["blocks.2.attn.qkv"] == 64 * 64 * (2 * tokens + 1)
    assert found["blocks.2.attn.matmul_1"] == found["blocks.2.attn.matmul_2"] == 64 * tokens
    assert found["blocks.2.mlp.fc1"] == found["blocks.2.mlp.fc2"] == 64 * 256
