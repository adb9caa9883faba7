"""BERT: names of checkpoints, quantization of texts of many lengths, and programs that equal the golden model."""

from dataclasses import replace

import numpy as np
import pytest

from firmware.compiler import CompileError, compile_model
from firmware.errors import UserError
from firmware.families import official_tensors
from firmware.families.bert.pattern import recognise
from firmware.families.bert.texts import lengths, repeated
from firmware.make_model import float_weights
from firmware.quantizer import RECIPES, Effects, LossyNetwork, Measurement, quantize, split
from hw.boards.registry import BOARDS
from hw.spec import isa
from hw.spec.config import Config
from hw.spec.model import ModelError
from sim import golden
from sim.cycles import predict
from tests.firmware.test_compiler import execute, run_machine
from tests.support.bert import LINEARS, calibration, random_bert, random_ids, rows_of, shape_of

ARTY = BOARDS["arty_a7"].config
SMALL = Config(tokens=16, bank_words=512)


def hugging_face(weights, *, distil=False, prefix="", types=2):
    """`weights` under the names of a BERT, or of a DistilBERT, in `transformers`."""
    found, zeros = {}, np.zeros((types, weights["embed.word"].shape[1]), np.float32)
    zeros[0] = 0.01
    renames = (
        ("embed.word", "embeddings.word_embeddings.weight"),
        ("embed.norm", "embeddings.LayerNorm"),
        ("blocks.", "transformer.layer." if distil else "encoder.layer."),
        ("attn.proj", "attention.out_lin" if distil else "attention.output.dense"),
        ("attn.norm", "sa_layer_norm" if distil else "attention.output.LayerNorm"),
        ("mlp.fc1", "ffn.lin1" if distil else "intermediate.dense"),
        ("mlp.fc2", "ffn.lin2" if distil else "output.dense"),
        ("mlp.norm", "output_layer_norm" if distil else "output.LayerNorm"),
    )
    parts = ("q_lin", "k_lin", "v_lin") if distil else ("self.query", "self.key", "self.value")
    for name, value in weights.items():
        if ".norm1." in name or ".norm2." in name:
            continue
        if name == "embed.position":
            value = value if distil else value - zeros[0]
            if types == 1:  # RoBERTa's begin behind the padding token's
                value = np.concatenate([np.full((2, value.shape[1]), 9, np.float32), value])
            found["embeddings.position_embeddings.weight"] = value
            continue
        for ours, theirs in renames:
            name = name.replace(ours, theirs)
        if "attn.qkv" in name:
            for part, third in zip(parts, np.split(value, 3), strict=True):
                found[name.replace("attn.qkv", f"attention.{part}")] = third
            continue
        found[name] = value
    if not distil:
        found["embeddings.token_type_embeddings.weight"] = zeros
        found["embeddings.position_ids"] = np.arange(4)[None]
        found["pooler.dense.weight"] = np.eye(4, dtype=np.float32)
    return {prefix + name: value for name, value in found.items()}


@pytest.mark.parametrize(
    "how",
    [{}, {"prefix": "bert."}, {"distil": True}, {"distil": True, "prefix": "distilbert."}, {"types": 1},
     {"types": 1, "prefix": "roberta."}],
)  # fmt: skip
def test_hugging_faces_names(how):
    weights = float_weights(shape_of())
    family, found = official_tensors(hugging_face(weights, **how))
    assert family.name == "bert"
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("encoder.layer.0.crossattention.self.query.weight", "has a decoder .tensor encoder.layer.0.crossattention"),
        ("decoder.block.0.layer.0.SelfAttention.q.weight", "has a decoder .tensor decoder.block"),
        ("classifier.weight", "tensor classifier.weight is none of an encoder of text"),
        ("encoder.relative_attention_bias.weight", "relative_attention_bias.weight is none of an encoder"),
    ],
)
def test_other_networks_are_refused(name, message):
    weights = hugging_face(float_weights(shape_of()))
    with pytest.raises(UserError, match=message):
        official_tensors({**weights, name: np.zeros((4, 4), np.float32)})


def test_a_decoder_alone_is_refused():
    with pytest.raises(UserError, match=r"tensor h\.0\.attn\.c_attn\.weight is none of an encoder of text"):
        official_tensors({"h.0.attn.c_attn.weight": np.zeros((4, 4)), "wte.weight": np.zeros((4, 4))})


def test_texts_are_repeated_to_the_longest():
    rng = np.random.default_rng(0)
    texts = [rng.standard_normal((tokens, 8)) for tokens in (1, 5, 7, 12)]
    images = repeated(texts)
    assert images.shape == (4, 1, 12, 8)
    np.testing.assert_array_equal(lengths(images), [1, 5, 7, 12])
    np.testing.assert_array_equal(images[1, 0, 5:10], images[1, 0, :5])


