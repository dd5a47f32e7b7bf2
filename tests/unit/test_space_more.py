"""The field's spaces: sizes, published networks, cells, blocks, refusals."""

import itertools
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flow.ir import emit, onnx_file, qdq
from flow.space import Options, SpaceError, load, names
from flow.space.genes import Genotype
from flow.space.nas_bench_201 import EDGES, OPS, live_edges
from flow.space.network import SpecError, random_graph
from flow.space.stack import Stack

MORE = ("co-explore-cifar", "fbnet-22", "fnas-mnist", "hsconas", "mobilenet", "nahas", "nas-bench-201")
FIXED = Options((8,), (8,), clocks_mhz=(200.0,), budgets=(0.5,))
CIFAR = (3, 32, 32)


def any_space(name: str, options: Options = FIXED) -> Any:
    return load(name, options)


def test_all_are_listed() -> None:
    assert set(MORE) <= set(names()) and "genes" not in names() and "stack" not in names()


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("fnas-mnist", 6561),
        ("nas-bench-201", 15625),
        ("co-explore-cifar", (32**15 - 32) // 31),
        ("fbnet-22", 9**22),
        ("mobilenet", 7371**5),
        ("nahas", 72**17),
        ("hsconas", 41**20),
    ],
)
def test_sizes(name: str, size: int) -> None:
    assert any_space(name).topologies() == size


@pytest.mark.parametrize("name", ["fnas-mnist", "nas-bench-201"])
def test_small_spaces_have_exactly_their_genotypes(name: str) -> None:
    space = any_space(name)
    every = {space.decode(code) for code in itertools.product(*(range(c) for c in space.genes()))}
    assert len(every) == space.topologies()
    assert len({json.dumps(space.dumps(g), sort_keys=True) for g in every}) == len(every)


def test_conditional_counts_by_enumeration_of_a_part() -> None:
    """Depth 1 and 2 of co-exploration's space: 32 and 1,024 genotypes, whatever the genes without effect say."""
    space = any_space("co-explore-cifar")
    counts = space.genes()
    for depth, size in ((1, 32), (2, 1024)):
        free = [range(c) if 3 <= i < 3 + 3 * depth else (0,) for i, c in enumerate(counts)]
        free[2] = (depth - 1,)
        rng = np.random.default_rng(depth)
        found = set()
        for code in itertools.product(*free):
            noise = [int(rng.integers(c)) for c in counts[3 + 3 * depth :]]
            found.add(space.decode([*code[: 3 + 3 * depth], *noise]))
        assert len(found) == size


def test_fnas_networks_by_hand() -> None:
    space = any_space("fnas-mnist")
    genes = {f"kernel{i}": k for i, k in enumerate((5, 7, 14, 5))} | {
        f"filters{i}": f for i, f in enumerate((9, 18, 36, 9))
    }
    spec = space.network(space.genotype(genes), (1, 28, 28), 10)
    assert [(x.kind, x.kernel, x.out_channels) for x in spec.layers] == [
        *(("conv", 5, 9), ("conv", 7, 18), ("conv", 14, 36), ("conv", 5, 9)),
        *(("gap", 1, 0), ("dense", 1, 10)),
    ]
    assert spec.macs == 784 * (25 * 9 + 49 * 9 * 18 + 196 * 18 * 36 + 25 * 36 * 9) + 90
    assert all(x.relu for x in spec.layers[:4]) and spec.shapes()[3] == (9, 28, 28)


@pytest.mark.parametrize(
    ("name", "depth", "strides", "size"),
    [("opt-hw", 6, 1, 16), ("opt-sw", 14, 3, 4), ("fixed-stride", 10, 0, 32)],
)
def test_co_exploration_s_published_networks(name: str, depth: int, strides: int, size: int) -> None:
    space = any_space("co-explore-cifar")
    g = space.published()[name]
    assert space.loads(json.loads(json.dumps(space.dumps(g)))) == g == space.decode(space.encode(g))
    spec = space.network(g, CIFAR, 10)
    convs = [x for x in spec.layers if x.kind == "conv"]
    assert len(convs) == depth and sum(x.stride == 2 for x in convs) == strides
    assert spec.shapes()[depth - 1][1:] == (size, size)
    assert {len(g.genes) - g.genes.count(None)} == {1 + 3 * depth + 2}


