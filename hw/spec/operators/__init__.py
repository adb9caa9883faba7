"""The operators of an integer model's graph, one class in one file each; what they are made of is `operator`.

Importing this package registers those of ViT, Swin and BERT, in the order of the manual, docs/reference/operators.md.
"""

# isort: off
from hw.spec.operators.operator import OPERATORS, Attribute, Mask, ModelError, Node, Operator, Shape, Tensor, Value
from hw.spec.operators.operator import evaluate, operation, register, registered
from hw.spec.operators.input import Input
from hw.spec.operators.embedded import Embedded
from hw.spec.operators.patch_embed import PatchEmbed
from hw.spec.operators.concat_cls import ConcatCls
from hw.spec.operators.constant import Constant
from hw.spec.operators.linear import Linear
from hw.spec.operators.requantize import Requantize
from hw.spec.operators.add import Add
from hw.spec.operators.layer_norm import LayerNorm
from hw.spec.operators.scores import Scores
from hw.spec.operators.shiftmax import Shiftmax
from hw.spec.operators.context import Context
from hw.spec.operators.shift_gelu import ShiftGelu
from hw.spec.operators.table import Table
from hw.spec.operators.class_token import ClassToken
from hw.spec.operators.window_partition import WindowPartition
from hw.spec.operators.window_reverse import WindowReverse
from hw.spec.operators.merge import Merge
from hw.spec.operators.mean import Mean
from hw.spec.operators.pool import Pool
from hw.spec.operators.int_softmax import IntSoftmax
from hw.spec.operators.log_int_softmax import LogIntSoftmax
from hw.spec.operators.int_gelu import IntGelu
from hw.spec.operators.int_layer_norm import IntLayerNorm
from hw.spec.operators.l1_layer_norm import L1LayerNorm
from hw.spec.operators.ptf_layer_norm import PtfLayerNorm
# isort: on

__all__ = [
    "OPERATORS", "Add", "Attribute", "ClassToken", "ConcatCls", "Constant", "Context", "Embedded", "Input", "IntGelu",
    "IntLayerNorm", "IntSoftmax", "L1LayerNorm", "LayerNorm", "Linear", "LogIntSoftmax", "Mask", "Mean", "Merge",
    "ModelError", "Node", "Operator", "PatchEmbed", "Pool", "PtfLayerNorm", "Requantize", "Scores", "Shape",
    "ShiftGelu", "Shiftmax", "Table", "Tensor", "Value", "WindowPartition", "WindowReverse", "evaluate", "operation",
    "register", "registered",
]  # fmt: skip
