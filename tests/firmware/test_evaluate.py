"""Evaluation: right figures, here and on a cluster; nothing lost when runs or workers die; a sentence per mistake."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.trust.mutations import lines_of
from bench.trust.stores import header_of, stored
from firmware.__main__ import main
from firmware.dataset import open_dataset
from firmware.errors import UserError
from firmware.evaluate import Cluster, Local, PoolError, evaluate, pools
from firmware.evaluate.batch import Batch, Job, dataset_digest, run_batch
from firmware.evaluate.store import Store
from firmware.model_file import load_model, model_digest, save_model
from firmware.preprocess import to_int8
from sim import golden
from tests.support.models import random_model
from tests.support.pools import Here, interrupted, local_cluster

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits"
MODEL, IMAGES, LABELS = (str(DIGITS / name) for name in ("digits.safetensors", "images.npy", "labels.npy"))
LABELLED = (MODEL, IMAGES, LABELS)


@pytest.fixture(scope="module")
def expected():
    """Ranked classes of all digits, and top-1 and top-5 counts, computed the plain way."""
    model, labels = load_model(MODEL), np.load(LABELS)
    logits = golden.run(model, to_int8(np.load(IMAGES), model)) * model.logit_scale.astype(np.float64)
    order = np.array([sorted(range(10), key=lambda c: (-row[c], c)) for row in logits])
    return order[:, :5], int((order[:, 0] == labels).sum()), int((order[:, :5] == labels[:, None]).any(1).sum())


def job(model=MODEL, images=IMAGES):
    return Job(
        model=str(model), model_digest=model_digest(model), images=str(images),
        images_digest=dataset_digest(open_dataset(images)), limit=None, device="golden", threads=1,
    )  # fmt: skip


def batches(size, count=360):
    return [Batch(start, min(start + size, count)) for start in range(0, count, size)]


def check_answers(found, expected):
    """Every image answered once, and rightly."""
    assert sorted(image for batch, _ in found for image in range(batch.start, batch.stop)) == list(range(360))
    for batch, classes in found:
        np.testing.assert_array_equal(classes, expected[0][batch.start : batch.stop])


def test_digits_on_two_processes(expected, tmp_path, capsys):
    report, results = tmp_path / "report.json", tmp_path / "digits.jsonl"
    line = ["eval", MODEL, IMAGES, "--labels", LABELS, "--workers", "2", "--results", str(results)]
    assert main([*line, "--report", str(report)]) == 0
    _, top1, top5 = expected
    assert f"top-1 {top1 / 360:.2%}, top-5 {top5 / 360:.2%}" in capsys.readouterr().out
    found = json.loads(report.read_text())
    assert (found["top1"], found["top5"], found["images"], found["kept"]) == (top1 / 360, top5 / 360, 360, 0)
    assert main(line) == 0
    assert "360 of them by an earlier run" in capsys.readouterr().out


def test_a_folder_per_class(tmp_path):
    """As ImageNet's: classes are the folders in order, whatever the files are called."""
    images, labels = np.load(IMAGES)[:60], np.load(LABELS)[:60]
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / "val" / f"n{label:08}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(folder / f"{index:03}.png")
    assert len(set(labels)) == 10
    model = replace(load_model(MODEL), crop=1.0)
    save_model(model, tmp_path / "m.safetensors")
    found = evaluate(tmp_path / "m.safetensors", tmp_path / "val", pool=Here(), results=tmp_path / "r", batch=7)
    logits = golden.run(model, to_int8(images, model)) * model.logit_scale.astype(np.float64)
    assert (found.images, found.top1) == (60, (logits.argmax(1) == labels).sum())


def test_the_simulated_device(expected, tmp_path):
    found = evaluate(*LABELLED, pool=Here(), results=tmp_path / "r", device="sim:arty_a7", limit=6, batch=4)
    assert found.images == 6
    answers = [json.loads(line)["classes"] for line in (tmp_path / "r").read_text().splitlines()[1:]]
    np.testing.assert_array_equal(np.concatenate(answers), expected[0][:6])