def test_opt_hw_layer_by_layer() -> None:
    space = any_space("co-explore-cifar")
    layers = space.network(space.published()["opt-hw"], CIFAR, 10).layers[:6]
    assert [(x.kernel, x.out_channels, x.stride) for x in layers] == [
        *((3, 36, 1), (5, 36, 1), (1, 64, 1), (3, 48, 2), (7, 24, 1), (1, 64, 1))
    ]
    with pytest.raises(SpaceError, match="filters1 = 40"):
        space.of(((3, 36, 1), (5, 40, 1)))
    with pytest.raises(SpaceError, match="depth = 15"):
        space.of(((3, 36, 1),) * 15)


FULL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"


def test_nas_bench_201_text_both_ways() -> None:
    space = any_space("nas-bench-201")
    rng = np.random.default_rng(0)
    for _ in range(50):
        g = space.sample(rng)
        assert space.of_cell(space.cell(g)) == g
    assert space.cell(space.of_cell(FULL)) == FULL
    for bad in ("", FULL.replace("~2", "~1"), FULL.replace("nor_conv_3x3~0", "conv~0", 1), FULL[:-17]):
        with pytest.raises(SpaceError):
            space.of_cell(bad)


def test_nas_bench_201_full_cell_has_the_published_work() -> None:
    """220.12 M multiply-accumulates on CIFAR-10; tested through its text."""
    space = any_space("nas-bench-201")
    spec = space.network(space.of_cell(FULL), CIFAR, 10)
    assert round(spec.macs / 1e6, 2) == 220.12
    assert sum(x.kind == "conv" and x.kernel == 3 for x in spec.layers) == 1 + 15 * 6 + 4


def test_nas_bench_201_work_is_the_benchmark_s() -> None:
    """Against tabulated FLOPs of cells whose edges are all live.

    The table also counts batch normalisation and ReLU (3 an output of a cell's convolution), the cells' averages (9 an
    output) and a constant for stem, reductions and end; dead edges too, which cost nothing here.
    """
    root = Path(os.environ.get("COEXPLORE_DATA", Path(__file__).parents[2] / ".." / "shared" / "data")) / "nas"
    if not (root / "nb201_zc_subset.npz").is_file():
        pytest.skip(f"no NAS-Bench-201 tables in {root}")
    table, cells = np.load(root / "nb201_zc_subset.npz"), np.load(root / "nb201_acc_hw.npz")
    space = any_space("nas-bench-201")
    texts = cells["arch_str"]
    assert len({space.of_cell(str(t)) for t in texts}) == 15625
    outputs = 5 * (16 * 32**2 + 32 * 16**2 + 64 * 8**2)  # of one operation in all cells
    exact = 0
    for index, flops in zip(table["cifar10_idx"], table["cifar10_flops"], strict=True):
        ops = space.ops(space.named(g := space.of_cell(str(texts[index]))))
        macs = space.network(g, CIFAR, 10).macs
        assert macs <= flops * 1e6
        if len(live_edges(ops)) == sum(op != "none" for op in ops):
            convs, pools = sum("conv" in op for op in ops), ops.count("avg_pool_3x3")
            assert macs + outputs * (3 * convs + 9 * pools) + 160832 == round(flops * 1e6)
            exact += 1
    assert exact > 300


def test_nas_bench_201_dead_edges() -> None:
    def ops(**named: str) -> list[str]:
        return [named.get(f"e{j}{i}", "none") for j, i in EDGES]

    assert live_edges(ops()) == []
    assert live_edges(ops(e10="nor_conv_3x3", e32="nor_conv_3x3")) == []
    assert live_edges(ops(e30="skip_connect", e21="nor_conv_3x3")) == [(3, 0, "skip_connect")]
    assert live_edges(ops(e10="avg_pool_3x3", e21="nor_conv_1x1", e32="skip_connect", e31="none")) == [
        (1, 0, "avg_pool_3x3"),
        (2, 1, "nor_conv_1x1"),
        (3, 2, "skip_connect"),
    ]


