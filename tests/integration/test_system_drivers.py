"""The generated drivers against stand-ins for PYNQ and pyxrt whose devices run the project's own compiled C++."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flow import codegen, mapping, system
from flow.board import load
from flow.design import Design
from flow.fixed import Quant
from flow.ir import emit, onnx_file
from flow.ir.graph import Graph
from flow.ir.ops import Conv
from flow.toolchain import gpp
from tests import networks

MOCKS = Path(__file__).parents[1] / "mock_tools"
pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


def pixels() -> networks.Draft:
    """uint8 pixels, 105 elements in 32-bit words of 4 (27 words, 3 slots empty); 5 outputs in 2 words."""
    d = networks.Draft((3, 5, 7), seed=3)
    d.dense(d.conv("input", 4), 5)
    return d


def narrow() -> networks.Draft:
    """Signed 6-bit inputs, 27 elements in 7 words; 12-bit outputs in slots of 16 bits, 45 of them in 23 words."""
    d = networks.Draft((3, 3, 3), Quant(6, True, 2.0**-3), seed=4)
    d.conv("input", 5, bits=12, signed=True)
    return d


DRAFTS: dict[str, Callable[[], networks.Draft]] = {"pixels": pixels, "narrow": narrow}


@dataclass(frozen=True, eq=False)
class Project:
    graph: Graph
    folder: Path
    view: dict[str, Any]

    def images(self, n: int, seed: int = 0) -> np.ndarray:
        t = self.graph.tensors["input"]
        return np.random.default_rng(seed).integers(t.quant.lo, t.quant.hi + 1, (n, *t.shape), dtype=np.int64)

    def expected(self, images: np.ndarray) -> np.ndarray:
        return self.graph.evaluate(images)[self.graph.output]


@cache
def design(name: str, board: str) -> Design:
    found = mapping.solve(DRAFTS[name]().graph(), load(board))
    assert isinstance(found, Design)
    return found


def write(folder: Path, name: str, board: str) -> Project:
    found = design(name, board)
    for path, content in (codegen.plan(found).files | system.files(found)).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / "model.onnx").write_bytes(emit.model(found.graph).SerializeToString())
    return Project(found.graph, folder, codegen.describe(found))


def compiled(project: Project, harness: str, native: bool) -> Path:
    """A harness with the project's sources, and the file that tells the stand-ins about it."""
    program = project.folder / "device"
    sources = [str(MOCKS / harness), str(project.folder / "hls/accel.cpp")]
    includes = [f"-I{project.folder / 'hls'}", f"-I{project.folder / 'vivado'}"]
    options = [o for o in gpp.flags(native) if not o.startswith("-O")]
    subprocess.run(["g++", *options, "-O0", *includes, *sources, "-o", str(program)], check=True)
    ends = {"in": project.view["input"], "out": project.view["output"]}
    facts: dict[str, Any] = {"program": str(program)}
    for way, end in ends.items():
        facts |= {f"words_{way}": end["words"], f"word_{way}": end["axis_bits"] // 8}
        facts[f"bytes_{way}"] = end["words"] * end["axis_bits"] // 8
    description = project.folder / "device.json"
    description.write_text(json.dumps(facts))
    return description


TARGETS = {
    "driver": ("zcu102", "stream_harness.cpp", True, (".bit", ".hwh")),
    "host_xrt": ("u250", "card_harness.cpp", False, (".xclbin",)),
}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Project]:
    """The project of a network for the driver or for the host program, compiled once."""

    @cache
    def make(target: str, name: str) -> Project:
        board, harness, native, suffixes = TARGETS[target]
        project = write(tmp_path_factory.mktemp(name), name, board)
        compiled(project, harness, native)
        for suffix in suffixes:
            (project.folder / "driver/accel").with_suffix(suffix).write_text("")
        return project

    return make


@pytest.fixture(params=list(DRAFTS))
def pynq_project(request: pytest.FixtureRequest, build: Callable[[str, str], Project]) -> Project:
    return build("driver", request.param)


@pytest.fixture(params=list(DRAFTS))
def xrt_project(request: pytest.FixtureRequest, build: Callable[[str, str], Project]) -> Project:
    return build("host_xrt", request.param)


@pytest.fixture(params=[(t, n) for t in TARGETS for n in DRAFTS], ids="-".join)
def either(request: pytest.FixtureRequest, build: Callable[[str, str], Project], module: Callable[..., Any]) -> Any:
    """A project, its imported program, and the path of its binary."""
    target, name = request.param
    project = build(target, name)
    return project, module(project, target), (project.folder / "driver/accel").with_suffix(TARGETS[target][3][0])


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Project, str], Any]]:
    """Import a project's driver as a program on the board would, and forget it afterwards."""
    names = ("driver", "host_xrt", "images", "pynq", "pyxrt")

    def load_module(project: Project, name: str) -> Any:
        monkeypatch.setenv("FAKE_DEVICE", str(project.folder / "device.json"))
        monkeypatch.syspath_prepend(str(MOCKS / "fake_pynq"))
        monkeypatch.syspath_prepend(str(project.folder / "driver"))
        for n in names:
            sys.modules.pop(n, None)
        return importlib.import_module(name)

    yield load_module
    overlay = getattr(sys.modules.get("pynq"), "Overlay", None)
    if overlay is not None and overlay.current is not None:
        overlay.current.close()
    for n in names:
        sys.modules.pop(n, None)