def test_equal_logits_rank_by_class():
    model = random_model()
    (best,) = model.classify(np.array([[3, 5, 5, 1, 5, 0, 0, 0, 0, 9]], np.int32))
    assert [candidate.index for candidate in best] == [9, 1, 2, 4, 0]


# ---- stopped and gone on ----


def test_a_stopped_run_goes_on(expected, tmp_path):
    """With other batches, and after half a line: only what is missing runs."""
    results = tmp_path / "r"
    with pytest.raises(KeyboardInterrupt):
        evaluate(*LABELLED, pool=Here(limit=3), results=results, batch=50)
    whole = results.read_bytes()
    results.write_bytes(whole + b'{"start":150,"classes":[[1,2')
    pool, seen = Here(), []
    found = evaluate(
        *LABELLED, pool=pool, results=results, batch=32, progress=lambda known, _: seen.append(known.images)
    )
    assert pool.ran == [Batch(first, min(first + 32, 360)) for first in range(150, 360, 32)]
    assert (found.kept, found.images, found.top1, found.top5) == (150, 360, *expected[1:])
    assert results.read_bytes().startswith(whole)
    assert seen == [150, *(batch.stop for batch in pool.ran)]


def test_what_is_missing_need_not_be_the_end(tmp_path):
    store = Store(tmp_path / "r", {"evaluation": 1}, 10)
    for batch in (Batch(2, 4), Batch(7, 8)):
        store.add(batch, [[0, 1]] * (batch.stop - batch.start))
    store.close()
    store = Store(tmp_path / "r", {"evaluation": 1}, 10)
    assert store.missing(2) == [Batch(0, 2), Batch(4, 6), Batch(6, 7), Batch(8, 10)]
    assert store.done == 3
    store.close()


def test_interruption_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("firmware.cli.evaluate.Local", lambda _: Here(limit=1))
    results = tmp_path / "r"
    assert main(["eval", MODEL, IMAGES, "--labels", LABELS, "--results", str(results)]) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert len(results.read_text().splitlines()) == 2


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """A model that takes long enough to be killed, and 300 labelled images."""
    directory = tmp_path_factory.mktemp("slow")
    save_model(random_model(image=(3, 96, 96), dim=192, depth=6, heads=3, hidden=768), directory / "model.safetensors")
    rng = np.random.default_rng(0)
    np.save(directory / "images.npy", rng.integers(-128, 128, (300, 3, 96, 96)).astype(np.int8))
    np.save(directory / "labels.npy", rng.integers(0, 10, 300))
    return [str(directory / name) for name in ("model.safetensors", "images.npy", "labels.npy")]


def test_a_killed_run_loses_only_what_was_in_flight(slow, tmp_path):
    model, images, labels = slow
    results = tmp_path / "r"
    command = [sys.executable, "-m", "firmware", "eval", model, images, "--labels", labels, "--batch", "2"]
    process = subprocess.Popen(
        [*command, "--workers", "1", "--results", str(results)], cwd=ROOT, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not results.exists() or results.read_bytes().count(b"\n") < 4:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    lines = results.read_bytes().split(b"\n")[:-1]
    assert 4 <= len(lines) < 151
    pool = Here()
    found = evaluate(model, images, labels, pool=pool, results=results, batch=80)
    assert found.kept == 2 * (len(lines) - 1)
    assert sum(batch.stop - batch.start for batch in pool.ran) == 300 - found.kept
    fresh = evaluate(model, images, labels, pool=Here(), results=tmp_path / "fresh", batch=100)
    assert (found.images, found.top1, found.top5) == (300, fresh.top1, fresh.top5)


def test_an_interrupt_ends_it_at_once(slow, tmp_path):
    """In the midst of a batch of half a minute and more; what was finished is kept, and no worker goes on."""
    model, images, labels = slow
    files = [str(tmp_path / name) for name in ("i.npy", "l.npy")]
    for source, target in zip((images, labels), files, strict=True):
        array = np.load(source)
        np.save(target, np.tile(array, (10, *[1] * (array.ndim - 1))))
    results = tmp_path / "r"
    command = [sys.executable, "-m", "firmware", "eval", model, files[0], "--labels", files[1], "--workers", "1"]
    command += ["--results", str(results), "--batch", "3000"]
    error = interrupted(command, patience=60)
    assert error.count("\n") == 1
    assert "the same command goes on with what is in" in error
    assert len(results.read_bytes().splitlines()) == 1


@pytest.mark.parametrize("others", [0, 1])
def test_an_interrupt_while_the_pool_starts(others, monkeypatch):
    """With threads of others, too, which take a signal that the main thread masks, as BLAS's do."""
    start, end = threading.Thread.start, threading.Event()
    for _ in range(others):
        threading.Thread(target=end.wait, daemon=True).start()

    def interrupted(thread):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)  # for whatever thread takes it
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    before = set(multiprocessing.active_children())
    try:
        with pytest.raises(KeyboardInterrupt):
            list(Local(1).run(job(), batches(1)))
        assert set(multiprocessing.active_children()) == before
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        end.set()