def test_nas_bench_201_disconnected_cells_by_paths() -> None:
    """Counted over the four paths from input to output, in all 2^6 patterns of present edges."""
    space = any_space("nas-bench-201")
    expected = 0
    for present in itertools.product((False, True), repeat=6):
        e = dict(zip(EDGES, present, strict=True))
        one, two = e[1, 0], e[2, 0] or (e[2, 1] and e[1, 0])
        if not (e[3, 0] or (e[3, 1] and one) or (e[3, 2] and two)):
            expected += 4 ** sum(present)
    codes = itertools.product(range(len(OPS)), repeat=6)
    found = [g for g in (space.decode((0, 0, *c, 0, 0)) for c in codes) if space.disconnected(g)]
    assert len(found) == expected > 0
    spec = space.network(found[-1], CIFAR, 10)
    assert [x.kind for x in spec.layers] == ["gap", "dense"] and spec.macs == 30


def test_nas_bench_201_sums_are_chains_and_equal_terms_stay() -> None:
    """A cell of wires: its output is four times its input, by way of three nodes that double."""
    space = any_space("nas-bench-201")
    cell = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
    spec = space.network(space.of_cell(cell), CIFAR, 10)
    first = spec.layers[:4]
    assert [(x.kind, x.inputs) for x in first] == [
        *(("conv", (-1,)), ("add", (0, 0)), ("add", (0, 0)), ("add", (2, 1)))
    ]
    random_graph(spec)


def test_every_live_pattern_of_the_cell_builds() -> None:
    """One genotype for each of the 2^6 patterns of edges, operations in turn."""
    space = any_space("nas-bench-201")
    kinds = itertools.cycle(OPS[1:])
    for present in itertools.product((False, True), repeat=6):
        genes = {f"{j}<-{i}": next(kinds) if p else "none" for (j, i), p in zip(EDGES, present, strict=True)}
        spec = space.network(space.genotype(genes), CIFAR, 10)
        assert (len(spec.layers) == 2) == space.disconnected(space.genotype(genes))


def uniform(name: str, **values: Any) -> Genotype:
    """The genotype whose genes with the given beginnings have the given values."""
    space = any_space(name)
    genes = {g.name: values[g.name.rstrip("0123456789.")] for g in space.topology}
    found: Genotype = space.genotype(genes)
    return found


def test_fbnet_blocks() -> None:
    space = any_space("fbnet-22")
    all_skip = space.network(uniform("fbnet-22", block="skip"), (3, 224, 224), 1000)
    assert [x.out_channels for x in all_skip.layers] == [16, 24, 32, 64, 112, 184, 352, 1504, 0, 1000]
    assert all_skip.shapes()[6] == (352, 7, 7)
    spec = space.network(uniform("fbnet-22", block="k5_e1_g2"), (3, 224, 224), 1000)
    blocks = [x for x in spec.layers if x.kind == "conv"][1:-1]
    assert len(blocks) == 3 * 22 and {x.groups for x in blocks[::3]} == {x.groups for x in blocks[2::3]} == {2}
    assert all(x.groups == x.out_channels and x.kernel == 5 for x in blocks[1::3])
    assert sum(x.kind == "add" for x in spec.layers) == 16  # layers that keep the shape: all but six firsts
    wide = space.network(uniform("fbnet-22", block="k3_e6"), (3, 224, 224), 1000)
    assert [x.out_channels for x in wide.layers if x.kind == "conv"][-4:-1] == [184 * 6, 184 * 6, 352]


def test_bits_per_layer_where_the_papers_have_them() -> None:
    free = Options((4, 8), (4, 8))
    for name, sites in (("fbnet-22", 22), ("mobilenet", 5), ("nahas", 1)):
        assert sum(n.startswith("weight_bits") for n in any_space(name, free).names) == sites
    space = any_space("fbnet-22", free)
    genes = {g.name: "k3_e3" for g in space.topology} | {"block2.1": "skip"}
    g = space.genotype({**genes, "weight_bits@3.2": 4, "activation_bits@3.2": 4})
    assert "weight_bits@2.1" not in space.dumps(g)["network"]
    four = [x for x in space.network(g, CIFAR, 10).layers if x.weighted and x.weight_bits == 4]
    assert len(four) == 3 and {x.activation_bits for x in four} == {4} and four[1].groups == four[1].out_channels


