"""Checkpoints of the official training become the integer model they are, or are refused in one sentence."""

import argparse
import json
import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from firmware.__main__ import main
from firmware.architectures import ARCHITECTURES
from firmware.checkpoint import load_checkpoint
from firmware.errors import UserError
from firmware.identify import foreign, identify
from firmware.ivit import model_from_state
from firmware.model_file import load_model
from firmware.preprocess import to_int8
from tests.support.optional import optional

DATA = Path(__file__).parents[1] / "data"
DEIT_TINY = ARCHITECTURES["deit_tiny_patch16_224"]
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CASES = {
    "small_vit_t": (["--heads", "2"], {"heads": 2, "image": (3, 32, 32)}),
    "small_vit_a": (["--heads", "2", "--patch", "8", "--depth", "2"], {"heads": 2, "image": (3, 32, 32)}),
    "small_swin_a": (["--dim", "32", "--depth", "2", "2", "--img-size", "56"], {"image": (3, 56, 56)}),
}


def load(name, part):
    with np.load(DATA / name / f"{part}.npz") as arrays:
        return dict(arrays)


def stored(path, state, prefix=""):
    """The state as safetensors, every number a float as in official checkpoints."""
    save_file({prefix + name: np.array(value, np.float32, order="C") for name, value in state.items()}, path)
    return str(path)


def imported(checkpoint, tmp_path, *options):
    assert main(["import-ivit", str(checkpoint), *options, "-o", str(tmp_path / "model")]) == 0
    return load_model(tmp_path / "model")


def assert_equal(model, expected):
    """Same graph, same constants: what test_golden proves of the one holds for the other."""
    assert model.nodes == expected.nodes
    assert model.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        np.testing.assert_array_equal(model.tensors[name], tensor, err_msg=name)
    np.testing.assert_array_equal(model.logit_scale, expected.logit_scale)
    assert (model.image, model.input_scale, model.mean, model.std) == (
        expected.image, expected.input_scale, expected.mean, expected.std,
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_states_as_safetensors(name, prefix, tmp_path):
    options, sizes = CASES[name]
    state = load(name, "state")
    model = imported(stored(tmp_path / "state", state, prefix), tmp_path, *options)
    assert_equal(model, model_from_state(state, name=name, **sizes, **IMAGENET))


@pytest.mark.parametrize("wrapped", [None, "model", "state_dict"])
@pytest.mark.parametrize("name", ["small_vit_t", "small_swin_a"])
def test_official_files(name, wrapped, tmp_path):
    """The file as the official script saves it, and wrapped as its --resume and timm's scripts want it."""
    torch = optional("torch")
    options, sizes = CASES[name]
    path = DATA / name / "checkpoint.pth.tar"
    if wrapped:
        state = torch.load(path, weights_only=True)
        torch.save({wrapped: state, "epoch": 3, "args": argparse.Namespace(lr=1e-6)}, tmp_path / "wrapped.pth")
        path = tmp_path / "wrapped.pth"
    model = imported(path, tmp_path, *options)
    assert_equal(model, model_from_state(load(name, "state"), name=name, **sizes, **IMAGENET))


def test_old_file_format(tmp_path):
    torch = optional("torch")
    torch.save({"a": torch.arange(3.0).half()}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (array,) = load_checkpoint(tmp_path / "old.pth").tensors.values()
    assert array.dtype == np.float32
    assert array.tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["small_vit_t", "small_swin_a"])
def test_pixels_become_the_official_integers(name, tmp_path):
    model = imported(stored(tmp_path / "state", load(name, "state")), tmp_path, *CASES[name][0])
    pixels = load(name, "pixels")["pixels"]
    np.testing.assert_array_equal(to_int8(pixels, model), load(name, "images")["images"][: len(pixels)])


def test_trained_network_keeps_its_accuracy(tmp_path, capsys):
    """From checkpoint to classes by the command line: the official integers' classes, 86 of 96 images right."""
    arrays = load("small_vit_t", "images")
    imported(stored(tmp_path / "state", load("small_vit_t", "state")), tmp_path, *CASES["small_vit_t"][0])
    np.save(tmp_path / "images.npy", arrays["images"])
    np.save(tmp_path / "labels.npy", arrays["labels"])
    report = ["--labels", str(tmp_path / "labels.npy"), "--logits", str(tmp_path / "logits.npy"), "--device", "golden"]
    assert main(["run", str(tmp_path / "model"), "--images", str(tmp_path / "images.npy"), *report]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "logits.npy"), arrays["acc_exact"])
    assert (arrays["argmax_exact"] == arrays["labels"]).sum() == 86
    assert f"{86 / 96:.2%}" in capsys.readouterr().out


