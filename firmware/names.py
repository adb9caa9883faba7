"""The names that `import firmware` gives, each imported when it is first used."""

from __future__ import annotations

import importlib
import sys
from typing import Any

__all__ = ["PLACES", "__dir__", "__getattr__"]

PLACES = {
    "Accelerator": "firmware.device:Accelerator",
    "CompileError": "firmware.compiler:CompileError",
    "Config": "hw.spec.config:Config",
    "ConfigError": "hw.spec.config:ConfigError",
    "Device": "firmware.devices:Device",
    "DeviceError": "firmware.transport:DeviceError",
    "Model": "hw.spec.model:Model",
    "ModelError": "hw.spec.model:ModelError",
    "Program": "firmware.compiler:Program",
    "UserError": "firmware.errors:UserError",
    "board": "hw.boards.registry:find",
    "compile_model": "firmware.compiler:compile_model",
    "import_ivit": "firmware.ivit:model_from_state",
    "load_checkpoint": "firmware.checkpoint:load_checkpoint",
    "load_model": "firmware.model_file:load_model",
    "open": "firmware.devices:open_device",
    "quantize": "firmware.quantizer:quantize",
    "save_model": "firmware.model_file:save_model",
}


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module 'firmware' has no attribute {name!r}")
    module, _, attribute = PLACES[name].partition(":")
    value = getattr(importlib.import_module(module), attribute)
    setattr(sys.modules["firmware"], name, value)
    return value


def __dir__() -> list[str]:
    return sorted({*vars(sys.modules["firmware"]), *PLACES})