def test_mobilenet_s_depths() -> None:
    space = any_space("mobilenet")
    for depth in (2, 3, 4):
        g = uniform("mobilenet", depth=depth, kernel=3, expansion=6)
        spec = space.network(g, (3, 224, 224), 1000)
        depthwise = [x for x in spec.layers if x.groups > 1]
        assert len(depthwise) == 1 + 5 * depth and sum(x.stride == 2 for x in spec.layers) == 5
        assert g.genes.count(None) == 2 * 5 * (4 - depth)
        assert spec.shapes()[-3] == (960, 7, 7)


def test_nahas_fused_blocks() -> None:
    space = any_space("nahas")
    common: dict[str, Any] = {"kernel": 3, "expansion": 6, "scale": 1.0, "groups": 1}
    plain = space.network(uniform("nahas", kind="inverted", **common), (3, 224, 224), 1000)
    fused = space.network(uniform("nahas", kind="fused", **common), (3, 224, 224), 1000)
    assert sum(x.groups > 1 for x in plain.layers) == 17 and not any(x.groups > 1 for x in fused.layers)
    assert sum(x.kind == "conv" for x in plain.layers) == 2 + 3 * 17
    assert sum(x.kind == "conv" for x in fused.layers) == 2 + 2 * 17
    assert plain.shapes()[-3] == fused.shapes()[-3] == (1280, 7, 7)
    second = [x for x in fused.layers if x.kind == "conv"][3]
    assert (second.out_channels, second.kernel, second.stride) == (96, 3, 2)
    # MobileNetV2 has 300.8 M multiply-accumulates at 224 pixels; its first block has no expansion, here it has 6.
    first = 112**2 * (32 * 192 + 9 * 192 + 192 * 16 - 9 * 32 - 32 * 16)
    assert round((plain.macs - first) / 1e6, 1) == 300.8
    half = space.network(uniform("nahas", kind="fused", **{**common, "scale": 0.5, "groups": 2}), CIFAR, 10)
    widths = [x.out_channels for x in half.layers if x.kind == "conv" and not x.relu]
    assert widths == [8, *[16] * 2, *[16] * 3, *[32] * 4, *[48] * 3, *[80] * 3, 160]
    assert {x.groups for x in half.layers if x.kernel == 3} == {1, 2}


def test_hsconas_scales_the_inside_of_blocks() -> None:
    space = any_space("hsconas")
    small = space.network(uniform("hsconas", op="k3", factor=0.1), (3, 224, 224), 1000)
    whole = space.network(uniform("hsconas", op="k3", factor=1.0), (3, 224, 224), 1000)
    inside = [x.out_channels for x in small.layers if x.groups > 1]
    assert inside == [8] * 4 + [16] * 4 + [32] * 8 + [64] * 4
    assert [x.out_channels for x in whole.layers if x.groups > 1] == [64] * 4 + [160] * 4 + [320] * 8 + [640] * 4
    assert small.macs < whole.macs / 5
    xception = space.network(uniform("hsconas", op="xception", factor=0.5), (3, 224, 224), 1000)
    assert sum(x.groups > 1 for x in xception.layers) == 60 and xception.shapes()[-3] == (1024, 7, 7)


@pytest.mark.parametrize("name", MORE)
def test_small_images_keep_maps_of_some_pixels(name: str) -> None:
    space = any_space(name)
    rng = np.random.default_rng(0)
    for _ in range(5):
        spec = space.network(space.sample(rng), (1, 8, 8), 10)
        if name != "co-explore-cifar":  # its strides are the paper's
            assert all(min(s[1:]) >= 4 for s in spec.shapes()[:-2])
    with pytest.raises(SpaceError, match="at least 8x8"):
        space.network(space.sample(rng), (3, 7, 32), 10)


