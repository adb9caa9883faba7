"""Where batches run: on processes of this machine, or on the workers of a Dask cluster."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from firmware.errors import UserError

__all__ = ["Cluster", "Job", "Local", "Pool", "PoolError"]

_DEATHS = 3  # of workers without an answer between, before the whole is given up

Batch = TypeVar("Batch")
Answer = TypeVar("Answer")
_Asked = TypeVar("_Asked", contravariant=True)
_Answered = TypeVar("_Answered", covariant=True)


class PoolError(UserError):
    """Workers that cannot be reached or die again and again."""


class Job(Protocol[_Asked, _Answered]):
    """What is to be done, as it is sent to workers."""

    def run(self, batch: _Asked, /) -> _Answered:
        """Of a batch, in a worker."""


class Pool(Protocol):
    """Runs batches somewhere."""

    def run(self, job: Job[Batch, Answer], batches: Iterable[Batch]) -> Generator[tuple[Batch, Answer], None, None]:
        """Each batch with its answers, as they come, in any order. Raises what a batch raises, or PoolError."""


@dataclass(frozen=True)
class Local:
    """`workers` processes of this machine. A batch whose process dies runs again."""

    workers: int

    def run(self, job: Job[Batch, Answer], batches: Iterable[Batch]) -> Generator[tuple[Batch, Answer], None, None]:
        """See Pool."""
        left, deaths = deque(batches), 0
        while left:
            try:
                for batch, answer in self._run(job, tuple(left)):
                    yield batch, answer
                    left.remove(batch)
                    deaths = 0
            except BrokenProcessPool:
                deaths += 1
                if deaths == _DEATHS:
                    raise PoolError(f"worker processes died {deaths} times in a row: is there memory enough?") from None

    def _run(self, job: Job[Batch, Answer], batches: Iterable[Batch]) -> Generator[tuple[Batch, Answer], None, None]:
        context = multiprocessing.get_context("spawn")
        quiet = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which ends them
        others = set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(self.workers, context, initializer=signal.signal, initargs=quiet)
        left, running = iter(batches), dict[Future[Answer], Batch]()
        try:
            while True:
                with _undisturbed():
                    for batch in itertools.islice(left, 2 * self.workers - len(running)):
                        running[pool.submit(job.run, batch)] = batch
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BaseException:  # interrupted or failed: what runs is not waited for
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise
        finally:
            # Waited for, or the interpreter's end may write to a pipe that the pool's thread is just closing.
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _undisturbed() -> Generator[None, None, None]:
    """Ctrl-C comes at its end: a pool whose start was interrupted can neither be used nor shut down.

    Masked for the processes started here, which inherit it until they ignore it themselves; and deferred, as any other
    thread of this process takes a signal that this one masks, for Python's handler to run here all the same.
    """
    if threading.current_thread() is not threading.main_thread():  # which nothing interrupts
        yield
        return
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


@dataclass(frozen=True)
class Cluster:
    """The workers of the Dask scheduler at `address`, tcp://HOST:PORT. Dask runs the batch of a lost worker again."""

    address: str
    patience: float = 10  # seconds for the scheduler to answer and a worker to be there

    def run(self, job: Job[Batch, Answer], batches: Iterable[Batch]) -> Generator[tuple[Batch, Answer], None, None]:
        """See Pool. Workers need this package and the same paths."""
        try:
            from distributed import Client, KilledWorker, as_completed
        except ImportError:
            raise PoolError("--dask needs Dask: pip install 'shiftwork[cluster]'") from None
        with self._connect(Client) as client:
            left, running = iter(batches), dict[Any, Batch]()
            finished = as_completed()
            ahead = 2 * sum(client.nthreads().values())
            while True:
                for batch in itertools.islice(left, ahead - len(running)):
                    future = client.submit(job.run, batch, pure=False)
                    running[future] = batch
                    finished.add(future)
                if not running:
                    return
                future = next(finished)
                try:
                    answer = future.result()
                except KilledWorker:
                    raise PoolError(f"workers of {self.address} died again and again on one batch") from None
                except ModuleNotFoundError as error:
                    raise PoolError(f"a worker of {self.address} lacks a package: {error}") from None
                yield running.pop(future), answer

    def _connect(self, client: Any) -> Any:
        try:
            connected = client(self.address, timeout=self.patience)
        except (OSError, TimeoutError, ValueError):
            raise PoolError(f"no Dask scheduler answers at {self.address} within {self.patience:g} seconds") from None
        try:
            connected.wait_for_workers(1, timeout=self.patience)
        except TimeoutError:
            connected.close()
            raise PoolError(f"the Dask scheduler at {self.address} has no workers") from None
        return connected
