"""Command line: python -m firmware COMMAND; a module of `firmware.cli` for each kind of command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

if __name__ == "__main__" and not sys.flags.safe_path and Path(sys.path[0]).resolve() != Path(__file__).parents[1]:
    del sys.path[0]  # the current directory, where a user's own `sim` or `hw` may lie

from firmware.cli import compile, dram, embed, estimate, evaluate, explore, importing, models, quantize, run
from firmware.compiler import CompileError
from firmware.errors import UserError
from firmware.screen import INTERRUPTED, any_letters, leave
from firmware.transport import DeviceError
from hw.spec.config import ConfigError
from hw.spec.model import ModelError

__all__ = ["main", "parser"]


def parser(prog: str = "python -m firmware", others: Mapping[str, str] | None = None) -> argparse.ArgumentParser:
    """The command line's grammar; `others` are verbs, with their help, that somebody else executes."""
    top = argparse.ArgumentParser(
        prog=prog,
        description="integer transformers on a device: from a checkpoint to classes and features",
    )
    commands = top.add_subparsers(
        dest="command", required=True, metavar="COMMAND", help="what to do; COMMAND --help says how"
    )
    for module in (importing, quantize, models, compile, estimate, explore, run, embed, evaluate, dram):
        module.register(commands)
    for name, text in (others or {}).items():
        commands.add_parser(name, help=text)
    return top


def main(arguments: list[str] | None = None, grammar: argparse.ArgumentParser | None = None) -> int:
    """Runs one command; bad input gives one sentence on stderr and status 2."""
    any_letters()
    parsed = (grammar or parser()).parse_args(arguments)
    try:
        status: int = parsed.function(parsed)
    except (CompileError, ConfigError, DeviceError, ModelError, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read the output has read enough
        return 0
    except OSError as error:
        print(f"error: {error.filename or 'file'}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return status


if __name__ == "__main__":
    leave(main())