@pytest.mark.parametrize("name", ["fnas-mnist", "co-explore-cifar", "nas-bench-201", "hsconas"])
def test_networks_are_qdq_onnx(name: str) -> None:
    """Through emitted ONNX and back to an equal integer graph."""
    space = any_space(name, Options((4,), (6,)))
    graph = random_graph(space.network(space.sample(np.random.default_rng(7)), (1, 12, 12), 10))
    assert qdq.load(onnx_file.checked(emit.model(graph))).digest == graph.digest


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("network", "kernel0"), 3, "kernel0 = 3: not one of 5, 7, 14"),
        (("network", "kernel0"), True, "kernel0 = True"),
        (("network", "kernel0"), 5.0, "kernel0 = 5.0"),
        (("network", "weight_bits"), 9, "weight_bits = 9"),
        (("network", "kernel9"), 5, "no gene 'kernel9'"),
        (("network",), [], "keys network, hardware"),
        (("network",), {}, "gene 'activation_bits' is missing"),
        (("hardware", "budget"), 2, "budget in"),
    ],
)
def test_a_foreign_genotype_is_refused_in_one_line(path: tuple[str, ...], value: object, message: str) -> None:
    space = any_space("fnas-mnist")
    obj = json.loads(json.dumps(space.dumps(space.sample(np.random.default_rng(5)))))
    at = obj
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(SpaceError, match=message) as e:
        space.loads(obj)
    assert "\n" not in str(e.value)


def test_genes_without_effect_are_refused_and_missing_ones_named() -> None:
    space = any_space("co-explore-cifar")
    obj = space.dumps(space.published()["opt-hw"])
    obj["network"]["kernel9"] = 3
    with pytest.raises(SpaceError, match="'kernel9' has no effect here"):
        space.loads(obj)
    del obj["network"]["kernel9"], obj["network"]["depth"]
    with pytest.raises(SpaceError, match="'depth' is missing"):
        space.loads(obj)


def test_options_narrow_and_old_journals_stay_readable() -> None:
    wide, narrow = any_space("fnas-mnist", Options()), any_space("fnas-mnist", Options((4,), (6,), 150.0, (), (0.5,)))
    assert wide.genes()[-2:] == (3, 3) and narrow.genes()[:2] == (2, 1) and narrow.genes()[-2:] == (1, 1)
    g = wide.genotype({f"{w}{i}": 9 if w == "filters" else 5 for w in ("kernel", "filters") for i in range(4)})
    assert narrow.loads(wide.dumps(g)) == g
    with pytest.raises(SpaceError, match=r"clock_mhz = 300.0 is not one of 100.0, 150.0"):
        narrow.encode(g)
    with pytest.raises(SpaceError, match="weight bits"):
        any_space("fnas-mnist", Options((9,)))


def test_a_space_of_one_genotype_says_so() -> None:
    from flow.space.genes import Gene, GeneSpace

    class One(GeneSpace):
        name = "one"

        def build(self, genes: Any, input_shape: Any, classes: int) -> Any:
            return Stack(input_shape).finish(classes)

    space = One([Gene("kernel", (3,))], FIXED)
    with pytest.raises(SpaceError, match="space one has a single genotype"):
        space.mutate(space.sample(np.random.default_rng(0)), np.random.default_rng(0))


def test_a_stack_s_shapes_are_the_specs() -> None:
    stack = Stack((3, 17, 23))
    stack.conv(8, 14, 2)
    stack.inverted(8, 5, 1, 24, (4, 4))
    stack.inverted(16, 3, 2, 24, (4, 4), groups=2, fused=True)
    shapes = [*stack.shapes]
    spec = stack.finish(5)
    assert spec.shapes()[: len(shapes)] == tuple(shapes) and spec.shapes()[-1] == (5, 1, 1)
    assert math.prod(shapes[-1]) > 0
    loose = Stack((3, 8, 8))
    loose.conv(4, 3)
    loose.conv(4, 3, source=-1)
    with pytest.raises(SpecError, match="read by no layer"):
        loose.finish(2)
