"""The commands: one dataclass each, made of groups of flags in the order in which `--help` shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from refluence.commands.options import (
    EvaluationFlags,
    LongFlags,
    MachineFlags,
    Name,
    Names,
    Norm,
    Number,
    SizeFlags,
    SourceFlags,
    Switch,
)

Source = Annotated[str, arg(metavar="SRC")]
OwnSource = Annotated[str | None, arg(metavar="SRC", help_behavior_hint="")]
Folder = Annotated[Path, arg(metavar="DIR")]
RunFolder = Annotated[Positional[Path], arg(metavar="DIR")]
OtherFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")]
Count = Annotated[int, arg(metavar="N")]
Real = Annotated[float | None, arg(metavar="NUMBER", help_behavior_hint="")]
Models = Annotated[tuple[str, ...], arg(metavar="[NAME[:NORM] …]", help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class CompareTask:
    """What to compare. --data, --methods and --out are all that is needed."""

    data: Source
    """digits | a folder with train.parquet | FOLDER:TASK | an image folder (train/<class>/…) | a Hugging Face Hub id."""
    methods: Annotated[tuple[str, ...], arg(metavar="ARM [ARM …]")]
    """METHOD[+WEIGHTS][:key=value,…], for example: random dc dc+influence dc+influence:tau=.1. What there is, keys too:
    `refluence ls`."""
    ipc: Count = 10
    """Images per class to keep."""
    seeds: Count = 3
    """How many paired seeds; 5 or more give useful intervals."""
    out: Folder
    """Folder of this run; it is made. One folder holds one run."""
    resume: Switch = False
    """Continue the run in --out: finished units are kept. Nothing there yet: start. All finished: do nothing."""
    seed: Count = 0
    """The first seed; everything random follows from it."""
    controls: Annotated[FlagCreatePairsOff[bool], arg(help_behavior_hint="")] = True
    """Without this flag, X+influence brings its controls X and X+shuffled along."""
    equal_seconds: Switch = False
    """Also run X without weights for as many seconds as X+influence took."""
    workers: Count = 0
    """Units side by side, a process each (0: automatic; more than one only for tiny networks on the CPU)."""
    executor: Annotated[str | None, arg(metavar="KIND[:N]", help_behavior_hint="")] = None
    """serial | processes[:N]: how units run. --workers N is the same as processes:N."""


@dataclass(frozen=True, kw_only=True)
class Compare(CompareTask, SizeFlags, EvaluationFlags, SourceFlags, LongFlags):
    """Run several methods with the same seeds; say, with intervals, which one helped.

    For example:
      refluence compare --data digits --ipc 10 --methods random dc dc+influence \\
                        --seeds 5 --out runs/demo
    """


@dataclass(frozen=True, kw_only=True)
class DistillTask:
    """What to make. --data and --out are all that is needed."""

    data: Source
    """digits | a folder with train.parquet | FOLDER:TASK | an image folder (train/<class>/…) | a Hugging Face Hub id."""
    method: Annotated[str, arg(metavar="NAME")] = "dc"
    """One of `refluence ls`."""
    weights: Annotated[str, arg(metavar="KIND[:key=value,…]")] = "uniform"
    """How real instances are weighted: uniform, influence, influence:tau=.1, … (see `refluence ls`)."""
    ipc: Count = 10
    """Images per class to keep."""
    out: Folder
    """Folder of this run; it is made. One folder holds one run."""
    resume: Switch = False
    """Continue the run in --out. Nothing there yet: start. Finished: do nothing."""
    seed: Count = 0
    """Everything random follows from it."""


@dataclass(frozen=True, kw_only=True)
class Distill(DistillTask, SizeFlags, EvaluationFlags, SourceFlags, LongFlags):
    """Make one small set from your data and judge it.

    For example:
      refluence distill --data digits --weights influence --ipc 10 --out runs/digits
    """


@dataclass(frozen=True, kw_only=True)
class ScoreTask:
    """What to score, and against what: our own validation split, or with --distilled a distilled set."""

    data: OwnSource = None
    """The instances to score (with --distilled, default: those that the run was made from)."""
    distilled: OtherFolder = None
    """Score against a distilled set: folder of a `distill` run, or of one unit of a comparison (units/ARM/SEED)."""
    out: Annotated[Path, arg(metavar="FILE")] = Path("scores.parquet")
    """File to write; a page with the most harmful and helpful instances is written beside it (FILE.html)."""
    resume: Switch = False
    """Continue where a stopped run left off, fold by fold. Finished: do nothing."""
    nets: Number = None
    """Networks to average over (default: 1 a fold; 3 with --distilled)."""
    weights: Annotated[str | None, arg(metavar="KIND[:key=value,…]", help_behavior_hint="")] = None
    """How the column `weight` follows from the scores (default: a sigmoid between 0 and 2, 1 at the mean score; with
    --distilled, the run's own influence weights, else influence)."""
    seed: Count = 0
    """Folds and networks follow from it."""


@dataclass(frozen=True, kw_only=True)
class ClassifierFlags:
    """The classifier that the scores speak of. None of these goes with --distilled."""

    folds: Number = None
    """Every instance is scored by a network that was not trained on it (default: 5 folds)."""
    model: Name = None
    """One of `refluence ls`, or FILE.py:FUNCTION with your function (shape, classes) -> nn.Module (default: convnet)."""
    width: Number = None
    """Channels per layer of a convnet (default: 32), or of a resnet's first stage (default: 16)."""
    norm: Norm = None
    """Normalisation layer of a convnet or resnet (default: the published one)."""
    load: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Score with this trained model.safetensors (see `evaluate --save-model`) instead of training any."""
    pixels: Annotated[str | None, arg(metavar="NAME|MEAN:STD", help_behavior_hint="")] = None
    """How pixels of 0 to 1 were normalised for --load: unit, signed, imagenet, data, or numbers, one or one a channel, as in
    0.5:0.25 (default: as its file says, else data, by the training split)."""
    epochs: Number = None
    """Epochs of training in each fold (default: 15)."""
    batch: Number = None
    """Batch size of training (default: 64)."""
    lr: Real = None
    """Highest learning rate of training (default: 0.05)."""
    weight_decay: Real = None
    """Weight decay of training (default: 0.0005)."""
    terms: Annotated[Literal["explicit", "implicit", "both"] | None,
                     arg(metavar="{explicit,implicit,both}", help_behavior_hint="")] = None  # fmt: skip
    """Its own held-out risk, what training on it does to the validation risk, or their sum (default: both; with --validation
    SRC implicit)."""
    networks: Annotated[Literal["held-out", "all"] | None, arg(metavar="{held-out,all}", help_behavior_hint="")] = None
    """Each instance is scored by the networks that held it out, or by those of all folds (default: held-out)."""
    risk: Annotated[Literal["error", "cross-entropy"] | None, arg(metavar="{error,cross-entropy}", help_behavior_hint="")] = (
        None
    )
    """What is to be low: the expected error 1 - p, or cross-entropy (default: error)."""
    curvature: Name = None
    """identity, ggn, hessian, kfac, ekfac, lbfgs or lissa, for the implicit term (default: ggn)."""
    damping: Annotated[str | None, arg(metavar="NUMBER|auto", help_behavior_hint="")] = None
    """Added to the curvature's diagonal (default: auto)."""


@dataclass(frozen=True, kw_only=True)
class Score(ScoreTask, ClassifierFlags, SourceFlags, MachineFlags):
    """Score every training instance: does it help or harm on validation data?

    For example:
      refluence score --data digits --out scores.parquet

    Without the most harmful twentieth, then:
      refluence distill --data digits --drop scores.parquet:0.05 --out runs/clean

    Against a distilled set:
      refluence score --distilled runs/digits --out scores.parquet
    """


@dataclass(frozen=True, kw_only=True)
class EvaluateTask:
    """How to judge the set: as in the run, but for the split, the networks and their seed, whose defaults stand below."""

    folder: RunFolder
    """Folder of a `distill` run, or of one unit of a comparison (units/ARM/SEED)."""
    protocol: Names = ()
    """Named protocols (see `refluence ls`; default: those of the run)."""
    nets: Count = 5
    """Networks to train."""
    split: Literal["test", "val"] = "test"
    """val for every choice on the way; each use of test is counted in card.json."""
    resume: Switch = False
    """Leave out what evaluation.json holds already."""
    data: OwnSource = None
    """Another source to test on."""
    model: Models = ()
    """Other networks (see `refluence ls`), each with its norm if you like: resnet10 resnet10:instance torchvision:vgg11."""
    width: Number = None
    """Another width, of every network (default: the run's, for a resnet half of it)."""
    norm: Norm = None
    """Another normalisation layer, of every network that names none (default: the run's, or the model's published one)."""
    epochs: Number = None
    """Epochs, instead of the protocol's."""
    batch: Number = None
    """Batch size, instead of the protocol's."""
    seed: Count = 0
    """The networks follow from it."""
    save_model: Switch = False
    """Keep the first network as model.safetensors."""
    robust: Switch = False
    """Label-robust and augmentation-robust scores instead, against random images and the full data, to robust.json."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(EvaluateTask, MachineFlags):
    """Judge a distilled set again: other protocol, other network, more networks.

    For example:
      refluence evaluate runs/digits --protocol dsa-cpu --nets 5

    By networks of other kinds:
      refluence evaluate runs/digits --model convnet1 resnet10 resnet18:group
    """


@dataclass(frozen=True, kw_only=True)
class RunTask:
    """Which table or figure. RECIPE, --data and --out are all that is needed."""

    recipe: Annotated[Positional[str], arg(metavar="RECIPE")]
    """One of `refluence ls`."""
    data: Annotated[tuple[str, ...], arg(metavar="SRC|NAME=SRC [NAME=SRC …]", help_behavior_hint="")] = ()
    """SRC for the recipe's main set, NAME=SRC for others (cifar10, cifar100, svhn); parts of other sets are left out."""
    out: OtherFolder = None
    """Folder of this run; it is made. One folder holds one recipe at one size."""
    size: Literal["cpu", "paper"] = "cpu"
    """cpu: short and small, ours, compares with no published number. paper: the published settings."""
    seeds: Number = None
    """Paired seeds of every part (default: the recipe's own). More can be asked for later, with --resume."""
    seed: Count = 0
    """The first seed. The table leaves out rows of lower ones: fresh seeds confirm what was chosen on others."""
    only: Annotated[tuple[str, ...], arg(metavar="PART [PART …]", help_behavior_hint="")] = ()
    """These parts alone; wildcards as in 'cifar10-*'."""
    resume: Switch = False
    """Continue the run in --out: what has rows is not made again."""
    rows: Annotated[Path | None, arg(metavar="FILE.jsonl", help_behavior_hint="")] = None
    """File that a row is appended to for every finished unit and protocol (default: DIR/rows.jsonl)."""
    tables: Switch = False
    """Run nothing: write table, figure and page from the rows that there are."""
    steps: Number = None
    """Only check that every arm starts: N image steps and epochs on small batches, nothing is written."""


@dataclass(frozen=True, kw_only=True)
class ChangeFlags:
    """Numbers instead of the recipe's own. A changed recipe is no longer the published one."""

    iterations: Number = None
    """Steps of the image optimiser."""
    real_batch: Number = None
    """Real images per class and step."""
    width: Number = None
    """Channels per layer."""
    nets: Number = None
    """Networks per set."""
    epochs: Number = None
    """Epochs of each network, instead of the protocol's."""
    batch: Number = None
    """Batch size, instead of the protocol's."""
    split: Annotated[Literal["test", "val"] | None, arg(help_behavior_hint="")] = None
    """test for the final number; val (held out of train) for every choice you make on the way (default: the recipe's own, test
    unless it is for choosing)."""


@dataclass(frozen=True, kw_only=True)
class Run(RunTask, ChangeFlags, SourceFlags, LongFlags):
    """Make a table or figure of a paper, our numbers beside the published ones.

    For example:
      refluence run fig4a --data digits --out runs/fig4a
      refluence run table1 --data cifar10 cifar100=FOLDER --only 'cifar10-*' \\
                           --seeds 5 --out runs/table1 --resume

    Do all arms start at the published size?
      refluence run fig3 --data digits --size paper --steps 1
    """


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write report.html of a finished run again."""

    folder: RunFolder
    """Folder of a run."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a distilled set for other tools: image folder, Parquet or plain tensors."""

    folder: RunFolder
    """Folder of a `distill` run, or of one unit of a comparison (units/ARM/SEED)."""
    format: Annotated[Literal["imagefolder", "parquet", "tensors"], arg(metavar="NAME")] = "imagefolder"
    """imagefolder, parquet or tensors. The first two round to 8-bit pixels, which costs accuracy; tensors lie beside them."""
    out: OtherFolder = None
    """Folder to write (default: DIR/export-FORMAT)."""


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """Run a folder's config.json again: is the outcome the same bit for bit?"""

    folder: RunFolder
    """Folder of a finished run."""
    out: OtherFolder = None
    """New folder (default: DIR-repeat)."""
    resume: Switch = False
    """Continue a repetition that was stopped."""


@dataclass(frozen=True, kw_only=True)
class Ls:
    """List methods, weights, options, protocols, models and recipes that are there."""


COMMANDS: dict[str, type] = {
    kind.__name__.lower(): kind for kind in (Compare, Distill, Score, Evaluate, Run, Report, Export, Repeat, Ls)
}
