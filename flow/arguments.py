"""The command line's grammar: every command, option, default and range."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from flow import __version__
from flow.modes import MODES


class Parser(argparse.ArgumentParser):
    """Wrong usage is one line that says where the right one is listed."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help)\n")


def parser(
    commands: Mapping[str, Callable[[argparse.Namespace], int]], defaults: Mapping[str, Any] = MappingProxyType({})
) -> Parser:
    """The whole command line; ``commands`` gives the function of each command's name, ``defaults`` those of
    ``search`` that differ (a system's)."""
    top = Parser(prog="flow", description="Search networks and FPGA accelerators together.")
    top.add_argument("--version", action="version", version=f"coexplore {__version__}")
    groups = top.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, text: str) -> Parser:
        p = groups.add_parser(name, help=text, description=text)
        p.set_defaults(run_command=commands[name])
        p.add_argument("--json", action="store_true", help="JSON on standard output")
        return p

    p = command("search", "search (network, accelerator) pairs for a board")
    _search_arguments(p)
    p.set_defaults(**defaults)
    _train_arguments(command("train", "train one network with quantisation and write its ONNX"))
    p = command("resume", "go on with an interrupted search")
    p.add_argument("folder", metavar="RUN")
    p = command("report", "write a run's report.html again")
    p.add_argument("folder", metavar="RUN")
    p.add_argument("--open", action="store_true", help="open it in a browser")
    p = command("runs", "list search runs")
    p.add_argument("root", nargs="?", default="runs")
    for name, text in (
        ("compile", "compile an ONNX model to an HLS project"),
        ("estimate", "estimate an ONNX model on a board"),
    ):
        p = command(name, text)
        _mapping_arguments(p)
        if name == "compile":
            p.add_argument("--out", required=True, metavar="DIR")
            p.add_argument("--backend", default="flow", choices=["flow", "hls4ml"], help="whose HLS project to write")
    p = command("csim", "C-simulate a compiled project against onnxruntime")
    p.add_argument("folder", metavar="DIR")
    p.add_argument("--inputs", metavar="X.npy", help="images; random ones without")
    p.add_argument("--images", type=positive, help="how many (100 random ones, or all of --inputs)")
    p.add_argument("--seed", type=int, default=0, help="of the random images")
    p.add_argument("--ap-types", action="store_true", help="Xilinx's ap_int types instead of native integers (slower)")
    p = command("lint", "check that a compiled project is synthesizable, without a vendor tool")
    p.add_argument("folder", metavar="DIR")
    p = command("simulate", "simulate a compiled project cycle by cycle, FIFOs finite")
    p.add_argument("folder", metavar="DIR")
    p.add_argument("--images", type=positive, help="how many; until the interval is proved steady without")
    p.add_argument("--depth", action="append", default=[], metavar="FIFO=BEATS", help="another depth; may be repeated")
    p.add_argument("--minimise", action="store_true", help="find the smallest depths that keep the interval, use them")
    p.add_argument("--pipeline", default="flushing", choices=["flushing", "stalling"], help="what a starved loop does")
    p = command("synth", "synthesise a compiled project with an installed HLS tool")
    p.add_argument("folder", metavar="DIR")
    p.add_argument("--toolchain", default="auto", help="auto, vitis-run, vitis_hls, vivado_hls, vivado, bambu")
    p.add_argument("--block", metavar="PROCESS", help="one process, with --toolchain bambu")
    p.add_argument("--impl", action="store_true", help="also run Vivado's implementation")
    p.add_argument("--timeout", type=float, default=7200.0, metavar="SECONDS")
    p = command("parse", "read HLS and Vivado reports")
    p.add_argument("reports", nargs="+", metavar="REPORT")
    p = command("calibrate", "the estimator against reports: rows, modules, projects")
    p.add_argument("paths", nargs="+", metavar="REPORT|DIR")
    p = command("systems", "published systems that search can run as: flow search --system NAME")
    p.add_argument("--markdown", action="store_true", help="docs/systems.md")
    p = command("bench", "run a benchmark and print its tables")
    p.add_argument("name", nargs="?", metavar="NAME", help="which; lists them without")
    p.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="the benchmark's own arguments")
    p = command("boards", "boards and what they offer, and platforms of several boards")
    p.add_argument("--platforms", action="store_true", help="with --json: the platforms instead of the boards")
    command("blocks", "hardware blocks")
    command("doctor", "what is installed and what is missing")
    return top


def positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def above_zero(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return number


def not_negative(text: str) -> float:
    return 0.0 if text in ("0", "0.0") else above_zero(text)


def _search_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--system", metavar="NAME", help="begin with the settings of a published system (flow systems)")
    p.add_argument("--board", default="zcu102", help="name or TOML file")
    p.add_argument("--platform", default="", help="several boards instead: name or TOML file; see flow boards")
    p.add_argument(
        "--space",
        default="default",
        help="search space: default, nas-bench-201, fbnet-22, mobilenet, nahas, ... or a .py file",
    )
    p.add_argument("--data", default="digits", help="digits, fashion-mnist, cifar10")
    p.add_argument("--data-dir", help="where the data set lies")
    p.add_argument(
        "--strategy",
        default="nsga2",
        help="nsga2, evolution, random, local, moead, reinforce, ppo, bayes, tpe, shrinking, differentiable, or a .py "
        "file",
    )
    p.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="of the strategy; may be repeated"
    )
    p.add_argument(
        "--mode",
        default="joint",
        choices=MODES,
        help="what is searched: network and accelerator together (joint), or the network with the mapper's best "
        "accelerator (nested), with --budget of the board (hw-aware), for accuracy alone (nas), then the accelerator "
        "(sequential), accelerators for --network (hw-only)",
    )
    p.add_argument("--network", metavar="MODEL.onnx", help="mode hw-only: the quantised network that is given")
    p.add_argument(
        "--objectives", default="", metavar="NAMES",
        help="mode hw-only: some of latency, throughput, interval, energy, utilisation, lut, ff, dsp, bram, uram "
        "(latency,utilisation without)",
    )  # fmt: skip
    for name in ("lut", "ff", "dsp", "bram18", "uram"):
        p.add_argument(f"--max-{name}", metavar="LIMIT", help=f"mode hw-only: most {name}, a share up to 1 or a count")
    p.add_argument("--budget", type=above_zero, default=0.4, help="share of the board that mode hw-aware holds")
    p.add_argument("--trials", type=positive, default=240, help="joint candidates to propose and estimate")
    p.add_argument("--time", default="5m", help="limit, for example 20m")
    p.add_argument("--min-accuracy", type=above_zero, help="of every front point, on the validation split: 0 to 1")
    p.add_argument("--max-latency-ms", type=above_zero)
    p.add_argument("--min-fps", type=above_zero)
    p.add_argument("--max-energy-mj", type=above_zero, help="of one image at full rate, programmable logic only")
    p.add_argument("--target", default="csynth", choices=["csynth", "impl"], help="whose resources must fit")
    p.add_argument("--confidence", type=above_zero, default=0.5, help="how surely each resource must fit: 0.5 to 0.99")
    p.add_argument("--max-utilisation", type=above_zero, default=0.8, help="share of each resource that may be used")
    p.add_argument("--bits", default="4,6,8", help="bit widths: weights|activations, for example 8|4,8 or 2-8")
    p.add_argument("--clock-mhz", type=above_zero, help="the board's default without")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--run", metavar="DIR", help="run folder; runs/BOARD-NNN without")
    p.add_argument("--workers", type=positive, default=default_workers(), help="worker processes: one a core")
    p.add_argument("--toolchain", default="auto", help="auto, none, vitis_hls, vivado_hls, vitis-run")
    p.add_argument("--front-size", type=positive, default=10, help="most points on the final front")
    p.add_argument(
        "--seeds", type=positive, default=1, help="trainings of each finalist, where the time allows; the best counts"
    )
    p.add_argument("--generation", type=positive, default=24, help="candidates a generation: several for each worker")
    p.add_argument("--engine", default="local", choices=["local", "ray"], help="this machine, or a Ray cluster")
    p.add_argument(
        "--accelerate",
        default="usual",
        metavar="NAMES",
        help="usual (all but few,supernet), all, none, or bounds,proxies,few,halving,curves,inherit,supernet",
    )
    device_arguments(p)


def _train_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("network", metavar="NET.json", help="a network description, or a genotype of --space")
    p.add_argument("--space", default="default", help="the genotype's search space")
    p.add_argument("--data", default="digits", help="digits, fashion-mnist, cifar10")
    p.add_argument("--data-dir", help="where the data set lies")
    p.add_argument("--out", required=True, metavar="DIR", help="model.onnx, checkpoint.npz, training.json")
    p.add_argument("--recipe", default="full", choices=["full", "short"])
    p.add_argument("--epochs", metavar="FLOAT+QAT", help="for example 26+10; the recipe's without")
    p.add_argument("--batch", type=positive)
    p.add_argument("--lr", type=above_zero, help="AdamW's peak learning rate in the float epochs")
    p.add_argument(
        "--lr-muon",
        type=not_negative,
        metavar="LR",
        help="Muon's, for convolutions (0.03 where images are shifted, else 0: AdamW's)",
    )
    p.add_argument("--seed", type=int, default=0, help="the first one")
    p.add_argument("--seeds", type=positive, default=1, help="how many trainings; the best on validation is kept")
    p.add_argument("--test", action="store_true", help="score the kept network on the test split, once, at the end")
    device_arguments(p)


def device_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="auto: a GPU where there is one")
    p.add_argument(
        "--precision",
        default="auto",
        choices=["auto", "float32", "bfloat16"],
        help="of training steps; auto: bfloat16 where the processor has it",
    )


def default_workers() -> int:
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _mapping_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("model", metavar="MODEL.onnx")
    place = p.add_mutually_exclusive_group(required=True)
    place.add_argument("--board", help="name or TOML file")
    place.add_argument("--platform", help="several boards: name or TOML file; see flow boards")
    p.add_argument(
        "--batch", type=positive, default=1, help="with --platform: images after which a board may be loaded anew"
    )
    p.add_argument("--calibration", metavar="X.npy", help="float32 images (N, C, H, W) for post-training quantisation")
    p.add_argument("--bits", default="8", help="weights|activations of post-training quantisation")
    p.add_argument("--objective", default="throughput", choices=["throughput", "latency", "area"])
    p.add_argument(
        "--engine", default="auto", choices=["auto", "stream", "tiled", "chain"],
        help="stream: a stage per layer; tiled: one engine for all layers; chain: both as a pipeline; auto: the "
        "best of them",
    )  # fmt: skip
    p.add_argument("--min-fps", type=above_zero)
    p.add_argument("--max-energy-mj", type=above_zero, help="of one image at full rate, programmable logic only")
    p.add_argument("--target", default="csynth", choices=["csynth", "impl"], help="whose resources must fit")
    p.add_argument("--confidence", type=above_zero, default=0.5, help="how surely each resource must fit: 0.5 to 0.99")
    p.add_argument("--max-latency-ms", type=above_zero)
    p.add_argument("--max-utilisation", type=above_zero, default=0.8, help="share of each resource that may be used")
    p.add_argument("--clock-mhz", type=above_zero, help="the board's default without")
