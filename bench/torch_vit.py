"""The float32 Vision Transformer that the golden model is timed against: plain torch.nn modules, eager, no weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from firmware.architectures import Architecture

__all__ = ["VisionTransformer"]


class VisionTransformer(nn.Module):
    """DeiT's layers in timm's order. `fused` attention is one call of PyTorch, else matmul, softmax, matmul."""

    def __init__(self, shape: Architecture, *, fused: bool = False) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, shape.dim, shape.patch, shape.patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, shape.dim))
        self.pos = nn.Parameter(torch.zeros(1, shape.tokens, shape.dim))
        self.blocks = nn.Sequential(*[_Block(shape, fused) for _ in range(shape.depths[0])])
        self.norm = nn.LayerNorm(shape.dim, eps=1e-6)
        self.head = nn.Linear(shape.dim, shape.classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.embed(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos
        return self.head(self.norm(self.blocks(x))[:, 0])


class _Block(nn.Module):
    def __init__(self, shape: Architecture, fused: bool) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(shape.dim, eps=1e-6), _Attention(shape, fused)
        self.norm2 = nn.LayerNorm(shape.dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(shape.dim, 4 * shape.dim), nn.GELU(), nn.Linear(4 * shape.dim, shape.dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _Attention(nn.Module):
    def __init__(self, shape: Architecture, fused: bool) -> None:
        super().__init__()
        self.heads, self.fused = shape.heads[0], fused
        self.qkv, self.proj = nn.Linear(shape.dim, 3 * shape.dim), nn.Linear(shape.dim, shape.dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        size = dim // self.heads
        query, key, value = self.qkv(x).reshape(batch, tokens, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        if self.fused:
            x = functional.scaled_dot_product_attention(query, key, value)
        else:
            x = (query * size**-0.5 @ key.transpose(-2, -1)).softmax(-1) @ value
        return self.proj(x.transpose(1, 2).reshape(batch, tokens, dim))
