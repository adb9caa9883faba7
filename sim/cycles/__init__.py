"""Predicts how many cycles a program takes, without executing it: instruction by instruction, burst by burst."""

from sim.cycles.predict import Prediction, code_cycles, predict

__all__ = ["Prediction", "code_cycles", "predict"]
