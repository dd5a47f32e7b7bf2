"""Training: float with batch normalisation, then quantisation-aware with folded weights.

One process per core: torch runs on one thread here.  The same seed on the same machine gives the same weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from flow.space.network import NetSpec
from flow.train.data import Dataset
from flow.train.formats import Images, Labels
from flow.train.model import Net

SHIFT_FRACTION = 8  # random shifts of up to an eighth of the image
CALIBRATION_IMAGES = 256
SHORT_IMAGES = 12000  # that a short training reads in float
LR_MUON, MOMENTUM, NEWTON_SCHULZ = 0.03, 0.9, 3  # of Muon: three iterations train as well as its usual five, for less
LOOKS = 16  # training steps between two looks at the loss
SMALL_SET = 10000  # fewer images than this are trained on in small batches: the steps are what is short


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. ``subset``: images used, 0 for all; ``lr``: peak of AdamW's one-cycle schedule;
    ``lr_muon``: of that of Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024), which
    trains the weights of convolutions that mix channels; 0 leaves them to AdamW, and so does None where images are not
    shifted at random (docs/acceleration.md has both on data sets of both kinds); ``lr_qat``: start of the cosine
    schedule of the quantisation-aware epochs; ``bfloat16``: convolutions of the training steps in bfloat16 (scores are
    always taken in exact float32); ``qat_share``: of the images that each quantisation-aware epoch reads, drawn anew
    each time."""

    epochs_float: int
    epochs_qat: int
    subset: int = 0
    batch: int = 64
    lr: float = 0.01
    lr_muon: float | None = None
    lr_qat: float = 1e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    augment: bool = True
    bfloat16: bool = False
    qat_share: float = 1.0

    def passes(self, images: int) -> float:
        """Images read in all, each as often as it is read, of a training split of ``images``."""
        return min(self.subset or images, images) * (self.epochs_float + self.qat_share * self.epochs_qat)


@dataclass(frozen=True)
class Epoch:
    """One epoch's record. ``phase``: "float" or "qat"; ``loss``: mean over the epoch; ``val_accuracy`` after it, on a
    tenth as many images as were trained on (at least 500, at most all); ``busy``: seconds of processor time of its
    ``seconds``."""

    phase: str
    number: int
    loss: float
    val_accuracy: float
    seconds: float
    busy: float = 0.0


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained quantised network. ``weights``: latent float32 arrays ``<layer>.weight`` and ``<layer>.bias``;
    ``weight_exponents``: each layer's (OC,), empty without weights; ``exponents``: of each layer's output scale.

    ``val_accuracy``: of the integer network, simulated, on the validation split (on as many of its images as were
    trained on, where those are fewer).
    """

    spec: NetSpec
    weights: Mapping[str, NDArray[np.float32]]
    weight_exponents: tuple[tuple[int, ...], ...]
    exponents: tuple[int, ...]
    recipe: Recipe
    seed: int
    val_accuracy: float
    history: tuple[Epoch, ...]
    seconds: float

    def net(self) -> Net:
        """The torch module in qat mode."""
        return Net.restore(self.spec, self.weights, self.weight_exponents, self.exponents)


@dataclass(frozen=True)
class Stopped:
    """A training that its watcher ended after the epochs of ``history``; its weights are not kept."""

    spec: NetSpec
    recipe: Recipe
    seed: int
    history: tuple[Epoch, ...]
    seconds: float


@dataclass(frozen=True)
class Diverged:
    """A training whose loss was no longer finite, in which phase and epoch."""

    spec: NetSpec
    recipe: Recipe
    seed: int
    phase: str
    epoch: int
    history: tuple[Epoch, ...]
    seconds: float


Progress = Callable[[Epoch, int], None]
"""Told each finished epoch and the number of epochs in all."""
Watch = Callable[[list[Epoch]], bool]
"""Given the epochs so far, says whether to go on."""
Start = Mapping[str, NDArray[np.float32]]
"""Arrays ``<layer>.weight`` and ``<layer>.bias`` to begin with, as ``flow.train.inherit`` makes them."""


def recipe(name: str, images: int, bfloat16: bool = False) -> Recipe:
    """The recipe ``few`` (some dozen steps), ``short`` (to rank networks in seconds), ``epoch`` (every image once) or
    ``full``, for a training split of ``images``.

    Small sets get more epochs: about 20 for 3,000 images and 10 for 50,000. A short training reads as many different
    images as it has steps for: a new image tells more than one seen before.  Raises ValueError for other names.
    """
    epochs = max(6, min(24, round(20 * (3000 / max(images, 1)) ** 0.25)))
    batch, some = 32 if images < SMALL_SET else 64, max(1, min(images, SHORT_IMAGES))
    known = {
        "full": Recipe(epochs, max(2, round(epochs * 0.3)), batch=batch, bfloat16=bfloat16),
        "epoch": Recipe(1, 1, batch=batch, bfloat16=bfloat16, qat_share=0.25),
        "short": Recipe(round(SHORT_IMAGES / some), 1, some, 32, bfloat16=bfloat16, qat_share=min(1.0, 4000 / some)),
        "few": Recipe(1, 0, subset=min(images, 2000), batch=32, bfloat16=bfloat16),
    }
    if name not in known:
        raise ValueError(f"no recipe {name!r}: there are {', '.join(known)}")
    return known[name]


def train(
    spec: NetSpec,
    data: Dataset,
    how: Recipe,
    seed: int,
    progress: Progress | None = None,
    *,
    device: str = "cpu",
    start: Start | None = None,
    watch: Watch | None = None,
) -> Trained | Diverged | Stopped:
    """Train ``spec`` on ``data``'s training split; the validation split only scores it, the test split is not read.

    ``device``: what ``flow.train.device.pick`` gives.  Raises ValueError when images or classes do not fit ``spec``.
    """
    if data.input_shape != spec.input_shape or len(data.classes) != spec.classes:
        raise ValueError(
            f"{data.name} has images {data.input_shape} of {len(data.classes)} classes, the network takes "
            f"{spec.input_shape} and gives {spec.classes}"
        )
    with one_thread():
        return _Run(spec, data, how, seed, progress, device, start, watch).result()


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def to_real(x: Tensor) -> Tensor:
    """uint8 images as the network's float32 input, q / 256, channels last in memory."""
    return x.to(torch.float32).div_(256.0).contiguous(memory_format=torch.channels_last)


