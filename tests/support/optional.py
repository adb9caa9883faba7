"""Packages of the extra `import`, which tests use where they are installed."""

import importlib

import pytest

__all__ = ["optional"]


def optional(name):
    """Module `name`; skips the test where it is absent or does not load (torch and torchvision of unequal builds)."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name}: {error}")
