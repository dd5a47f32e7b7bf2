"""Operators and graphs of the onnx package: computed bit for bit after quantisation, or refused in one line.

``flow bench operators`` judges every single-operator case of the onnx wheel whose operator occurs in convolutional
networks; ``flow bench operators light`` its whole networks, weights randomised. "exact": the integer graph gives what
ONNX Runtime gives on the quantised model, for every output, and both are near the float model. Run as a script, it
writes the table of docs/operators.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from flow.ir import onnx_file, passes, qdq, quantise
from flow.ir.onnx_file import ModelError

GROUPS: dict[str, tuple[str, ...]] = {
    "Weights": ("Conv", "ConvTranspose", "Gemm", "MatMul"),
    "Pooling": (
        *("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "ReduceSum"),
        "LpPool",
    ),
    "Two maps": ("Add", "Sub", "Mul", "Div", "Sum", "Concat", "Min", "Max"),
    "Movement": (
        *("Slice", "Split", "Pad", "Resize", "Upsample", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"),
        *("Gather", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "Identity", "Dropout"),
    ),
    "Limits and functions": (
        *("Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Gelu", "Erf", "Elu"),
        *("Selu", "Celu", "Softplus", "Softsign", "Mish", "ThresholdedRelu", "Shrink", "Exp", "Log", "Sqrt", "Pow"),
        *("Abs", "Neg", "Reciprocal", "Sign", "Floor", "Ceil", "Round"),
    ),
    "Normalisation and classifiers": (
        *("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LayerNormalization", "LRN"),
        *("Softmax", "LogSoftmax", "ArgMax"),
    ),
}
FAR = 0.1  # of the largest output, for nine outputs of ten: far more than rounding to 8 bits explains


def node_cases() -> dict[str, list[Any]]:
    """ONNX's cases of one node each, by operator."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    single = [c for c in found if len(c.model.graph.node) == 1]
    names = [op for group in GROUPS.values() for op in group]
    return {op: [c for c in single if c.model.graph.node[0].op_type == op] for op in names}


def as_network(case: Any) -> ModelProto:
    """The case's model with a batch of one image, and every other input stored, as in a network.

    Two inputs of one shape are both fed with the image when the operator takes two maps.  Raises ModelError.
    """
    model, inputs = ModelProto(), case.data_sets[0][0]
    model.CopyFrom(case.model)
    node, first = model.graph.node[0], model.graph.input[0]
    for value, data in zip(list(model.graph.input)[1:], inputs[1:], strict=False):
        if not isinstance(data, np.ndarray | np.generic):
            raise ModelError("takes a sequence")
        if node.op_type in GROUPS["Two maps"] and data.shape == inputs[0].shape and node.op_type != "Div":
            node.input[:] = [first.name if i == value.name else i for i in node.input]
        else:
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(data), value.name))
        model.graph.input.remove(value)
    if node.op_type == "Split":
        del model.graph.output[1:]
    for opset in model.opset_import:
        opset.version = min(opset.version, onnx_file.MAX_OPSET)
    dims = first.type.tensor_type.shape.dim
    if len(dims) in (2, 3, 4):
        dims[0].dim_value = 1
    return onnx_file.checked(model)


def judge(model: ModelProto, images: int = 6, seed: int = 0) -> str:
    """ "exact", or what differs.  Raises ModelError for what is refused."""
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    x = np.random.default_rng(seed).normal(size=(images, *shape)).astype(np.float32)
    result = quantise.quantise(model, x)
    graph = qdq.load(result)
    (want,), (got,) = onnx_file.run(passes.headless(model)[0], x), onnx_file.run(result, x)
    real = integers(graph, x, got.shape)
    if not np.array_equal(real, got):
        return f"{np.count_nonzero(real != got)} of {got.size} outputs differ from ONNX Runtime's"
    error = np.quantile(np.abs(got.reshape(want.shape) - want), 0.9) / (np.abs(want).max() + 1e-9)
    return "exact" if error < FAR else f"{error:.0%} from the float model"


