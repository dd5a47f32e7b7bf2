"""A graph being rewritten node by node: fresh names, constants, quantisers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from flow.ir.messages import ModelError, node_label, one_line


def refusal(node: NodeProto, reason: str) -> ModelError:
    return ModelError(f"{node_label(node)}: {reason}")


Done = TypeVar("Done")


def fitting(rewrite: Callable[[], Done], node: NodeProto) -> Done:
    """The result of a rewriting; parameters whose shapes contradict each other are a refusal of ``node``."""
    try:
        return rewrite()
    except ModelError:
        raise
    except (ValueError, LookupError, TypeError, OverflowError) as e:
        raise refusal(node, f"its parameters do not fit together ({one_line(str(e), 80)}); export again") from None


class Rewriter:
    """Reads one model and collects the nodes of another; the first is not changed."""

    def __init__(self, model: ModelProto) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        graph = self.model.graph
        self.constants: dict[str, NDArray[Any]] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.taken = {*self.constants, *(v.name for v in graph.input), *(o for n in graph.node for o in n.output)}
        self.formats: dict[str, tuple[str, str]] = {}  # integer tensor -> names of its scale and zero point
        self.nodes: list[NodeProto] = []
        self.opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
        self.wide = False  # a 16-bit quantiser was written

    def fresh(self, base: str) -> str:
        name, k = base, 0
        while name in self.taken:
            k += 1
            name = f"{base}_{k}"
        self.taken.add(name)
        return name

    def constant(self, base: str, values: NDArray[Any] | np.generic) -> str:
        name = self.fresh(base)
        array = np.asarray(values)
        self.model.graph.initializer.append(numpy_helper.from_array(array, name))
        self.constants[name] = array
        return name

    def array(self, node: NodeProto, k: int) -> NDArray[Any]:
        """A constant input.  Raises ModelError when it is computed or missing."""
        name = node.input[k] if k < len(node.input) else ""
        if name not in self.constants:
            raise refusal(node, f"input {k} is computed or missing; quantise statically, with constant parameters")
        return self.constants[name]

    def scalar(self, node: NodeProto, k: int) -> float:
        values = self.array(node, k)
        if values.size != 1:
            raise refusal(node, f"input {k} holds {values.size} numbers where one is supported; quantise per tensor")
        return float(values.reshape(()))

    def add(self, op_type: str, inputs: Sequence[str], output: str, name: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], name=name, **attributes))
        return output

    def dequantised(self, stored: str, scale: str, zero: str, axis: int | None = None) -> str:
        """The real values of an integer tensor; ``axis``: of scales per channel."""
        many = self.constants[scale].size > 1 if scale in self.constants else False
        inputs = [stored, scale, *([zero] if zero else [])]
        extra: dict[str, Any] = {} if not many or axis is None else {"axis": axis}
        return self.add("DequantizeLinear", inputs, self.fresh(f"{stored}_real"), **extra)

    def quantised(self, real: str, scale: str, zero: str, output: str) -> str:
        self.formats[output] = (scale, zero)
        self.wide |= zero in self.constants and self.constants[zero].dtype.itemsize == 2
        return self.add("QuantizeLinear", [real, scale, *([zero] if zero else [])], output)

    def finished(self, domains: set[str]) -> ModelProto:
        """The rewritten model, importing the operator sets of ``domains`` only."""
        graph = self.model.graph
        del graph.node[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        read = {i for n in self.nodes for i in n.input} | {o.name for o in graph.output}
        unread = {t.name for t in graph.initializer} - read
        for values in (graph.initializer, graph.input):  # old files list weights among the inputs
            for v in [v for v in values if v.name in unread]:
                values.remove(v)
        for o in [o for o in self.model.opset_import if o.domain not in domains]:
            self.model.opset_import.remove(o)
        return self.model
