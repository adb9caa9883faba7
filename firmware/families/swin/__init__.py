"""Swin: attention in windows that are rectangles of the token grid, and merging between stages."""
