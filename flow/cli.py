"""The command line. Heavy packages are imported by the command that needs them: ``flow --help`` stays quick."""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flow.arguments import parser
from flow.listings import Answer, blocks, boards, doctor, emit, systems, table


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. 0: success; 1: the answer is no; 2: wrong usage; 130: Ctrl-C."""
    arguments = parser(COMMANDS).parse_args(argv)
    if getattr(arguments, "system", None):
        from flow import systems

        try:
            arguments = parser(COMMANDS, systems.load(arguments.system).defaults()).parse_args(argv)
        except ValueError as e:
            print(f"flow: {describe(e)}", file=sys.stderr)
            return 1
    if not hasattr(arguments, "run_command"):
        parser(COMMANDS).print_help(sys.stderr)
        return 2
    try:
        answer: Answer = arguments.run_command(arguments)
        sys.stdout.flush()
        return answer
    except KeyboardInterrupt:
        print("interrupted; nothing that was finished is lost", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except (ValueError, OSError, ModuleNotFoundError) as e:
        # Every module's own errors are ValueErrors with one line that says what to do.
        print(f"flow: {describe(e)}", file=sys.stderr)
        return 1


def describe(e: Exception) -> str:
    """One line, whatever is in the message."""
    if isinstance(e, ModuleNotFoundError):
        return f"package {e.name!r} is missing: run make setup, or pip install coexplore"
    text = f"{e.filename}: {e.strerror}" if isinstance(e, OSError) and e.filename else str(e) or type(e).__name__
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


# ---------------------------------------------------------------------- commands


def search(a: argparse.Namespace) -> Answer:
    from flow import config, run

    weights, activations = config.bits(a.bits)
    folder = Path(a.run) if a.run else new_folder(a.platform or a.board)
    same: dict[str, Any] = {name: getattr(a, name) for name in config.AS_GIVEN}
    same |= {name: getattr(a, name) or 0.0 for name in config.UNLIMITED}
    settings = config.Config(
        board=lasting(a.board, ".toml"),
        platform=lasting(a.platform, ".toml"),
        space=lasting(a.space, ".py"),
        data_dir=str(Path(a.data_dir).absolute()) if a.data_dir else "",
        strategy=lasting(a.strategy, ".py"),
        option=tuple(a.option),
        system=a.system or "",
        network=str(Path(a.network).absolute()) if a.network else "",
        objectives=config.objectives(a.objectives),
        limits=tuple(f"{n}={v}" for n in config.LIMITED if (v := getattr(a, f"max_{n}"))),
        budget=a.budget,
        time_s=config.seconds(a.time),
        weight_bits=weights,
        activation_bits=activations,
        accelerate=config.accelerations(a.accelerate),
        **same,
    )
    return finished(a, folder, run.start(settings, folder, say))


def train(a: argparse.Namespace) -> Answer:
    from flow import config, train_one

    overrides = {k: v for k in ("batch", "lr", "lr_muon") if (v := getattr(a, k)) is not None}
    if a.epochs:
        overrides |= config.epochs(a.epochs)
    order = train_one.Order(
        a.data, a.data_dir or "", a.recipe, overrides, tuple(range(a.seed, a.seed + a.seeds)), a.device, a.precision,
        a.test,
    )  # fmt: skip
    record = train_one.train(Path(a.network), lasting(a.space, ".py"), order, Path(a.out), say)
    tested = "" if record["test_accuracy"] is None else f", test accuracy {record['test_accuracy']:.4f}"
    emit(a, record, lambda: f"validation accuracy {record['val_accuracy']:.4f}{tested}; {a.out}/{train_one.MODEL}")
    return 0


def resume(a: argparse.Namespace) -> Answer:
    from flow import run

    folder = Path(a.folder)
    return finished(a, folder, run.resume(folder, say))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def lasting(name: str, suffix: str) -> str:
    """A name as it is, the path of a file so that a run resumed from elsewhere finds it."""
    return str(Path(name).absolute()) if name.endswith(suffix) else name


def new_folder(board: str) -> Path:
    """``runs/<board>-<n>``: the first free number."""
    stem = Path(board).stem
    n = 1
    while (Path("runs") / f"{stem}-{n:03d}").exists():
        n += 1
    return Path("runs") / f"{stem}-{n:03d}"


def finished(a: argparse.Namespace, folder: Path, front: dict[str, Any]) -> Answer:
    from flow.report import text

    emit(a, front, lambda: text.front_table(front, folder))
    return 0


def report(a: argparse.Namespace) -> Answer:
    from flow import run

    page = run.rewrite(Path(a.folder))
    print(page)
    if a.open:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return 0


def runs(a: argparse.Namespace) -> Answer:
    from flow import archive

    found = archive.runs(Path(a.root))
    emit(a, found, lambda: "\n".join("  ".join(str(v) for v in r.values()) for r in found) or f"no runs in {a.root}")
    return 0


def goal(a: argparse.Namespace) -> Any:
    from flow.cost.targets import Decision
    from flow.mapping import Goal

    decision = Decision(a.target, a.confidence)
    return Goal(a.objective, a.max_utilisation, a.min_fps, a.max_latency_ms, a.max_energy_mj, decision)


def array(path: str, option: str) -> Any:
    """The array of an .npy file of numbers."""
    import numpy as np

    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as e:
        raise ValueError(f"{option} {path}: not a readable .npy file ({describe(e)})") from None
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf":
        raise ValueError(f"{option} {path}: not an array of numbers; write one with numpy.save")
    return found


def quantised(a: argparse.Namespace) -> Any:
    """The user's model as QDQ: as it is, or quantised after training on ``--calibration`` data."""
    import numpy as np

    from flow import config
    from flow.ir import onnx_file, passes, qdq, quantise

    model, notes = passes.headless(onnx_file.read(Path(a.model)))
    for note in notes:
        say(note)
    if qdq.is_quantised(model):
        return model
    weights, activations = config.bits(a.bits)
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    if a.calibration:
        images = array(a.calibration, "--calibration")
        if list(images.shape[1:]) != shape:
            raise ValueError(
                f"--calibration {a.calibration}: shape {images.shape}; the model takes (N, "
                f"{', '.join(map(str, shape))})"
            )
        images = images.astype(np.float32)
    else:
        say(f"{a.model} is not quantised and no --calibration is given: calibrating on uniform noise in 0..1 is rough")
        images = np.random.default_rng(0).random((32, *shape), dtype=np.float32)
    return quantise.quantise(model, images, weight_bits=max(weights), activation_bits=max(activations))


