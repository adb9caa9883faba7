"""Variants of a ViT in the forms that people have: each is timm's network again, or refused by the name of what it has.

Most are made of timm's stored network such that they must compute its stored logits.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from firmware.__main__ import main
from firmware.checkpoint import load_checkpoint
from firmware.compiler import compile_model
from firmware.device import Accelerator
from firmware.errors import UserError
from firmware.families import official_tensors
from firmware.model_file import load_model
from firmware.quantizer import RECIPES, Measurement, quantize
from hw.boards.registry import BOARDS
from hw.spec.config import Config
from hw.spec.model import ModelError
from sim import golden
from tests.firmware.test_compiler import execute, executed

DATA = Path(__file__).parents[1] / "data" / "timm"
HUGGING_FACE = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


def stored(name="vit"):
    with np.load(DATA / f"{name}.npz") as arrays:
        images, logits = arrays["images"].astype(np.float32), arrays["logits"]
    return dict(load_checkpoint(DATA / f"{name}.safetensors").tensors), images, logits


def quantized(weights, images, recipe="minmax", heads=2, **options):
    measure = Measurement()
    model = quantize(
        weights, images, name="test", heads=heads, mean=(0.5,) * 3, std=(0.5,) * 3, recipe=RECIPES[recipe],
        measure=measure, **options,
    )  # fmt: skip
    return model, measure


def pixels(model, images):
    return np.clip(np.rint(images / model.input_scale), -128, 127).astype(np.int8)


# --- variants that are the same network ---


def with_layer_scale(weights, names=("ls1.gamma", "ls2.gamma")):
    rng = np.random.default_rng(1)
    for block in range(2):
        for name, linear in zip(names, ("attn.proj", "mlp.fc2"), strict=True):
            gamma = rng.uniform(0.05, 2, 64).astype(np.float32) * rng.choice([-1, 1], 64).astype(np.float32)
            weights[f"blocks.{block}.{name}"] = gamma
            weights[f"blocks.{block}.{linear}.weight"] = weights[f"blocks.{block}.{linear}.weight"] / gamma[:, None]
            weights[f"blocks.{block}.{linear}.bias"] = weights[f"blocks.{block}.{linear}.bias"] / gamma


def with_gamma(weights):
    with_layer_scale(weights, ("gamma_1", "gamma_2"))


def without_key_bias(weights):
    """Keys' biases change no softmax."""
    for block in range(2):
        query, _, value = np.split(weights.pop(f"blocks.{block}.attn.qkv.bias"), 3)
        weights |= {f"blocks.{block}.attn.q_bias": query, f"blocks.{block}.attn.v_bias": value}


def hugging_face(weights, network="vit."):
    for name in list(weights):
        array, at, rest = weights.pop(name), network, name
        if name.startswith("head."):
            weights[name.replace("head", "classifier")] = array
            continue
        if name.startswith("blocks."):
            _, number, rest = name.split(".", 2)
            at = f"{network}encoder.layer.{number}."
        if rest.startswith("attn.qkv."):
            for part, piece in zip(("query", "key", "value"), np.split(array, 3), strict=True):
                weights[f"{at}attention.attention.{part}.{rest.rpartition('.')[2]}"] = piece
            continue
        stem, _, kind = rest.rpartition(".")
        weights[at + (HUGGING_FACE[rest] if rest in HUGGING_FACE else f"{HUGGING_FACE[stem]}.{kind}")] = array
    weights["vit.pooler.dense.weight"] = np.zeros((64, 64), np.float32)


def dinov2(weights):
    """Hugging Face's DINOv2 calls some things as timm does."""
    with_layer_scale(weights)
    scales = {name: weights.pop(name) for name in list(weights) if ".ls" in name}
    hugging_face(weights, "dinov2.")
    for name in list(weights):
        new = name.replace("layernorm_before", "norm1").replace("layernorm_after", "norm2")
        new = new.replace("intermediate.dense", "mlp.fc1")
        if "attention" not in new:
            new = new.replace("output.dense", "mlp.fc2")
        weights[new] = weights.pop(name)
    for name, gamma in scales.items():
        new = name.replace("blocks", "dinov2.encoder.layer").replace("ls", "layer_scale").replace("gamma", "lambda1")
        weights[new] = gamma
    weights["dinov2.embeddings.mask_token"] = np.zeros((1, 64), np.float32)


