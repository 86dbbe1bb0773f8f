"""The command line: one dataclass a command. Exit code 0 done, 2 unusable input, 1 a run that had to stop."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from refluence import __version__
from refluence.commands.options import DataFlags, EvaluationFlags, OutFlags, RunFlags, SizeFlags
from refluence.errors import InputError, RunError


@dataclass(frozen=True, kw_only=True)
class Compare(RunFlags, EvaluationFlags, SizeFlags, DataFlags, OutFlags):
    """Run several methods on your data with the same seeds and say, with intervals, which one helped.

    Example: refluence compare --data digits --ipc 10 --methods random herding dc dc+influence --seeds 5 --out runs/demo
    """

    methods: Annotated[tuple[str, ...], arg(metavar="ARM [ARM …]")]
    """METHOD[+WEIGHTS][:key=value,…], for example: random dc dc+influence dc+influence:tau=.1 (see `refluence ls`)."""
    ipc: int = 10
    """Images per class to keep."""
    seeds: int = 3
    """How many paired seeds: 5 or more give useful intervals."""
    allocation: Literal["equal", "proportional"] = "equal"
    """Images per class: the same for each, or by class size."""
    controls: bool = True
    """X+influence brings X and X+shuffled along."""
    workers: int = 0
    """Units side by side, a process each (0: automatic; more than one only for tiny networks on the CPU)."""
    equal_seconds: bool = False
    """Also run the base method for as many seconds as its influence arm took."""


@dataclass(frozen=True, kw_only=True)
class Distill(RunFlags, EvaluationFlags, SizeFlags, DataFlags, OutFlags):
    """Make one small set from your data and judge it.

    Example: refluence distill --data digits --method dc --weights influence --ipc 10 --out runs/digits
    """

    method: str = "dc"
    """One of `refluence ls`."""
    weights: Annotated[str, arg(metavar="KIND[:key=value,…]")] = "uniform"
    """How real instances are weighted: uniform, influence, influence:tau=.1, …"""
    ipc: int = 10
    """Images per class to keep."""
    allocation: Literal["equal", "proportional"] = "equal"
    """Images per class: the same for each, or by class size."""


@dataclass(frozen=True, kw_only=True)
class Score(RunFlags, DataFlags):
    """Score every real training instance by its influence on the objective of a distilled set.

    Example: refluence score --data digits --distilled runs/digits --out scores.parquet
    """

    distilled: Annotated[Path, arg(metavar="DIR")]
    """Folder of a `distill` run."""
    out: Path = Path("scores.parquet")
    """File to write; a page with the most and least influential instances is written beside it."""
    nets: int = 3
    """Random networks to average over."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(RunFlags):
    """Judge a distilled set again: another protocol, another network, more networks.

    Example: refluence evaluate runs/digits --protocol dsa-cpu --nets 5
    """

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """Folder of a run with a distilled set."""
    protocol: tuple[str, ...] = ()
    """Named protocols (see `refluence ls`); default: those of the run."""
    data: Annotated[str | None, arg(metavar="SRC")] = None
    """Another source to test on; default: the run's own."""
    model: str | None = None
    """Another network; default: the run's."""
    width: int | None = None
    """Another width; default: the run's."""
    norm: Literal["instance", "group", "batch", "none"] | None = None
    """Another normalisation layer; default: the run's."""
    nets: int = 5
    """Networks to train."""
    epochs: int | None = None
    """Epochs, instead of the protocol's."""
    batch: int | None = None
    """Batch size, instead of the protocol's."""
    split: Literal["test", "val"] = "test"
    """val for every choice on the way; each use of test is counted in card.json."""
    save_model: bool = False
    """Keep the first network as model.safetensors."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write report.html of a finished run again."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """Folder of a run."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a distilled set for other tools: an image folder, Parquet, or plain tensors."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """Folder of a run with a distilled set."""
    format: Literal["imagefolder", "parquet", "tensors"] = "imagefolder"
    """imagefolder and parquet round to 8-bit pixels, which costs accuracy; the tensors lie beside them."""
    out: Path | None = None
    """Folder to write; default: DIR/export-FORMAT."""


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """Run a folder's config.json again, into a new folder, and say whether the outcome is the same bit for bit."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """Folder of a run."""
    out: Path | None = None
    """New folder; default: DIR-repeat."""
    resume: bool = False
    """Continue a repetition that was stopped."""


@dataclass(frozen=True, kw_only=True)
class Ls:
    """List methods, weight kinds, protocols, models and recipes of this installation."""


COMMANDS: dict[str, type] = {
    "compare": Compare,
    "distill": Distill,
    "score": Score,
    "evaluate": Evaluate,
    "report": Report,
    "export": Export,
    "repeat": Repeat,
    "ls": Ls,
}
ESTIMATE = "estimate"
USAGE = f"""Refluence {__version__}: find which training instances matter, and make training small with it.

  refluence compare    several methods on your data, paired seeds, an honest verdict   (start here)
  refluence distill    one small set from your data
  refluence score      which real instances drive a distilled set
  refluence evaluate   judge a distilled set again: other protocol, other network
  refluence report     write the page of a run again
  refluence export     a distilled set as image folder, Parquet or tensors
  refluence repeat     run a folder's configuration again
  refluence estimate   compare|distill and their flags: time, memory and bytes before you start
  refluence ls         methods, weights, protocols, models, recipes

