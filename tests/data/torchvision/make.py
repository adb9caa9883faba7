"""Makes pixels.json: CRC-32 of what torchvision's transforms, as timm and I-ViT compose them, make of patterns.

pip install torchvision==0.29.1 pillow==13.0.0 && python -m tests.data.torchvision.make
"""

import json
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision import transforms

from tests.support.seeded import pattern

CASES = [
    (size, crop)
    for size in ((300, 400), (400, 300), (256, 256), (100, 90), (375, 500), (640, 227), (224, 224))
    for crop in (0.875, 0.9, 1.0)
]


def main():
    found = []
    for size, crop in CASES:
        image = Image.fromarray(pattern(*size))
        resized = transforms.Resize(int(224 / crop), interpolation=transforms.InterpolationMode.BICUBIC)(image)
        pixels = np.asarray(transforms.CenterCrop(224)(resized)).transpose(2, 0, 1)
        found.append({"size": size, "crop": crop, "crc32": zlib.crc32(pixels.tobytes())})
    text = "[\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in found) + "\n]\n"
    Path(__file__).with_name("pixels.json").write_text(text)


if __name__ == "__main__":
    main()
