"""A board, simulated: the accelerator behind its host link, for the driver that boards use."""