@pytest.mark.parametrize("change", [with_layer_scale, with_gamma, without_key_bias, hugging_face, dinov2])
def test_variants_are_the_same_network(change):
    """The float network that is quantized gives timm's logits, and the integers follow as closely as without."""
    weights, images, expected = stored()
    plain = quantized(weights, images)[1].end["logit_sqnr"]
    change(weights)
    _, measure = quantized(weights, images)
    np.testing.assert_allclose(measure.expected, expected, rtol=0, atol=3e-5)
    assert measure.end["logit_sqnr"] > plain - 1


def test_no_bias_is_a_bias_of_zeros():
    """Of queries, keys and values in all blocks alike; both recipes' graphs, integer by integer."""
    weights, images, _ = stored()
    for block in range(2):
        weights[f"blocks.{block}.attn.qkv.bias"] = np.zeros(192, np.float32)
    expected = [quantized(weights, images, recipe)[0] for recipe in ("official", "minmax")]
    for block in range(2):
        del weights[f"blocks.{block}.attn.qkv.bias"]
    for recipe, model in zip(("official", "minmax"), expected, strict=True):
        found = quantized(weights, images, recipe)[0]
        np.testing.assert_array_equal(
            golden.run(found, pixels(found, images)), golden.run(model, pixels(model, images))
        )


def swin_of_hugging_face(weights):
    found = {}
    for name, array in weights.items():
        new = name.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
        new = new.replace("patch_embed.norm", "embeddings.norm").replace("attn.proj", "attention.output.dense")
        new = new.replace("norm1", "layernorm_before").replace("norm2", "layernorm_after")
        new = new.replace("mlp.fc1", "intermediate.dense").replace("mlp.fc2", "output.dense")
        new = new.replace("attn.relative", "attention.self.relative")
        match new.split("."):
            case ["head", "fc", kind]:
                found[f"classifier.{kind}"] = array
                continue
            case ["norm", kind]:
                new = f"layernorm.{kind}"
            case ["layers", stage, "downsample", *rest]:
                new = ".".join(["encoder.layers", str(int(stage) - 1), "downsample", *rest])
            case ["layers", *rest]:
                new = ".".join(["encoder.layers", *rest])
        if ".attn.qkv." in new:
            for part, piece in zip(("query", "key", "value"), np.split(array, 3), strict=True):
                found["swin." + new.replace("attn.qkv", f"attention.self.{part}")] = piece
        else:
            found[f"swin.{new}"] = array
    return found


def test_swin_of_hugging_face():
    weights, images, expected = stored("swin")
    _, measure = quantized(swin_of_hugging_face(weights), images)
    np.testing.assert_allclose(measure.expected, expected, rtol=0, atol=2e-5)


# --- tokens and grids: timm's logits, and the compiled integers ---


def logits_of(variant):
    with np.load(DATA / "variants.npz") as arrays:
        return arrays[variant]


def with_registers(weights, *, embedded):
    cls, patches = weights["pos_embed"][:, :1], weights["pos_embed"][:, 1:]
    weights["reg_token"] = patches[:, 3:5]
    weights["pos_embed"] = np.concatenate([cls, patches[:, :2], patches], 1) if embedded else patches


def with_distillation(weights):
    cls, patches = weights["pos_embed"][:, :1], weights["pos_embed"][:, 1:]
    weights |= {"dist_token": patches[:, 5:6], "pos_embed": np.concatenate([cls, patches[:, :1], patches], 1)}
    weights |= {f"head_dist.{kind}": np.ascontiguousarray(weights[f"head.{kind}"][::-1]) for kind in ("weight", "bias")}


@pytest.mark.parametrize("recipe", ["mse", "minmax"])
@pytest.mark.parametrize(
    ("variant", "change"),
    [
        ("no_embed_class", lambda w: w.update(pos_embed=w["pos_embed"][:, 1:])),
        ("registers", lambda w: with_registers(w, embedded=True)),
        ("registers_no_embed_class", lambda w: with_registers(w, embedded=False)),
        ("distilled", with_distillation),
    ],
)
def test_tokens_before_the_patches(variant, change, recipe):
    weights, images, _ = stored()
    change(weights)
    model, measure = quantized(weights, images, recipe)
    np.testing.assert_allclose(measure.expected, logits_of(variant), rtol=0, atol=2e-5)
    assert measure.end["logit_sqnr"] > 25
    x = pixels(model, images[:2])
    program = compile_model(model, BOARDS["arty_a7" if recipe == "mse" else "tiny"].config, batch=2)
    np.testing.assert_array_equal(execute(program, x), golden.run(model, x))
    last = [name for name in model.layer_macs if name.endswith("mlp.fc1")][-1]
    assert {use["rows"] for use in executed(program, last)} == {2 if variant == "distilled" else 1}


