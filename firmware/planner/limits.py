"""What no program can do on a configuration, whatever the plan: checks that every family makes before it plans."""

from __future__ import annotations

from firmware.planner.program import CompileError
from hw.spec.config import Config
from hw.spec.isa import OPERANDS, Op
from hw.spec.memory import align
from hw.spec.model import Model

__all__ = ["MOST_PASSES", "check_patch", "check_row", "check_summed", "check_whole_words"]

MOST_PASSES = 1 << next(field.bits for field in OPERANDS[Op.MATMUL] if field.name == "passes")
"""Words of a row that a MATMUL reduces."""


def check_whole_words(what: str, value: int, config: Config) -> None:
    """Raises CompileError unless `value` channels are whole words."""
    if value % config.rows:
        raise CompileError(f"{what} must be a multiple of rows ({config.rows}), not {value}")


def check_row(elements: int, config: Config) -> None:
    """Raises CompileError for a row that VECTOR cannot take."""
    if elements > config.max_row:
        raise CompileError(f"a row of {elements} elements exceeds max_row ({config.max_row})")


def check_summed(tokens: int, config: Config) -> None:
    """Raises CompileError for more tokens than a MATMUL can sum up."""
    if tokens > MOST_PASSES * config.rows:
        raise CompileError(f"the mean is of at most {MOST_PASSES * config.rows} tokens, not of {tokens}")


def check_patch(model: Model, config: Config) -> None:
    """Raises CompileError for patches that no MATMUL can reduce."""
    if align(model.image[0] * model.patch**2, config.rows) // config.rows > MOST_PASSES:
        raise CompileError(f"a patch of {model.patch} x {model.patch} is deeper than {MOST_PASSES} array passes")