def test_options_reach_the_model(tmp_path):
    (tmp_path / "names").write_text("\n".join("abcdefghij"), encoding="utf-8-sig")  # as some editors write
    options = [*CASES["small_vit_t"][0], "--attention-bits", "8", "--labels", str(tmp_path / "names"), "--mean", "0.5"]
    checkpoint = stored(tmp_path / "state", load("small_vit_t", "state"))
    model = imported(checkpoint, tmp_path, *options, "--std", "0.25", "--crop", "0.9", "--name", "mine")
    assert {node.attributes["bits"] for node in model.nodes if node.op == "shiftmax"} == {8}
    assert (model.labels, model.mean, model.std) == (tuple("abcdefghij"), (0.5,) * 3, (0.25,) * 3)
    assert (model.crop, model.name) == (0.9, "mine")


def test_inspect_shows_the_stages_of_a_swin(tmp_path, capsys):
    imported(stored(tmp_path / "state", load("small_swin_a", "state")), tmp_path, *CASES["small_swin_a"][0])
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "model")]) == 0
    said = capsys.readouterr().out
    rows = [line.split() for line in said.splitlines()]
    assert ["0", "2", "196", "32", "1", "128", "7", "1", "6,046,208"] in rows
    assert ["1", "2", "49", "64", "2", "256", "7", "0", "5,431,552"] in rows
    assert "attention probabilities of 8 bits" in said


# --- architectures ---


def shapes_of(arch):
    """Tensors of the right shapes (and no memory) for what `identify` looks at."""
    state = {
        "patch_embed.proj.weight": (arch.dim, 3, arch.patch, arch.patch),
        "head.weight": (arch.classes, arch.dim << (len(arch.depths) - 1)),
    }
    if arch.features:
        del state["head.weight"]
    if arch.family == "vit":
        state["pos_embed"] = (1, (arch.img_size // arch.patch) ** 2 + 1, arch.dim)
        state |= {f"blocks.{block}.norm1.weight": (arch.dim,) for block in range(arch.depths[0])}
    for stage, depth in enumerate(arch.depths if arch.family == "swin" else ()):
        for block in range(depth):
            name = f"layers.{stage}.blocks.{block}.attn.relative_position_bias_table"
            state[name] = ((2 * arch.window - 1) ** 2, arch.heads[stage])
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in state.items()}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures_are_told_from_the_tensors(name):
    arch = ARCHITECTURES[name]
    state = shapes_of(arch)
    assert identify(state, name) == arch
    assert identify(state, name.rpartition("_")[0]) == identify(state, f"{name}.fb_in1k") == arch
    inferred = identify(state)
    assert (inferred.dim, inferred.depths, inferred.heads, inferred.image) == (
        arch.dim, arch.depths, arch.heads, arch.image,
    )  # fmt: skip
    twins = {"deit_base_patch16_224", "vit_base_patch16_224"}
    assert inferred.name == (name if name not in twins else "vit_768")
    for other in ARCHITECTURES.keys() - {name}:
        if {name, other} == twins:
            assert identify(state, other).name == other
        else:
            with pytest.raises(UserError, match=rf"but {other} wants .*; its tensors are those of a .*{name}"):
                identify(state, other)


def test_fine_tuned_networks_are_their_architecture():
    """Other classes and image sizes are told from the tensors, with and without the name."""
    tuned = replace(DEIT_TINY, classes=7, img_size=384)
    assert identify(shapes_of(tuned)) == replace(tuned, name="deit_tiny")
    assert identify(shapes_of(tuned), "deit_tiny", img_size=384) == tuned
    assert identify(shapes_of(replace(DEIT_TINY, classes=7))).name == DEIT_TINY.name
    swin = replace(ARCHITECTURES["swin_tiny_patch4_window7_224"], classes=7)
    assert identify(shapes_of(swin)) == swin
    assert identify(shapes_of(DEIT_TINY), "deit_tiny", img_size=384) == replace(DEIT_TINY, img_size=384)
    assert identify(shapes_of(swin), img_size=448).image == (3, 448, 448)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"heads": (1, 2)}, "depth and heads must be a number per stage of deit_tiny_patch16_224, not 12 and 1 2"),
        ({"name": "resnet50"}, "there is no architecture resnet50; known: deit_tiny_patch16_224"),
        ({"classes": 10}, "has classes 1000, but the command line wants 10"),
        ({"img_size": 220}, "the image size 220 is no multiple of the patch size 16"),
        ({"depths": (6,)}, "has depth 12, but the command line wants 6"),
        ({"heads": (5,)}, "the width 192 is no multiple of the number of heads 5"),
    ],
)
def test_wrong_sizes_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        identify(shapes_of(DEIT_TINY), **given)


