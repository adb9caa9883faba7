"""Command line: python -m bench trust."""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from bench import page
from bench.trust import tables
from bench.trust.blocks import Block, cases, end_blocks, run_block
from bench.trust.campaigns import CAMPAIGNS
from bench.trust.ledger import Ledger

__all__ = ["register"]


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    command = page.add_command(commands, "trust", "campaigns of random, damaged and hostile cases", _command)
    command.add_argument(
        "--hours", type=float, default=0.0, metavar="N", help="how long (default 0: only what is kept)"
    )
    command.add_argument(
        "--only", nargs="+", choices=CAMPAIGNS, metavar="NAME", default=list(CAMPAIGNS),
        help=f"some of {', '.join(CAMPAIGNS)} (default: all, the one furthest from its bar first)",
    )  # fmt: skip
    command.add_argument("--seed", type=int, metavar="SEED", help="this case alone, in this process; nothing is kept")
    command.add_argument("--workers", type=int, default=2, metavar="N", help="processes at a time (default 2)")
    command.add_argument(
        "--folder", type=Path, default=Path("build/trust"), metavar="DIR",
        help="results, a file per campaign; it goes on there (default build/trust)",
    )  # fmt: skip


def _command(arguments: argparse.Namespace) -> int:
    """1 if a case is unexplained."""
    if arguments.seed is not None:
        return int(sum(cases(CAMPAIGNS[name](), [arguments.seed]) for name in arguments.only) > 0)
    ledgers = [Ledger(arguments.folder, CAMPAIGNS[name]) for name in arguments.only]
    _run(ledgers, time.monotonic() + 3600 * arguments.hours, arguments.workers)
    failures = [(ledger, failure) for ledger in ledgers for failure in ledger.failures]
    for ledger, failure in failures:
        print(f"UNEXPLAINED {ledger.campaign.name} {failure['seed']}: {failure['what']}")
        print(f"    python -m bench trust --only {ledger.campaign.name} --seed {failure['seed']}")
    page.publish(arguments, tables.text(ledgers), tables.content(ledgers))
    return int(bool(failures))


def _run(ledgers: Sequence[Ledger], end: float, workers: int) -> None:
    """Blocks, until the time is up: next is one of the campaign that is furthest from its bar."""
    running: dict[Future[Block], Ledger] = {}
    with ThreadPoolExecutor(workers) as pool, _ended(running):
        while running or time.monotonic() < end:
            while len(running) < workers and time.monotonic() < end:
                ledger = min(ledgers, key=lambda each: _share(each, running))
                first, count = ledger.seeds()
                running[pool.submit(run_block, ledger.campaign, first, count, ledger.sources)] = ledger
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                _keep(running.pop(future), future.result())


@contextmanager
def _ended(running: Collection[Future[Block]]) -> Generator[None]:
    """When interrupted, what runs is not waited for, and does not go on."""
    try:
        yield
    except BaseException:
        while not all(future.done() for future in running):
            end_blocks()
            time.sleep(0.05)
        raise


def _keep(ledger: Ledger, block: Block) -> None:
    ledger.add(block)
    last = block.first + block.cases - 1
    print(
        f"{block.campaign} seeds {block.first} to {last}: {len(block.failures)} unexplained, "
        f"{block.seconds:.0f} s, {ledger.counts[ledger.campaign.counted]:,} {ledger.campaign.counted}",
        flush=True,
    )


def _share(ledger: Ledger, running: dict[Future[Block], Ledger]) -> float:
    """Of its bar that is done, with what is running as if it were a hundredth."""
    under_way = sum(other is ledger for other in running.values())
    return ledger.counts[ledger.campaign.counted] / ledger.campaign.goal + 0.01 * under_way
