"""Swin: attention in windows that are rectangles of the token grid, and merging between stages."""

from firmware.families.swin.place import place

__all__ = ["place"]
