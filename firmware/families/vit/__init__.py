"""ViT and DeiT: every token attends to every token, through class token and equal blocks."""

from firmware.families.vit.place import place

__all__ = ["place"]
