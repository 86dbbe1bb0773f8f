"""Keyword arguments, fields, flags and config.json are one declaration."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

import refluence as rf
from refluence import api
from refluence.cli import main
from refluence.commands.flags import COMMANDS
from refluence.commands.session import arguments
from refluence.condense.settings import Settings
from refluence.errors import InputError
from refluence.fields import settings_of
from refluence.files import read_json
from refluence.influence.weighting import Weighting
from refluence.jobs.catalogue import parse_arm
from refluence.options import (
    DenoiserOptions,
    FinetuneOptions,
    JobOptions,
    MachineOptions,
    SampleOptions,
    SamplingOptions,
    ScoreOptions,
    SetOptions,
    SourceOptions,
    TransferOptions,
)
from refluence.select.selection import SelectionOptions

OWN = {  # flags of a command alone; `--data` to `--seed` of them are parameters of the functions
    "compare": {"data", "methods", "seeds", "out", "resume", "seed", "controls", "equal_seconds", "workers", "executor"},
    "distill": {"data", "method", "weights", "out", "resume", "seed"},
    "transfer": {"data", "mechanism", "seeds", "out", "resume", "seed", "controls", "equal_seconds", "workers", "executor"},
    "generate train": {"data", "out", "resume", "seed"},
    "generate finetune": {"data", "denoiser", "out", "resume", "seed"},
    "generate sample": {"data", "guidance", "pool", "out", "resume", "seed", "method"},
    "score": {"data", "distilled", "out", "resume", "nets", "weights", "seed"},
    "run": {"recipe", "data", "out", "size", "seeds", "seed", "only", "resume", "rows", "tables", "steps"},
    "evaluate": {
        "folder",
        "data",
        "resume",
        "seed",
        "save_model",
        "robust",
        "quality",
        "feature_network",
        "coverage_threshold",
    },
}
CHANGES = {"denoiser", "iterations", "real_batch", "width", "nets", "epochs", "batch", "split"}
SHARED = {
    "compare": (JobOptions, SamplingOptions, TransferOptions, SourceOptions, MachineOptions),
    "transfer": (TransferOptions, SourceOptions, MachineOptions),
    "distill": (JobOptions, SourceOptions, MachineOptions),
    "generate train": (DenoiserOptions, SourceOptions, MachineOptions),
    "generate finetune": (FinetuneOptions, SourceOptions, MachineOptions),
    "generate sample": (SampleOptions, SourceOptions, MachineOptions),
    "score": (ScoreOptions, SourceOptions, MachineOptions),
    "run": (SourceOptions, MachineOptions),
    "evaluate": (MachineOptions,),
}
SOURCE = Path(rf.__file__).parent
NEEDED = {"data": "digits", "out": "x", "methods": ("dc",), "folder": "x", "recipe": "fig3", "denoiser": "x"}
SEVERAL = {"run": {"data": ("digits",)}}


def names(*kinds):
    return {f.name for kind in kinds for f in fields(kind)}


def flags_of(command):
    kind = COMMANDS[command]
    return kind(**{name: value for name, value in NEEDED.items() if name in names(kind)} | SEVERAL.get(command, {}))


@pytest.mark.parametrize("command", SHARED)
def test_flags_are_the_options_of_the_library_and_the_commands_own(command):
    beside = {"run": CHANGES, "evaluate": {"protocol", "nets", "split", "model", "width", "norm", "epochs", "batch"}}
    short = command in ("score", "evaluate")
    terminal = {"quiet"} | (set() if short else {"checkpoint_seconds"})
    expected = OWN[command] | names(*SHARED[command]) | beside.get(command, set()) | terminal
    assert names(COMMANDS[command]) == expected
    assert set(settings_of(COMMANDS[command])) == expected, "each has help and range in its field"
    assert set(arguments(flags_of(command))) == expected, "and is recorded under its name"
    assert beside.get(command, set()) <= names(SetOptions)


def test_keyword_arguments_are_the_same_names():
    for function, known, named in (
        ("distill", (JobOptions, api.Machine), {"method", "seed", "out"}),
        ("load", (SourceOptions,), {"test", "validation"}),
    ):
        with pytest.raises(InputError, match="has no option 'ip_c'") as caught:
            getattr(rf, function)("digits", ip_c=1)
        listed = str(caught.value).partition("choose one of ")[2].split(", ")
        assert set(listed) == names(*known) | named
    assert names(api.Machine) == names(MachineOptions) | {"progress", "checkpoint_seconds"}


def test_a_run_from_python_records_the_flags_of_the_command(tmp_path):
    run = rf.select("digits", "random", ipc=1, nets=1, epochs=1, width=4, out=tmp_path / "run")
    assert set(read_json(run.folder / "config.json")["arguments"]) == names(COMMANDS["distill"])


WRONG = [
    (kind, name, choice)
    for kind in (JobOptions, SourceOptions, MachineOptions)
    for name, said in settings_of(kind).items()
    for choice in ([said.choices[0] + "x"] if said.choices else [(said.least or 0) - 1] if said.number else [])
]


@pytest.mark.parametrize(("kind", "name", "value"), WRONG, ids=[f"{name}" for _, name, _ in WRONG])
def test_every_range_holds_at_both_doors(capsys, kind, name, value):
    with pytest.raises(InputError, match=f"^{name} is {value!r}: ") as python:
        kind(**{name: value})
    flag = f"--{name.replace('_', '-')}"
    assert main(["distill", "--data", "digits", "--out", "x", f"{flag}={value}"]) == 2
    said = capsys.readouterr().err
    assert f"{flag} {value}: " in said or f"{flag} {float(value)}: " in said
    assert str(python.value).partition("one of ")[2] in said
    assert said.count("\n") == 1


BESIDE = {"ipc", "kind"}  # images a class are an option of the job, the kind of weights stands before the colon
KEYS = [
    (arm, kind, name, said.choices[-1] + "x" if said.choices and said.number is None else "x" if said.number else "2")
    for arm, kind in (("idc", Settings), ("dc+influence", Weighting), ("influence", SelectionOptions))
    for name, said in settings_of(kind).items()
    if name not in BESIDE and (said.choices or said.number or said.kinds == (bool,))
]


@pytest.mark.parametrize(("arm", "kind", "key", "value"), KEYS, ids=[f"{arm}:{key}" for arm, _, key, _ in KEYS])
def test_a_wrong_value_of_a_setting_names_arm_key_value_and_what_is_right(arm, kind, key, value):
    right = "it must be 1" if settings_of(kind)[key].kinds == (bool,) else settings_of(kind)[key].wrong(value)
    with pytest.raises(InputError) as caught:
        parse_arm(f"{arm}:{key}={value}")
    assert str(caught.value).startswith(f"arm '{arm}:{key}={value}': {key}={value}: {right}")


def test_what_a_size_asks_for_and_what_a_method_reads_have_one_range():
    shared = set(settings_of(JobOptions)) & set(settings_of(Settings))
    assert shared == {"ipc", "iterations", "real_batch", "inner", "initial", "allocation"}
    for name in shared:
        asked, read = settings_of(JobOptions)[name], settings_of(Settings)[name]
        assert (asked.least, asked.most, asked.choices) == (read.least, read.most, read.choices)


ABOVE_THE_DOOR = ("commands", "cli.py", "__main__.py")


def texts(path):
    """Texts of a module that can reach a user: no docstrings, and no commands between backticks."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies = (
        n.body for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    )
    docs = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    constants = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in docs)
    return [re.sub(r"`[^`]*`", "", node.value) for node in constants]