def compiled(a: argparse.Namespace) -> Any:
    from flow import place

    if getattr(a, "backend", "flow") == "hls4ml":
        from flow import board
        from flow.backends import hls4ml

        if a.platform:
            raise ValueError("--backend hls4ml with --platform: only our own projects go on several boards")
        result: Any = hls4ml.compile_model(quantised(a), board.load(a.board), goal(a), a.clock_mhz)
    else:
        where = place.load(a.board, a.platform)
        result = place.compile_for(a.engine, quantised(a), where, goal(a), a.clock_mhz, a.batch)
    if not hasattr(result, "files"):
        name = a.platform or a.board
        raise ValueError(f"{a.model} does not fit {name} within {a.max_utilisation:g} of its resources: {result}")
    return result


def explained(a: argparse.Namespace, result: Any) -> Any:
    from flow import explain

    staged = hasattr(result, "design") and result.report.kind == "stream"
    return explain.explained(result.report, result.design, goal(a)) if staged else result.report


def compile_(a: argparse.Namespace) -> Answer:
    from flow import project
    from flow.report import roofline, text

    result = compiled(a)
    report = explained(a, result)
    project.write({**result.files, **roofline.files(report)}, Path(a.out))
    whose = "" if a.backend == "flow" else f"; the estimate is of our own project, {a.out}/flow"
    found = {**report.json(), "backend": a.backend}
    emit(a, found, lambda: text.report(report) + f"\nwritten to {a.out}; next: flow csim {a.out}{whose}")
    return 0


def estimate(a: argparse.Namespace) -> Answer:
    from flow.report import text

    report = explained(a, compiled(a))
    emit(a, report.json(), lambda: text.report(report))
    return 0


