"""What is run: an integer model, as a graph of operators on named integer tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hw.spec.operators import OPERATORS, Embedded, ModelError, Node, PatchEmbed, Pool, Value, operation

__all__ = ["Candidate", "Model", "ModelError", "Node", "Value", "validate", "values"]


@dataclass(frozen=True)
class Candidate:
    """A class that an image may show. Probabilities are the softmax of the float logits over all classes."""

    index: int
    name: str  # the model's label, or the number of the class where the model has no labels
    probability: float
    logit: float
    integer: int  # the device's, which logit_scale turns into `logit`


@dataclass(frozen=True, kw_only=True)
class Model:
    """An integer-only transformer: nodes in execution order, constants as ``"<node>.<tensor>"`` arrays.

    The graph says everything about the network; its shapes are `values`. The last node's int32 output are the
    logits' accumulators; ``logit_scale`` [classes] turns them into the float logits whose argmax is the class. Of a
    model of ``features``, a network without a head, they are its feature instead, and `classes` is their number.
    ``input_scale``, ``mean`` and ``std`` say how the host makes the int8 image, ``crop`` what share of the shorter
    side of a resized photograph it shows. A model of text is for texts of one length, see `of_tokens`;
    its ``tokenizer`` is JSON of the library tokenizers.
    """

    name: str
    image: tuple[int, int, int]  # C, H, W
    classes: int
    nodes: tuple[Node, ...]
    tensors: Mapping[str, NDArray[np.generic]]
    input_scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    logit_scale: NDArray[np.float32]
    labels: tuple[str, ...] = ()
    crop: float = 0.875
    features: bool = False
    tokenizer: str = ""

    @property
    def patch(self) -> int:
        """Side of a patch: the image enters the accelerator as rows of patches. Raises ModelError without patches."""
        for node in self.nodes:
            if node.op == PatchEmbed.name:
                return node.attributes["patch"]
        raise ModelError(f"model {self.name} has no {PatchEmbed.name}")

    @property
    def text(self) -> bool:
        """Whether it reads text: images are rows of embeddings that the host looks up."""
        return bool(self.nodes) and self.nodes[0].op == Embedded.name

    def of_tokens(self, tokens: int) -> Model:
        """The same model for texts of `tokens` tokens. Raises ModelError for one of images, and for too many tokens."""
        if not self.text:
            raise ModelError(f"model {self.name} reads images, not text")
        most = len(self.tensor(self.nodes[0], "position"))
        if not 1 <= tokens <= most:
            raise ModelError(f"model {self.name} reads texts of 1 to {most} tokens, not of {tokens}")
        pool, now = operation(self.nodes[-1], self.tensors), self.image[1]
        assert isinstance(pool, Pool)
        share = len(pool.summed(now)) / len(pool.summed(tokens))
        scale = (self.logit_scale * np.float64(share)).astype(np.float32)
        return replace(self, image=(1, tokens, self.image[2]), logit_scale=scale)

    @cached_property
    def layer_macs(self) -> Mapping[str, int]:
        """Multiply-accumulates of one image, by node. Raises ModelError like `values`."""
        known, image = values(self), Value(self.image, 8)
        return {node.name: operation(node, self.tensors).count(known, image) for node in self.nodes}

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image, of everything; `liveness` has those that reach the outputs."""
        return sum(self.layer_macs.values())

    def classify(self, logits: NDArray[np.integer], top: int = 5) -> list[tuple[Candidate, ...]]:
        """For each image the `top` likeliest classes (all, if there are fewer), likeliest first.

        `logits` [n, classes] are the accumulators that a device or the golden model gives. Of equal float logits the
        lower class comes first, as with argmax. Raises ValueError for another shape, and for `top` below one, and
        ModelError for a model that gives features.
        """
        if self.features:
            raise ModelError(f"model {self.name} gives {self.classes} features of an image, not classes")
        if logits.ndim != 2 or logits.shape[1] != self.classes:
            raise ValueError(f"logits must be [n, {self.classes}], not {list(logits.shape)}")
        if top < 1:
            raise ValueError(f"top must be at least 1, not {top}")
        real = logits * self.logit_scale.astype(np.float64)
        share = np.exp(real - real.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        order = np.argsort(-real, axis=1, kind="stable")[:, :top]
        names = self.labels or tuple(map(str, range(self.classes)))
        return [
            tuple(Candidate(int(k), names[k], float(share[n, k]), float(real[n, k]), int(logits[n, k])) for k in best)
            for n, best in enumerate(order)
        ]

    def tensor(self, node: Node, name: str) -> NDArray[np.generic]:
        """Constant `name` of `node`. Raises ModelError if the model lacks it."""
        return operation(node, self.tensors).tensor(name)


def validate(model: Model) -> None:
    """Checks that `model` is well formed. Raises ModelError, in one sentence, for the first thing that is not."""
    values(model)
    known = {f"{node.name}.{tensor.name}" for node in model.nodes for tensor in OPERATORS[node.op].constants}
    for name in model.tensors:
        if name not in known:
            raise ModelError(f"tensor {name} belongs to no node")
    if model.logit_scale.shape != (model.classes,) or not np.all(np.isfinite(model.logit_scale)):
        raise ModelError(f"logit_scale must be {model.classes} finite numbers")
    if not (np.isfinite(model.input_scale) and model.input_scale > 0):
        raise ModelError(f"input_scale must be a positive number, not {model.input_scale}")
    statistics = np.array([*model.mean, *model.std])
    fits = len(model.mean) == len(model.std) == model.image[0]
    if not (fits and np.all(np.isfinite(statistics)) and min(model.std) > 0):
        raise ModelError(
            f"mean and std must be {model.image[0]} finite numbers each, std above 0, not {list(model.mean)!s:.80} and "
            f"{list(model.std)!s:.80}"
        )
    if not 0 < model.crop <= 1:
        raise ModelError(f"crop must be above 0 and at most 1, not {model.crop}")
    if model.text and OPERATORS[model.nodes[-1].op] is not Pool:
        raise ModelError(f"a model of text must end with the pooling of its tokens, not with {model.nodes[-1].op}")
    if model.features and model.labels:
        raise ModelError(f"model {model.name} gives features, not classes: it must have no labels")
    if model.labels and len(model.labels) != model.classes:
        raise ModelError(f"labels must name {model.classes} classes, not {len(model.labels)}")


def values(model: Model) -> dict[str, Value]:
    """Shape and width of every node's output, by name.

    Raises ModelError for an unknown operator, a wrong attribute, input or tensor, or shapes that do not fit.
    """
    if min(*model.image, model.classes) < 1:
        raise ModelError(f"image and classes must be at least 1, not {list(model.image)} and {model.classes}")
    known: dict[str, Value] = {}
    for node in model.nodes:
        known[node.name] = operation(node, model.tensors).value(known, Value(model.image, 8))
    if not model.nodes or not OPERATORS[model.nodes[0].op].image:
        raise ModelError("the first node must be the input")
    last = known[model.nodes[-1].name]
    if last != Value((model.classes,), 32):
        raise ModelError(
            f"{model.nodes[-1].name} must give {model.classes} int32 logits, not {list(last.shape)} of {last.bits} bits"
        )
    return known
