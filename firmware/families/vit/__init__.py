"""ViT and DeiT: every token attends to every token, through class token and equal blocks."""
