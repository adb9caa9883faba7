"""Where a device first departs from the golden model: the program is cut off after each block and compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.compiler import compile_model
from firmware.device import Accelerator
from firmware.report import first_difference
from hw.spec.isa import Region
from hw.spec.model import Model

__all__ = ["locate"]


def locate(
    device: Accelerator, model: Model, image: NDArray[np.int8], trace: Mapping[str, NDArray[Any]]
) -> dict[str, Any] | None:
    """The first difference between what `device` computes for one `image` [1, C, H, W] and the golden `trace`.

    Looks at the residual stream after the embedding and after each block, as far as the program computes it, then at
    the logits; None if all are equal.
    """
    program = compile_model(model, device.target)
    for checkpoint in program.checkpoints:
        device.load(program.until(checkpoint))
        device.run(image)
        expected = trace[checkpoint.tensor][:, : checkpoint.rows]
        raw = device.read_region(Region.WORK, checkpoint.offset, 2 * expected.size)
        difference = first_difference(checkpoint.tensor, expected, raw.view("<i2").reshape(expected.shape))
        if difference:
            return difference
    device.load(program)
    logits = model.nodes[-1].name
    return first_difference(logits, trace[logits], device.run(image))