def images_of(a: argparse.Namespace, loaded: Any) -> Any:
    """The integer images of ``--inputs``, or random ones."""
    from flow import project

    if a.inputs:
        return project.integers(loaded.graph, array(a.inputs, "--inputs"), a.inputs)[: a.images or None]
    return project.random_images(loaded.graph, a.images or 100, a.seed)


def csim(a: argparse.Namespace) -> Answer:
    from flow import place
    from flow.backends import hls4ml

    folder = Path(a.folder)
    if hls4ml.is_project(folder):
        both = hls4ml.csim(folder, images_of(a, hls4ml.load(folder)), native=not a.ap_types)
        emit(a, both.json(), both.text)
        return 0 if both.bit_exact else 1
    loaded = place.read(folder)
    result = loaded.csim(images_of(a, loaded), native=not a.ap_types)
    emit(a, result.json(), result.text)
    return 0 if result.bit_exact else 1


def lint(a: argparse.Namespace) -> Answer:
    from flow import lint as rules
    from flow import place

    found = place.findings(Path(a.folder))
    emit(a, rules.document(found), lambda: "\n".join(map(str, found)) or "no findings")
    return 1 if found else 0


def simulate(a: argparse.Namespace) -> Answer:
    from flow import place
    from flow import simulate as cycles
    from flow.report import text

    loaded = place.read(Path(a.folder))
    if tiled := loaded.tiled():
        emit(a, tiled.json(), tiled.text)
        return 1 if tiled.deadlock else 0
    netlist = loaded.netlist()
    depths = dict(depth_of(text) for text in a.depth)
    if a.minimise:
        depths = cycles.minimal_depths(netlist) | depths
    result = cycles.simulate(netlist, a.images, depths or None, a.pipeline)
    emit(a, result.json(), lambda: text.simulation(result))
    return 1 if result.deadlock else 0


def depth_of(text: str) -> tuple[str, int]:
    """``s3=16``: another depth for a FIFO."""
    name, _, depth = text.partition("=")
    if not depth.isdigit() or not int(depth):
        raise ValueError(f"--depth {text}: give NAME=BEATS, for example s3=16")
    return name, int(depth)


def synth(a: argparse.Namespace) -> Answer:
    from flow import place
    from flow.toolchain import synthesis

    folders = place.folders(Path(a.folder))
    found = [r for f in folders for r in synthesis.reports(f, a.toolchain, a.block, a.timeout, a.impl)]
    emit(a, found, lambda: "\n".join(json.dumps(r) for r in found))
    return 0


def parse(a: argparse.Namespace) -> Answer:
    from flow.toolchain import parse as reports

    found = [r.json() for name in a.reports for r in reports.parse(Path(name))]
    emit(a, found, lambda: "\n".join(json.dumps(r, indent=1) for r in found))
    return 0


def calibrate(a: argparse.Namespace) -> Answer:
    from flow import calibration
    from flow.report import text

    found = calibration.examine([Path(p) for p in a.paths])
    emit(a, found, lambda: text.calibration(found))
    return 0


def bench(a: argparse.Namespace) -> Answer:
    from flow import bench as benchmarks

    if not a.name:
        rows = [{"benchmark": name, "what": text} for name, text in benchmarks.names().items()]
        emit(a, rows, lambda: table(rows))
        return 0
    found = []
    for title, rows in benchmarks.load(a.name)(a.arguments):
        found.append({"title": title, "rows": rows})
        if not a.json:
            print(f"{title}\n{table(rows)}\n", flush=True)
    if a.json:
        print(json.dumps(found))
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], Answer]] = {
    "search": search,
    "train": train,
    "resume": resume,
    "report": report,
    "runs": runs,
    "compile": compile_,
    "estimate": estimate,
    "csim": csim,
    "simulate": simulate,
    "lint": lint,
    "synth": synth,
    "parse": parse,
    "calibrate": calibrate,
    "boards": boards,
    "blocks": blocks,
    "bench": bench,
    "systems": systems,
    "doctor": doctor,
}


if __name__ == "__main__":
    sys.exit(main())
