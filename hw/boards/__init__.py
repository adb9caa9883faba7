"""Boards: part, pins, capacity, and what the system around the accelerator needs."""
