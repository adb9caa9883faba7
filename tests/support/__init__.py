"""Helpers the tests share."""

__all__: list[str] = []