def test_a_local_worker_may_die(expected, monkeypatch):
    running = Local(2).run(job(), batches(10))
    found = [next(running)]
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    check_answers([*found, *running], expected)
    monkeypatch.setattr(pools, "_DEATHS", 1)
    running = Local(1).run(job(), batches(1))
    next(running)
    for child in multiprocessing.active_children():
        child.kill()
    with pytest.raises(PoolError, match="worker processes died 1 times in a row"):
        list(running)


# ---- a cluster ----


@pytest.fixture(scope="module")
def cluster():
    with local_cluster() as made:
        yield made


@pytest.mark.filterwarnings("default")  # Dask's and Tornado's own
def test_a_cluster_worker_may_die(expected, cluster):
    running = Cluster(cluster.scheduler_address).run(job(), batches(4))
    found = [next(running) for _ in range(5)]
    os.kill(cluster.workers[0].pid, signal.SIGKILL)
    check_answers([*found, *running], expected)


@pytest.mark.filterwarnings("default")
def test_the_command_runs_on_a_cluster(expected, cluster, tmp_path, capsys):
    line = ["eval", MODEL, IMAGES, "--labels", LABELS, "--dask", cluster.scheduler_address]
    assert main([*line, "--results", str(tmp_path / "r")]) == 0
    assert f"top-1 {expected[1] / 360:.2%}" in capsys.readouterr().out
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "x.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"x\.png is not a whole image"):
        list(Cluster(cluster.scheduler_address).run(job(images=bad), [Batch(0, 1)]))


@pytest.mark.filterwarnings("default")
def test_a_cluster_without_workers():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=0, processes=True, dashboard_address=":0", silence_logs=50) as empty:
        with pytest.raises(PoolError, match=r"the Dask scheduler at tcp://\S+ has no workers"):
            list(Cluster(empty.scheduler_address, patience=1).run(job(), batches(100)))


@pytest.mark.filterwarnings("default")
def test_no_scheduler(tmp_path):
    pytest.importorskip("distributed")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        for wrong in (address, "nonsense:x"):
            with pytest.raises(PoolError, match=f"no Dask scheduler answers at {wrong} within 1 seconds"):
                evaluate(*LABELLED, pool=Cluster(wrong, patience=1), results=tmp_path / "r")


def test_without_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(PoolError, match=r"pip install 'shiftwork\[cluster\]'"):
        list(Cluster("tcp://127.0.0.1:1").run(job(), batches(100)))


# ---- mistakes ----


