"""Trains the float ViT of the digits example and writes it with its test images.

    pip install -e .[train]
    python examples/digits/train.py            # about four minutes on two cores
    python -m firmware quantize examples/digits/float.safetensors --images examples/digits/calibration.npy \
        --patch 2 --heads 2 --mean 0.5 --std 0.5 -o examples/digits/digits.safetensors

Data: scikit-learn's bundled 8x8 handwritten digits (1797 images, 17 grey levels spread over 0..255), split 1437 train /
360 test, stratified, seed 0.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

HERE = Path(__file__).parent
DIM, DEPTH, HEADS, HIDDEN, PATCH, SIZE, CLASSES = 64, 4, 2, 256, 2, 8, 10


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(DIM, 3 * DIM)
        self.proj = nn.Linear(DIM, DIM)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, HEADS, DIM // HEADS).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * (DIM // HEADS) ** -0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, DIM))


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(DIM, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, DIM)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.attn, self.mlp = Attention(), Mlp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, DIM, PATCH, PATCH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """timm's ViT, names included, at the size of a handwritten digit."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed()
        self.cls_token = nn.Parameter(torch.randn(1, 1, DIM) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, (SIZE // PATCH) ** 2 + 1, DIM) * 0.02)
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm = nn.LayerNorm(DIM)
        self.head = nn.Linear(DIM, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def shifted(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image moved by at most one pixel and scaled in contrast: the augmentation."""
    dy, dx = torch.randint(-1, 2, (2, len(x)), generator=generator)
    padded = functional.pad(x, (1, 1, 1, 1))
    rows = torch.arange(SIZE)[None, :, None] + 1 + dy[:, None, None]
    columns = torch.arange(SIZE)[None, None, :] + 1 + dx[:, None, None]
    moved = padded[torch.arange(len(x))[:, None, None], 0, rows, columns]
    return moved[:, None] * (0.8 + 0.4 * torch.rand(len(x), 1, 1, 1, generator=generator))


def normalised(x: torch.Tensor) -> torch.Tensor:
    """0..1 to the network's input: mean 0.5, standard deviation 0.5."""
    return (x - 0.5) / 0.5


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int) -> None:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    steps = epochs * (len(x) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for batch in order[: len(x) // 64 * 64].reshape(-1, 64):
            logits = model(normalised(shifted(x[batch], generator)))
            loss = functional.cross_entropy(logits, y[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}/{epochs}: loss {loss.item():.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="train the digits example")
    parser.add_argument("--epochs", type=int, default=60)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(images, labels, test_size=360, stratify=labels, random_state=0)
    model = VisionTransformer()
    train(model, torch.from_numpy(train_x).float() / 255, torch.from_numpy(train_y), arguments.epochs)
    with torch.no_grad():
        logits = model(normalised(torch.from_numpy(test_x).float() / 255)).numpy()
    print(f"float accuracy on {len(test_y)} test images: {(logits.argmax(1) == test_y).mean():.4f}")
    save_file({name: value.numpy() for name, value in model.state_dict().items()}, HERE / "float.safetensors")
    np.save(HERE / "calibration.npy", train_x[:256])
    np.save(HERE / "images.npy", test_x)
    np.save(HERE / "labels.npy", test_y.astype(np.uint8))
    np.save(HERE / "float_logits.npy", logits.astype(np.float32))


if __name__ == "__main__":
    main()
