"""What a worker does: images of one batch -> each image's likeliest classes."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from firmware.dataset import Dataset, open_dataset
from firmware.devices import open_device
from firmware.errors import UserError
from firmware.model_file import load_model, model_digest
from firmware.preprocess import to_int8
from hw.spec.model import Model

__all__ = ["TOP", "Batch", "Job", "dataset_digest", "run_batch"]

TOP = 5  # classes kept of each image


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is evaluated. Workers open the files themselves and check that they are the same: paths must be shared."""

    model: str
    model_digest: str
    images: str
    images_digest: str
    limit: int | None
    device: str  # what `open_device` takes
    threads: int  # of the golden model

    def run(self, batch: Batch) -> list[list[int]]:
        """See `run_batch`."""
        return run_batch(self, batch)


@dataclass(frozen=True)
class Batch:
    """Images `start` to `stop` of a job."""

    start: int
    stop: int


def dataset_digest(dataset: Dataset) -> str:
    """SHA-256 of an array's contents, or of the image files' names, sizes and times of change, in order."""
    digest = hashlib.sha256()
    if isinstance(dataset.images, np.ndarray):
        digest.update(f"{dataset.images.dtype.str} {dataset.images.shape}".encode())
        digest.update(np.ascontiguousarray(dataset.images).data)
    else:
        for path in dataset.images:
            status = path.stat()
            digest.update(f"{path.parent.name}/{path.name}\0{status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def run_batch(job: Job, batch: Batch) -> list[list[int]]:
    """The `TOP` likeliest classes of each image, likeliest first.

    Raises UserError, DeviceError or ModelError, in one sentence.
    """
    model, dataset, run = _opened(job)
    images = to_int8(dataset.read(model, batch.start, batch.stop), model)
    return [[candidate.index for candidate in best] for best in model.classify(run(images), TOP)]


@functools.lru_cache(1)
def _opened(job: Job) -> tuple[Model, Dataset, Callable[[NDArray[np.int8]], NDArray[np.int32]]]:
    """Model, images and device of a job, kept open for the next batches of this process."""
    if model_digest(job.model) != job.model_digest:
        raise UserError(f"model {job.model} is not the one that the evaluation began with")
    model, dataset = load_model(job.model), open_dataset(job.images, None, job.limit)
    if dataset_digest(dataset) != job.images_digest:
        raise UserError(f"the images in {job.images} are not those that the evaluation began with")
    return model, dataset, _runner(job, model)


def _runner(job: Job, model: Model) -> Callable[[NDArray[np.int8]], NDArray[np.int32]]:
    golden = job.device == "golden"
    device = open_device(f"golden?threads={job.threads}" if golden else job.device)
    device.load(model)  # and open until the process ends
    turn = Lock() if device.clocked else nullcontext()  # a Dask worker has several threads, a device does one thing

    def run(images: NDArray[np.int8]) -> NDArray[np.int32]:
        with turn:
            return device.run(images)

    return run
