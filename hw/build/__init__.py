"""Board name to Verilog, constraints, reports and bitstream: ``python -m hw.build``."""
