"""The AXI4 side of the core: pins, arbiter, width conversion."""
