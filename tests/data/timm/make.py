"""Makes vit.safetensors, swin.safetensors and their *.npz: small networks of timm, images and timm's logits for them.

Also variants.npz: timm's logits of other networks of the ViT's weights. What they have besides is cut out of these,
too, so that a test can do the same. And sizes.npz: the tensors of whole published networks, by name and shape, and
timm's logits for an image, of weights that tests.support.seeded makes of the names.

    pip install torch==2.13.0 timm==1.0.31 && python -m tests.data.timm.make

Weights are seeded, of the size of trained ones, and rounded to float16, as which they are stored.
"""

import json
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from timm.models.deit import VisionTransformerDistilled
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer

from tests.support.seeded import pattern, weight

HERE = Path(__file__).parent
MODELS = {
    "vit": lambda: VisionTransformer(img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=2, num_classes=10),
    "swin": lambda: SwinTransformer(
        img_size=56, patch_size=4, window_size=7, embed_dim=32, depths=(2, 2), num_heads=(1, 2), num_classes=10
    ),
}


def randomise(model):
    """Gains of 0.5 to 1.5, offsets of 0.2, and linear maps that keep the power of what they get."""
    for name, tensor in model.named_parameters():
        if "norm" in name:
            tensor.uniform_(0.5, 1.5) if name.endswith("weight") else tensor.normal_(0, 0.2)
        elif tensor.ndim > 1 and name.endswith("weight"):
            tensor.normal_(0, 1.2 / tensor[0].numel() ** 0.5)
        else:
            tensor.normal_(0, 0.3)
        tensor.copy_(tensor.half())


def variant(weights, images, kind=VisionTransformer, **options):
    """Logits of a network of `kind`, of whose tensors none is missing and none left."""
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2, "num_classes": 10}
    network = kind(**{**sizes, **options}).eval()
    network.load_state_dict(weights)
    return network(images).numpy()


def renamed(weights, **names):
    """`weights` with other names before the first dot."""
    return {".".join([names.get(name.partition(".")[0], name.partition(".")[0]), *name.split(".")[1:]]): tensor
            for name, tensor in weights.items()}  # fmt: skip


def variants(weights, images):
    """Logits of variants of the ViT `weights`, by name."""
    positions = weights["pos_embed"]
    cls, patches = positions[:, :1], positions[:, 1:]
    registers, distilled = patches[:, 3:5], patches[:, 5:6]
    more = {**weights, "dist_token": distilled, "pos_embed": torch.cat([cls, patches[:, :1], patches], 1),
            **{f"head_dist.{kind}": weights[f"head.{kind}"].flip(0) for kind in ("weight", "bias")}}  # fmt: skip
    tiled = images[:4].tile(1, 1, 2, 2)

    def fitted(height, width):
        resampled = resample_abs_pos_embed(positions, (height // 8, width // 8), num_prefix_tokens=1)
        return variant({**weights, "pos_embed": resampled}, tiled[..., :height, :width], img_size=(height, width))

    return {
        "average": variant(weights, images, global_pool="avg", fc_norm=False),
        "average_norm": variant(renamed(weights, norm="fc_norm"), images, global_pool="avg"),
        "token_norm": variant(renamed(weights, norm="fc_norm"), images, fc_norm=True),
        "no_embed_class": variant({**weights, "pos_embed": patches}, images, no_embed_class=True),
        "registers": variant(
            {**weights, "reg_token": registers, "pos_embed": torch.cat([cls, patches[:, :2], patches], 1)}, images,
            reg_tokens=2,
        ),
        "registers_no_embed_class": variant(
            {**weights, "reg_token": registers, "pos_embed": patches}, images, reg_tokens=2, no_embed_class=True
        ),
        "distilled": variant(more, images, VisionTransformerDistilled),
        "larger": fitted(48, 48),
        "smaller": fitted(24, 24),
        "rectangle": fitted(24, 40),
    }  # fmt: skip


def sizes():
    """Of each network that ImageNet is classified with: its tensors' shapes and its logits for a pattern."""
    found = {}
    for arch in ("deit_tiny_patch16_224", "swin_tiny_patch4_window7_224"):
        network = timm.create_model(arch).eval()
        shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
        network.load_state_dict({name: torch.from_numpy(weight(name, shape)) for name, shape in shapes.items()})
        pixels = pattern(224, 224).transpose(2, 0, 1)[None] / 255
        mean, std = (np.array(network.default_cfg[what])[:, None, None] for what in ("mean", "std"))
        logits = network(torch.from_numpy((pixels - mean) / std).float()).numpy()
        found |= {f"{arch}.tensors": json.dumps(shapes), f"{arch}.logits": logits}
    return found


@torch.no_grad()
def main():
    for name, make in MODELS.items():
        torch.manual_seed(7)
        model = make().eval()
        randomise(model)
        size = model.patch_embed.img_size[0]
        images = torch.nn.functional.interpolate(torch.randn(12, 3, 14, 14), size=(size, size), mode="bicubic")
        state = {key: value.half().contiguous() for key, value in model.state_dict().items()}
        save_file(state, HERE / f"{name}.safetensors")
        arrays = {"images": images.half().numpy(), "logits": model(images.half().float()).numpy()}
        versions = [timm.__version__, torch.__version__]
        np.savez_compressed(HERE / f"{name}.npz", versions=versions, **arrays)
        if name == "vit":
            weights = {key: value.float() for key, value in state.items()}
            np.savez_compressed(HERE / "variants.npz", versions=versions, **variants(weights, images.half().float()))
    np.savez_compressed(HERE / "sizes.npz", versions=versions, **sizes())


if __name__ == "__main__":
    main()
