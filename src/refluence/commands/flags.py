"""The commands: one dataclass each, made of the library's options (options/) and the command's own (own_flags.py).

Plain values only: what was asked is stored in config.json and can be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from refluence.commands.own_flags import (
    ChangeFlags,
    CompareTask,
    DistillTask,
    EvaluateTask,
    FinetuneTask,
    LongFlags,
    MachineFlags,
    RunTask,
    SampleTask,
    ScoreTask,
    Task,
    TrainTask,
    TransferTask,
)
from refluence.fields import same, setting
from refluence.options import (
    DenoiserOptions,
    FinetuneOptions,
    JobOptions,
    Options,
    SampleOptions,
    SamplingOptions,
    ScoreOptions,
    SourceOptions,
    TransferOptions,
)


@dataclass(frozen=True, kw_only=True)
class Compare(CompareTask, JobOptions, SamplingOptions, TransferOptions, SourceOptions, LongFlags):
    """Run several methods with the same seeds; say, with intervals, which one helped.

    For example:
      refluence compare --data digits --ipc 10 --methods random dc dc+influence \\
                        --seeds 5 --out runs/demo

    Small models instead of small sets:
      refluence compare --data digits --methods kd kd+loss student \\
                        --teacher convnet:128 --student convnet:8 --out runs/kd

    Sets sampled from a diffusion model, trained once in OUT:
      refluence compare --data digits --methods random dit dit+igd --out runs/igd
    """


@dataclass(frozen=True, kw_only=True)
class Distill(DistillTask, JobOptions, SourceOptions, LongFlags):
    """Make one small set from your data and judge it.

    For example:
      refluence distill --data digits --weights influence --ipc 10 --out runs/digits
    """


@dataclass(frozen=True, kw_only=True)
class Transfer(TransferTask, TransferOptions, SourceOptions, LongFlags):
    """Make a small model from a large one; training instances weigh by influence.

    For example:
      refluence transfer --data digits --teacher convnet:128 --student convnet:8 \\
                         --out runs/student

    Does weighting help? With wrong labels on purpose, over paired seeds:
      refluence transfer --data digits --noise symmetric:0.2 --mechanism joint \\
                         --teacher convnet:128 --student convnet:8 \\
                         --seeds 5 --out runs/joint
    """


@dataclass(frozen=True, kw_only=True)
class GenerateTrain(TrainTask, DenoiserOptions, SourceOptions, LongFlags):
    """Train a denoiser, a diffusion model of your data, from scratch.

    For example:
      refluence generate train --data digits --out runs/denoiser
    """


@dataclass(frozen=True, kw_only=True)
class GenerateFinetune(FinetuneTask, FinetuneOptions, SourceOptions, LongFlags):
    """Fine-tune a denoiser, so that its samples represent the data and differ.

    For example:
      refluence generate finetune --data digits --denoiser runs/denoiser \\
                                  --out runs/minimax
    """


@dataclass(frozen=True, kw_only=True)
class GenerateSample(SampleTask, SampleOptions, SourceOptions, LongFlags):
    """Sample one small set from a denoiser, steered by influence and diversity.

    For example:
      refluence generate sample --data digits --denoiser runs/denoiser --ipc 10 \\
                                --guidance influence,deviation --out runs/igd

    The control that takes as long, a larger pool to select from:
      refluence generate sample --data digits --denoiser runs/denoiser --pool \\
                                --out runs/pool
    """


@dataclass(frozen=True, kw_only=True)
class Score(ScoreTask, ScoreOptions, SourceOptions, MachineFlags):
    """Score every training instance: does it help or harm on validation data?

    For example:
      refluence score --data digits --out scores.parquet

    Without the most harmful twentieth, then:
      refluence distill --data digits --drop scores.parquet:0.05 --out runs/clean

    Against a distilled set:
      refluence score --distilled runs/digits --out scores.parquet
    """


@dataclass(frozen=True, kw_only=True)
class Evaluate(EvaluateTask, MachineFlags):
    """Judge a distilled set again: other protocol, other network, more networks.

    For example:
      refluence evaluate runs/digits --protocol dsa-cpu --nets 5

    By networks of other kinds:
      refluence evaluate runs/digits --model convnet1 resnet10 resnet18:group
    """


@dataclass(frozen=True, kw_only=True)
class Run(RunTask, ChangeFlags, SourceOptions, LongFlags):
    """Make a table or figure of a paper, our numbers beside the published ones.

    For example:
      refluence run fig4a --data digits --out runs/fig4a
      refluence run table1 --data cifar10 cifar100=FOLDER --only 'cifar10-*' \\
                           --seeds 5 --out runs/table1 --resume

    Do all arms start at the published size?
      refluence run fig3 --data digits --size paper --steps 1
    """


@dataclass(frozen=True, kw_only=True)
class Report(Options):
    """Write report.html of a finished run again."""

    folder: Path = same(Task, "folder", help="Folder of a run.")


@dataclass(frozen=True, kw_only=True)
class Export(Options):
    """Write a set (PNG, Parquet, tensors) or a student (ONNX) for other tools."""

    folder: Path = same(Task, "folder")
    format: str | None = setting(
        None,
        "Of a set: imagefolder (the default), parquet or tensors; the first two round to 8-bit pixels, which costs accuracy, "
        "and tensors lie beside them. Of a student: onnx (the default; pip install refluence[export]), of one for texts "
        "transformers; or tensors.",
        choices=("imagefolder", "parquet", "tensors", "onnx", "transformers"),
        metavar="NAME",
    )
    out: Path | None = same(Task, "out", help="Folder to write (default: DIR/export-FORMAT).", default=None)


@dataclass(frozen=True, kw_only=True)
class Repeat(Options):
    """Run a folder's config.json again: is the outcome the same bit for bit?"""

    folder: Path = same(Task, "folder", help="Folder of a finished run or comparison, or a file of scores.")
    out: Path | None = same(Task, "out", help="New folder or file (default: DIR-repeat).", default=None)
    resume: bool = same(Task, "resume", help="Continue a repetition that was stopped.")


@dataclass(frozen=True, kw_only=True)
class Ls(Options):
    """List methods, weights, options, protocols, models and recipes that are there."""


GENERATE: dict[str, type] = {"train": GenerateTrain, "finetune": GenerateFinetune, "sample": GenerateSample}
COMMANDS: dict[str, type] = {
    **{kind.__name__.lower(): kind for kind in (Compare, Distill, Transfer)},
    **{f"generate {action}": kind for action, kind in GENERATE.items()},
    **{kind.__name__.lower(): kind for kind in (Score, Evaluate, Run, Report, Export, Repeat, Ls)},
}
"""The flags of each command, as it is called: of two words where it is an action of `generate`."""
