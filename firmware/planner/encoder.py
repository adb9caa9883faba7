"""What plans of encoders share, whose blocks are all of one size and attend to every token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

from firmware.planner.mlp import Activation, Members
from firmware.planner.program import CompileError
from firmware.planner.scheduler import Task
from firmware.planner.steps import Slot, is_wide
from hw.spec.model import Model, Node

__all__ = ["EncoderBlock", "fitting", "kinds", "sizes"]

Way = tuple[int, ...]  # the slot, and what else is chosen


class EncoderBlock(Members):
    """One block's nodes, some of whose roles every encoder has."""

    norm1_quant: Node
    qkv: Node
    scores: Node
    context_quant: Node
    norm2_quant: Node
    fc1: Node
    act: Activation

    @property
    def wide(self) -> tuple[bool, ...]:
        """Which inputs of its linears have 16 bits; blocks alike in this are planned alike."""
        return tuple(map(is_wide, (self.norm1_quant, self.context_quant, self.norm2_quant, self.act.output)))


def sizes(model: Model, blocks: Sequence[EncoderBlock]) -> tuple[int, int, int]:
    """Heads, channels of all of them and hidden channels. Raises CompileError unless all blocks have the same."""
    found = {
        (b.scores.attributes["heads"], len(model.tensor(b.qkv, "weight")) // 3, len(model.tensor(b.fc1, "weight")))
        for b in blocks
    }
    if len(found) != 1:
        raise CompileError(f"all blocks must have the same heads, their channels and hidden size, not {sorted(found)}")
    return found.pop()


def kinds(blocks: Sequence[EncoderBlock], there: Callable[[int], object] = lambda _block: True) -> Iterable[int]:
    """Those of the blocks that are `there`, and of -1, what is before them, that others are planned like.

    That is the first of those with the same wide inputs here and behind.
    """
    found: dict[object, int] = {}
    for block, kind in enumerate(pairwise([None, *(each.wide for each in blocks), None]), start=-1):
        if there(block):
            found.setdefault(kind, block)
    return found.values()


def fitting(slots: Sequence[Slot], ways: Iterable[Way], walk: Callable[..., Iterable[Task]]) -> Mapping[int, Way]:
    """By slot the last of its `ways` whose steps, ``walk(*way)``, find room in its arena; tried by taking them.

    Raises the first refusal if no slot has room.
    """
    found: dict[int, Way] = {}
    refused: CompileError | None = None
    for way in ways:
        try:
            for _ in walk(*way):
                pass
        except CompileError as error:
            refused = refused or error
            slots[way[0]].arena.clear()
        else:
            found[way[0]] = way
    if refused and not found:
        raise refused
    return found
