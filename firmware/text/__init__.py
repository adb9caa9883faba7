"""Text on a device: sentences to tokens to features of length 1.

>>> import firmware
>>> from firmware.text import encode
>>> with firmware.open("sim:arty_a7") as device:
...     device.load(firmware.load_model("minilm.safetensors"))
...     features = encode(device, ["A cat is asleep.", "The cat sleeps."])  # float32 [2, 384]
>>> features @ features.T
"""

from firmware.text.encode import encode, normalised, sums
from firmware.text.lines import read_lines
from firmware.text.tokenizer import Tokenizer

__all__ = ["Tokenizer", "encode", "normalised", "read_lines", "sums"]
