"""Golden model, machine model and compiled-RTL simulation of the accelerator."""
