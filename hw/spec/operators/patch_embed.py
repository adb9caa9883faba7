"""The patch embedding: an image to tokens."""

from __future__ import annotations

from hw.spec.operators.operator import Array, Attribute, Laws, ModelError, Tensor, Value, register
from hw.spec.operators.weights import BIAS, Weighted

__all__ = ["PatchEmbed", "patches"]


@register
class PatchEmbed(Weighted):
    """Convolution of the int8 image [C, H, W] whose stride is its kernel: patches, row-major, to tokens [n, dim] int32.

    It is `linear` on each patch, whose elements are ordered C, y, x.
    """

    name = "patch_embed"
    attributes = (Attribute("patch", range(1, 1 << 10), "side of a patch, divides the image's sides"),)
    constants = (Tensor("weight", -128, 127, "[dim, C*patch*patch]", "int8"), BIAS)

    def infer(self, x: Value) -> Value:
        self.need(x, 3, 8)
        patch = self["patch"]
        channels, height, width = x.shape
        if height % patch or width % patch:
            raise ModelError(
                f"patch of {self.node.name} must divide the image {height}x{width}, which {patch} does not"
            )
        return Value(((height // patch) * (width // patch), self.outputs(channels * patch * patch)), 32)

    def evaluate(self, laws: Laws, x: Array) -> Array:
        return laws.linear(patches(x, self["patch"]), self.tensor("weight"), self.tensor("bias"))


def patches(images: Array, patch: int) -> Array:
    """Images [B, C, H, W] of any type, cut into patches [B, n, C*patch*patch], row-major; each in the order C, y, x."""
    batch, channels, height, width = images.shape
    cut = images.reshape(batch, channels, height // patch, patch, width // patch, patch).transpose(0, 2, 4, 1, 3, 5)
    return cut.reshape(batch, (height // patch) * (width // patch), channels * patch * patch)
