"""Random Swins in the official layout: no training, scales of the size that trained ones have."""

import numpy as np

from firmware.ivit import model_from_state

__all__ = ["SHAPES", "random_swin", "shift_mask", "swin_state"]

SHAPES = {
    "swin_tiny": {"dim": 96, "depths": (2, 2, 6, 2), "heads": (3, 6, 12, 24)},
    "swin_small": {"dim": 96, "depths": (2, 2, 18, 2), "heads": (3, 6, 12, 24)},
    "swin_base": {"dim": 128, "depths": (2, 2, 18, 2), "heads": (4, 8, 16, 32)},
}
"""The published ones: `image` (3, 224, 224), `patch` 4, `window` 7, 1000 `classes`."""


def swin_state(seed=0, *, patch=4, window=4, dim=32, depths=(2, 2), heads=(1, 2), classes=10, channels=3, grid=None):
    """A state. `window` is cut to `grid` (tokens along one side of the image) where that is smaller, as officially."""
    rng, state = np.random.default_rng(seed), {}

    def act(name, scale):
        state[f"{name}.act_scaling_factor"] = np.float32(scale * rng.uniform(0.9, 1.1))

    def linear(name, shape, kind="fc", gain=1.0, bias=True):
        """Weights that keep deviation 1 where inputs have it, times `gain`."""
        state[f"{name}.weight_integer"] = rng.integers(-127, 128, shape, np.int8)
        if bias:
            state[f"{name}.bias_integer"] = rng.integers(-3000, 3000, shape[0], np.int32)
        scale = gain / (73 * np.prod(shape[1:]) ** 0.5)
        state[f"{name}.{kind}_scaling_factor"] = (scale * rng.uniform(0.8, 1.2, shape[0])).astype(np.float32)

    def norm(name, width):
        gamma = rng.uniform(0.3, 1.4, width) * rng.choice([1, 1, 1, -1], width)
        state[f"{name}.weight"] = gamma.astype(np.float32)
        state[f"{name}.bias"] = rng.normal(0, 0.2, width).astype(np.float32)

    act("qact_input", 0.02)
    linear("patch_embed.proj", (dim, channels, patch, patch), "conv")
    act("patch_embed.qact_before_norm", 0.03)
    norm("patch_embed.norm", dim)
    act("patch_embed.qact", 1.5e-4)
    act("qact1", 1.5e-4)
    for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
        side = min(window, grid >> stage) if grid else window
        for block in range(depth):
            at = f"layers.{stage}.blocks.{block}"
            norm(f"{at}.norm1", dim)
            act(f"{at}.qact1", 0.035)
            linear(f"{at}.attn.qkv", (3 * dim, dim))
            act(f"{at}.attn.qact1", 0.035)
            act(f"{at}.attn.qact_attn1", 0.03)
            table = rng.normal(0, 0.6, ((2 * side - 1) ** 2, count))
            state[f"{at}.attn.relative_position_bias_table"] = table.astype(np.float32)
            state[f"{at}.attn.qact_table.act_scaling_factor"] = np.float32(np.abs(table).max() / 127)
            act(f"{at}.attn.qact2", 0.035)
            act(f"{at}.attn.qact3", 0.02)
            linear(f"{at}.attn.proj", (dim, dim))
            act(f"{at}.attn.qact4", 8e-5)
            act(f"{at}.qact2", 1.5e-4)
            norm(f"{at}.norm2", dim)
            act(f"{at}.qact3", 0.035)
            linear(f"{at}.mlp.fc1", (4 * dim, dim))
            act(f"{at}.mlp.qact_gelu", 0.035)
            act(f"{at}.mlp.qact1", 0.03)
            linear(f"{at}.mlp.fc2", (dim, 4 * dim))
            act(f"{at}.mlp.qact2", 8e-5)
            act(f"{at}.qact4", 1.5e-4)
        if stage + 1 < len(depths):
            at = f"layers.{stage}.downsample"
            norm(f"{at}.norm", 4 * dim)
            act(f"{at}.qact1", 0.035)
            linear(f"{at}.reduction", (2 * dim, 4 * dim), bias=False)
            act(f"{at}.qact2", 0.03)
            dim *= 2
    norm("norm", dim)
    act("qact2", 0.035)
    act("qact3", 0.03)
    linear("head", (classes, dim))
    return state


def random_swin(seed=0, *, image=(3, 32, 32), patch=4, attention_bits=8, **shape):
    """The integer model of `swin_state`."""
    state = swin_state(seed, patch=patch, channels=image[0], grid=min(image[1:]) // patch, **shape)
    return model_from_state(
        state, name=f"swin-{seed}", image=image, mean=(0.5,) * image[0], std=(0.25,) * image[0],
        attention_bits=attention_bits,
    )  # fmt: skip


def shift_mask(height, width, window, shift):
    """Mask [windows, n, n] (int8): 1 where two tokens of a window were no neighbours before the cyclic shift.

    As the official code makes it, unlike ours: the rolled grid has up to three bands along each axis, whole windows and
    the two parts of the last window, of which the second came from the other edge. Tokens see each other within a band
    of both axes.
    """
    rows, columns = (
        np.searchsorted([size - window, size - shift], np.arange(size), "right") for size in (height, width)
    )
    region = 3 * rows[:, None] + columns
    region = region.reshape(height // window, window, width // window, window).swapaxes(1, 2).reshape(-1, window**2)
    return (region[:, :, None] != region[:, None, :]).astype(np.int8)
