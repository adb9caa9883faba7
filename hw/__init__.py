"""The accelerator generator: gateware in Amaranth, and the specification it shares with the host."""
