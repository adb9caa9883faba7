"""What an operator of the graph is: one class says its attributes, tensors, output, law and multiply-accumulates.

Every operator is one file of this package, and a class of it that `register` has put into `OPERATORS`. An extension
registers its own classes from its own files; nothing else in `hw.spec` names an operator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from hw.spec import arith
from hw.spec.operators.parts import CHANNELS, ONE, Attribute, ModelError, Node, Shape, Tensor, Value

__all__ = [
    "CHANNELS", "ONE", "OPERATORS", "Array", "Attribute", "Laws", "Mask", "ModelError", "Node", "Operator", "Shape",
    "Tensor", "Tensors", "Value", "evaluate", "operation", "register", "registered",
]  # fmt: skip

Array = NDArray[Any]
Mask = NDArray[np.bool_]  # some elements of a tensor, without the batch
Tensors = Mapping[str, Array]
Laws = Any  # hw.spec.arith, or what computes the same


class Operator:
    """An operator applied to one node, of a model with these `tensors`, by "<node>.<tensor>".

    A subclass's docstring is its entry in the manual. It has, besides what is declared here,

    - ``infer(*inputs: Value) -> Value``: the output's shape and width. Inputs, attributes and tensors are already known
      to be there and in range. Raises ModelError where they do not fit together.
    - ``evaluate(laws, *inputs: Array) -> Array``: the law, batch first, in any integer type; `laws` has the functions
      of `hw.spec.arith`. Nothing is checked.
    """

    name: ClassVar[str]
    inputs: ClassVar[tuple[int, ...]] = (1,)  # how many a node may have
    attributes: ClassVar[tuple[Attribute, ...]] = ()
    constants: ClassVar[tuple[Tensor, ...]] = ()
    image: ClassVar[bool] = False  # it takes the model's image, beside its inputs
    image_bits: ClassVar[int] = 8  # of an element of that image, whose bytes are its last axis
    moves: ClassVar[bool] = False  # it only moves elements, of whatever type they are
    local: ClassVar[int | None] = None  # an element needs of an input what has its place, but for so many last axes
    quantizes: ClassVar[bool] = False  # its output's scale is chosen, and does not follow from those of its inputs
    law: ClassVar[str] = ""  # the function of `laws` whose result is the output, moved at most
    law_channels: ClassVar[bool] = True  # the last axis of that result is the output's

    infer: Callable[..., Value]
    evaluate: Callable[..., Array]

    def __init__(self, node: Node, tensors: Tensors) -> None:
        self.node, self.tensors = node, tensors

    def macs(self, _value: Value, *_inputs: Value) -> int:
        """Multiply-accumulates of one image, given the output and the inputs."""
        return 0

    def needs(self, live: Mask, *inputs: Value) -> list[Mask]:
        """Of each input the elements that any of the output's elements `live` depends on.

        They are all unless it is known better: of an operator that `moves` elements, or that is `local`.
        """
        if self.moves:
            (x,) = inputs
            found = np.zeros(x.shape, bool)
            places = np.arange(found.size).reshape(1, *x.shape)
            found.reshape(-1)[self.evaluate(arith, places)[0][live]] = True
            return [found]
        if self.local is None:
            return [np.full(x.shape, live.any()) for x in inputs]
        kept = live.ndim - self.local
        rows = live.any(axis=tuple(range(kept, live.ndim)))
        return [
            np.broadcast_to(rows.reshape(*rows.shape, *[1] * (len(x.shape) - kept)), x.shape)
            if x.shape[:kept] == rows.shape
            else np.full(x.shape, live.any())
            for x in inputs
        ]

    @staticmethod
    def tokens(images: Array) -> Array:
        """Of what takes the image: floats [B, C, H, W], an element each, in the output's shape."""
        return images

    # What subclasses are written with

    def __getitem__(self, attribute: str) -> int:
        """An attribute of the node."""
        return self.node.attributes[attribute]

    def tensor(self, name: str) -> Array:
        """A constant of the node. Raises ModelError if it is missing."""
        try:
            return self.tensors[f"{self.node.name}.{name}"]
        except KeyError:
            raise ModelError(f"tensor {self.node.name}.{name} is missing") from None

    def need(self, value: Value, rank: int, bits: int) -> None:
        """Raises ModelError unless an input has `rank` axes and at most `bits` bits."""
        if len(value.shape) != rank or value.bits > bits:
            raise ModelError(
                f"{self} needs rank {rank}, at most {bits} bits, not {list(value.shape)}, {value.bits} bits"
            )

    def __str__(self) -> str:
        return f"{self.name} {self.node.name}"

    # What everything else calls

    def value(self, known: Mapping[str, Value], image: Value) -> Value:
        """The output, given those of earlier nodes and the image, after every check. Raises ModelError."""
        self._check(known)
        value = self.infer(*self._given(known, image))
        for tensor in self.constants:
            found = self.tensor(tensor.name).shape
            if isinstance(tensor.shape, Shape) and found not in tensor.shape.of(value):
                wanted = list(tensor.shape.of(value)[-1])
                raise ModelError(f"tensor {self.node.name}.{tensor.name} must have shape {wanted}, not {list(found)}")
        return value

    def count(self, known: Mapping[str, Value], image: Value) -> int:
        """`macs`, given the outputs of all nodes up to this one."""
        return self.macs(known[self.node.name], *self._given(known, image))

    def _given(self, known: Mapping[str, Value], image: Value) -> list[Value]:
        return [*([image] if self.image else []), *(known[name] for name in self.node.inputs)]

    def _check(self, known: Mapping[str, Value]) -> None:
        node = self.node
        if node.name in known:
            raise ModelError(f"node {node.name} occurs twice")
        if len(node.inputs) not in self.inputs:
            wanted = " or ".join(map(str, self.inputs))
            raise ModelError(f"{self} must have {wanted} inputs, not {len(node.inputs)}")
        for name in node.inputs:
            if name not in known:
                raise ModelError(f"{self} reads {name}, which no earlier node computes")
        attributes = {attribute.name: attribute for attribute in self.attributes}
        needed = [name for name, attribute in attributes.items() if not attribute.optional]
        if not set(needed) <= set(node.attributes) <= set(attributes):
            raise ModelError(f"{self} must have attributes {needed}, not {list(node.attributes)}")
        for name, number in node.attributes.items():
            if not isinstance(number, int) or isinstance(number, bool) or number not in attributes[name].values:
                raise ModelError(f"{name} of {node.name} must be {attributes[name].wanted}, not {number}")
        for tensor in self.constants:
            array, key = self.tensor(tensor.name), f"{node.name}.{tensor.name}"
            if array.dtype.kind not in "iu":
                raise ModelError(f"tensor {key} must hold integers, not {array.dtype}")
            least, most = (int(array.min()), int(array.max())) if array.size else (tensor.least, tensor.most)
            if not tensor.least <= least <= most <= tensor.most:
                raise ModelError(f"tensor {key} must be from {tensor.least} to {tensor.most}, not {least} to {most}")


