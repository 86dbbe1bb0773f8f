"""What jobs run with: a loaded source and a prepared machine; and what of both decides a result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path

import torch

from refluence.compute import Compute
from refluence.condense.norms import NORM_BATCH
from refluence.condense.work import PICTURE_NETS
from refluence.data import Dataset, SourceOptions, load
from refluence.data.objects import Source
from refluence.data.origin import changed, digest
from refluence.data.partition import TEST_FRACTION
from refluence.errors import InputError
from refluence.fields import setting
from refluence.files import Json
from refluence.options import MachineOptions
from refluence.run import device
from refluence.run.drive import Driver
from refluence.run.progress import Reporter, one_line_warnings
from refluence.select import forgetting, pretrain, young_networks
from refluence.select import influence as by_influence
from refluence.work import Prepared

SMALL = 16 * 16  # pixels of an image, at most: then a second thread costs more than it brings


@dataclass(frozen=True, kw_only=True)
class Machine(MachineOptions):
    """How to compute, and what is seen of it."""

    progress: bool = setting(False, "Show progress bars and notes on standard error.")
    checkpoint_seconds: float = setting(10.0, "Time between two checkpoints: what a kill can cost at most.", least=0)

    @property
    def compute(self) -> Compute:
        """Device, precision and compilation. `InputError` where the device is not there."""
        return Compute(device.choose(self.device), self.precision, self.compile)

    def arguments(self) -> Json:
        """The same as config.json keeps it, with the number of threads that this process computes with."""
        own = {k: v for k, v in asdict(self).items() if k != "progress"}
        return {**own, "threads": torch.get_num_threads(), "quiet": not self.progress}

    @classmethod
    def from_arguments(cls, stored: Json, progress: bool = False) -> Machine:
        """The machine of a run whose config.json has these arguments."""
        known = {f.name: stored[f.name] for f in fields(cls) if f.name in stored}
        return cls(**{**known, "progress": progress})


@dataclass(frozen=True)
class Session:
    """A prepared machine and a loaded source. `made`: what jobs need beforehand and no folder keeps (needs.py)."""

    dataset: Dataset
    compute: Compute
    reporter: Reporter
    machine: Machine = field(default_factory=Machine)
    made: dict[str, Prepared] = field(default_factory=dict, repr=False, compare=False)

    @property
    def driver(self) -> Driver:
        """How works are driven here."""
        return Driver(self.compute.device, self.reporter, self.machine.checkpoint_seconds)

    def reopened(self) -> Callable[[], Session]:
        """What opens the same session in another process, without progress: from its source, or with the data themselves."""
        quiet, dataset = replace(self.machine, progress=False), self.dataset
        if dataset.origin is None or not dataset.origin.textual or changed(dataset):
            return partial(_reopen, dataset, quiet, dataset.options, 1)
        return partial(_reopen, dataset.source, quiet, dataset.options, dataset.origin.per_class)


def open_session(
    data: Dataset | Source, machine: Machine, options: SourceOptions | None = None, *, per_class: int = 1
) -> Session:
    """Choose the device, load the data unless they are loaded, and say what the source has to tell.

    Args:
        data: what `refluence.data.load` takes, or what it gave.
        machine: how to compute; its threads are the caller's to set.
        options: how the source is read.
        per_class: training images that a class must have not to be small.

    Raises:
        InputError: a device that is not there, data that cannot be used.
    """
    reporter, compute = Reporter(not machine.progress), machine.compute
    if isinstance(data, Dataset):
        return Session(_large_enough(data, per_class), compute, reporter, machine)
    name = f"{data}: " if isinstance(data, (str, Path)) else ""

    dataset = load(data, options, per_class=per_class, say=lambda line: reporter.say_now(f"{name}{line}"))
    for note in dataset.notes[1:]:  # the first is said
        reporter.say(f"{name}{note}")
    return Session(dataset, compute, reporter, machine)


def usual_threads(session: Session) -> int:
    """The threads to compute with: those that are asked for, else one for small images on the CPU, else as they are."""
    pixels, on_cpu = session.dataset.area, session.compute.device.type == "cpu"
    return session.machine.threads or (1 if on_cpu and pixels <= SMALL else torch.get_num_threads())


def _reopen(data: Dataset | Source, machine: Machine, options: SourceOptions, per_class: int) -> Session:
    one_line_warnings()
    device.prepare(machine.threads)
    return open_session(data, machine, options, per_class=per_class)


def _large_enough(dataset: Dataset, per_class: int) -> Dataset:
    """The data with what their option `small_classes` says done to classes with fewer than `per_class` training images."""
    counts = [len(dataset.train.members(c)) for c in range(len(dataset.classes))]
    policy, origin = dataset.options.small_classes, dataset.origin
    if min(counts) >= per_class or policy == "cap":
        return dataset
    small = f"ipc is {per_class}, class '{dataset.classes[counts.index(min(counts))]}' has {min(counts)} training images"
    if policy == "refuse":
        raise InputError(f"{small}: a smaller ipc, or rf.load(…, small_classes='cap') (fewer images of such a class) or 'drop'")
    if origin is None or not origin.textual or changed(dataset):
        raise InputError(
            f"{small}, and small_classes='drop' leaves classes out while a source is read: leave them out of the data that you "
            "give, or small_classes='cap' (fewer images of such a class)"
        )
    return load(dataset.source, dataset.options, per_class=per_class)


def source_facts(dataset: Dataset) -> Json:
    """How the source was read, as runs record it: options that came later only where they are unusual."""
    read = asdict(dataset.options)
    usual = asdict(SourceOptions())
    later = (
        "val_fraction",
        "noise",
        "relabel",
        "rows",
        "shift",
        "imbalance",
        "labelled",
        "text_columns",
        "tokenizer",
        "max_length",
    )
    return {k: v for k, v in read.items() if k not in later or v != usual[k]}


def about(session: Session) -> Json:
    """What decides a result beside the jobs: the data as it was read, the machine's part, numbers that no flag sets.

    Data that were changed in Python after they were loaded have the digest of their content too, and a validation set that was
    given as an object has its name.
    """
    dataset, compute = session.dataset, session.compute
    by_object = dataset.validated_elsewhere and dataset.options.validation is None
    return {
        "data": {
            "source": dataset.source,
            "classes": list(dataset.classes),
            "shape": list(dataset.shape),
            "train": len(dataset.train),
            **({} if dataset.unlabelled is None else {"unlabelled": len(dataset.unlabelled)}),
            "val": len(dataset.val),
            "test": len(dataset.test),
            "mean": list(dataset.mean),
            "std": list(dataset.std),
            "options": source_facts(dataset),
            **({"validation": dataset.validation} if by_object else {}),
            **({"content": digest(dataset)} if changed(dataset) else {}),
        },
        "machine": {
            **device.describe(),
            "device": compute.device.type,
            "precision": compute.precision,
            "compile": compute.compile,
        },
        "constants": {
            "val_fraction": SourceOptions.val_fraction,
            "test_fraction": TEST_FRACTION,
            "picture_nets": PICTURE_NETS,
            "norm_batch": NORM_BATCH,
            "pretraining": {
                "steps": pretrain.STEPS,
                "batch": pretrain.BATCH,
                "lr": pretrain.LR,
                "momentum": pretrain.MOMENTUM,
                "weight_decay": pretrain.WEIGHT_DECAY,
                "early_nets": young_networks.NETS,
                "forgetting_steps": forgetting.STEPS,
                "influence_points": by_influence.STEPS,
            },
        },
    }