def test_registers_without_positions_of_their_own():
    """DINOv2's own checkpoints and Hugging Face's have positions of the class token and of patches."""
    weights, _, _ = stored()
    cls, patches = weights["pos_embed"][:, :1], weights["pos_embed"][:, 1:]
    weights["register_tokens"] = registers = patches[:, 3:7]
    family, found = official_tensors(weights)
    wanted = np.concatenate([cls, np.zeros((1, 4, 64), np.float32), patches], 1)
    np.testing.assert_array_equal(found["pos_embed"], wanted)
    np.testing.assert_array_equal(found["cls_token"][:, 1:], registers)
    assert official_tensors(found)[1].keys() == found.keys()
    np.testing.assert_array_equal(official_tensors(found)[1]["pos_embed"], wanted)
    assert family.examine(found).tokens == 21


@pytest.mark.parametrize(
    ("variant", "height", "width"), [("larger", 48, 48), ("smaller", 24, 24), ("rectangle", 24, 40)]
)
def test_positions_of_another_grid(variant, height, width):
    """Interpolated as timm does, and the images need not be square."""
    weights, images, _ = stored()
    tiled = np.tile(images[:4], (1, 1, 2, 2))[..., :height, :width]
    model, measure = quantized(weights, tiled, "mse")
    np.testing.assert_allclose(measure.expected, logits_of(variant), rtol=0, atol=2e-5)
    assert model.image == (3, height, width)
    x = pixels(model, tiled[:1])
    np.testing.assert_array_equal(execute(compile_model(model, BOARDS["tiny"].config), x), golden.run(model, x))


def test_image_size_on_the_command_line(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (2, 3, 24, 40), np.uint8))
    command = ["quantize", str(DATA / "vit.safetensors"), "--calibrate", str(tmp_path / "x.npy"), "--heads", "2"]
    assert main([*command, "-o", str(tmp_path / "m"), "--img-size", "24", "40", "--pool", "avg"]) == 0
    said = capsys.readouterr().out.replace("\n", " ")
    assert "image size 24 x 40" in said
    assert "2 heads of 32 channels the head reads the mean of the patches assumed: exact GELU" in said
    assert "assumed: 2 heads" not in said
    assert "position embeddings of 17 tokens interpolated for 3 x 5 patches, bicubic, as timm does" in said
    assert load_model(tmp_path / "m").image == (3, 24, 40)
    assert main(["inspect", str(tmp_path / "m")]) == 0
    assert "10 classes of the mean of tokens" in capsys.readouterr().out
    for sizes, message in (
        (["24", "42"], "the image size 42 is no multiple of the patch size 8"),
        (["24", "40", "8"], "--img-size wants a size, or height and width, not 24 40 8"),
        (["0"], "--img-size wants a size, or height and width, not 0"),
    ):
        assert main([*command, "-o", str(tmp_path / "no"), "--img-size", *sizes]) == 2
        assert message in capsys.readouterr().err


# --- pooling ---


@pytest.mark.parametrize("recipe", ["mse", "minmax"])
def test_average_pool(recipe):
    """The mean of the patches alone, of as many bits as its own range has; timm's logits."""
    weights, images, _ = stored()
    model, measure = quantized(weights, images, recipe, pool="avg")
    np.testing.assert_allclose(measure.expected, logits_of("average"), rtol=0, atol=2e-5)
    assert measure.end["logit_sqnr"] > 25
    assert [node.attributes["first"] for node in model.nodes if node.op == "pool"] == [1]


@pytest.mark.parametrize("side", [32, 64])
def test_average_pool_on_the_machine(side):
    """19 tokens, and 67, which are several super-tiles, each of which hands its share on; batches; registers."""
    weights, images, _ = stored()
    with_registers(weights, embedded=False)
    tiled = np.tile(images[:2], (1, 1, 3, 3))[..., :side, :side]
    model, _ = quantized(weights, tiled, "mse", pool="avg")
    x = pixels(model, tiled)
    expected = golden.run(model, x)
    for config in (BOARDS["arty_a7"].config, BOARDS["tiny"].config):
        np.testing.assert_array_equal(execute(compile_model(model, config, batch=2), x), expected)
        np.testing.assert_array_equal(execute(compile_model(model, config), x[:1]), expected[:1])
    nodes = (replace(node, attributes={"first": 0}) if node.op == "pool" else node for node in model.nodes)
    every = replace(model, nodes=tuple(nodes))
    assert np.any(golden.run(every, x) != expected)
    np.testing.assert_array_equal(execute(compile_model(every, config, batch=2), x), golden.run(every, x))