Try:  refluence compare --data digits --ipc 10 --methods random dc dc+influence --seeds 3 --out runs/first
Help: refluence COMMAND --help"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; every expected failure is one line on standard error."""
    words = list(sys.argv[1:] if argv is None else argv)
    warnings.showwarning = _say_warning
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            print(USAGE, flush=True)
            return 0 if words else 2
        if words[0] == "--version":
            print(f"refluence {__version__}")
            return 0
        name, flags = parse(words)
        import_module(f"refluence.commands.{name}").run(flags)
    except InputError as error:
        return _fail(str(error), 2)
    except RunError as error:
        return _fail(str(error), 1)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _fail("stopped; the same command with --resume continues", 130)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "out of memory" in str(error) or "allocate memory" in str(error):
            return _fail("out of memory: a smaller --real-batch, --batch or --width, or --precision bf16, needs less", 1)
        raise
    return 0


def parse(words: list[str]) -> tuple[str, Any]:
    """The module name of the command and its flags. `estimate` takes the flags of the command it stands before."""
    name, rest = words[0], words[1:]
    if name == ESTIMATE:
        if rest and rest[0] in ("-h", "--help"):
            raise SystemExit(print("usage: refluence estimate compare|distill FLAGS (the flags of that command)") or 0)
        if not rest or rest[0] not in ("compare", "distill"):
            rest = ["compare" if "--methods" in rest else "distill", *rest]
        return ESTIMATE, parse_flags(rest[0], rest[1:] + ([] if "--out" in rest else ["--out", "."]))
    if name not in COMMANDS:
        raise InputError(f"unknown command '{name}': choose one of {', '.join([*COMMANDS, ESTIMATE])}")
    return name, parse_flags(name, rest)


def parse_flags(name: str, words: list[str]) -> Any:
    """Flags of one command; tyro's box of an error becomes one line."""
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(COMMANDS[name], args=words, prog=f"refluence {name}")
    except SystemExit as stop:
        if not stop.code:
            raise
    lines = [line.strip(" │╭╮╰╯─\t") for line in box.getvalue().splitlines()]
    useful = [
        line for line in lines if line and not set(line) <= {"-"} and "full helptext" not in line and "--help" not in line
    ]
    if missing := [line.split()[0] for line in useful if line.startswith("--")] if useful[0].startswith("Required") else []:
        raise InputError(f"{name} needs {', '.join(missing)}; refluence {name} --help explains every flag")
    raise InputError(f"{name}: {' '.join(useful)}; refluence {name} --help explains every flag")


def _fail(message: str, code: int) -> int:
    print(f"refluence: {' '.join(message.split())}", file=sys.stderr)
    return code


def _say_warning(message, category, filename, lineno, file=None, line=None) -> None:
    if not issubclass(category, (DeprecationWarning, FutureWarning)):
        print(f"refluence: note: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
