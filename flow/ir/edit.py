"""A float ONNX graph being rewritten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper


@dataclass
class Edit:
    """A model being rewritten in place: constants by name, readers by tensor."""

    model: ModelProto

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.weights = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.outputs = {o.name for o in graph.output}
        self.shapes = {
            v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
            for v in [*graph.input, *graph.value_info, *graph.output]
        }

    def readers(self, name: str) -> list[NodeProto]:
        return [n for n in self.model.graph.node if name in n.input]

    def producer(self, name: str) -> NodeProto | None:
        return next((n for n in self.model.graph.node if name in n.output), None)

    def alone(self, name: str) -> bool:
        """True when one node reads the tensor and it is no output."""
        return name not in self.outputs and len(self.readers(name)) == 1

    def store(self, name: str, values: NDArray[Any]) -> str:
        """A new constant under a name not in use."""
        taken = {*self.weights, *self.shapes, *(o for n in self.model.graph.node for o in n.output)}
        while name in taken:
            name += "_"
        self.weights[name] = values
        self.model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def before(self, node: NodeProto, op_type: str, inputs: list[str], **attributes: Any) -> str:
        """The output of a new node in front of ``node``."""
        taken = {o for n in self.model.graph.node for o in n.output} | {*self.weights, *self.shapes}
        name = next(n for k in range(len(taken) + 1) if (n := f"{node.output[0]}_{op_type}{k or ''}") not in taken)
        made = helper.make_node(op_type, inputs, [name], **attributes)
        self.model.graph.node.insert(list(self.model.graph.node).index(node), made)
        return name

    def become(self, node: NodeProto, op_type: str, inputs: list[str], **attributes: Any) -> None:
        """Another operator in the place of ``node``, its output kept."""
        node.op_type, node.input[:] = op_type, inputs
        del node.attribute[:]
        node.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())

    def bypass(self, node: NodeProto) -> None:
        """Remove a node, its readers reading its first input; an output keeps its name."""
        source, target = node.input[0], node.output[0]
        self.model.graph.node.remove(node)
        if target in self.outputs:
            maker = self.producer(source)
            assert maker is not None, "callers keep a node between an input and an output"
            maker.output[list(maker.output).index(source)] = target
            source, target = target, source
        for reader in self.readers(target):
            for k, name in enumerate(reader.input):
                if name == target:
                    reader.input[k] = source

    def finish(self) -> ModelProto:
        """The model without constants that nothing reads."""
        graph = self.model.graph
        read = {i for n in graph.node for i in n.input} | self.outputs
        for t in [t for t in graph.initializer if t.name not in read]:
            graph.initializer.remove(t)
        return self.model

    def nodes(self, *op_types: str) -> Iterator[NodeProto]:
        yield from [n for n in self.model.graph.node if n.op_type in op_types]
