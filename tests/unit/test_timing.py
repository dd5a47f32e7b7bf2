"""Static schedules: hand-computed chains, AXI ends, FIFO depths, and every block's schedule against its ports."""

from __future__ import annotations

import numpy as np
import pytest

from flow import blocks, board, mapping, timing
from flow.design import Design, Netlist, Process, Stream, process_cycles, stage_cycles
from flow.fixed import IntArray
from flow.mapping.solve import realise
from tests import networks
from tests.integration.test_blocks_csim import drawn

BOARD = board.load("zcu102")


def lenet() -> Netlist:
    found = mapping.solve(networks.lenet(), BOARD, mapping.Goal(max_utilisation=0.3))
    assert isinstance(found, Design)
    return found.netlist


def test_process_and_stage_cycles() -> None:
    """One loop of II = 1: trips - 1 + depth - 1, two for the function, one more for the dataflow region."""
    assert process_cycles(1, 1) == 3 and process_cycles(100, 5) == 99 + 4 + 2
    assert stage_cycles((100, 5), (40, 9)) == 106
    p = lenet().processes[0]
    assert p.cycles == process_cycles(p.iterations, p.depth)


def test_every_schedule_moves_every_beat_in_order() -> None:
    """Of all blocks in all simulated foldings: as many beats as the ports say, one an iteration, inside the loop."""
    seen = set()
    for case in drawn().values():
        for p in case.design.netlist.processes:
            seen.add(p.function)
            for ports, iterations in zip((p.inputs, p.outputs), blocks.schedule(p), strict=True):
                assert len(ports) == len(iterations)
                for port, at in zip(ports, iterations, strict=True):
                    assert len(at) == port.beats, f"{p.id}: {len(at)} beats, the port says {port.beats}"
                    assert at[0] >= 0 and at[-1] < p.iterations and np.all(np.diff(at) > 0)
    # Between boards only; the same loops with UltraRAM, simulated in tests/integration/test_uram.py.
    assert seen == set(blocks._schedules()) - {"link", "window_serial_uram", "window_parallel_uram"}


def earliest(net: Netlist) -> int:
    """Latency by stepping through iterations one by one: no arrays, no prefix maxima."""
    source = {s.sink: s for s in net.streams}
    written: dict[str, list[int]] = {}
    end = 0
    for p in net.processes:
        reads, writes = (
            [{int(i): k for k, i in enumerate(at)} for at in side] for side in blocks.schedule(p)
        )  # fmt: skip
        outs = {s.source[1]: s.name for s in net.streams if s.source[0] == p.id}
        written |= {name: [] for name in outs.values()}
        now = -1
        for i in range(p.iterations):
            now += 1
            for port, beats in enumerate(reads):
                if (p.id, port) in source and i in beats:
                    now = max(now, written[source[p.id, port].name][beats[i]] + 1)
            for port, beats in enumerate(writes):
                if port in outs and i in beats:
                    written[outs[port]].append(now + p.depth - 1)
        end = max(end, now + p.depth)
    return end + 1


Times = dict[str, tuple[IntArray, IntArray]]  # stream -> cycle at which each beat is written, and read


def reference_schedule(netlist: Netlist, period: int | None) -> tuple[Times, int]:
    """Times of every beat of one image and the cycle after the last process ends.

    ``period`` None: each process by itself as early as possible, a pipeline that drains; else the periodic schedule.
    """
    into = {s.sink: s.name for s in netlist.streams}
    out_of = {s.source: s.name for s in netlist.streams}
    steps: dict[str, IntArray] = {}
    written: dict[str, IntArray] = {}
    read: dict[str, IntArray] = {}
    end = 0

    def move(p: Process, delay: int) -> None:
        reads, writes = blocks.schedule(p)
        read.update({into[p.id, k]: steps[p.id][at] for k, at in enumerate(reads) if (p.id, k) in into})
        pairs = [(out_of[p.id, k], at) for k, at in enumerate(writes) if (p.id, k) in out_of]
        written.update({name: steps[p.id][at + p.depth - 1 - delay] + delay for name, at in pairs})

    for p in netlist.processes:
        needs = [
            (at, written[into[p.id, k]] + 1) for k, at in enumerate(blocks.schedule(p)[0]) if (p.id, k) in into
        ]  # fmt: skip
        steps[p.id] = early(p, needs, period)
        move(p, p.depth - 1 if period is None else 0)
        end = max(end, int(steps[p.id][p.iterations - 1]) + p.depth)
    for p in reversed(netlist.processes) if period else ():
        if held_back(netlist, p):
            steps[p.id] = late(p, steps[p.id], read[out_of[p.id, 0]], period or 0)
            move(p, 0)
    return {s.name: (written[s.name], read[s.name]) for s in netlist.streams}, end + 1


