"""From an integer model to a device program: pattern, place, schedule, assemble."""

from firmware.compiler.compile import compile_model
from firmware.compiler.program import Checkpoint, CompileError, Layer, Program

__all__ = ["Checkpoint", "CompileError", "Layer", "Program", "compile_model"]