def refused(tmp_path, capsys, *arguments):
    """The sentence of a refused command."""
    assert main(["eval", *arguments, "--results", str(tmp_path / "results"), "--workers", "1"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def folder(tmp_path, *names):
    """A folder of class folders with one image each."""
    for name in names:
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "val" / name / "0.png")
    return tmp_path / "val"


def test_an_empty_folder(tmp_path, capsys):
    (tmp_path / "val").mkdir()
    assert "holds no image files" in refused(tmp_path, capsys, MODEL, str(tmp_path / "val"))


def test_no_classes(tmp_path, capsys):
    assert "says no classes: --labels wants" in refused(tmp_path, capsys, MODEL, IMAGES)


def test_too_few_class_folders(tmp_path, capsys):
    text = refused(tmp_path, capsys, MODEL, str(folder(tmp_path, "a", "b")))
    assert "has 2 class folders, but digits tells 10 classes" in text


def test_labels_out_of_range(tmp_path, capsys):
    labels = np.load(LABELS)
    labels[7] = 10
    np.save(tmp_path / "labels.npy", labels)
    text = refused(tmp_path, capsys, MODEL, IMAGES, "--labels", str(tmp_path / "labels.npy"))
    assert "class numbers must be from 0 to 9, not 0 to 10" in text


def test_a_corrupt_image_is_named_and_the_rest_is_kept(tmp_path, capsys):
    val = folder(tmp_path, *"0123456789")
    (val / "8" / "0.png").write_bytes((val / "8" / "0.png").read_bytes()[:40])
    assert "8/0.png is not a whole image" in refused(tmp_path, capsys, MODEL, str(val), "--batch", "4")
    assert (tmp_path / "results").read_text().count("classes") in {1, 2}


def test_wrong_numbers(tmp_path, capsys):
    labelled = [MODEL, IMAGES, "--labels", LABELS]
    assert "at least 1 image, not 0" in refused(tmp_path, capsys, *labelled, "--batch", "0")
    assert "must be at least 1, not 0" in refused(tmp_path, capsys, *labelled, "--count", "0")
    assert main(["eval", *labelled, "--workers", "0"]) == 2
    assert "--workers must be at least 1, not 0" in capsys.readouterr().err
    assert "of this machine" in refused(tmp_path, capsys, *labelled, "--dask", "tcp://localhost:1")


def test_images_of_another_size(tmp_path, capsys):
    np.save(tmp_path / "images.npy", np.zeros((4, 1, 9, 8), np.uint8))
    np.save(tmp_path / "labels.npy", np.zeros(4, int))
    text = refused(tmp_path, capsys, MODEL, str(tmp_path / "images.npy"), "--labels", str(tmp_path / "labels.npy"))
    assert "must hold images [n, 1, 8, 8], not [4, 1, 9, 8]" in text


def test_results_of_another_evaluation(tmp_path):
    """Another model, other images or another device; --restart begins anew."""
    results = tmp_path / "r"
    evaluate(*LABELLED, pool=Here(), results=results, limit=8)
    text = results.read_text()
    other = tmp_path / "other.safetensors"
    save_model(replace(load_model(MODEL), name="other"), other)
    for key, arguments, more in (
        ("model", (other, IMAGES, LABELS), {"limit": 8}),
        ("images", LABELLED, {"limit": 9}),
        ("device", LABELLED, {"limit": 8, "device": "sim:arty_a7"}),
    ):
        with pytest.raises(UserError, match=f"another evaluation, {key} .* instead of .*--restart"):
            evaluate(*arguments, pool=Here(), results=results, **more)
        assert results.read_text() == text
    found = evaluate(*LABELLED, pool=Here(), results=results, limit=9, restart=True)
    assert (found.kept, found.images) == (0, 9)


def test_files_that_changed_since(tmp_path):
    """A worker that sees other files than the evaluation began with says so."""
    model, images = tmp_path / "m.safetensors", tmp_path / "i.npy"
    shutil.copy(MODEL, model)
    shutil.copy(IMAGES, images)
    begun = job(model, images)
    np.save(images, np.load(IMAGES)[::-1])
    with pytest.raises(UserError, match="are not those that the evaluation began with"):
        run_batch(begun, Batch(0, 1))
    save_model(replace(load_model(MODEL), name="other"), model)
    with pytest.raises(UserError, match="is not the one that the evaluation began with"):
        run_batch(begun, Batch(0, 1))


def test_an_image_file_that_changed_is_another_list(tmp_path):
    val = folder(tmp_path, "a", "b")
    digest = dataset_digest(open_dataset(val))
    Image.new("L", (8, 8), 99).save(val / "b" / "0.png")
    assert dataset_digest(open_dataset(val)) != digest


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("precious\n", "does not hold results of an evaluation"),
        ("precious", "does not hold results of an evaluation"),
        ("[1]\n", "does not hold results of an evaluation"),
        ('{"evaluation":1}\n{"start":0,"classes":[[1],[2]]}\n', "has a damaged first line"),
        ('{"evaluation":1,"check":"0123456789abcdef"}\n', "has a damaged first line"),
    ],
)
def test_files_that_are_no_results(tmp_path, content, sentence):
    path = tmp_path / "r"
    path.write_text(content)
    with pytest.raises(UserError, match=f"{sentence}.*--restart"):
        Store(path, {"evaluation": 1}, 10)
    assert path.read_text() == content


