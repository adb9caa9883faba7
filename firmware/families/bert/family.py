"""BERT as a family."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from firmware.families.architecture import Architecture
from firmware.families.bert.graph import bert
from firmware.families.bert.names import EMBEDDING, is_text, official_names, twice
from firmware.families.bert.pattern import recognise
from firmware.families.bert.place import place
from firmware.families.bert.texts import lengths
from firmware.families.encoder import depth_of, heads_said, one_stage
from firmware.families.family import POOLS, Family, Stage, Wanted
from firmware.families.tensors import READERS, shape_of
from firmware.families.weights import Weights
from firmware.graph.builder import Builder
from firmware.planner.placed import Job, Placed
from hw.spec.model import Model, ModelError
from hw.spec.operators import Embedded

__all__ = ["Bert", "BertShape"]

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class BertShape(Architecture):
    """Shape of a BERT: `dim` features, `hidden` channels between the linears of an MLP, tables of words and places."""

    family: ClassVar[str] = "bert"

    hidden: int
    vocabulary: int
    longest: int  # tokens of a text
    features: bool = True

    def check(self) -> None:
        self.check_stages(1)


class Bert(Family):
    """Text: embeddings that the host looks up, blocks with a norm behind every addition, features of the last one."""

    name = "bert"
    titles = ("BERT",)
    text = True
    tensor = re.compile(
        r"embed\.(word|position|norm\.(weight|bias))|"
        r"blocks\.\d+\.(norm[12]|attn\.(qkv|proj|norm)|mlp\.(fc[12]|norm))\.(weight|bias)"
    )
    constants = ("embed.word", "embed.position")
    epsilon = 1e-12

    def has_graph(self, model: Model) -> bool:
        return any(node.op == Embedded.name for node in model.nodes)

    def place(self, job: Job) -> Placed:
        return place(job)

    def stages(self, model: Model) -> Sequence[Stage]:
        return one_stage(model, recognise)

    def has_tensors(self, names: Collection[str]) -> bool:
        return is_text(names)

    def examine(self, state: Mapping[str, Array], size: tuple[int, int] | None = None) -> BertShape:
        del size
        vocabulary, dim = shape_of(state, EMBEDDING, 2)
        longest, _ = shape_of(state, "embed.position", 2)
        hidden, _ = shape_of(state, "blocks.0.mlp.fc1.weight", 2)
        heads = dim // (32 if dim == 384 else 64)  # those of MiniLM, and of every other published one
        return BertShape(
            name="", dim=dim, depths=(depth_of(state),), heads=(max(1, heads),), hidden=hidden, vocabulary=vocabulary,
            longest=longest, classes=dim,
        )  # fmt: skip

    def untold(self, state: Mapping[str, Array]) -> Collection[str]:
        del state
        return ("heads",)

    def remarks(self, state: Mapping[str, Array], shape: Architecture, told: Collection[str] = ()) -> Sequence[str]:
        del state
        feature = "the first token" if "token" in told else "the mean of the tokens"
        return [
            heads_said(shape, told),
            f"{'' if {*POOLS} & {*told} else 'assumed: '}the feature is {feature} behind the last norm",
            "assumed: exact GELU, positions counted from the first token",
        ]

    def official_names(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        return official_names(weights)

    def build(self, build: Builder, wanted: Wanted) -> Array:
        if wanted.heads is None:
            raise ModelError("the tensors of a BERT do not say how many heads there are: heads must be given")
        bits = wanted.attention_bits or 16
        return bert(build, wanted.image[1], wanted.heads, depth_of(wanted.names), bits, average=wanted.pool != "token")

    def stored(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        return *image[:2], image[2] * Embedded.image_bits // 8

    def lengths(self, images: Array) -> Array:
        return lengths(images)

    def longest(self, weights: Mapping[str, Array]) -> int:
        return len(weights["embed.position"])

    def reader(self, norm: str) -> str | None:
        at, _, last = norm.rpartition(".")
        return f"{at}.{READERS[last]}" if last in READERS else None

    def random_weights(self, shape: Architecture, make: Weights) -> None:
        assert isinstance(shape, BertShape)
        dim = shape.dim
        make.tensors["embed.word"] = make.normal((shape.vocabulary, dim), 0.05)
        make.tensors["embed.position"] = make.normal((shape.longest, dim), 0.02)
        power = make.norm("embed.norm", dim)
        target = np.repeat([2**0.5, 2**0.5, 1.0], dim)
        for index in range(shape.depths[0]):
            at = f"blocks.{index}"
            make.linear(f"{at}.attn.qkv", 3 * dim, (dim,), power, target)
            make.linear(f"{at}.attn.proj", dim, (dim,), 0.15 * dim, 0.4)
            power = make.norm(f"{at}.attn.norm", dim)
            make.linear(f"{at}.mlp.fc1", shape.hidden, (dim,), power, 1.0)
            make.linear(f"{at}.mlp.fc2", dim, (shape.hidden,), 0.42 * shape.hidden, 0.5)
            power = make.norm(f"{at}.mlp.norm", dim)
        make.tensors = twice(make.tensors)