def test_official_names_are_known():
    for name in CASES:
        assert foreign(load(name, "state")) == []
    state = dict.fromkeys((
        "cls_token",
        "dist_token",
        "blocks.0.ls1.gamma",
        "blocks.0.attn.q_norm.weight",
        "head_dist.bias",
    ))
    assert foreign(state) == list(state)[1:]


# --- bad checkpoints ---


def change(key, index, value):
    def apply(state):
        array = np.array(state[key], np.float32)
        array[index] = value
        return {**state, key: array}

    return apply


def without(key):
    return lambda state: {name: value for name, value in state.items() if name != key}


def floats_only(state):
    return {name: value for name, value in state.items() if "integer" not in name and "scaling" not in name}


VIT_EDITS = {
    "no norm": (without("blocks.1.norm2.weight"), "tensor blocks.1.norm2.weight is missing"),
    "no scale": (without("blocks.0.attn.qact3.act_scaling_factor"), "attn.qact3.act_scaling_factor is missing"),
    "no patches": (without("patch_embed.proj.weight_integer"), "proj.weight_integer is missing from the checkpoint"),
    "no positions": (without("pos_embed"), "tensor pos_embed is missing from the checkpoint"),
    "no block": (lambda s: {k: v for k, v in s.items() if "blocks.0." not in k}, "blocks.0.* is missing"),
    "distilled": (lambda s: {**s, "dist_token": np.zeros((1, 1, 64))}, "a distillation token: tensor dist_token"),
    "layer scale": (lambda s: {**s, "blocks.0.ls1.gamma": np.ones(64)}, "but blocks.0.ls1.gamma is none of them"),
    "norm of the mean": (
        lambda s: {**s, "fc_norm.weight": np.ones(64), "fc_norm.bias": np.zeros(64)},
        "a norm behind the pooling (fc_norm) must be that of a mean (--pool avg), and the only one",
    ),
    "float": (floats_only, "holds no integer weights: it is a float checkpoint, use quantize"),
    "nan": (change("head.bias_integer", 3, np.nan), "tensor head.bias_integer contains NaN"),
    "zero scale": (change("blocks.1.qact4.act_scaling_factor", (), 0), "must be positive, not 0"),
    "negative scale": (change("head.fc_scaling_factor", 3, -0.5), "must be positive, but channel 3 is -0.5"),
    "zero gamma": (change("blocks.1.norm2.weight", 5, 0), "norm2 channel 5 needs an integer bias .*: gamma 0.0"),
    "tiny gamma": (change("norm.weight", 7, 1e-9), "norm channel 7 needs an integer bias beyond 34 bits: gamma"),
    "huge scale": (change("blocks.0.qact1.act_scaling_factor", (), 1e9), "scales around blocks.0.qact1 need a shift"),
    "fine scores": (change("blocks.0.attn.qact_attn1.act_scaling_factor", (), 1e-4), "must be from 1 to 1023"),
    "weight": (change("head.weight_integer", (0, 0), 200), "head.weight_integer must fit int8, but spans"),
    "odd positions": (lambda s: {**s, "pos_embed": np.zeros((1, 16, 64))}, "a square of patches, not of 16"),
}  # fmt: skip
SWIN_EDITS = {
    "no table": (without("layers.1.blocks.0.attn.relative_position_bias_table"), "bias_table is missing"),
    "no stage": (lambda s: {k: v for k, v in s.items() if "layers.0." not in k}, "stages are [1]"),
    "zero gamma": (change("layers.0.downsample.norm.weight", 9, 0), "downsample.norm channel 9 needs an integer bias"),
    "nan": (change("layers.1.blocks.1.attn.qkv.weight_integer", (0, 1), np.inf), "contains NaN or infinity"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "case"), [("small_vit_t", key) for key in VIT_EDITS] + [("small_swin_a", key) for key in SWIN_EDITS]
)
def test_bad_states_are_refused(name, case, tmp_path, capsys):
    edit, message = (VIT_EDITS if "vit" in name else SWIN_EDITS)[case]
    checkpoint = stored(tmp_path / "state", edit(load(name, "state")))
    assert_refused(checkpoint, tmp_path, capsys, message, *CASES[name][0])


