"""What families of encoders share, whose blocks are all of one size."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from firmware.families.architecture import Architecture
from firmware.families.family import Stage
from firmware.planner.encoder import EncoderBlock
from firmware.planner.program import CompileError
from hw.spec.model import Model

__all__ = ["depth_of", "heads_said", "one_stage"]

_BLOCK = re.compile(r"blocks\.(\d+)\.")


class _Roles(Protocol):
    """What a family recognises."""

    @property
    def tokens(self) -> int: ...
    @property
    def dim(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def hidden(self) -> int: ...
    @property
    def blocks(self) -> Sequence[EncoderBlock]: ...


def depth_of(names: Collection[str]) -> int:
    """Blocks that tensors of these names are of."""
    return len({match[1] for match in map(_BLOCK.match, names) if match})


def one_stage(model: Model, recognise: Callable[[Model], _Roles]) -> Sequence[Stage]:
    """All blocks, of the sizes that `recognise` finds; nothing where it finds another graph."""
    try:
        roles = recognise(model)
    except CompileError:
        return ()
    macs = sum(model.layer_macs[node.name] for block in roles.blocks for node in block.nodes())
    return [
        Stage(blocks=len(roles.blocks), tokens=roles.tokens, width=roles.dim, heads=roles.heads,
              hidden=roles.hidden, macs=macs)
    ]  # fmt: skip


def heads_said(shape: Architecture, told: Collection[str]) -> str:
    """A remark on its heads, which no tensor tells."""
    heads = shape.heads[0]
    return f"{'' if 'heads' in told else 'assumed: '}{heads} heads of {shape.dim // heads} channels"
