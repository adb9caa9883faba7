"""Image files, folders and arrays become the pixels that timm's and I-ViT's validation would show the network."""

import json
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from firmware.__main__ import main
from firmware.dataset import open_dataset
from firmware.errors import UserError
from firmware.preprocess import fit, read_image
from tests.support.seeded import pattern

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
PIXELS = Path(__file__).parents[1] / "data" / "torchvision" / "pixels.json"


def frame(channels=3, high=224, wide=None, crop=0.875):
    return SimpleNamespace(image=(channels, high, wide or high), crop=crop)


def picture(high, wide, seed=0):
    """A smooth coloured picture with some noise, as Pillow holds it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:high, :wide] / 40
    base = np.stack([np.sin(x + y), np.cos(x - 2 * y), np.sin(x * y / 3)], -1) * 90 + 128
    return Image.fromarray(np.clip(base + rng.normal(0, 12, base.shape), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("case", json.loads(PIXELS.read_text()), ids=lambda case: f"{case['size']}-{case['crop']}")
def test_pixels_are_torchvisions(case):
    """Equal to the transforms that timm and I-ViT compose, byte for byte; tests/data/torchvision/make.py ran them."""
    pixels = fit(Image.fromarray(pattern(*case["size"])), frame(crop=case["crop"]))
    assert pixels.shape == (3, 224, 224)
    assert zlib.crc32(pixels.tobytes()) == case["crc32"]


def test_the_centre_is_cropped_after_the_resize():
    """A picture whose halves differ: the resize keeps the ratio, the crop is central; the model's shape comes out."""
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[:, 64:] = 200
    got = fit(Image.fromarray(pixels), frame(high=32, crop=0.5))
    assert got.shape == (3, 32, 32)
    np.testing.assert_array_equal(got, np.broadcast_to(np.repeat([0, 200], 16).astype(np.uint8), (3, 32, 32)))


@pytest.mark.parametrize(("high", "wide"), [(32, 64), (64, 32), (24, 40)])
def test_oblong_inputs_are_filled(high, wide):
    for source in ((50, 50), (30, 90), (90, 30)):
        assert fit(picture(*source), frame(high=high, wide=wide, crop=0.9)).shape == (3, high, wide)


def test_full_size_and_crop_of_one_leave_the_pixels_alone():
    image = picture(32, 32)
    np.testing.assert_array_equal(fit(image, frame(high=32, crop=1.0)), np.asarray(image).transpose(2, 0, 1))


def test_files_of_every_kind(tmp_path):
    image = picture(40, 50)
    for name, kept in {
        "a.png": image,
        "b.jpg": image,
        "c.png": image.convert("RGBA"),
        "d.png": image.convert("P"),
    }.items():
        kept.save(tmp_path / name)
        assert read_image(tmp_path / name, frame(high=32)).shape == (3, 32, 32)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", frame(high=32)), fit(image, frame(high=32)))
    np.testing.assert_array_equal(read_image(tmp_path / "c.png", frame(high=32)), fit(image, frame(high=32)))
    gray = read_image(tmp_path / "a.png", frame(1, 32))
    np.testing.assert_array_equal(gray[0], fit(image.convert("L"), frame(1, 32))[0])


def test_deep_pixels_are_scaled_not_clipped(tmp_path):
    """16 bits a channel and floats show the picture that 8 bits show."""
    eight = np.asarray(picture(40, 50).convert("L"))
    Image.fromarray(eight).save(tmp_path / "8.png")
    wanted = read_image(tmp_path / "8.png", frame(3, 32))
    deep = (eight.astype(np.uint16) * 257).astype(np.uint16)
    for name in ("16.png", "16.tiff"):
        Image.fromarray(deep).save(tmp_path / name)
    (tmp_path / "16.pgm").write_bytes(b"P5 %d %d 65535\n" % deep.shape[::-1] + deep.astype(">u2").tobytes())
    Image.fromarray((eight / 255).astype(np.float32)).save(tmp_path / "float.tiff")
    for name in ("16.png", "16.tiff", "16.pgm", "float.tiff"):
        np.testing.assert_array_equal(read_image(tmp_path / name, frame(3, 32)), wanted, err_msg=name)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((20, 20), 200, np.float32), "float pixels must be from 0 to 1, not 200 to 200"),
        (np.full((20, 20), np.nan, np.float32), "float pixels must be from 0 to 1, not nan to nan"),
        (np.full((20, 20), 70000, np.int32), "its pixels are 32-bit integers of no known range"),
    ],
)
def test_pixels_of_unknown_range_are_refused(tmp_path, pixels, message):
    Image.fromarray(pixels).save(tmp_path / "x.tiff")
    with pytest.raises(UserError, match=f"x.tiff is not a whole image: {message}"):
        read_image(tmp_path / "x.tiff", frame(high=16))