def assert_refused(checkpoint, tmp_path, capsys, message, *options):
    """Status 2, one sentence, no model."""
    assert main(["import-ivit", str(checkpoint), *options, "-o", str(tmp_path / "model")]) == 2
    said = capsys.readouterr().err
    pieces = message.split(".*")
    assert all(piece in said for piece in pieces), said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "model").exists()


class Exploit:
    """Pickled, this asks the reader to create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_checkpoint_is_not_executed(tmp_path, capsys):
    torch = optional("torch")
    trap = tmp_path / "trap"
    torch.save({"model": {"a": torch.zeros(1)}, "extra": Exploit(trap)}, tmp_path / "zip.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Exploit(trap), protocol=2))
    for name in ("zip.pth", "bare.pth"):
        assert_refused(tmp_path / name, tmp_path, capsys, f"{name} refers to .*mkdir: only tensors")
        assert not trap.exists()


def damaged(function):
    def make(path):
        (path / "x.pth").write_bytes(function((DATA / "small_vit_t" / "checkpoint.pth.tar").read_bytes()))
        return path / "x.pth"

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (damaged(lambda raw: raw[: len(raw) // 2]), "is not a whole PyTorch checkpoint: File is not a zip file"),
        (damaged(lambda raw: raw[:300000] + bytes(100) + raw[300100:]), "is damaged: the checksum of .* is wrong"),
        (damaged(lambda _: b""), "is neither a PyTorch nor a safetensors checkpoint"),
        (damaged(lambda _: b"weights"), "is neither a PyTorch nor a safetensors checkpoint"),
        (damaged(lambda _: b"\x80\x02"), "is not a whole PyTorch checkpoint"),
        (lambda path: path / "none.pth", "there is no checkpoint"),
        (lambda path: path, "there is no checkpoint"),
    ],
    ids=["cut", "flipped", "empty", "text", "bare pickle", "absent", "folder"],
)  # fmt: skip
def test_bad_files_are_refused(make, message, tmp_path, capsys):
    optional("torch")
    assert_refused(make(tmp_path), tmp_path, capsys, message)


def test_what_a_file_says_is_not_repeated_at_length(tmp_path, capsys):
    """The library's message quotes what it found in the header, which may be any text."""
    text = json.dumps({"a": "x" * 5000}).encode()
    (tmp_path / "state").write_bytes(len(text).to_bytes(8, "little") + text)
    assert main(["import-ivit", str(tmp_path / "state"), "-o", str(tmp_path / "model")]) == 2
    said = capsys.readouterr().err
    assert "is neither a PyTorch nor a safetensors checkpoint: Error while deserializing" in said
    assert len(said) < 300 + 2 * len(str(tmp_path)) + 100


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 201, "head\nweight", "a\u202eb"])
def test_a_name_that_no_message_can_say(name, tmp_path, capsys):
    (tmp_path / "state").write_bytes(header_and({name: ("F32", [1], bytes(4))}))
    assert main(["import-ivit", str(tmp_path / "state"), "-o", str(tmp_path / "model")]) == 2
    said = capsys.readouterr().err
    assert f"has a tensor whose name is {name[:40]!a}, of {len(name)} characters" in said.replace("\n", " ")
    assert len(said) < 300 + len(str(tmp_path))
    assert not (tmp_path / "model").exists()