@pytest.mark.parametrize("latch", ["early", "late"])
def test_pynq_batches(
    pynq_project: Project, module: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, latch: str
) -> None:
    """Batches of 1, 3 and 17 in any order, split into transfers of at most 8, give the network's integers."""
    monkeypatch.setenv("FAKE_LATCH", latch)
    driver = module(pynq_project, "driver")
    device = driver.Accelerator(pynq_project.folder / "driver/accel.bit", batch=8, timeout_s=0.3)
    for seed, n in enumerate((1, 3, 17, 1, 17, 3, 9, 1, 2)):
        images = pynq_project.images(n, seed)
        assert np.array_equal(device.run(images), pynq_project.expected(images))
    assert sys.modules["pynq"].Overlay.loaded == 1
    device.close()


def test_batches_of_one_would_hang_without_the_second_image(
    pynq_project: Project, module: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why LEAST is 2: the call in waiting has read the batch length already."""
    driver = module(pynq_project, "driver")
    monkeypatch.setattr(driver, "LEAST", 1)
    device = driver.Accelerator(pynq_project.folder / "driver/accel.bit", timeout_s=0.3)
    images = pynq_project.images(3)
    assert np.array_equal(device.run(images), pynq_project.expected(images))
    with pytest.raises(TimeoutError):
        device.run(images[:1])


def test_xrt_batches(xrt_project: Project, module: Callable[..., Any]) -> None:
    host = module(xrt_project, "host_xrt")
    card = host.Accelerator(xrt_project.folder / "driver/accel.xclbin", batch=8)
    for seed, n in enumerate((1, 3, 17, 1)):
        images = xrt_project.images(n, seed)
        assert np.array_equal(card.run(images), xrt_project.expected(images))


def test_a_lost_word_is_a_timeout_and_the_next_batch_is_right(either: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project, program, binary = either
    device = program.Accelerator(binary, timeout_s=0.2)
    images = project.images(5)
    monkeypatch.setenv("FAKE_FAULT", "drop")
    with pytest.raises(TimeoutError, match=r"within 0\.2 s"):
        device.run(images)
    assert np.array_equal(device.run(images), project.expected(images))


@pytest.mark.parametrize("n", [1, 3, 17])
def test_onnxruntime_agrees(either: Any, n: int) -> None:
    """Real-valued outputs are those of onnxruntime on model.onnx, bit for bit; validate says the same."""
    project, program, binary = either
    device = program.Accelerator(binary, batch=16)
    rng = np.random.default_rng(n)
    quant, shape = project.graph.tensors["input"].quant, project.graph.tensors["input"].shape
    real = (rng.uniform(quant.lo - 3, quant.hi + 3, (n, *shape)) * quant.scale).astype(np.float32)
    wanted = onnx_file.run(onnx_file.read(project.folder / "model.onnx"), real)
    found = device.execute(real)
    assert found.dtype == np.float32 and np.array_equal(found.reshape(n, -1), np.asarray(wanted).reshape(n, -1))
    size = n * int(np.prod(project.view["output"]["shape"]))
    verdict = {"images": n, "outputs": size, "mismatches": 0, "max_abs_diff": 0}
    assert device.validate(real, str(project.folder / "model.onnx")) == verdict


def test_validate_finds_another_network(pynq_project: Project, module: Callable[..., Any], tmp_path: Path) -> None:
    first, *rest = pynq_project.graph.nodes
    assert isinstance(first.op, Conv)
    nodes = (replace(first, op=replace(first.op, weight=-first.op.weight)), *rest)
    model = tmp_path / "other.onnx"
    model.write_bytes(emit.model(replace(pynq_project.graph, nodes=nodes)).SerializeToString())
    device = module(pynq_project, "driver").Accelerator(pynq_project.folder / "driver/accel.bit")
    verdict = device.validate(pynq_project.images(5), str(model))
    assert verdict["mismatches"] > 0 and verdict["max_abs_diff"] > 0


def test_pixels_and_integers_and_reals(pynq_project: Project, module: Callable[..., Any]) -> None:
    source = module(pynq_project, "driver").SOURCE
    quant, shape = pynq_project.graph.tensors["input"].quant, pynq_project.graph.tensors["input"].shape
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 256, (2, *shape)).astype(np.uint8)
    taken = source.integers(grey)
    assert np.array_equal(taken, quant.quantise(grey.astype(np.float32) / 256))
    assert (taken is grey) == (quant.scale == 1 / 256)  # untouched where pixels are the network's own format
    # Ties go to the even integer, values outside are clipped.
    ties = np.resize(np.array([0.5, 1.5, 2.5, -0.5, -1e9, 1e9]) * quant.scale, (1, *shape)).astype(np.float32)
    assert np.array_equal(source.integers(ties), quant.quantise(ties))
    assert source.integers(ties).reshape(-1)[:3].tolist() == [0, 2, 2]
    for wrong, message in (
        (grey[0], "images of shape"),
        (grey[:0], "N at least 1"),
        (grey.transpose(0, 2, 3, 1)[:, :2], "images of shape"),
        (np.full((1, *shape), quant.hi + 1), "wanted"),
        (np.full((1, *shape), quant.lo - 1), "wanted"),
        (np.zeros((1, *shape), complex), "images of type"),
    ):
        with pytest.raises(ValueError, match=message):
            source.integers(wrong)


def test_packing_is_that_of_the_test_bench(pynq_project: Project, module: Callable[..., Any]) -> None:
    driver = module(pynq_project, "driver")
    for tensor, end in ((driver.SOURCE, "input"), (driver.SINK, "output")):
        view = pynq_project.view[end]
        assert tensor.elements % (view["axis_bits"] // view["slot_bits"]) != 0  # the case at hand: padded words
        values = np.random.default_rng(2).integers(tensor.lo, tensor.hi + 1, (3, *tensor.shape))
        packed = tensor.pack(values)
        used = tensor.elements * view["slot_bits"] // 8
        assert packed[:, :used].tobytes() == codegen.pack(values, view["slot_bits"])
        assert packed.shape[1] == view["words"] * view["axis_bits"] // 8 and not packed[:, used:].any()
        assert np.array_equal(tensor.unpack(packed), values)


def test_length_register_limits_the_batch(
    pynq_project: Project, module: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = module(pynq_project, "driver")
    assert driver.LONGEST == 2**26 - 1
    path = pynq_project.folder / "driver/accel.bit"
    largest = max(driver.SOURCE.image_bytes, driver.SINK.image_bytes)
    monkeypatch.setattr(driver, "LONGEST", 5 * largest + 1)
    device = driver.Accelerator(path, batch=1000)
    assert device.batch == 5
    images = pynq_project.images(11)
    assert np.array_equal(device.run(images), pynq_project.expected(images))
    monkeypatch.setattr(driver, "LONGEST", largest)
    with pytest.raises(ValueError, match="more than half"):
        driver.Accelerator(path)


def program(project: Project, name: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(MOCKS / "fake_pynq")])
    environment = {**os.environ, "PYTHONPATH": path, "FAKE_DEVICE": str(project.folder / "device.json")}
    command = [sys.executable, str(project.folder / "driver" / name), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_command_line(pynq_project: Project, tmp_path: Path) -> None:
    """FINN's options: execute, throughput_test; and validate."""
    images = pynq_project.images(3)
    np.save(tmp_path / "x.npy", images)
    done = program(pynq_project, "driver.py", "--inputfile", "x.npy", "--outputfile", "y.npy", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    quant = pynq_project.graph.tensors[pynq_project.graph.output].quant
    assert np.array_equal(np.load(tmp_path / "y.npy"), quant.real(pynq_project.expected(images)))
    timed = program(pynq_project, "driver.py", "--exec_mode", "throughput_test", "--batchsize", "4", cwd=tmp_path)
    metrics = json.loads(timed.stdout)
    assert metrics == json.loads((tmp_path / "nw_metrics.txt").read_text())
    assert metrics["batch_size"] == 4 and metrics["fclk[mhz]"] == 200.0
    assert metrics["throughput[images/s]"] == pytest.approx(4e3 / metrics["runtime[ms]"])
    checked = program(pynq_project, "driver.py", "--exec_mode", "validate", "--inputfile", "x.npy", cwd=tmp_path)
    assert checked.returncode == 0 and json.loads(checked.stdout)["mismatches"] == 0
    missing = program(pynq_project, "driver.py", "--bitfile", "none.bit", "--inputfile", "x.npy", cwd=tmp_path)
    assert (
        missing.returncode == 1 and missing.stderr.startswith("error: ") and "none.bit does not exist" in missing.stderr
    )
    assert program(pynq_project, "driver.py", "--batchsize", "0", cwd=tmp_path).returncode == 2


def test_command_line_of_the_host(xrt_project: Project, tmp_path: Path) -> None:
    images = xrt_project.images(3)
    np.save(tmp_path / "x.npy", images)
    done = program(xrt_project, "host_xrt.py", "--inputfile", "x.npy", "--outputfile", "y.npy", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    quant = xrt_project.graph.tensors[xrt_project.graph.output].quant
    assert np.array_equal(np.load(tmp_path / "y.npy"), quant.real(xrt_project.expected(images)))