def predict(net: Net, x: Images, batch: int = 500) -> NDArray[np.float32]:
    """Logits (N, classes) of uint8 images, in evaluation mode."""
    net.eval()
    device = next(net.parameters()).device
    pixels = torch.from_numpy(np.array(x)).to(device)  # a copy: data sets are read-only
    with torch.inference_mode():
        parts = [net(to_real(pixels[k : k + batch])).cpu().numpy() for k in range(0, len(pixels), batch)]
    return np.concatenate(parts)


def score(net: Net, x: Images, y: Labels) -> float:
    """Fraction of images whose first largest logit is their label."""
    return float(np.mean(predict(net, x).argmax(1) == y))


def augmented(x: Tensor, how: str, generator: torch.Generator) -> Tensor:
    """A uint8 batch (N, C, H, W), each image shifted by its own random offset if ``how`` says "shift", half of them
    mirrored if it says "flip".  Vacated pixels are zero."""
    n, _, h, w = x.shape
    if "shift" in how:
        room = max(1, min(h, w) // SHIFT_FRACTION)
        windows = F.pad(x, (room, room, room, room)).unfold(2, h, 1).unfold(3, w, 1)  # n c dy dx h w
        dy, dx = torch.randint(0, 2 * room + 1, (2, n), generator=generator)
        x = windows[torch.arange(n), :, dy, dx]
    if "flip" in how:
        mirrored = (torch.rand(n, generator=generator) < 0.5).to(x.device)
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    return x


@dataclass(frozen=True)
class Descent:
    """Optimizers and the schedules of their learning rates. ``matrices``: weights (OC, IC, K, K) and the same memory as
    the parameter (OC, IC K K) that Muon, which knows matrices only, moves in their stead."""

    optimizers: Sequence[torch.optim.Optimizer]
    schedules: Sequence[torch.optim.lr_scheduler.LRScheduler]
    matrices: Sequence[tuple[Tensor, Tensor]] = ()

    def step(self) -> None:
        for weight, matrix in self.matrices:
            matrix.grad = None if weight.grad is None else weight.grad.reshape(matrix.shape)
        for optimizer in self.optimizers:
            optimizer.step()
        for schedule in self.schedules:
            schedule.step()


class _Run:
    """One training."""

    def __init__(
        self,
        spec: NetSpec,
        data: Dataset,
        how: Recipe,
        seed: int,
        progress: Progress | None,
        device: str,
        start: Start | None,
        watch: Watch | None,
    ) -> None:
        self.spec, self.data, self.how, self.seed, self.progress = spec, data, how, seed, progress
        self.watch, self.stopped = watch, False
        self.generator = torch.Generator().manual_seed(seed)
        self.net = Net(spec, self.generator)
        order = torch.randperm(len(data.train_x), generator=self.generator).numpy()
        chosen = np.sort(order[: how.subset or None])
        self.x = torch.from_numpy(data.train_x[chosen]).to(device)
        self.y = torch.from_numpy(data.train_y[chosen]).to(device)
        if start is not None:
            self.net.eval().begin_with(start, to_real(torch.from_numpy(data.train_x[chosen[:CALIBRATION_IMAGES]])))
        self.net.to(device)
        # The curve is read off a share of the validation split where training itself is that short.
        self.stride = max(1, len(data.val_x) // max(500, len(chosen) // 10))
        self.history: list[Epoch] = []
        self.begun = time.perf_counter()

    def result(self) -> Trained | Diverged | Stopped:
        for phase, epochs in (("float", self.how.epochs_float), ("qat", self.how.epochs_qat)):
            if phase == "qat":
                self.net.eval()
                self.net.fold()
                self.net.calibrate(to_real(self.x[:CALIBRATION_IMAGES]))
            if not self.phase(phase, epochs):
                past = len([e for e in self.history if e.phase == phase])
                return Diverged(self.spec, self.how, self.seed, phase, past, tuple(self.history), self.elapsed())
            if self.stopped:
                return Stopped(self.spec, self.how, self.seed, tuple(self.history), self.elapsed())
        # On the CPU, whose convolutions add up exactly: a GPU may take a transform that rounds.
        every = max(1, len(self.data.val_x) // len(self.x))  # scoring should not cost more than training
        accuracy = score(self.net.cpu(), self.data.val_x[::every], self.data.val_y[::every])
        weights, scales, exponents = self.net.state()
        history, seconds = tuple(self.history), self.elapsed()
        return Trained(self.spec, weights, scales, exponents, self.how, self.seed, accuracy, history, seconds)

    def elapsed(self) -> float:
        return time.perf_counter() - self.begun

    def phase(self, name: str, epochs: int) -> bool:
        """Train for ``epochs``, or until it is stopped; False when the loss is no longer finite."""
        share = self.how.qat_share if name == "qat" else 1.0
        batches = max(1, int(share * len(self.x)) // self.how.batch)
        descent = self.descent(name, max(1, epochs * batches))
        for number in range(epochs):
            begun, busy = time.perf_counter(), time.process_time()
            if name == "qat" and number < epochs - 1:
                self.net.fit_weights()  # the last epoch trains on the scales it will keep
            loss = self.epoch(descent, batches)
            if not math.isfinite(loss):
                return False
            accuracy = score(self.net, self.data.val_x[:: self.stride], self.data.val_y[:: self.stride])
            spent = time.perf_counter() - begun, time.process_time() - busy
            self.history.append(Epoch(name, number, loss, accuracy, *spent))
            if self.progress is not None:
                self.progress(self.history[-1], self.how.epochs_float + self.how.epochs_qat)
            # The last epoch is not asked about: all is paid for by then.
            last = len(self.history) == self.how.epochs_float + self.how.epochs_qat
            if self.watch is not None and not last and not self.watch(self.history):
                self.stopped = True
                break
        return True

    def descent(self, phase: str, steps: int) -> Descent:
        how, weights = self.how, self.net.weights.values()
        if phase == "qat":
            # Decay pulls folded weights off their calibrated scales: they have no normalisation left to undo it.
            optimizer = torch.optim.AdamW(self.net.parameters(), how.lr_qat, weight_decay=0.0)
            return Descent([optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)])
        usual = LR_MUON if "shift" in self.data.augment else 0.0
        lr_muon = usual if how.lr_muon is None else how.lr_muon
        mixing = [p for p in weights if p.ndim == 4 and p.shape[1] > 1] if lr_muon else []
        ours = {id(p) for p in mixing}
        decayed = [p for p in weights if id(p) not in ours]
        plain = [p for n, p in self.net.named_parameters() if not n.startswith("weights.")]
        groups = [{"params": decayed, "weight_decay": how.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        chosen: list[tuple[torch.optim.Optimizer, float]] = [(torch.optim.AdamW(groups, how.lr), how.lr)]
        matrices = [(p, torch.nn.Parameter(p.detach().view(len(p), -1))) for p in mixing]
        if matrices:
            muon = torch.optim.Muon([m for _, m in matrices], lr_muon, momentum=MOMENTUM, ns_steps=NEWTON_SCHULZ)
            chosen.append((muon, lr_muon))
        cycle = torch.optim.lr_scheduler.OneCycleLR
        schedules = [cycle(o, lr, total_steps=steps + 1, cycle_momentum=o is chosen[0][0]) for o, lr in chosen]
        return Descent([o for o, _ in chosen], schedules, matrices)

    def epoch(self, descent: Descent, batches: int) -> float:
        """Mean loss of one pass over the images."""
        self.net.train()
        how = self.data.augment if self.how.augment else "none"
        order = torch.randperm(len(self.x), generator=self.generator).to(self.x.device)
        total = torch.zeros((), dtype=torch.float64, device=self.x.device)
        for k in range(batches):
            index = order[k * self.how.batch : (k + 1) * self.how.batch]
            x = to_real(augmented(self.x[index], how, self.generator))
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self.how.bfloat16):
                out = self.net(x)
            loss = F.cross_entropy(out.float(), self.y[index], label_smoothing=self.how.label_smoothing)
            total += loss.detach()
            # Looking at a loss waits for a GPU to finish all steps before it.
            if k % LOOKS == 0 and not torch.isfinite(total):
                break
            self.net.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            descent.step()
        return float(total) / batches


def scaled(how: Recipe, share: float) -> Recipe:
    """``how`` with epochs times ``share``, at least one each."""
    return replace(
        how,
        epochs_float=max(1, round(how.epochs_float * share)),
        epochs_qat=max(1, round(how.epochs_qat * share)),
    )
