"""Networks, whole, through the host API on the compiled gateware with several slices."""

from pathlib import Path

import numpy as np
import pytest

from firmware.compiler import compile_model
from firmware.device import Accelerator
from firmware.model_file import load_model
from firmware.preprocess import to_int8
from hw.boards.registry import find
from sim import golden
from sim.cycles import predict
from tests.firmware.test_compiler import images_for
from tests.support.models import random_model
from tests.support.swin import random_swin

DIGITS = Path(__file__).parent.parent / "examples" / "digits"


@pytest.fixture(scope="module", params=["slices=2", "slices=3"])
def device(request):
    with Accelerator.open(f"sim:tiny?{request.param}") as opened:
        yield opened


def test_digits(device):
    model = load_model(DIGITS / "digits.safetensors")
    images = to_int8(np.load(DIGITS / "images.npy")[:3], model)
    device.load(model)
    np.testing.assert_array_equal(device.run(images), golden.run(model, images))


@pytest.mark.parametrize("model", [
    random_model(seed=3, image=(3, 72, 72), depth=2), random_swin(seed=3, image=(3, 64, 64), attention_bits=16),
], ids=lambda model: model.name)  # fmt: skip
def test_uneven_super_tiles(device, model):
    """Several of them; and the cycle model knows what they take."""
    images, board = images_for(model, 1), find("tiny").configured(device.config)
    program = compile_model(model, board)
    device.load(program)
    np.testing.assert_array_equal(device.run(images), golden.run(model, images))
    predicted, measured = predict(program).cycles, device.profile().cycles
    assert abs(predicted / measured - 1) < 0.05, (predicted, measured)