@pytest.mark.parametrize("recipe", ["minmax", "official"])
@pytest.mark.parametrize("pool", ["avg", "token"])
def test_a_shorter_text_is_calibrated_as_if_alone(recipe, pool):
    """What calibration computes of texts side by side is what the model gives of each, and so are its floats."""
    weights = float_weights(shape_of())
    measure = Measurement()
    images = calibration(weights, (16, 5, 1))
    model = quantize(
        weights, images, name="x", mean=(0,), std=(1,), heads=2, recipe=RECIPES[recipe], measure=measure, pool=pool
    )
    for number, tokens in enumerate((16, 5, 1)):
        alone = images[number : number + 1, :, :tokens]
        expected = LossyNetwork(measure.record, alone).run(Effects())
        np.testing.assert_allclose(measure.expected[number], expected[0], atol=2e-5)
        rows = np.rint(alone[0, 0] / model.input_scale).astype("<i2").view(np.int8)[None, None]
        of = model.of_tokens(tokens)
        np.testing.assert_allclose(golden.run(of, rows)[0] * of.logit_scale, measure.logits[number], rtol=1e-6)
    assert measure.end["logit_cosine"] > (0.99 if recipe == "minmax" else 0.95)
    assert {part.name for part in split(measure)} >= {"weights", "softmax", "GELU", "norm", "activations"}


@pytest.mark.parametrize(
    "config", [ARTY, SMALL, Config(rows=16, cols=24, array="portable")], ids=["arty", "small", "24"]
)
@pytest.mark.parametrize(
    ("tokens", "texts"), [(1, 1), (1, 5), (2, 3), (7, 1), (7, 5), (16, 2), (17, 2), (31, 1), (40, 3), (80, 1)]
)
def test_equals_golden(config, tokens, texts):
    for model in (random_bert(), random_bert(wide=LINEARS, pool="token"), random_bert(recipe="official", bits=8)):
        model = model.of_tokens(tokens)
        program = compile_model(model, config, batch=texts)
        images = rows_of(model, random_ids(texts, tokens))
        np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


def test_what_is_not_there_is_exactly_nothing():
    """Of a text in a batch, tokens beyond its end, its neighbours in the scratchpad, change nothing."""
    model = random_bert().of_tokens(7)
    ids = random_ids(4, 7)
    program = compile_model(model, ARTY, batch=4)
    assert max(program.tiles) > 7  # texts share super-tiles
    found = execute(program, rows_of(model, ids))
    other = ids.copy()
    other[1:] = random_ids(3, 7, seed=1)
    np.testing.assert_array_equal(execute(program, rows_of(model, other))[0], found[0])


def test_the_constants_are_those_of_every_length():
    model = random_bert()
    programs = [compile_model(model.of_tokens(tokens), ARTY) for tokens in (3, 40)]
    assert programs[0].model_image is programs[1].model_image
    assert programs[0].model is not programs[1].model


def test_checkpoints_hold_the_residual_stream():
    model = random_bert().of_tokens(40)
    program, images, trace = compile_model(model, SMALL), rows_of(model, random_ids(1, 40)), {}
    golden.run(model, images, trace)
    assert len(program.checkpoints) == len(recognise(model).blocks)
    for checkpoint in program.checkpoints:
        machine = run_machine(program.until(checkpoint), images)
        expected = trace[checkpoint.tensor][0]
        raw = machine.regions[isa.Region.WORK].reshape(-1)[checkpoint.offset :][: 2 * expected.size]
        np.testing.assert_array_equal(raw.view("<i2").reshape(expected.shape), expected)


def test_short_texts_share_the_weights():
    """Of eight texts of 7 tokens each one costs less than three quarters of one alone."""
    model = random_bert(dim=192, hidden=768).of_tokens(7)
    alone, many = (predict(compile_model(model, ARTY, batch=texts)).cycles / texts for texts in (1, 8))
    assert many < 0.75 * alone


def test_lengths():
    model = random_bert()
    scale = model.of_tokens(1).logit_scale
    np.testing.assert_allclose(model.of_tokens(8).logit_scale, scale / 8)
    np.testing.assert_array_equal(random_bert(pool="token").of_tokens(9).logit_scale,
                                  random_bert(pool="token").logit_scale)  # fmt: skip
    for tokens in (0, 301):
        with pytest.raises(ModelError, match=f"reads texts of 1 to 300 tokens, not of {tokens}"):
            model.of_tokens(tokens)


def test_a_graph_that_is_no_bert_is_refused():
    model = random_bert()
    nodes = [replace(node, inputs=(model.nodes[4].name,)) if node.op == "pool" else node for node in model.nodes]
    with pytest.raises(CompileError, match=f"pool pool reads {model.nodes[4].name} where a BERT has"):
        compile_model(replace(model, nodes=tuple(nodes)), ARTY)


def test_what_does_not_fit_is_refused():
    with pytest.raises(CompileError, match="scratchpad words"):
        compile_model(random_bert(dim=192, hidden=768), replace(ARTY, bank_words=64))
    with pytest.raises(CompileError, match="dim must be a multiple of rows"):
        compile_model(random_bert(dim=72), ARTY)


def test_the_longest_text():
    model = random_bert(depth=1, longest=512).of_tokens(512)
    images = rows_of(model, random_ids(1, 512))
    program = compile_model(model, ARTY)
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))
