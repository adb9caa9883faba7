"""Evaluating a model on many images: batches on local processes or a cluster, answers kept so that a run can go on."""

from firmware.evaluate.evaluation import Evaluation, evaluate
from firmware.evaluate.pools import Cluster, Local, Pool, PoolError

__all__ = ["Cluster", "Evaluation", "Local", "Pool", "PoolError", "evaluate"]
