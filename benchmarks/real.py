"""Real searches with real training, by the clock: needs a machine that does nothing else meanwhile.

``flow bench real [fashion] [cifar] [sequential] [gpu] [--data-dir CIFAR] [--runs DIR] [--minutes N]``

fashion     Fashion-MNIST on zcu102 in 20 minutes
cifar       CIFAR-10 on zcu102 in 60 minutes
sequential  the same time for the network first, then its accelerator
gpu         seconds an epoch of one network on the CPU and on a GPU, or that there is none

Each search is ``flow search`` with the options of ``SEARCHES`` and more ``--trials`` in more time; its folder is kept
and can be resumed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from flow import run, tasks, train_one
from flow.arguments import default_workers
from flow.config import Config
from flow.train import device, trainer

Row = dict[str, Any]
A_MINUTE = 24  # candidates
EXAMPLE = Path(__file__).parents[1] / "examples" / "pynq-z2-cifar10.json"
SEARCHES = {
    "fashion": Config(data="fashion-mnist", time_s=20 * 60),
    "cifar": Config(data="cifar10", time_s=60 * 60),
    "sequential": Config(data="cifar10", time_s=60 * 60, mode="sequential"),
}


def search(name: str, config: Config, folder: Path) -> tuple[str, list[Row]]:
    began = time.monotonic()
    front = run.start(config, folder, lambda text: print(text, file=sys.stderr, flush=True))
    rows = [
        {
            "test accuracy": round(p["objectives"]["test_accuracy"], 4),
            "latency ms (estimate)": round(p["objectives"]["latency_ms"], 4),
            "images/s (estimate)": round(p["objectives"]["fps"]),
            "utilisation": f"{p['objectives']['utilisation']:.1%}",
            "bit-exact images": p["csim"]["images"] if p["csim"]["bit_exact"] else 0,
        }
        for p in front["points"]
    ]
    minutes = (time.monotonic() - began) / 60
    return f"{name}: {config.data} on {config.board}, {minutes:.1f} min, hypervolume {front['hypervolume']:.4f}", rows


def processors(data_dir: str) -> Iterator[Row]:
    """One epoch of the example network on 10,000 images."""
    images = tasks.dataset("cifar10", data_dir)
    spec = train_one.network(EXAMPLE, "default", images.input_shape, len(images.classes))
    for name in ("cpu", "cuda"):
        try:
            place = device.pick(name)
        except device.DeviceError as e:
            yield {"device": name, "seconds": None, "note": str(e)}
            continue
        how = trainer.Recipe(2, 1, subset=10_000, bfloat16=device.bfloat16("auto", place))
        result = trainer.train(spec, images, how, 0, device=place)
        # The first epoch also compiles kernels.
        yield {"device": name, "seconds": round(result.history[1].seconds, 2), "note": "second epoch, 10,000 images"}


def tables(arguments: list[str]) -> Iterator[tuple[str, list[Row]]]:
    p = argparse.ArgumentParser(prog="flow bench real")
    p.add_argument("what", nargs="*", default=[*SEARCHES, "gpu"], metavar="WHAT", help=f"{', '.join(SEARCHES)}, gpu")
    p.add_argument("--data-dir", default="", help="of CIFAR-10")
    p.add_argument("--runs", type=Path, default=Path("runs"))
    p.add_argument("--minutes", type=float, help="another time limit")
    p.add_argument("--board", default="zcu102")
    p.add_argument("--trials", type=int, help=f"default: {A_MINUTE} a minute, {Config.trials} at least")
    a = p.parse_args(arguments)
    if unknown := set(a.what) - {*SEARCHES, "gpu"}:
        p.error(f"{sorted(unknown)[0]!r}: give some of {', '.join(SEARCHES)}, gpu")
    for name in [n for n in a.what if n in SEARCHES]:
        time_s = 60 * a.minutes if a.minutes else SEARCHES[name].time_s
        trials = a.trials or max(Config.trials, int(A_MINUTE * time_s / 60))
        config = replace(SEARCHES[name], board=a.board, workers=default_workers(), time_s=time_s, trials=trials)
        if config.data == "cifar10":
            config = replace(config, data_dir=str(Path(a.data_dir).absolute()) if a.data_dir else "")
        yield search(name, config, a.runs / f"bench-{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    if "gpu" in a.what:
        yield "Training on a GPU", list(processors(a.data_dir))
