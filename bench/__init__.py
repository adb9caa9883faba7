"""Benchmarks of whole networks on the simulated gateware: `python -m bench deit`."""
