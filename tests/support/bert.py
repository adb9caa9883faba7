"""Small BERTs with random weights, their texts, and a tokenizer of as many words."""

from dataclasses import replace
from functools import cache

import numpy as np

from firmware.families.bert.family import BertShape
from firmware.families.bert.texts import repeated
from firmware.make_model import float_weights
from firmware.quantizer import RECIPES, quantize
from firmware.text.encode import embedded

__all__ = ["LINEARS", "calibration", "random_bert", "random_ids", "rows_of", "shape_of", "word_tokenizer"]

VOCABULARY = 50
LINEARS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


def shape_of(*, dim=64, depth=2, heads=2, hidden=160, longest=300):
    return BertShape(
        name="bert", dim=dim, depths=(depth,), heads=(heads,), hidden=hidden, vocabulary=VOCABULARY, longest=longest,
        classes=dim,
    )  # fmt: skip


def calibration(weights, lengths=(16, 5, 12)):
    """Rows of embeddings of texts of these lengths, as the quantizer takes them."""
    rng = np.random.default_rng(1)
    return repeated([
        weights["embed.word"][rng.integers(0, VOCABULARY, tokens)] + weights["embed.position"][:tokens]
        for tokens in lengths
    ])  # fmt: skip


@cache
def random_bert(seed=0, *, recipe="minmax", wide=(), pool=None, bits=16, **sizes):
    """An integer model; the inputs of linears whose names end with one of `wide` have 16 bits."""
    shape = shape_of(**sizes)
    weights = float_weights(shape, seed)
    names = frozenset(f"blocks.{block}.{end}" for block in range(shape.depths[0]) for end in wide)
    how = replace(RECIPES[recipe], wide=names, compensate=False)
    return quantize(
        weights, calibration(weights), name="bert", mean=(0.0,), std=(1.0,), heads=shape.heads[0], recipe=how,
        pool=pool, attention_bits=bits,
    )  # fmt: skip


def random_ids(count, tokens, seed=0):
    return np.random.default_rng([seed, tokens]).integers(0, VOCABULARY, (count, tokens))


def rows_of(model, ids):
    """int8 images of token numbers [n, tokens]."""
    return embedded(model).rows(ids)


def word_tokenizer():
    """JSON of a tokenizer of the words w0, w1, ..., with a token before and one behind each text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(VOCABULARY - 3))]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    made.enable_padding(length=24)  # as published ones have it
    made.enable_truncation(20)
    return made.to_str()
