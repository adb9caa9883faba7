"""The sequencer: fetches, decodes and issues the program, and orders the engines by thresholds."""

from hw.sequencer.sequencer import Sequencer

__all__ = ["Sequencer"]
