"""What is changed in a source file of the gateware: one expression at a time, only where hardware is described."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

__all__ = ["KINDS", "Mutant", "mutants", "sample"]

KINDS = {
    "compare": "`==` and `!=`, `<` and `<=`, `>` and `>=` exchanged",
    "arithmetic": "`+` and `-` exchanged, `*` made `+`",
    "logic": "`&` and `|` exchanged, `^` made `|`, `~` left out, `any` and `all` exchanged",
    "shift": "`<<` and `>>` exchanged",
    "term": "one side of `&` or `|` left out",
    "constant": "an integer made one more, or one less",
    "condition": "the condition of `m.If` or `m.Elif` made always, never, or its opposite",
    "assignment": "a statement left out",
    "reset": "a register that no longer has a reset",
    "value": "a register that is reset to another value",
    "width": "a bit less",
    "swap": "operands of `-`, choices of `Mux`, the first two parts of `Cat` exchanged",
}

_COMPARES = {ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"),
             ast.Gt: (">", ">="), ast.GtE: (">=", ">")}  # fmt: skip
_BINARY = {
    ast.Add: ("arithmetic", "+", "-"), ast.Sub: ("arithmetic", "-", "+"), ast.Mult: ("arithmetic", "*", "+"),
    ast.BitAnd: ("logic", "&", "|"), ast.BitOr: ("logic", "|", "&"), ast.BitXor: ("logic", "^", "|"),
    ast.LShift: ("shift", "<<", ">>"), ast.RShift: ("shift", ">>", "<<"),
}  # fmt: skip
_NO_HARDWARE = {"name", "attrs", "domain", "src_loc_at"}  # keywords
_LAYOUT = re.compile(r".*_(layout|members)|lanes_of")  # functions that tell shapes
_BITS = re.compile(r"[\w.]*(bits|BITS)|len\(.*\)|\d+|.*[-+*] *[\w.()]+", re.DOTALL)


@dataclass(frozen=True)
class Mutant:
    """`unit` with the bytes from `start` to `end` replaced: `was` became `becomes` at `column` of `line`, or `text`."""

    unit: str
    line: int
    start: int
    end: int
    kind: str
    was: str
    becomes: str
    text: str
    column: int

    @property
    def name(self) -> str:
        """Says which it is, in one line; the same as long as nothing before it in its file changes."""
        return f"{self.unit}:{self.line}+{self.start} {self.kind}: {_flat(self.was)} -> {_flat(self.becomes)}"

    @property
    def change(self) -> tuple[str, str, int, str, str]:
        """What the reviewed list of equivalent ones knows it by: independent of where in the file it is."""
        return self.unit, _flat(self.text), self.column, _flat(self.was), _flat(self.becomes)

    def applied(self, source: bytes) -> bytes:
        """The mutated file."""
        return source[: self.start] + self.becomes.encode() + source[self.end :]


def _flat(text: str) -> str:
    return " ".join(text.split())


def mutants(unit: str, source: bytes) -> list[Mutant]:
    """All mutants of a file, from top to bottom; each is a valid Python file."""
    found = _File(unit, source).mutants()
    return [mutant for mutant in found if _parses(mutant.applied(source))]


def sample(found: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """`count` of them, or all: by turns of every kind, in an order that `seed` tells and `count` does not change."""
    if not found:
        return []
    rng = random.Random(f"{seed} {found[0].unit}")
    kinds = [[mutant for mutant in found if mutant.kind == kind] for kind in KINDS]
    for mutants_of_kind in kinds:
        rng.shuffle(mutants_of_kind)
    rng.shuffle(kinds)
    order = [mutant for turn in zip_longest(*kinds) for mutant in turn if mutant]
    return order[:count]


def _parses(source: bytes) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


class _File:
    def __init__(self, unit: str, source: bytes) -> None:
        self.unit, self.source, self.tree = unit, source, ast.parse(source)
        self.lines = [0]
        for line in source.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))
        self.registers = set(_registers(self.tree))

    def mutants(self) -> Iterator[Mutant]:
        for function in _hardware(self.tree):
            for statement in function.body:
                yield from self._visit(statement)

    def _visit(self, node: ast.AST) -> Iterator[Mutant]:
        if isinstance(node, ast.JoinedStr | ast.Raise | ast.Assert | ast.FunctionDef):
            return
        if isinstance(node, ast.keyword) and node.arg in _NO_HARDWARE:
            return
        if isinstance(node, ast.Assign):
            yield from self._resets(node)
        yield from self._of(node)
        for child in ast.iter_child_nodes(node):
            yield from self._visit(child)

    def _of(self, node: ast.AST) -> Iterator[Mutant]:
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARES:
            yield from self._operator("compare", node.left, node.comparators[0], *_COMPARES[type(node.ops[0])])
        elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            yield from self._binary(node)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
            yield self._change("logic", node, self._text(node)[1:])
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            yield self._change("constant", node, str(node.value + 1))
            if node.value:
                yield self._change("constant", node, str(node.value - 1))
        elif isinstance(node, ast.Call):
            yield from self._call(node)

    def _binary(self, node: ast.BinOp) -> Iterator[Mutant]:
        kind, was, becomes = _BINARY[type(node.op)]
        begin, end = self._span(node)
        middle = self._span(node.left)[1], self._span(node.right)[0]
        place = middle[0] + self.source[slice(*middle)].find(was.encode())
        left, right = self.source[begin:place].decode().strip(), self.source[place + len(was) : end].decode().strip()
        yield from self._operator(kind, node.left, node.right, was, becomes)
        if was in {"&", "|"}:
            yield self._change("term", node, left)
            yield self._change("term", node, right)
        elif was == "-":
            yield self._change("swap", node, f"{right} - ({left})")

    def _operator(self, kind: str, left: ast.AST, right: ast.AST, was: str, becomes: str) -> Iterator[Mutant]:
        begin, end = self._span(left)[1], self._span(right)[0]
        between = self.source[begin:end].decode()
        if "#" not in between and was in between:
            yield self._replace(kind, begin, end, between.replace(was, becomes, 1))

    def _call(self, node: ast.Call) -> Iterator[Mutant]:
        name = ast.unparse(node.func)
        arguments = [None if isinstance(a, ast.Starred | ast.GeneratorExp) else self._text(a) for a in node.args]
        if name in {"m.If", "m.Elif", "self._m.If"} and arguments[0]:
            for becomes in ("1", "0", f"({arguments[0]}) == 0"):
                yield self._change("condition", node.args[0], becomes)
        elif name.endswith(".eq") and len(arguments) == 1:
            yield self._change("assignment", node, "[]")
        elif name.endswith((".any", ".all")) and not arguments:
            text = self._text(node)
            other = {"any": "all", "all": "any"}[name[-3:]]
            yield self._change("logic", node, text[: text.rindex(name[-3:])] + f"{other}()")
        elif name == "Mux" and None not in arguments:
            yield self._change("swap", node, f"Mux({arguments[0]}, {arguments[2]}, {arguments[1]})")
        elif name == "Cat" and len(arguments) > 1 and arguments[0] and arguments[1]:
            begin, end = self._span(node.args[0])[0], self._span(node.args[1])[1]
            yield self._replace("swap", begin, end, f"{arguments[1]}, {arguments[0]}")
        elif name in {"Signal", "signed", "unsigned"} and arguments and arguments[0]:
            yield from self._narrower(node.args[0], arguments[0])

    def _narrower(self, node: ast.AST, text: str) -> Iterator[Mutant]:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "range" and len(node.args) == 1:
            yield self._change("width", node, f"range(({self._text(node.args[0])} + 1) // 2)")
        elif not (isinstance(node, ast.Constant) and node.value == 1) and _BITS.fullmatch(text):
            yield self._change("width", node, f"({text}) - 1")

    def _resets(self, node: ast.Assign) -> Iterator[Mutant]:
        """Of the signals that a statement makes, those that are registers with a reset."""
        names = [name for target in node.targets for name in _names(target)]
        calls = [
            n for n in ast.walk(node.value)
            if isinstance(n, ast.Call) and ast.unparse(n.func) in {"Signal", "Signal.like"}
        ]  # fmt: skip
        pairs = zip(names, calls, strict=True) if len(names) == len(calls) else [(n, c) for c in calls for n in names]
        done = set()
        for name, call in pairs:
            keywords = {keyword.arg for keyword in call.keywords}
            if name not in self.registers or "reset_less" in keywords or id(call) in done:
                continue
            done.add(id(call))
            text = self._text(call).removesuffix(")").rstrip().removesuffix(",")
            comma = ", " if call.args or call.keywords else ""
            yield self._change("reset", call, f"{text}{comma}reset_less=True)")
            shape = self._text(call.args[0]) if call.args else ""
            if "init" not in keywords and (not shape or shape.startswith("range") or _BITS.fullmatch(shape)):
                yield self._change("value", call, f"{text}{comma}init=1)")

    def _change(self, kind: str, node: ast.AST, becomes: str) -> Mutant:
        return self._replace(kind, *self._span(node), becomes)

    def _replace(self, kind: str, start: int, end: int, becomes: str) -> Mutant:
        line = self.source.count(b"\n", 0, start)
        text = self.source[self.lines[line] : self.lines[line + 1]].decode()
        column = start - self.lines[line] - len(text) + len(text.lstrip())
        was = self.source[start:end].decode()
        return Mutant(self.unit, line + 1, start, end, kind, was, becomes, text.strip(), column)

    def _span(self, node: ast.AST) -> tuple[int, int]:
        place = vars(node)
        return (
            self.lines[place["lineno"] - 1] + place["col_offset"],
            self.lines[place["end_lineno"] - 1] + place["end_col_offset"],
        )

    def _text(self, node: ast.AST) -> str:
        return self.source[slice(*self._span(node))].decode()


def _hardware(tree: ast.Module) -> list[ast.FunctionDef]:
    """Functions that describe hardware: elaborate, what has a module `m`, what they call, and functions of the file."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    found = [f for f in tree.body if isinstance(f, ast.FunctionDef)]
    found += [f for f in functions if f.name == "elaborate" or any(a.arg == "m" for a in f.args.args)]
    names: set[str] = set()
    while True:
        names |= {
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for function in found for node in ast.walk(function) if isinstance(node, ast.Call)
        }  # fmt: skip
        more = [f for f in functions if f.name in names and f not in found and f.name.startswith("_")]
        if not more:
            break
        found += more
    return [f for f in functions if f in found and not _LAYOUT.fullmatch(f.name) and f.name != "__post_init__"]


def _registers(tree: ast.Module) -> Iterator[str]:
    """Names of what is assigned in the domain `sync`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AugAssign) and ast.unparse(node.target).endswith("d.sync"):
            for call in ast.walk(node.value):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "eq":
                    yield from _names(call.func.value)


def _names(node: ast.AST) -> Iterator[str]:
    """Of what is assigned: `a`, `self.a`, `a[0]`, `a.b` or several."""
    while isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
        yield from (() if isinstance(node.value, ast.Name) and node.value.id == "self" else _names(node.value))
    elif isinstance(node, ast.Tuple):
        for part in node.elts:
            yield from _names(part)