def integers(graph: Any, x: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The integer graph's outputs as real numbers."""
    tensor = graph.tensors["input"]
    out = graph.evaluate(tensor.quant.quantise(x).reshape(len(x), *tensor.shape))[graph.output]
    real: NDArray[np.float32] = graph.tensors[graph.output].quant.real(out)
    return real.reshape(shape)


def outcome(case: Any) -> tuple[str, str]:
    """ "exact", "refused" or "DIFFERENT", and the words."""
    try:
        verdict = judge(as_network(case))
    except ModelError as e:
        return "refused", str(e)
    return ("exact", "") if verdict == "exact" else ("DIFFERENT", f"{case.name}: {verdict}")


def operator_rows() -> Iterator[dict[str, Any]]:
    """One row an operator: cases, bit-exact ones, refused ones with the most frequent reason, different ones."""
    cases = node_cases()
    for group, names in GROUPS.items():
        for op in names:
            found = [outcome(c) for c in cases[op]]
            reasons = [words.partition("): ")[2] or words for kind, words in found if kind != "exact"]
            yield {
                "kind": group,
                "operator": op,
                "cases": len(found),
                "bit-exact": sum(kind == "exact" for kind, _ in found),
                "refused": sum(kind == "refused" for kind, _ in found),
                "silently different": sum(kind == "DIFFERENT" for kind, _ in found),
                "most refused because": max(reasons, key=reasons.count).partition(" (supported:")[0] if reasons else "",
            }


def light_graphs() -> list[Path]:
    return sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))


def randomised(path: Path, seed: int = 0) -> ModelProto:
    """A light graph with random weights in place of its constant ones, of a size that keeps activations alive."""
    rng, model = np.random.default_rng(seed), onnx.load(path)
    graph = model.graph
    shapes = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    makers = {n.output[0]: n for n in graph.node if n.op_type == "ConstantOfShape"}
    roles = {i: (n.op_type, k) for n in graph.node for k, i in enumerate(n.input)}
    for name, node in makers.items():
        shape = tuple(int(v) for v in shapes[node.input[0]])
        kind, position = roles.get(name, ("", 0))
        fan = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        values = rng.normal(size=shape) * (np.sqrt(2 / fan) if len(shape) > 1 else 0.1)
        if len(shape) == 1 and (kind != "Conv" and kind != "Gemm") and position != 3:
            values = np.abs(values) + 0.7  # scales and variances
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
        graph.node.remove(node)
    stored = {t.name for t in graph.initializer}
    for value in [v for v in graph.input if v.name in stored]:
        graph.input.remove(value)
    return onnx_file.checked(model)


def light_rows(names: list[str]) -> Iterator[dict[str, Any]]:
    for path in light_graphs():
        name = path.stem.removeprefix("light_")
        if names and name not in names:
            continue
        try:
            verdict = judge(randomised(path), 1)
        except ModelError as e:
            verdict = f"refused: {e}".partition(" (supported:")[0]
        yield {"network": name, "result": verdict}


def tables(arguments: list[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """``light [NAME ...]``: whole networks; else single operators."""
    if arguments[:1] == ["light"]:
        yield "Networks of the onnx package, weights randomised", list(light_rows(arguments[1:]))
    else:
        yield "Single-operator cases of the onnx package", list(operator_rows())


def markdown(rows: list[dict[str, Any]]) -> str:
    keys = list(rows[0])
    lines = [keys, ["---"] * len(keys), *([str(r[k]).replace("|", "/") for k in keys] for r in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


MARK = "<!-- table: benchmarks/operators.py -->"
DOCUMENT = Path(__file__).parents[1] / "docs" / "operators.md"


def documented() -> str:
    """The text of docs/operators.md with its table made anew."""
    head, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(MARK)
    _, _, tail = rest.partition(MARK)
    return f"{head}{MARK}\n\n{markdown(list(operator_rows()))}\n\n{MARK}{tail}"


if __name__ == "__main__":
    DOCUMENT.write_text(documented(), encoding="utf-8")
