"""An evaluation from end to end: what is there already is kept, the rest runs, and accuracies come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from firmware.dataset import open_dataset
from firmware.errors import UserError
from firmware.evaluate.batch import Job, dataset_digest
from firmware.evaluate.pools import Pool
from firmware.evaluate.store import Store
from firmware.model_file import load_model, model_digest

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """Images answered so far, and how many of them correctly: by the first answer, by one of five."""

    images: int
    top1: int
    top5: int
    kept: int  # images that were answered by an earlier run
    damaged: tuple[int, ...] = ()  # lines of an earlier run that were not believed

    def accuracy(self) -> tuple[float, float]:
        """Shares of top-1 and top-5."""
        return self.top1 / self.images, self.top5 / self.images


def evaluate(
    model: str | Path,
    images: str | Path,
    labels: str | Path | None = None,
    *,
    pool: Pool,
    results: str | Path,
    device: str = "golden",
    limit: int | None = None,
    batch: int = 32,
    threads: int = 1,
    restart: bool = False,
    progress: Callable[[Evaluation, int], None] = lambda _, __: None,
) -> Evaluation:
    """Top-1 and top-5 of the model file on labelled images, in batches of `batch`.

    Answers go to the file `results` as they come; a second call goes on there. It is refused for another model, other
    images or another device, unless `restart`. `progress` gets what is known and the number of images.
    Raises UserError, and DeviceError or ModelError as opening these does.
    """
    if batch < 1:
        raise UserError(f"a batch must have at least 1 image, not {batch}")
    loaded, dataset = load_model(model), open_dataset(images, labels, limit)
    targets = dataset.targets(loaded)
    if targets is None:
        raise UserError(f"{images} says no classes: --labels wants a .npy file of them, or a folder per class")
    dataset.read(loaded, 0, 1)  # a wrong shape is told before workers start
    job = Job(
        model=str(Path(model).resolve()), model_digest=model_digest(model), images=str(Path(images).resolve()),
        images_digest=dataset_digest(dataset), limit=limit, device=device, threads=threads,
    )  # fmt: skip
    header = {
        "evaluation": 1, "model": job.model_digest, "images": job.images_digest, "count": len(dataset),
        "device": device,
    }  # fmt: skip
    store = Store(results, header, len(dataset), restart=restart)
    try:
        kept = store.done

        def known() -> Evaluation:
            return Evaluation(store.done, *store.correct(targets), kept, store.damaged)

        progress(known(), len(dataset))
        for finished, classes in pool.run(job, store.missing(batch)):
            store.add(finished, classes)
            progress(known(), len(dataset))
        return known()
    finally:
        store.close()