def test_a_first_line_that_lost_its_end(tmp_path):
    """Its check and the next line's are of the same bytes then."""
    path = tmp_path / "r"
    whole, _ = stored(path, 1)
    path.write_bytes(joined := whole.replace(b"\n", b"", 1))
    with pytest.raises(UserError, match=r"has a damaged first line.*--restart"):
        Store(path, header_of(1), 60)
    assert path.read_bytes() == joined


def test_no_mutation_is_another_accuracy(tmp_path, monkeypatch):
    """10,000 damaged files: refused in one sentence, or what is missing runs again and every answer is right."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    whole, answers = stored(tmp_path / "r", 1)
    other, _ = stored(tmp_path / "other", 2)
    path, header, draw = tmp_path / "mutant", header_of(1), random.Random(3)
    ends = {"refused": 0, "repaired": 0, "whole": 0}
    for _ in range(10_000):
        data = lines_of(whole, other, draw)
        path.write_bytes(data)
        try:
            store = Store(path, header, 60)
        except UserError as error:
            ends["refused"] += 1
            text = str(error)
        else:
            ends["repaired" if store.damaged else "whole"] += 1
            for batch in store.missing(7):
                store.add(batch, answers[batch.start : batch.stop].tolist())
            assert store.correct(answers[:, 2]) == ((answers[:, 0] == answers[:, 2]).sum(), 60)
            store.close()
            if len(data) % 8 == 0:
                again = Store(path, header, 60)  # what was repaired is whole
                assert (again.done, again.damaged, again.correct(answers[:, 4])[1]) == (60, (), 60)
                again.close()
            continue
        assert "\n" not in text
        assert path.read_bytes() == data
    assert min(ends.values()) > 500, ends


def test_damage_is_said_and_runs_again(expected, monkeypatch, tmp_path, capsys):
    pool, results = Here(), tmp_path / "r"
    monkeypatch.setattr("firmware.cli.evaluate.Local", lambda _: pool)
    line = ["eval", MODEL, IMAGES, "--labels", LABELS, "--results", str(results), "--batch", "90"]
    assert main(line) == 0
    lines = results.read_bytes().splitlines(keepends=True)
    results.write_bytes(b"".join([*lines[:2], lines[2].replace(b"[", b"[1", 2), *lines[3:]]))
    pool.ran.clear()
    capsys.readouterr()
    assert main(line) == 0
    out, err = capsys.readouterr()
    assert f"top-1 {expected[1] / 360:.2%}" in out
    assert "had 1 damaged lines (3): their images were run again" in err
    assert pool.ran == [Batch(90, 180)]


def test_results_in_use_or_a_directory(tmp_path):
    store = Store(tmp_path / "r", {"evaluation": 1}, 10)
    with pytest.raises(UserError, match="another evaluation is writing to"):
        Store(tmp_path / "r", {"evaluation": 1}, 10)
    store.close()
    for path, sentence in (
        (tmp_path, "is a directory"),
        (tmp_path / "no" / "r", "there is no directory"),
        (tmp_path / "r" / "r", "Not a directory"),
        ("/dev/full", "the results go to a file, and /dev/full is none"),
    ):
        with pytest.raises(UserError, match=sentence):
            Store(path, {"evaluation": 1}, 10)
