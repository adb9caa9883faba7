"""Post-training quantization of a float ViT, DeiT or Swin with I-ViT's operators and rules.

Weights are per output channel, symmetric, 8 bit; activations per tensor, 8 or 16 bit as I-ViT assigns them. Scales are
found operator by operator: each quantizer's range is taken from what the already quantized operators before it compute
on the calibration images, in exact integers. The graph is the importer's own: `Calibration` is
`firmware.graph.builder.Builder` choosing the scales that an official state would hold, so a model that is quantized
here and a checkpoint that is imported take the same road, in every family.
"""

from firmware.quantizer.budget import Spending, Wide, afforded, candidates, rewritten
from firmware.quantizer.convert import official_state, quantize
from firmware.quantizer.loss import ALONE_IMAGES, Loss, sensitivities, split, spread
from firmware.quantizer.loss_report import LossReport
from firmware.quantizer.lossy import Effects, LossyNetwork
from firmware.quantizer.measure import Measurement, nearness
from firmware.quantizer.ranges import RANGES
from firmware.quantizer.recipes import RECIPES, Recipe
from firmware.quantizer.trials import Trial, as_json, show_trials, try_recipes

__all__ = [
    "ALONE_IMAGES",
    "RANGES",
    "RECIPES",
    "Effects",
    "Loss",
    "LossReport",
    "LossyNetwork",
    "Measurement",
    "Recipe",
    "Spending",
    "Trial",
    "Wide",
    "afforded",
    "as_json",
    "candidates",
    "nearness",
    "official_state",
    "quantize",
    "rewritten",
    "sensitivities",
    "show_trials",
    "split",
    "spread",
    "try_recipes",
]
