"""Nothing that a model says is left out: every change of it is refused in one sentence, or executed exactly.

Attributes, wiring and constants of every kind of node are changed, one at a time and all alike together. What the
compiler takes runs on the machine model and must give the golden model's logits of the changed model.
"""

import re
from dataclasses import replace

import numpy as np
import pytest

from firmware.compiler import CompileError, compile_model
from firmware.model_file import load_model
from firmware.quantizer import RECIPES
from hw.spec.config import Config
from hw.spec.model import ModelError, values
from hw.spec.operators import OPERATORS
from sim import golden
from tests.firmware.test_compiler import TINY, execute, images_for
from tests.sim.test_golden import imported
from tests.support.bert import random_bert
from tests.support.models import quantized_digits, random_model
from tests.support.rivals import MIXTURES, recipe_of, units_of
from tests.support.swin import random_swin

CASES = {
    "digits": (lambda: load_model("examples/digits/digits.safetensors"), TINY),
    "table": (lambda: quantized_digits(RECIPES["minmax"]), TINY),
    "norm of mean": (lambda: quantized_digits(RECIPES["mse"], blocks=1, norm_of_mean=True), TINY),
    "small_vit_a": (lambda: imported("small_vit_a"), TINY),
    "small_vit_t": (lambda: imported("small_vit_t", attention_bits=8), TINY),
    "small_swin_a": (lambda: imported("small_swin_a"), Config()),
    "vit": (lambda: random_model(seed=3, image=(3, 16, 24), dim=16, heads=2, hidden=32, depth=1, classes=7), TINY),
    **{
        name: (
            lambda mixture=mixture: quantized_digits(recipe_of("mse", mixture), blocks=1),
            replace(TINY, vector=units_of(mixture)),
        )
        for name, mixture in MIXTURES.items()
        if name in {"I-BERT", "I-BERT, L1", "log_int_softmax"}
    },
    "bert": (lambda: random_bert(dim=16, heads=2, hidden=32, depth=1, longest=20).of_tokens(5), TINY),
    "swin": (lambda: random_swin(seed=3, dim=16, heads=(2, 2), attention_bits=16, classes=9), TINY),
}
SENTENCE = re.compile(r"[^\n]{10,400}[^.\n]")


class Subject:
    """A model, and what becomes of it when it is changed."""

    def __init__(self, model, config):
        self.model, self.config = model, config
        self.images = images_for(model, 1, seed=7)
        self.program, self.logits = compile_model(model, config), golden.run(model, self.images)
        np.testing.assert_array_equal(execute(self.program, self.images), self.logits)
        self.refused = self.executed = self.felt = 0
        self.seen = [model.nodes]

    def nodes(self):
        """One node of each kind: of a ViT those of the first block, of a Swin also of a shifted and of a later one."""
        skipped = re.compile(r"blocks\.([1-9]|\d\d)\.|layers\.0\.blocks\.[2-9]|layers\.1\.blocks\.[1-9]|layers\.[2-9]")
        for node in self.model.nodes:
            if not skipped.match(node.name):
                yield node

    def try_(self, what, *changed, tensors=None):
        """The model with nodes `changed` and other `tensors` must be refused or executed."""
        new = {node.name: node for node in changed}
        nodes = tuple(new.get(node.name, node) for node in self.model.nodes)
        if tensors is None and nodes in self.seen:
            return
        self.seen.append(nodes)
        model = replace(self.model, nodes=nodes, tensors={**self.model.tensors, **(tensors or {})})
        message = None
        try:
            program = compile_model(model, self.config)
        except (ModelError, CompileError) as error:
            message = str(error)
        if message is not None:
            assert SENTENCE.fullmatch(message), what
            self.refused += 1
            return
        expected = golden.run(model, self.images)
        same = program.code == self.program.code and np.array_equal(program.model_image, self.program.model_image)
        found = self.logits if same else execute(program, self.images)
        np.testing.assert_array_equal(found, expected, err_msg=str(what))
        self.executed += 1
        self.felt += not np.array_equal(expected, self.logits)


@pytest.fixture(scope="module")
def subjects():
    return {}


@pytest.fixture(params=CASES)
def subject(request, subjects):
    if request.param not in subjects:
        make, config = CASES[request.param]
        subjects[request.param] = Subject(make(), config)
    return subjects[request.param]


def other_values(attribute, value):
    """All other values where they are few, else the ends and a neighbour; and what is outside."""
    known = attribute.values if len(attribute.values) < 5 else {attribute.values[0], attribute.values[-1]}
    near = set() if value is None else {value ^ 1}
    return sorted({*known, attribute.values[0] - 1, attribute.values[-1] + 1, *near} - {value})


