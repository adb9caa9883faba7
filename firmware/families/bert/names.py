"""Hugging Face's names of text encoders (BERT, MiniLM, RoBERTa, DistilBERT in `transformers`) as the graph's.

A norm has two readers: the residual stream, and the linear behind it, which may be balanced against it. So every norm
is there twice, once as the stream's (`embed.norm`, `attn.norm`, `mlp.norm`), once as the next linear's (`norm1`,
`norm2`). The embedding of the token's type, of which there is the first only, is part of the positions'.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from numpy.typing import NDArray

from firmware.errors import UserError
from firmware.families.huggingface import joined
from firmware.families.tensors import shape_of

__all__ = ["EMBEDDING", "is_text", "official_names", "twice"]

Array = NDArray[Any]

EMBEDDING = "embed.word"
_TEXT = re.compile(r"(.*\.)?(word_embeddings|embed_tokens|shared|wte)\.weight")
_NETWORK = re.compile(r"^(bert|roberta|distilbert|xlm_roberta|0\.auto_model)\.")
_LEFT_OUT = re.compile(r"embeddings\.(position_ids|token_type_ids)$|pooler\.|cls\.|lm_head\.|vocab_")
"""Buffers, and what training puts on top: no feature reads it."""

_DECODER = re.compile(r"(^|\.)decoder\.|crossattention|encoder_attn|EncDecAttention")
_RULES = (
    (r"\.gamma$", ".weight"),  # TensorFlow's names of a norm
    (r"\.beta$", ".bias"),
    (r"^embeddings\.word_embeddings\.weight$", "embed.word"),
    (r"^embeddings\.position_embeddings\.weight$", "embed.position"),
    (r"^embeddings\.token_type_embeddings\.weight$", "embed.type"),
    (r"^embeddings\.LayerNorm\.", "embed.norm."),
    (r"^(encoder|transformer)\.layer\.", "blocks."),
    (r"\.attention\.(self\.)?(q_lin|query)\.", ".attn.query."),
    (r"\.attention\.(self\.)?(k_lin|key)\.", ".attn.key."),
    (r"\.attention\.(self\.)?(v_lin|value)\.", ".attn.value."),
    (r"\.attention\.(output\.dense|out_lin)\.", ".attn.proj."),
    (r"\.(attention\.output\.LayerNorm|sa_layer_norm)\.", ".attn.norm."),
    (r"\.(intermediate\.dense|ffn\.lin1)\.", ".mlp.fc1."),
    (r"(\.\d+)\.(output\.dense|ffn\.lin2)\.", r"\1.mlp.fc2."),
    (r"(\.\d+)\.(output\.LayerNorm|output_layer_norm)\.", r"\1.mlp.norm."),
)
_KNOWN = re.compile(
    r"embed\.(word|position|type|norm\.(weight|bias))|"
    r"blocks\.\d+\.(attn\.(query|key|value|qkv|proj|norm)|mlp\.(fc[12]|norm)|norm[12])\.(weight|bias)"
)
_PADDING = 2  # RoBERTa counts positions from behind that of its padding token, 1


def is_text(names: Collection[str]) -> bool:
    """Whether tensors of these names are of a network that reads text, an encoder or not."""
    return any(name == EMBEDDING or _TEXT.fullmatch(name) for name in names)


def official_names(weights: Mapping[str, Array]) -> dict[str, Array]:
    """`weights` by the graph's names. Raises UserError for a decoder, and for what no encoder has."""
    if EMBEDDING in weights:
        return dict(weights)
    found = {}
    for original, array in weights.items():
        name = _NETWORK.sub("", original)
        if _LEFT_OUT.match(name):
            continue
        if _DECODER.search(name):
            raise UserError(f"the network has a decoder (tensor {original}): only encoders of text are supported")
        for pattern, replacement in _RULES:
            name = re.sub(pattern, replacement, name)
        if not _KNOWN.fullmatch(name):
            raise UserError(
                f"tensor {original} is none of an encoder of text with Hugging Face's names (BERT, MiniLM, RoBERTa, "
                "DistilBERT), whose output are features"
            )
        found[name] = array
    return twice(joined(_positions(found)))


def _positions(found: dict[str, Array]) -> dict[str, Array]:
    """Positions with the first type in them, those of RoBERTa, which has one type, from its first token's on."""
    _, dim = shape_of(found, EMBEDDING, 2)
    rows, width = shape_of(found, "embed.position", 2)
    if width != dim:
        raise UserError(f"tensor embed.position must have {dim} channels, as words have, not {width}")
    if "embed.type" not in found:
        return found
    types, width = shape_of(found, "embed.type", 2)
    if width != dim:
        raise UserError(f"tensor embed.type must have {dim} channels, as words have, not {width}")
    first = _PADDING if types == 1 and rows > _PADDING else 0
    position = found["embed.position"][first:] + found.pop("embed.type")[0]
    return {**found, "embed.position": position}


def twice(found: dict[str, Array]) -> dict[str, Array]:
    """Norms of the stream as those of the linears that read it, too."""
    for name in list(found):
        match = re.fullmatch(r"(?:blocks\.(\d+)\.)?(embed|attn|mlp)\.norm\.(weight|bias)", name)
        if match is None:
            continue
        index, where, part = match.groups()
        reader = (
            f"blocks.{index}.norm2" if where == "attn" else f"blocks.{0 if index is None else int(index) + 1}.norm1"
        )
        if any(other.startswith(f"{reader.rpartition('.')[0]}.attn.") for other in found):
            found[f"{reader}.{part}"] = found[name]
    return found