def early(p: Process, needs: list[tuple[IntArray, IntArray]], period: int | None) -> IntArray:
    """Cycle of each step of the pipeline, draining included: as early as the beats come; the next image's first step
    at least 3 cycles after this one's last (function entry and exit, and one for the region). A source is spread."""
    index = np.arange(p.iterations + p.depth - 1, dtype=np.int64)
    if period is not None and not needs:
        found: IntArray = index * (period - 2) // len(index)
        return found
    ready = np.full(len(index), np.iinfo(np.int64).min // 4)
    for at, arrival in needs:
        np.maximum.at(ready, at, arrival)
    ahead = np.maximum.accumulate(ready - index) if needs else 0 * index
    if period is None:
        return np.maximum(ahead, 0) + index
    ahead = np.maximum(ahead, ahead[min(at[0] for at, _ in needs)])
    return np.maximum(ahead, ahead[-1] + len(index) + 2 - period) + index


def held_back(net: Netlist, p: Process) -> bool:
    """Whether the one stream that a process writes has more bits an image than the one that it reads."""
    if len(p.inputs) != 1 or len(p.outputs) != 1:
        return False
    bits = [[s.port.width * s.port.beats for s in net.streams if end(s) == (p.id, 0)] for end in (sink, source)]
    return bool(bits[0] and bits[1]) and bits[1][0] > bits[0][0]


def sink(s: Stream) -> tuple[str, int]:
    return s.sink


def source(s: Stream) -> tuple[str, int]:
    return s.source


def late(p: Process, early: IntArray, read: IntArray, period: int) -> IntArray:
    """The same steps, each as late as the reader of the process's beats allows and the next image's steps do."""
    index = np.arange(len(early), dtype=np.int64)
    writes = blocks.schedule(p)[1][0] + p.depth - 1
    most = np.full(len(index), np.iinfo(np.int64).max // 4)
    most[writes] = read - 1 - writes
    most = np.minimum.accumulate(most[::-1])[::-1]
    most[writes[-1] + 1 :] = max(most[writes[-1]], early[-1] - index[-1])
    found: IntArray = np.minimum(most, most[0] + period - 2 - len(index)) + index
    return found


def check_schedule(net: Netlist) -> None:
    """The periodic schedule is one: beats are read after they are written, steps follow one another, images too."""
    period = timing.slowest(net)
    for written, read in reference_schedule(net, period)[0].values():
        assert np.all(read > written) and np.all(np.diff(written) > 0) and np.all(np.diff(read) > 0)
        assert max(read[-1] - read[0], written[-1] - written[0]) <= period - 3


def test_the_periodic_schedule_is_one() -> None:
    for case in drawn().values():
        check_schedule(case.design.netlist)
    check_schedule(lenet())


def test_what_makes_windows_waits_for_their_reader() -> None:
    """A window holds each pixel nine times: the row that comes at the end of an image waits in front of the unit."""
    d = networks.Draft((8, 16, 16), seed=1)
    d.conv(d.conv("input", 8, 1), 8, 3)
    graph = d.graph()
    options = {n.id: [o for o in blocks.options(graph, n, BOARD) if o.cycles <= 16 * 16 * 8 + 99] for n in graph.nodes}
    serial = {
        k: next(o for o in reversed(found) if k != "L1" or o.folding.window == "parallel")
        for k, found in options.items()
    }
    net = realise(graph, BOARD, {k: o.folding for k, o in serial.items()}, max(o.cycles for o in serial.values()))
    inner = next(s for s in net.streams if s.source[0] == "L1_window")
    assert inner.port.beats >= 256 and inner.depth * 256 // inner.port.beats < 16, (
        "a row of windows and more waits behind it"
    )


def occupancy(stream: Stream, written: IntArray, read: IntArray, period: int) -> int:
    """Most beats in a FIFO at once when images follow one another every ``period`` cycles; at least 2.

    A beat takes its place from the cycle it is written up to and including the cycle it is read.
    """
    span = -(-(int(read[-1]) - int(written[0]) + 1) // period) + 1
    shifts = np.arange(span)[:, None] * period
    moments = np.concatenate([(written + shifts).reshape(-1), (read + 1 + shifts).reshape(-1)])
    change = np.repeat(np.array([1, -1]), [written.size * span, read.size * span])
    order = np.lexsort((change, moments))
    return max(2, int(np.cumsum(change[order]).max()))


def reference(net: Netlist) -> timing.Timing:
    """What flow/timing.py computes, by arrays over all iterations."""
    period = timing.slowest(net)
    _, latency = reference_schedule(net, None)
    times, _ = reference_schedule(net, period)
    return timing.Timing(latency, period, {s.name: occupancy(s, *times[s.name], period) for s in net.streams})


def test_the_kernel_agrees_with_arrays() -> None:
    for case in drawn().values():
        assert timing.analyse(case.design.netlist) == reference(case.design.netlist)
    assert (
        timing.analyse(lenet()) == reference(lenet()) and timing.latency(lenet()) == reference(lenet()).latency_cycles
    )


def test_listed_beats_are_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block may also give plain arrays."""
    net = lenet()
    want, listed = timing.analyse(net), {p.id: blocks.schedule(p) for p in net.processes}
    monkeypatch.setattr(blocks, "beats", lambda p: listed[p.id])
    assert timing.analyse(net) == want


@pytest.mark.parametrize("seed", [14, 3, 8])
def test_latency_is_that_of_stepping_through(seed: int) -> None:
    net = drawn()[seed].design.netlist
    assert timing.analyse(net).latency_cycles == earliest(net)


def test_the_interval_is_the_slowest_process() -> None:
    net = lenet()
    found = timing.analyse(net)
    assert found.interval_cycles == timing.slowest(net) == max(p.cycles for p in net.processes) + 1
    assert found.latency_cycles > max(p.cycles for p in net.processes)


def test_depths_name_every_stream_and_hold_two_beats_at_least() -> None:
    net = lenet()
    depths = timing.analyse(net).depths
    assert set(depths) == {s.name for s in net.streams} and min(depths.values()) >= 2


def test_a_skip_connection_needs_room() -> None:
    """The short way round a residual block waits for the long one: its FIFO must be deep."""
    d = networks.Draft((4, 12, 12), seed=1)
    a = d.conv("input", 4, 1)
    b = d.conv(d.conv(a, 4, 3), 4, 3)
    d.residual(a, b)
    graph = d.graph()
    pixel = {n.id: [o for o in blocks.options(graph, n, BOARD) if o.folding.lanes <= 4] for n in graph.nodes}
    options = {k: found[0] for k, found in pixel.items()}
    net = realise(graph, BOARD, {k: o.folding for k, o in options.items()}, max(o.cycles for o in options.values()))
    add = next(p for p in net.processes if p.function == "add")
    into = {s.sink[1]: s for s in net.streams if s.sink[0] == add.id}
    # Two 3x3 windows hold back two rows and two pixels each (12 pixels a row) before their first result.
    assert upstream(net, into[0]) > 2 * 12 > upstream(net, into[1])


def upstream(net: Netlist, stream: Stream) -> int:
    """Pixels (4 channels) that the FIFOs from the fork, or from the last layer, to here can hold."""
    total = 0
    while True:
        total += stream.depth * stream.port.lanes
        source: Process = net.process(stream.source[0])
        if source.function != "gearbox":
            return total // 4
        stream = next(s for s in net.streams if s.sink[0] == source.id)