def test_average_feature():
    weights, images, _ = stored()
    head, bias = weights.pop("head.weight"), weights.pop("head.bias")
    model, measure = quantized(weights, images, pool="avg")
    np.testing.assert_allclose(measure.expected @ head.T + bias, logits_of("average"), rtol=0, atol=5e-5)
    assert model.features
    assert measure.end["logit_sqnr"] > 25


def norm_behind(weights):
    weights |= {f"fc_norm.{kind}": weights.pop(f"norm.{kind}") for kind in ("weight", "bias")}


@pytest.mark.parametrize("recipe", ["official", "mse", "minmax"])
@pytest.mark.parametrize(("pool", "variant"), [("token", "token_norm"), ("avg", "average_norm")])
def test_norm_behind_the_pooling(pool, variant, recipe):
    """Of a class token it is the last norm; of a mean it is one of the mean alone, which has 16 bits. timm's logits."""
    weights, images, _ = stored()
    norm_behind(weights)
    model, measure = quantized(weights, images, recipe, pool=pool)
    np.testing.assert_allclose(measure.expected, logits_of(variant), rtol=0, atol=2e-5)
    assert measure.end["logit_sqnr"] > 25
    operators = [(node.op, node.attributes.get("bits")) for node in model.nodes[-5:]]
    if pool == "avg":
        wanted = [("pool", None), ("requantize", 16), ("layer_norm", None), ("requantize", 8), ("linear", None)]
        assert operators == wanted