def header_and(tensors):
    """A safetensors file of {name: (type, shape, bytes)}."""
    header, data = {}, b""
    for name, (kind, shape, raw) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_floats_of_16_bits_and_of_8(tmp_path):
    """safetensors, without PyTorch: bfloat16 and half are read, 8-bit floats named."""
    path = tmp_path / "x.safetensors"
    values = np.array([1.5, -2], np.float32)
    halves = {"a": ("BF16", [2], (values.view(np.uint32) >> 16).astype("<u2").tobytes()),
              "b": ("F16", [2, 1], values.astype("<f2").tobytes())}  # fmt: skip
    path.write_bytes(header_and(halves))
    tensors, taken = load_checkpoint(path)
    assert (tensors["a"].tolist(), tensors["b"].tolist(), taken) == ([1.5, -2], [[1.5], [-2]], "")
    assert {array.dtype for array in tensors.values()} == {np.dtype(np.float32)}
    path.write_bytes(header_and({"w": ("F8_E4M3", [2], b"ab")}))
    with pytest.raises(UserError, match=r"tensor w of .*x\.safetensors is of type F8_E4M3, which is not supported"):
        load_checkpoint(path)


@pytest.mark.parametrize("length", [0x80, 0x4B50])
def test_a_header_as_long_as_pytorchs_first_bytes(length, tmp_path, monkeypatch):
    """The first bytes of a safetensors file are its header's length: that of a pickle's 80, or of a zip's PK."""
    monkeypatch.setitem(sys.modules, "torch", None)
    short = header_and({"w": ("I8", [2], b"ab")})
    path = tmp_path / "x.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + short[8:-2].ljust(length) + short[-2:])
    tensors, _ = load_checkpoint(path)
    assert [array.tolist() for array in tensors.values()] == [[97, 98]]


def test_prefixes_are_left_out_and_said(tmp_path):
    path = tmp_path / "x.safetensors"
    one = ("F32", [1], bytes(4))

    def names(*given):
        path.write_bytes(header_and(dict.fromkeys(given, one)))
        tensors, taken = load_checkpoint(path)
        return sorted(tensors), taken

    assert names("module._orig_mod.a", "module._orig_mod.b") == (
        ["a", "b"],
        "names without their prefix 'module._orig_mod.'",
    )
    assert names("backbone.a", "head.weight") == (["a", "head.weight"], "names without their prefix 'backbone.'")
    assert names("model.a", "b") == (["b", "model.a"], "")
    assert names("head.weight") == (["head.weight"], "")


def test_what_training_scripts_store(tmp_path):
    """bfloat16, Parameters, NumPy's numbers, averaged weights beside raw ones: read, and the choice is said."""
    torch = optional("torch")
    state = {"a": torch.nn.Parameter(torch.tensor([1.5, -2]).bfloat16()), "n": np.int64(3), "m": np.ones(2)}
    beside = {"epoch": np.float64(3), "args": argparse.Namespace(lr=np.float32(1)), "optimizer": {"state": {}}}
    torch.save({"state_dict": {"a": torch.zeros(2)}, "state_dict_ema": state, **beside}, tmp_path / "x.pth")
    tensors, taken = load_checkpoint(tmp_path / "x.pth")
    assert (tensors["a"].tolist(), int(tensors["n"]), tensors["m"].tolist()) == ([1.5, -2], 3, [1, 1])
    assert taken == "state_dict_ema of state_dict_ema, state_dict"
    torch.save({"model": {"state_dict": {"module.a": torch.ones(2)}}, **beside}, tmp_path / "x.pth")
    assert load_checkpoint(tmp_path / "x.pth")[0]["a"].tolist() == [1, 1]


def test_objects_are_refused(tmp_path):
    torch = optional("torch")
    for value, message in (
        ([1, 2], "must hold a state_dict, not a list"),
        ({"a": 3}, "must hold plain tensors only, but a is a int"),
        ({"a": torch.zeros(2).to_sparse()}, "must hold plain tensors only"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "must be real and of 16 to 64 bits, not torch.complex64"),
        ({"a": torch.zeros(2).to(torch.float8_e4m3fn)}, "must be real and of 16 to 64 bits, not torch.float8_e4m3fn"),
        ({"a": np.array(["x"])}, "refers to|must hold plain tensors only, but a is a ndarray"),
        ({}, "holds no tensors"),
    ):
        torch.save(value, tmp_path / "x.pth")
        with pytest.raises(UserError, match=message):
            load_checkpoint(tmp_path / "x.pth")


def test_without_pytorch_the_sentence_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    message = "is a PyTorch file, which needs PyTorch: pip install 'shiftwork[import]'"
    assert_refused(DATA / "small_vit_t" / "checkpoint.pth.tar", tmp_path, capsys, message)
