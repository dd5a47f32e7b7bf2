"""Networks exported from torch by both exporters: read, simplified, quantised, and bit-exact against ONNX Runtime."""

import warnings

import numpy as np
import pytest

from flow.ir import emit, onnx_file, qdq, quantise

torch = pytest.importorskip("torch")
nn = torch.nn


class LeNet(nn.Module):
    shape = (1, 28, 28)

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.dense = nn.Sequential(nn.Linear(400, 120), nn.ReLU(), nn.Dropout(), nn.Linear(120, 10))

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.first(x)), 2)
        x = torch.max_pool2d(torch.relu(self.second(x)), 2)
        return self.dense(x.view(x.size(0), -1))


class Residual(nn.Module):
    def __init__(self, inside, outside, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        plain = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
        self.skip = nn.Identity() if stride == 1 and inside == outside else plain

    def forward(self, x):
        return torch.relu(self.body(x) + self.skip(x))


def resnet():
    head = [nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)]
    return nn.Sequential(*head, Residual(8, 8, 1), Residual(8, 16, 2), *tail)


def depthwise():
    return nn.Sequential(
        nn.BatchNorm2d(3),
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6()),
        *(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
        *(nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16), nn.ReLU6()),
        *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256, 10)),
    )


NETWORKS = {"lenet": (LeNet, (1, 28, 28)), "resnet": (resnet, (3, 16, 16)), "depthwise": (depthwise, (3, 16, 16))}


def exported(name, dynamo, free_batch, path):
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    network = make()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 2)
    network.eval()
    options = {"dynamic_axes": {"x": {0: "batch"}}, "input_names": ["x"]} if free_batch else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.randn(1, *shape),), str(path), dynamo=dynamo, verbose=False, **options)
    return shape


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("dynamo", "free_batch"), [(False, False), (False, True), (True, False)])
def test_exported_networks(name, dynamo, free_batch, tmp_path):
    shape = exported(name, dynamo, free_batch, tmp_path / "m.onnx")
    model = onnx_file.read(tmp_path / "m.onnx")
    rng = np.random.default_rng(0)
    result = quantise.quantise(model, rng.normal(size=(48, *shape)).astype(np.float32))
    graph = qdq.load(result)
    assert emit.exact_in_float32(graph) == [] and qdq.notes(result) == ()
    assert {n.op.kind for n in graph.nodes} <= {"Conv", "Gemm", "Add", "MaxPool", "AveragePool"}

    images = rng.normal(size=(150, *shape)).astype(np.float32)
    (want,), (got,) = onnx_file.run(model, images), onnx_file.run(result, images)
    integers = graph.evaluate(graph.tensors["input"].quant.quantise(images))[graph.output]
    assert np.array_equal(graph.tensors[graph.output].quant.real(integers).reshape(got.shape), got)
    assert (want.argmax(1) == got.argmax(1)).mean() > 0.95
    assert qdq.load(emit.model(graph)).digest == graph.digest
