"""What LiteX makes around the accelerator: clocks, memory controller, Ethernet."""
