"""Makes vit.safetensors, swin.safetensors and their *.npz: small networks of timm, images and timm's logits for them.

    pip install torch==2.13.0 timm==1.0.31 && python tests/data/timm/make.py

Weights are seeded, of the size of trained ones, and rounded to float16, as which they are stored.
"""

from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer

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
        np.savez_compressed(HERE / f"{name}.npz", versions=[timm.__version__, torch.__version__], **arrays)


if __name__ == "__main__":
    main()
