"""Calibration of a float ViT or DeiT with timm's tensor names."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.ivit.constants import gelu_i0, quantized, softmax_i0
from firmware.quantize.calibration import Calibration
from hw.spec import arith
from hw.spec.model import ModelError

__all__ = ["VitCalibration"]

Array = NDArray[Any]
f32 = np.float32


class VitCalibration(Calibration):
    """The operators of a ViT in execution order."""

    def run(self) -> dict[str, Array]:
        x, scale = self._embed()
        depth = len({key.split(".")[1] for key in self.weights if key.startswith("blocks.")})
        if not depth:
            raise ModelError("the checkpoint has no blocks.0, so it is no ViT in timm's layout")
        for index in range(depth):
            x, scale = self._attention(f"blocks.{index}", x, scale)
            x, scale = self._mlp(f"blocks.{index}", x, scale)
        z, s_z = self.norm("norm", x)
        z, s_z = self.act("qact2", z[:, 0], s_z)
        self.linear("head", z, s_z)
        return self.state

    def _embed(self) -> tuple[Array, Any]:
        scale = self.range("qact_input", self.images, 8)
        image = quantized(self.images, scale, 8)
        patch = self.get("patch_embed.proj.weight").shape[-1]
        n, channels, height, width = image.shape
        rows = image.reshape(n, channels, height // patch, patch, width // patch, patch).transpose(0, 2, 4, 1, 3, 5)
        rows = rows.reshape(n, (height // patch) * (width // patch), -1)
        z, s_z = self.linear("patch_embed.proj", rows, scale, "conv")
        z, s_z = self.act("patch_embed.qact", z, s_z, 16)
        self.state["cls_token"], self.state["pos_embed"] = self.get("cls_token"), self.get("pos_embed")
        cls = np.rint(self.state["cls_token"] / s_z).astype(np.int64)
        z = np.concatenate([np.broadcast_to(cls, (n, 1, z.shape[2])), z], axis=1)
        position = self.state["pos_embed"]
        if position.shape != (1, *z.shape[1:]):
            raise ModelError(f"pos_embed must have shape {[1, *z.shape[1:]]}, not {list(position.shape)}")
        s_pos = self.range("qact_pos", position, 16)
        return self.act("qact1", z, s_z, 16, quantized(position, s_pos, 16), s_pos)

    def _attention(self, at: str, x: Array, s_x: Any) -> tuple[Array, Any]:
        z, s_z = self.act(f"{at}.qact1", *self.norm(f"{at}.norm1", x))
        z, s_qkv = self.act(f"{at}.attn.qact1", *self.linear(f"{at}.attn.qkv", z, s_z))
        n, tokens, width = z.shape
        dim = width // 3
        q, k, v = z.reshape(n, tokens, 3, self.heads, dim // self.heads).transpose(2, 0, 3, 1, 4)
        s_scores = (s_qkv * s_qkv) * f32((dim // self.heads) ** -0.5)
        scores, s_scores = self.act(f"{at}.attn.qact_attn1", arith.matmul(q, k.swapaxes(-1, -2)), s_scores)
        p = arith.shiftmax(scores, softmax_i0(s_scores), bits=self.bits)
        z = arith.matmul(p, v).transpose(0, 2, 1, 3).reshape(n, tokens, dim)
        z, s_z = self.act(f"{at}.attn.qact2", z, f32(2.0 ** (1 - self.bits)) * s_qkv)
        z, s_z = self.act(f"{at}.attn.qact3", *self.linear(f"{at}.attn.proj", z, s_z), 16)
        return self.act(f"{at}.qact2", z, s_z, 16, x, s_x)

    def _mlp(self, at: str, x: Array, s_x: Any) -> tuple[Array, Any]:
        z, s_z = self.act(f"{at}.qact3", *self.norm(f"{at}.norm2", x))
        z, s_z = self.act(f"{at}.mlp.qact_gelu", *self.linear(f"{at}.mlp.fc1", z, s_z))
        y = arith.shift_gelu(z, gelu_i0(s_z))
        z, s_z = self.act(f"{at}.mlp.qact1", y, s_z * f32(2.0**-7))
        z, s_z = self.act(f"{at}.mlp.qact2", *self.linear(f"{at}.mlp.fc2", z, s_z), 16)
        return self.act(f"{at}.qact4", z, s_z, 16, x, s_x)