OPERATORS: dict[str, type[Operator]] = {}
"""Every registered operator by name."""

_Class = TypeVar("_Class", bound=type[Operator])


def register(operator: _Class) -> _Class:
    """Class decorator: makes `operator` one of `OPERATORS`.

    Raises TypeError if it lacks a part, or if another class has its name.
    """
    for part in ("name", "infer", "evaluate", "__doc__"):
        if not getattr(operator, part, None):
            raise TypeError(f"operator {operator.__name__} must have {part}")
    if operator.name in OPERATORS:
        raise TypeError(f"operator {operator.name} is already {OPERATORS[operator.name].__name__}")
    OPERATORS[operator.name] = operator
    return operator


@contextmanager
def registered(*operators: type[Operator]) -> Generator[None, None, None]:
    """`register`, for as long as the context lasts."""
    done: list[type[Operator]] = []
    try:
        for operator in operators:
            done.append(register(operator))
        yield
    finally:
        for operator in done:
            del OPERATORS[operator.name]


def operation(node: Node, tensors: Tensors) -> Operator:
    """The operator of `node`, applied to it. Raises ModelError if there is none of that name."""
    if node.op not in OPERATORS:
        raise ModelError(f"node {node.name} has the unknown operator {node.op!r}")
    return OPERATORS[node.op](node, tensors)


def evaluate(tensors: Tensors, node: Node, inputs: Sequence[Array], laws: Laws = arith) -> Array:
    """Output of one node, batch first; of any integer type; a constant has a batch of one.

    `tensors` are the model's; `inputs` are the outputs of the node's inputs, or the images. Nothing is checked:
    `hw.spec.model.validate` does that, once. `laws` may be anything that computes what `hw.spec.arith` does.
    """
    return operation(node, tensors).evaluate(laws, *inputs)
