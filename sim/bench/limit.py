"""Every bench has an end."""

__all__ = ["END"]

END = {"timeout_time": 50, "timeout_unit": "ms"}  # of simulated time: five million cycles