def test_messages_of_the_library_name_options_not_flags():
    """`errors.option` says `--ipc` on the command line and `ipc` from Python."""
    paths = [p for p in SOURCE.rglob("*.py") if p.relative_to(SOURCE).parts[0] not in ABOVE_THE_DOOR]
    paths = [p for p in paths if p != SOURCE / "errors.py" and p.parent != SOURCE / "options"]
    found = {f"{p.relative_to(SOURCE)}: {text}" for p in paths for text in texts(p) if re.search(r"(?<![\w!<-])--[a-z]", text)}
    assert not found


def test_the_share_of_validation_is_recorded_and_decides_which_run_it_is(tmp_path, capsys):
    words = ["distill", "--data", "digits", "--method", "random", "--ipc", "1", "--nets", "1", "--epochs", "1", "--width", "4"]
    words += ["--threads", "1", "--quiet", "--out", str(tmp_path / "run")]
    assert main([*words, "--val-fraction", ".3"]) == 0
    data = read_json(tmp_path / "run" / "config.json")["resolved"]["data"]
    assert data["options"]["val_fraction"] == 0.3
    assert data["val"] == pytest.approx(0.3 * (data["train"] + data["val"]), rel=0.02)
    capsys.readouterr()
    assert main([*words, "--resume"]) == 2
    assert "data.options.val_fraction is 0.3 there, None here" in capsys.readouterr().err