def test_norm_behind_the_pooling_on_the_command_line(tmp_path, capsys):
    """What the norm is of is not guessed; with two of them the network is another."""
    weights, _, _ = stored()
    both = dict(weights)
    norm_behind(weights)
    save_file(weights, tmp_path / "x.safetensors")
    save_file({**both, **weights}, tmp_path / "both.safetensors")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), np.uint8))
    files = ["--calibrate", str(tmp_path / "x.npy"), "-o", str(tmp_path / "m"), "--heads", "2", "--recipe", "mse"]
    for name, options, message in (
        ("x", [], "has a norm behind its pooling (fc_norm): of the mean of the patches, which --pool avg says, or of"),
        ("both", ["--pool", "avg"], "a norm behind the pooling (fc_norm) must be that of a mean (--pool avg), and the"),
        ("both", ["--pool", "token"], "a norm behind the pooling (fc_norm) must be that of a mean (--pool avg), and"),
    ):
        assert main(["quantize", str(tmp_path / f"{name}.safetensors"), *files, *options]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert (said.count("\n"), (tmp_path / "m").exists()) == (1, False)
    assert main(["quantize", str(tmp_path / "x.safetensors"), *files, "--pool", "avg"]) == 0
    assert "the head reads the last norm of the mean of the patches" in capsys.readouterr().out.replace("\n", " ")
    assert main(["inspect", str(tmp_path / "m")]) == 0
    assert "10 classes of the mean of tokens" in capsys.readouterr().out


def test_feature_of_the_norm_of_a_mean():
    weights, images, _ = stored()
    norm_behind(weights)
    head, bias = weights.pop("head.weight"), weights.pop("head.bias")
    model, measure = quantized(weights, images, pool="avg")
    np.testing.assert_allclose(measure.expected @ head.T + bias, logits_of("average_norm"), rtol=0, atol=5e-5)
    assert model.features
    assert measure.end["logit_sqnr"] > 25
    x = pixels(model, images[:1])
    np.testing.assert_array_equal(execute(compile_model(model, BOARDS["tiny"].config), x), golden.run(model, x))


def loud(model):
    """The same with residual streams from end to end of int16."""
    last = next(node for node in model.nodes if node.op == "pool").inputs[0]
    shift = np.asarray(model.tensors[f"{last}.shift"]) - 5
    return replace(model, tensors={**model.tensors, f"{last}.shift": shift})


@pytest.mark.parametrize("side", [32, 64])
def test_norm_of_a_mean_on_the_machine(side):
    """19 tokens, and 67, which are several super-tiles; batches; registers; numbers at the ends of int16."""
    weights, images, _ = stored()
    norm_behind(weights)
    with_registers(weights, embedded=False)
    tiled = np.tile(images[:2], (1, 1, 3, 3))[..., :side, :side]
    model, _ = quantized(weights, tiled, "mse", pool="avg")
    x, trace, found = pixels(model, tiled), {}, loud(model)
    golden.run(found, x, trace)
    last = trace[next(node for node in found.nodes if node.op == "pool").inputs[0]]
    assert (last.min(), last.max()) == (-32768, 32767)
    for one in (model, found):
        expected = golden.run(one, x)
        for config in (BOARDS["arty_a7"].config, BOARDS["tiny"].config, Config(rows=32, cols=24, array="portable")):
            np.testing.assert_array_equal(execute(compile_model(one, config, batch=2), x), expected)
            np.testing.assert_array_equal(execute(compile_model(one, config), x[:1]), expected[:1])
    nodes = (replace(node, attributes={"first": 0}) if node.op == "pool" else node for node in model.nodes)
    every = replace(model, nodes=tuple(nodes))
    assert np.any(golden.run(every, x) != golden.run(model, x))
    np.testing.assert_array_equal(
        execute(compile_model(every, BOARDS["tiny"].config, batch=2), x), golden.run(every, x)
    )


def test_norm_of_a_mean_on_the_gateware():
    """19 tokens of numbers at the ends of int16, on the simulated RTL."""
    weights, images, _ = stored()
    norm_behind(weights)
    with_registers(weights, embedded=False)
    model, _ = quantized(weights, images, "mse", pool="avg")
    model = loud(model)
    x = pixels(model, images[:3])
    with Accelerator.open("sim:tiny?random=5") as device:
        device.load(model, batch=2)
        np.testing.assert_array_equal(device.run(x), golden.run(model, x))


# --- features ---


def test_features():
    """A network without a head: what its head would read, of images that did not calibrate it, at 8 bits."""
    weights, images, expected = stored()
    head, bias = weights.pop("head.weight"), weights.pop("head.bias")
    for recipe in ("official", "minmax"):
        model, measure = quantized(weights, images[:8], recipe)
        np.testing.assert_allclose(measure.expected @ head.T + bias, expected[:8], rtol=0, atol=5e-5)
        assert (model.features, model.classes, model.labels) == (True, 64, ())
        own = next(row.own_sqnr for row in measure.rows if row.name == "qact2" and row.kind == "activation")
        assert own > 38  # a scale for all channels would give 33
        found = golden.run(model, pixels(model, images)) * model.logit_scale.astype(np.float64)
        near = found @ head.T + bias
        noise = 10 * np.log10(np.square(expected).sum(1) / np.square(near - expected).sum(1))
        assert noise[8:].mean() > (20 if recipe == "official" else 27)
        if recipe == "official":
            assert compile_model(model, Config()).estimated_cycles > 0
    with pytest.raises(ModelError, match="gives 64 features of an image, not classes"):
        model.classify(golden.run(model, pixels(model, images[:1])))


def test_features_of_one_image():
    """One image has no spread: the power of all channels stands for it."""
    weights, images, expected = stored()
    whole, _ = quantized(weights, images[:1])
    head, bias = weights.pop("head.weight"), weights.pop("head.bias")
    model, _ = quantized(weights, images[:1])
    found, near = (golden.run(m, pixels(m, images)) * m.logit_scale.astype(np.float64) for m in (model, whole))
    noise, least = (
        10 * np.log10(np.square(expected).sum() / np.square(logits - expected).sum())
        for logits in (found @ head.T + bias, near)
    )
    assert noise > least


def test_features_from_the_command_line(tmp_path, capsys):
    """The network is recognised and said; the file keeps that it gives features; run offers them and no classes."""
    weights, _, _ = stored()
    with_layer_scale(weights)
    del weights["head.weight"], weights["head.bias"]
    save_file(weights, tmp_path / "f.safetensors")
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), np.uint8)
    np.save(tmp_path / "images.npy", images)
    command = ["quantize", str(tmp_path / "f.safetensors"), "--calibrate", str(tmp_path / "images.npy"), "-o"]
    model, features = str(tmp_path / "m"), str(tmp_path / "features.npy")
    assert main([*command, model]) == 0
    said = capsys.readouterr().out.replace("\n", " ")
    assert "3 calibration images: features' SQNR" in said
    assert "class as in float" not in said
    assert "taken for vit_64: family vit, width 64, depth 2, heads 1, patch size 8, image size 32, features 64" in said
    assert "assumed: 1 heads of 64 channels" in said
    assert "the feature is the class token behind the last norm (of the mean, --pool avg says so)" in said
    assert load_model(model).features
    assert main(["inspect", model]) == 0
    assert "64 features of the class token" in capsys.readouterr().out
    run = ["run", model, "--device", "golden", "--images", str(tmp_path / "images.npy")]
    assert main(run) == 0
    assert "64 features of each image" in (said := capsys.readouterr().out)
    assert "--logits" in said
    assert "%" not in said
    assert main([*run, "--logits", features]) == 0
    assert np.load(features).shape == (3, 64)
    np.save(tmp_path / "labels.npy", np.arange(3))
    assert main([*run, "--labels", str(tmp_path / "labels.npy")]) == 2
    assert "gives features of images, not classes" in capsys.readouterr().err
    (tmp_path / "names").write_text("\n".join(map(str, range(64))))
    assert main([*command, model, "--labels", str(tmp_path / "names")]) == 2
    assert "--labels cannot name them" in capsys.readouterr().err