@pytest.fixture
def folders(tmp_path):
    """Two classes, three and two images, and files that are no images."""
    for name, count in (("n02", 2), ("n01", 3)):
        (tmp_path / name).mkdir()
        for index in range(count):
            picture(20, 20, seed=index).save(tmp_path / name / f"{index}.jpeg")
    (tmp_path / "n01" / "readme.txt").write_text("not an image")
    (tmp_path / "n01" / ".hidden.png").write_text("not an image")
    picture(20, 20).save(tmp_path / "n01" / "drawn.eps")
    return tmp_path


def test_class_folders_are_numbered_by_name(folders):
    dataset = open_dataset(folders)
    assert dataset.classes == ("n01", "n02")
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1]
    assert [path.parent.name for path in dataset.images] == ["n01"] * 3 + ["n02"] * 2
    assert dataset.read(frame(high=16), 1, 4).shape == (3, 3, 16, 16)
    assert open_dataset(folders, limit=3).labels.tolist() == [0, 1, 0]
    assert len(open_dataset(folders / "n01")) == 3
    assert open_dataset(folders / "n01").labels is None


def test_names_of_classes_say_which_they_are(folders):
    model = SimpleNamespace(name="m", features=False, classes=3, labels=("n02", "n03", "n01"))
    assert open_dataset(folders).targets(model).tolist() == [2, 2, 2, 0, 0]
    with pytest.raises(UserError, match="has 2 class folders, but m tells 3 classes"):
        open_dataset(folders).targets(SimpleNamespace(name="m", features=False, classes=3, labels=()))


def test_numbered_folders_are_class_numbers(tmp_path):
    for name in (*map(str, range(12)), "__MACOSX", ".cache"):
        (tmp_path / name).mkdir()
        picture(20, 20).save(tmp_path / name / "a.png")
    dataset = open_dataset(tmp_path)
    assert dataset.classes == tuple(map(str, range(12)))
    assert dataset.targets(SimpleNamespace(name="m", features=False, classes=12, labels=())).tolist() == list(range(12))
    assert dataset.targets(SimpleNamespace(name="m", features=False, classes=1000, labels=())).tolist() == list(
        range(12)
    )
    with pytest.raises(UserError, match="class numbers must be from 0 to 9, not 0 to 11"):
        dataset.targets(SimpleNamespace(name="m", features=False, classes=10, labels=()))


def test_labels_of_text(tmp_path):
    """Numbers in the images' order, or after file names in any order, with a byte-order mark or without."""
    model = SimpleNamespace(name="m", features=False, classes=10, labels=())
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for path in paths:
        picture(20, 20).save(path)
    labels = tmp_path / "labels.txt"
    for text in ("\ufeff3\n1\n4\n", "c.png 4\na.png 3\nb.png 1\nother.png 9\n", "val/b.png 1\na.png 3\nc.png 4"):
        labels.write_text(text, encoding="utf-8")
        assert open_dataset(paths, labels).targets(model).tolist() == [3, 1, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3\ncat\n", "line 2 of .*labels.txt must be a class number, or a file and one, not 'cat'"),
        ("3\n-1\n", "line 2 of .* not '-1'"),
        ("a.png 3\n1\n", "line 2 of .* not '1'"),
        ("a.png 3\n", "labels.txt has no class for b.png"),
        ("3\n", "must hold at least 2 class numbers, not int64 .1."),
        ("", "must hold at least 2 class numbers, not int64 .0."),
    ],
)
def test_text_that_holds_no_labels(tmp_path, text, message):
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    for path in paths:
        picture(20, 20).save(path)
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        open_dataset(paths, tmp_path / "labels.txt")


def broken(name, content):
    def make(path):
        (path / name).write_bytes(content)
        return path / name

    return make


def truncated(path):
    picture(60, 60).save(path / "whole.png")
    (path / "cut.png").write_bytes((path / "whole.png").read_bytes()[:-4000])
    return path / "cut.png"


def empty(path):
    (path / "empty").mkdir()
    return path / "empty"


