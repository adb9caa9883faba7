"""Pools for evaluations and explorations: one in this process, one of Dask, and what becomes of an interrupted one."""

import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

__all__ = ["Here", "interrupted", "local_cluster"]

ROOT = Path(__file__).parents[2]


@dataclass
class Here:
    """A pool in this process that stops after `limit` batches; remembers what it ran."""

    limit: int | None = None
    ran: list = field(default_factory=list)

    def run(self, job, batches):
        for batch in batches:
            if self.limit is not None and len(self.ran) == self.limit:
                raise KeyboardInterrupt
            self.ran.append(batch)
            yield batch, job.run(batch)


@contextmanager
def local_cluster():
    """A Dask cluster of two workers; the test is skipped without Dask."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as made:
        yield made


def interrupted(command, patience):
    """What a command with workers says on stderr when it is interrupted once they are there, within `patience` seconds.

    It must end at once with status 130, and its workers with it.
    """
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            children, deadline = Path(f"/proc/{process.pid}/task/{process.pid}/children"), time.monotonic() + patience
            while len(workers := children.read_bytes().split()) < 2:  # the first only keeps count of resources
                assert time.monotonic() < deadline
                time.sleep(0.05)
            begun = time.monotonic()
            process.send_signal(signal.SIGINT)
            error = process.communicate(timeout=60)[1]
            took = time.monotonic() - begun
        finally:
            process.kill()
    assert process.returncode == 130, error
    assert took < 10  # a second, on a machine that has nothing else to do
    while any(Path(f"/proc/{worker.decode()}").exists() for worker in workers):
        assert time.monotonic() < begun + 20
    return error