# --- what is refused ---


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("blocks.0.mlp.w12.weight", "a gated MLP (SwiGLU): tensor blocks."),
        ("blocks.0.mlp.fc1_g.weight", "a gated MLP (SwiGLU)"),
        ("blocks.0.attn.q_norm.weight", "norms of queries and keys (QK-norm)"),
        ("rope.freqs", "rotary position embeddings (RoPE)"),
        ("blocks.0.attn.relative_position_bias_table", "relative position biases"),
        ("attn_pool.latent", "pools by attention"),
        ("norm_pre.weight", "a layer before the blocks"),
        ("layers.0.blocks.0.attn.cpb_mlp.0.weight", "Swin V2"),
        ("layers.0.blocks.0.attn.logit_scale", "Swin V2"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_named(name, message, tmp_path, capsys):
    weights, _, _ = stored("swin" if name.startswith("layers") else "vit")
    every = [name, name.replace("blocks.0", "blocks.1")]
    save_file({**weights, **dict.fromkeys(every, np.zeros(64, np.float32))}, tmp_path / "x.safetensors")
    command = ["quantize", str(tmp_path / "x.safetensors"), "--calibrate", str(DATA), "-o", str(tmp_path / "m")]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.endswith("which is not supported\n")
    assert said.count("\n") == 1


def test_swin_v2_of_hugging_face_is_named(tmp_path, capsys):
    weights = swin_of_hugging_face(stored("swin")[0])
    weights["swin.encoder.layers.0.blocks.0.attention.self.logit_scale"] = np.ones((1, 1, 1), np.float32)
    save_file({f"swinv2{name[4:]}" if name[:5] == "swin." else name: w for name, w in weights.items()}, tmp_path / "x")
    assert main(["quantize", str(tmp_path / "x"), "--calibrate", str(DATA), "-o", str(tmp_path / "m")]) == 2
    assert "has Swin V2's attention: tensor layers.0.blocks.0.attention.self.logit_scale" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("blocks.1.attn.qkv.bias"), "blocks.1.attn.qkv.bias is missing from the checkpoint"),
        (
            lambda w: w.update({f"blocks.{b}.ls1.gamma": np.ones(63, np.float32) for b in range(2)}),
            r"ls1.gamma must have shape \[64\], not \[63\]",
        ),
        (
            lambda w: w.update({f"blocks.{b}.attn.q_bias": np.ones(64, np.float32) for b in range(2)}),
            "q_bias and blocks.0.attn.v_bias must both be there",
        ),
        (lambda w: (with_distillation(w), w.pop("dist_token")), "head_dist.bias and dist_token must all be there"),
        (lambda w: (with_distillation(w), w.pop("head.bias")), "head.bias and head_dist.bias must both be there"),
        (lambda w: w.update({"head.weight": np.ones((10, 128), np.float32)}), "class token and mean of the patches"),
        (lambda w: (hugging_face(w), w.pop("vit.encoder.layer.1.attention.attention.key.bias")), "but is missing"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_one_another(change, message):
    weights, _, _ = stored()
    change(weights)
    with pytest.raises(UserError, match=message):
        official_tensors(weights)