def empty_class(path):
    (path / "set" / "b").mkdir(parents=True)
    (path / "set" / "a").mkdir()
    picture(20, 20).save(path / "set" / "a" / "x.png")
    return path / "set"


def mixed(path):
    empty_class(path)
    picture(20, 20).save(path / "set" / "x.png")
    return path / "set"


def array(values):
    def make(path):
        np.save(path / "a.npy", values)
        return path / "a.npy"

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (broken("x.jpg", b"not a picture"), "x.jpg is not a whole image: cannot identify"),
        (broken("x.npy", b"\x93NUMPY\x01"), "x.npy is not a NumPy array file"),
        (broken("x.npy", b"\x80\x04cposix\nsystem\n"), "x.npy is not a NumPy array file"),
        (broken("x.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "x.eps is not a whole image: cannot"),
        (truncated, "cut.png is not a whole image: "),
        (lambda path: path / "nothing", "there is no image file or folder"),
        (empty, "holds no image files, nor folders with any"),
        (empty_class, "class folder .*b holds no image files"),
        (mixed, "holds images both directly and in class folders: x.png"),
        (array(np.zeros((2, 3, 16, 16))), "must hold uint8 or int8 images .* not float64 "),
        (array(np.zeros((0, 3, 16, 16), np.uint8)), "holds no images"),
        (array(np.zeros((2, 1, 16, 16), np.uint8)), r"must hold images \[n, 3, 16, 16\], not \[2, 1, 16, 16\]"),
    ],
)  # fmt: skip
def test_bad_images_are_refused(tmp_path, make, message):
    with pytest.raises(UserError, match=message) as caught:
        open_dataset(make(tmp_path)).read(frame(high=16))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(1, np.int64), r"must hold at least 2 class numbers, not int64 \[1\]"),
        (np.zeros(2), r"must hold at least 2 class numbers, not float64 \[2\]"),
        (np.array([0, 10]), "class numbers must be from 0 to 9, not 0 to 10"),
    ],
)
def test_bad_labels_are_refused(tmp_path, labels, message):
    np.save(tmp_path / "labels.npy", labels)
    images = array(np.zeros((2, 3, 8, 8), np.uint8))(tmp_path)
    with pytest.raises(UserError, match=message):
        open_dataset(images, tmp_path / "labels.npy").targets(
            SimpleNamespace(name="m", features=False, classes=10, labels=())
        )


def test_images_run_from_files_and_folders(tmp_path, capsys):
    """Digits as image files, in class folders, one by one or as an array: the same logits, and the labels are known."""
    images, labels = np.load(DIGITS / "images.npy")[:8], np.load(DIGITS / "labels.npy")[:8]
    order = np.lexsort((np.arange(8), labels))
    files = []
    for index in order:
        folder = tmp_path / "set" / str(labels[index])
        folder.mkdir(parents=True, exist_ok=True)
        files.append(str(folder / f"{index}.png"))
        Image.fromarray(images[index, 0]).save(files[-1])
    for digit in set(range(10)) - set(labels.tolist()):  # the classes that the first eight lack
        (tmp_path / "set" / str(digit)).mkdir()
        Image.fromarray(images[0, 0]).save(tmp_path / "set" / str(digit) / "extra.png")

    def run(*sources):
        command = ["run", str(DIGITS / "digits.safetensors"), "--device", "golden", "--images", *map(str, sources)]
        assert main([*command, "--logits", str(tmp_path / "logits.npy")]) == 0
        return np.load(tmp_path / "logits.npy")

    np.save(tmp_path / "images.npy", images[order])
    expected = run(tmp_path / "images.npy")
    np.testing.assert_array_equal(run(*files), expected)
    np.testing.assert_array_equal(run(files[2]), expected[2:3])
    whole = run(tmp_path / "set")
    known = [path.name != "extra.png" for path in open_dataset(tmp_path / "set").images]
    np.testing.assert_array_equal(whole[known], expected)
    assert "accuracy" in capsys.readouterr().out
    command = ["run", str(DIGITS / "digits.safetensors"), "--device", "golden", "--images"]
    assert main([*command, files[0], str(tmp_path / "missing.png")]) == 2
    assert "there is no image file" in capsys.readouterr().err


def test_inspect_shows_stages_and_pixels(capsys):
    assert main(["inspect", str(DIGITS / "digits.safetensors")]) == 0
    said = capsys.readouterr().out
    assert "digits: image [1, 8, 8], patch 2" in said
    assert "pixels: crop 1, mean 0.5, deviation 0.5, input scale 0.00787402" in said
