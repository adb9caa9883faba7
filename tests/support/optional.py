"""What tests do without: packages of extras, one tool, and hours. Any other skip fails the run (tests/conftest.py)."""

import importlib

import pytest

__all__ = ["ALLOWED", "NETLISTS", "NO_ICARUS", "optional"]

NO_ICARUS = "Icarus Verilog is not installed"
NETLISTS = "a netlist takes a minute: NETLISTS=1"

# Why a test may be skipped, as regular expressions: CI installs torch; a bitstream takes half an hour; one
# netlist of a unit is always simulated.
ALLOWED = (
    "torch: No module named 'torch'", "could not import 'torch'", "place and route takes long: BITSTREAM=1", NO_ICARUS,
    NETLISTS,
)  # fmt: skip


def optional(name):
    """Module `name`; skips the test where it is absent or does not load."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name}: {error}")
