"""Host software: integer models, quantizer, compiler, driver, command line.

>>> import firmware
>>> model = firmware.load_model("examples/digits/digits.safetensors")
>>> with firmware.open("golden") as device:  # or sim:arty_a7, serial:/dev/ttyUSB0, udp:192.168.1.50
...     device.load(model)
...     logits = device.run(images)  # uint8 pixels
>>> model.classify(logits)

Each name is imported when it is first used, so `import firmware` takes no time and needs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware.names import __dir__, __getattr__

if TYPE_CHECKING:
    from firmware.checkpoint import load_checkpoint
    from firmware.compiler import CompileError, Program, compile_model
    from firmware.device import Accelerator
    from firmware.devices import Device
    from firmware.devices import open_device as open
    from firmware.errors import UserError
    from firmware.ivit import model_from_state as import_ivit
    from firmware.model_file import load_model, save_model
    from firmware.quantizer import quantize
    from firmware.transport import DeviceError
    from hw.boards.registry import find as board
    from hw.spec.config import Config, ConfigError
    from hw.spec.model import Model, ModelError

__all__ = [
    "Accelerator",
    "CompileError",
    "Config",
    "ConfigError",
    "Device",
    "DeviceError",
    "Model",
    "ModelError",
    "Program",
    "UserError",
    "__dir__",
    "__getattr__",
    "board",
    "compile_model",
    "import_ivit",
    "load_checkpoint",
    "load_model",
    "open",
    "quantize",
    "save_model",
]  # fmt: skip
