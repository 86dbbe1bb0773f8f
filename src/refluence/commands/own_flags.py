"""The flags of the command line alone, a group for each command; those that a library function has too are in options/."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from refluence.errors import InputError
from refluence.fields import required, same, setting
from refluence.options import JobOptions, MachineOptions, Options, SamplingOptions, SeedOptions
from refluence.options.guidance import read_guidance


@dataclass(frozen=True, kw_only=True)
class Task(Options):
    """Flags that commands share, in the words that most of them need."""

    group: ClassVar[str] = "main"

    data: str = required(
        "digits | a folder with train.parquet | FOLDER:TASK | an image folder (train/<class>/…) | a Hugging Face Hub id.",
        metavar="SRC",
    )
    folder: Path = required(
        "Folder of a `distill` or `transfer` run, or of one unit of a comparison (units/ARM/SEED).", positional=True
    )
    out: Path = required("Folder of this run; it is made. One folder holds one run.")
    resume: bool = setting(False, "Continue the run in --out. Nothing there yet: start. Finished: do nothing.")


@dataclass(frozen=True, kw_only=True)
class MachineFlags(MachineOptions):
    """How the machine is used."""

    quiet: bool = setting(False, "No progress bars and no notes.")


@dataclass(frozen=True, kw_only=True)
class LongFlags(MachineFlags):
    """How the machine is used."""

    checkpoint_seconds: float = setting(
        10.0, "Time between two checkpoints: what a kill can cost at most.", least=0, metavar="SECONDS"
    )


@dataclass(frozen=True, kw_only=True)
class CompareTask(Options):
    """What to compare. --data, --methods and --out are all that is needed."""

    group: ClassVar[str] = "main"

    data: str = same(Task, "data")
    methods: tuple[str, ...] = required(
        "METHOD[+WEIGHTS][:key=value,…], for example: random dc dc+influence dc+influence:tau=.1. What there is, keys too: "
        "`refluence ls`.",
        metavar="ARM [ARM …]",
    )
    ipc: int = same(JobOptions, "ipc")
    seeds: int = same(SeedOptions, "seeds")
    out: Path = same(Task, "out")
    resume: bool = same(
        Task,
        "resume",
        help="Continue the run in --out: finished units are kept. Nothing there yet: start. All finished: do nothing.",
    )
    seed: int = same(SeedOptions, "seed", help="The first seed; everything random follows from it.")
    controls: bool = setting(
        True,
        "Without this flag, X+influence brings its controls X and X+shuffled along, X+pruned:by=score X, the same at "
        "random and the same by held-out loss, a transfer by influence scratch, kd and itself with shuffled weights, and a "
        "guided set such as dit+igd the controls dit and dit+pool.",
    )
    equal_seconds: bool = setting(False, "Also run X without weights for as many seconds as X+influence took.")
    workers: int = setting(
        0,
        "Units side by side, a process each (0: automatic; more than one only for tiny networks on the CPU).",
        least=0,
        most=1024,
    )
    executor: str | None = setting(
        None, "serial | processes[:N]: how units run. --workers N is the same as processes:N.", metavar="KIND[:N]"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.methods:
            raise InputError("--methods names no arm: for example --methods random dc dc+influence")


@dataclass(frozen=True, kw_only=True)
class DistillTask(Options):
    """What to make. --data and --out are all that is needed."""

    group: ClassVar[str] = "main"

    data: str = same(Task, "data")
    method: str = setting("dc", "One of `refluence ls`.")
    weights: str = setting(
        "uniform",
        "How real instances are weighted: uniform, influence, influence:tau=.1, … (see `refluence ls`).",
        metavar="KIND[:key=value,…]",
    )
    ipc: int = same(JobOptions, "ipc")
    out: Path = same(Task, "out")
    resume: bool = same(Task, "resume")
    seed: int = same(SeedOptions, "seed")


@dataclass(frozen=True, kw_only=True)
class TransferTask(Options):
    """What to make. --data, --teacher and --out are all that is needed."""

    group: ClassVar[str] = "main"

    data: str = same(Task, "data")
    mechanism: str = setting(
        "student",
        "kd, student, teacher, joint, staged or scratch, an arm of `refluence ls`: joint:teacher_lr=.001, kd+loss, kd+adapt.",
        metavar="ARM",
    )
    out: Path = same(Task, "out")
    seeds: int | None = same(
        SeedOptions,
        "seeds",
        help="A comparison over so many paired seeds, with the student alone, plain kd and shuffled weights beside (default: "
        "one student, of --seed).",
        default=None,
    )
    resume: bool = same(Task, "resume")
    seed: int = same(SeedOptions, "seed")
    controls: bool = same(
        CompareTask,
        "controls",
        help="With --seeds: without this flag, the student alone, kd and shuffled weights come along.",
    )
    equal_seconds: bool = same(CompareTask, "equal_seconds", help="With --seeds: also kd for as many seconds.")
    workers: int = same(CompareTask, "workers")
    executor: str | None = same(CompareTask, "executor")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seeds is None and (self.equal_seconds or self.workers or self.executor):
            raise InputError("--equal-seconds, --workers and --executor are for a comparison: add --seeds N")


@dataclass(frozen=True, kw_only=True)
class TrainTask(Options):
    """What to train. --data and --out are all that is needed."""

    group: ClassVar[str] = "main"

    data: str = same(Task, "data")
    out: Path = same(Task, "out", help="Folder of this run; it is made, with the denoiser in OUT/denoiser.")
    resume: bool = same(Task, "resume")
    seed: int = same(SeedOptions, "seed")


@dataclass(frozen=True, kw_only=True)
class FinetuneTask(Options):
    """What to fine-tune. --data, --denoiser and --out are all that is needed."""

    group: ClassVar[str] = "main"

    data: str = same(Task, "data")
    denoiser: str = required(
        "The denoiser to begin with: the folder of `generate train`, a folder of diffusers, or hf:NAME.",
        metavar="FOLDER|hf:NAME",
    )
    out: Path = same(TrainTask, "out")
    resume: bool = same(Task, "resume")
    seed: int = same(SeedOptions, "seed")


@dataclass(frozen=True, kw_only=True)
class SampleTask(Options):
    """What to sample. --data and --out are all that is needed; without --denoiser one is trained first."""

    group: ClassVar[str] = "main"

    data: str = same(Task, "data")
    guidance: str = setting(
        "none",
        "What steers the images: none, influence, deviation, or both, influence,deviation (igd for short); entropy: to images "
        "of which the surrogate is unsure; modes: to centres of real ones; learnability: in stages, to what is left to learn. "
        "More of an arm's options may follow: igd:weights=influence. (rf.generate without an arm takes dit+igd.)",
        metavar="none|influence|deviation|influence,deviation|entropy|modes|learnability[:key=value,…]",
    )
    pool: bool = setting(
        False, "Instead of guidance: sample several times as many images and select from them (--factor, --by)."
    )
    ipc: int = same(JobOptions, "ipc")
    out: Path = same(Task, "out")
    resume: bool = same(Task, "resume")
    seed: int = same(SeedOptions, "seed")
    method: str | None = setting(
        None,
        "dit: the denoiser as it is. minimax: fine-tuned by Minimax, first where it is not yet. d4m: begun at noised centres "
        "of real images (default: as --denoiser was made).",
        choices=("dit", "minimax", "d4m"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        read_guidance(self.guidance, self.pool)


@dataclass(frozen=True, kw_only=True)
class ScoreTask(Options):
    """What to score, and against what: our own validation split, or with --distilled a distilled set."""

    group: ClassVar[str] = "main"

    data: str | None = setting(
        None, "The instances to score (with --distilled, default: those that the run was made from).", metavar="SRC"
    )
    distilled: Path | None = setting(
        None, "Score against a distilled set: folder of a `distill` run, or of one unit of a comparison (units/ARM/SEED)."
    )
    out: Path = setting(
        Path("scores.parquet"),
        "File to write; a page with the most harmful and helpful instances is written beside it (FILE.html).",
        metavar="FILE",
    )
    resume: bool = same(Task, "resume", help="Continue where a stopped run left off, fold by fold. Finished: do nothing.")
    nets: int | None = setting(None, "Networks to average over (default: 1 a fold; 3 with --distilled).", least=1)
    weights: str | None = setting(
        None,
        "How the column `weight` follows from the scores (default: a sigmoid between 0 and 2, 1 at a score of 0; "
        "with --distilled, the run's own influence weights, else influence).",
        metavar="KIND[:key=value,…]",
    )
    seed: int = same(SeedOptions, "seed", help="Folds and networks follow from it.")


@dataclass(frozen=True, kw_only=True)
class EvaluateTask(Options):
    """How to judge the set: as in the run, but for the split, the networks and their seed, whose defaults stand below."""

    group: ClassVar[str] = "main"

    folder: Path = same(Task, "folder")
    protocol: tuple[str, ...] = same(
        JobOptions, "protocol", help="Named protocols (see `refluence ls`; default: those of the run)."
    )
    nets: int = same(JobOptions, "nets", help="Networks to train.", default=5, by_size=None)
    split: str = same(JobOptions, "split", help="val for every choice on the way; each use of test is counted in card.json.")
    resume: bool = same(Task, "resume", help="Leave out what evaluation.json holds already.")
    data: str | None = same(Task, "data", help="Another source to test on.", default=None)
    model: tuple[str, ...] = setting(
        (),
        "Other networks (see `refluence ls`), each with its norm if you like: resnet10 resnet10:instance torchvision:vgg11.",
        metavar="[NAME[:NORM] …]",
    )
    width: int | None = same(
        JobOptions, "width", help="Another width, of every network (default: the run's, for a resnet half of it).", by_size=None
    )
    norm: str | None = same(
        JobOptions,
        "norm",
        help="Another normalisation layer, of every network that names none (default: the run's, or its published one).",
    )
    epochs: int | None = same(JobOptions, "epochs", help="Epochs, instead of the protocol's.")
    batch: int | None = same(JobOptions, "batch")
    seed: int = same(SeedOptions, "seed", help="The networks follow from it.")
    save_model: bool = setting(False, "Keep the first network as model.safetensors.")
    robust: bool = setting(
        False, "Label-robust and augmentation-robust scores instead, against random images and the full data, to robust.json."
    )
    quality: bool = same(
        JobOptions,
        "quality",
        help="Measure the set beside real images of train instead, to quality.json: Fréchet and Wasserstein distance, "
        "coverage, mean influence (at a surrogate that guided no sampling), redundancy.",
    )
    feature_network: str | None = same(JobOptions, "feature_network")
    coverage_threshold: float | None = same(JobOptions, "coverage_threshold")


@dataclass(frozen=True, kw_only=True)
class RunTask(Options):
    """Which table or figure. RECIPE, --data and --out are all that is needed."""

    group: ClassVar[str] = "main"

    recipe: str = required("One of `refluence ls`.", positional=True, metavar="RECIPE")
    data: tuple[str, ...] = setting(
        (),
        "SRC for the recipe's main set, NAME=SRC for others (cifar10, cifar100, svhn), cifar10n=FILE for labels; parts "
        "that want others are left out.",
        metavar="SRC|NAME=SRC [NAME=SRC …]",
    )
    out: Path | None = same(
        Task, "out", help="Folder of this run; it is made. One folder holds one recipe at one size.", default=None
    )
    size: str = same(
        JobOptions, "size", help="cpu: short and small, ours, compares with no published number. paper: the published settings."
    )
    seeds: int | None = same(
        CompareTask,
        "seeds",
        help="Paired seeds of every part (default: the recipe's own). More can be asked for later, with --resume.",
        default=None,
    )
    seed: int = same(
        SeedOptions,
        "seed",
        help="The first seed. The table leaves out rows of lower ones: fresh seeds confirm what was chosen on others.",
    )
    only: tuple[str, ...] = setting((), "These parts alone; wildcards as in 'cifar10-*'.", metavar="PART [PART …]")
    resume: bool = same(Task, "resume", help="Continue the run in --out: what has rows is not made again.")
    rows: Path | None = setting(
        None,
        "File that a row is appended to for every finished unit and protocol (default: DIR/rows.jsonl).",
        metavar="FILE.jsonl",
    )
    tables: bool = setting(False, "Run nothing: write table, figure and page from the rows that there are.")
    steps: int | None = setting(
        None, "Only check that every arm starts: N image steps and epochs on small batches, nothing is written.", least=1
    )


@dataclass(frozen=True, kw_only=True)
class ChangeFlags(Options):
    """Numbers instead of the recipe's own. A changed recipe is no longer the published one."""

    group: ClassVar[str] = "changes"

    denoiser: str | None = same(
        SamplingOptions, "denoiser", default=None, help="Of sampled sets: another denoiser than the recipe's own."
    )

    iterations: int | None = same(JobOptions, "iterations", help="Steps of the image optimiser.")
    real_batch: int | None = same(JobOptions, "real_batch", help="Real images per class and step.")
    width: int | None = same(JobOptions, "width", help="Channels per layer.", by_size=None)
    nets: int | None = same(JobOptions, "nets", help="Networks per set.", by_size=None)
    epochs: int | None = same(JobOptions, "epochs")
    batch: int | None = same(JobOptions, "batch")
    split: str | None = same(
        JobOptions,
        "split",
        help="test for the final number; val (held out of train) for every choice you make on the way (default: the recipe's "
        "own, test unless it is for choosing).",
        default=None,
    )