def test_attributes(subject):
    model = subject.model
    for node in subject.nodes():
        for attribute in OPERATORS[node.op].attributes:
            value = node.attributes.get(attribute.name)
            subject.try_((node.name, attribute.name, None), replace(
                node, attributes={name: n for name, n in node.attributes.items() if name != attribute.name}
            ))  # fmt: skip
            alike = [
                other for other in model.nodes if other.op == node.op and other.attributes.get(attribute.name) == value
            ]
            for number in other_values(attribute, value):
                what = (node.name, attribute.name, number)
                changed = {other.name: {**other.attributes, attribute.name: number} for other in alike}
                subject.try_(what, replace(node, attributes=changed[node.name]))
                subject.try_((*what, "all"), *(replace(other, attributes=changed[other.name]) for other in alike))
        if "height" in node.attributes:  # a grid of as many tokens
            sides = {"height": node.attributes["height"] // 2, "width": node.attributes["width"] * 2}
            subject.try_((node.name, sides), replace(node, attributes={**node.attributes, **sides}))
    assert subject.refused > 100
    assert subject.executed >= (4 if "shift_gelu" in {node.op for node in model.nodes} else 2)  # i0 has many values
    assert subject.felt


def test_wiring(subject):
    """Every input, from every earlier node of the same kind, and from one that is not."""
    known, before = values(subject.model), []
    for node in subject.model.nodes:
        if node in subject.nodes():
            for place, name in enumerate(node.inputs):
                kinds = [other for other in before if known[other] == known[name] and other != name]
                for other in {before[0], *kinds[:1], *kinds[-2:]}:
                    inputs = (*node.inputs[:place], other, *node.inputs[place + 1 :])
                    subject.try_((node.name, other), replace(node, inputs=inputs))
            subject.try_((node.name, "first"), replace(node, inputs=node.inputs[:1]))
            subject.try_((node.name, "swapped"), replace(node, inputs=node.inputs[::-1]))
        before.append(node.name)


def beyond(tensor, wide):
    """Constants with one element out of range, and of another type."""
    first = np.arange(wide.size).reshape(wide.shape) == 0
    return (np.where(first, tensor.least - 1, wide), np.where(first, tensor.most + 1, wide), wide.astype(np.float32))


def within(tensor, wide):
    """Constants of other values, most of them in range, in the widest type."""
    least, most, following = np.full_like(wide, tensor.least), np.full_like(wide, tensor.most), wide + 1
    return (following.clip(tensor.least, tensor.most), wide[::-1], -wide, most, least)


def per_channel(node, channels, tensors, order):
    """Both tensors of a factor in the other of their shapes."""
    mult, shift = (tensors[f"{node.name}.{name}"].astype(np.int64) for name in ("mult", "shift"))
    if mult.size > 1:
        return {f"{node.name}.mult": mult[order:][:1], f"{node.name}.shift": shift[order:][:1]}
    uneven = mult >> np.arange(channels)[::order] % 3
    return {f"{node.name}.mult": uneven, f"{node.name}.shift": np.repeat(shift, channels)}


@pytest.mark.parametrize(("name", "kinds"), [("vit", 5), ("table", 1), ("swin", 1)])
def test_constants(name, kinds, subjects):
    """Every constant out of range; and in range, of a Swin each in one of the ways, in turn, for it takes long."""
    make, config = CASES[name]
    subject = subjects.setdefault(name, Subject(make(), config))
    known, turn = values(subject.model), 0
    refused, executed, felt = subject.refused, subject.executed, subject.felt
    for node in subject.nodes():
        if node.name.startswith(("layers.0.blocks.0", "layers.1.blocks")):
            continue
        for tensor in OPERATORS[node.op].constants:
            key = f"{node.name}.{tensor.name}"
            wide = subject.model.tensors[key].astype(np.int64)
            for array in beyond(tensor, wide):
                subject.try_(key, tensors={key: array})
            for kind in range(kinds):
                subject.try_((key, (turn + kind) % 5), tensors={key: within(tensor, wide)[(turn + kind) % 5]})
            turn += 1
        if node.op == "requantize":
            change = per_channel(node, known[node.name].shape[-1], subject.model.tensors, -1)
            subject.try_((node.name, "per channel"), tensors=change)
    assert subject.refused - refused > 3 * turn
    assert subject.executed - executed > turn * kinds // 2
    assert subject.felt - felt > turn * kinds // 4
