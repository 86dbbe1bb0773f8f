"""Drawn values of flags, on data and runs that are fine."""

from __future__ import annotations

import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from fuzz.drawing import Draw, any_of, mostly, some_of
from fuzz.ending import STEP, TINY, Place, place, run
from fuzz.label_files import folder

LARGE = ("1e3", "99999999999999999999", "0x10", "1_000")
COUNTS = ("1", "2", "1", "2", "0", "-1", "", "x", "1.5", "nan", "٣", "+1", *LARGE)
NUMBERS = (*COUNTS, "inf", "-inf", " ", "1e-9", "0.5", "1e30", "auto")
WORK = ("--seed", "--width", "--nets", "--epochs", "--batch")
NUMERIC = {
    "distill": (*WORK, "--ipc", "--iterations", "--real-batch", "--inner", "--threads", "--checkpoint-seconds", "--image-size"),
    "compare": (*WORK, "--ipc", "--seeds", "--workers", "--iterations", "--real-batch"),
    "score": (*WORK, "--folds", "--lr", "--weight-decay", "--damping", "--threads", "--image-size"),
    "evaluate": (*WORK, "--threads"),
    "export": (),
    "repeat": (),
}
SPLIT_AND_MACHINE = ("--protocol", "--model", "--norm", "--split", "--device", "--precision")
SOURCE = ("--small-classes", "--drop", "--relabel", "--noise", "--labels", "--image-column", "--group-column", "--nope")
WORDS = {
    "distill": ("--method", "--weights", "--initial", "--allocation", "--size", *SPLIT_AND_MACHINE, *SOURCE),
    "compare": ("--initial", "--allocation", "--size", *SPLIT_AND_MACHINE, *SOURCE),
    "score": (
        "--model",
        "--norm",
        "--device",
        "--terms",
        "--networks",
        "--risk",
        "--curvature",
        "--weights",
        "--pixels",
        *SOURCE,
    ),
    "evaluate": SPLIT_AND_MACHINE,
    "export": ("--format", "--nope"),
    "repeat": ("--nope",),
}
VALUES = {
    "--method": (
        "dm", "herding", "full", "dc", "dsa", "", "nope", "dm+influence", "DM", "kcenter", "loss", "el2n", "influence", "ncfm",
        "idm",
        "forgetting", "random:factor=2", "random:factor=9", "random:,", "dm:=", "dm:image_lr=1e30", "dm:image_lr=1e-300",
        "dm:image_lr=-1", "dm:initial=noise", "dm:augmentation=flip", "dm:iterations=1e3", "dm:stages=2", "dm:factor=2",
        "dm:ipc=3",
    ),
    "--weights": (
        "influence", "loss", "random", "shuffled", "flipped", "pruned", "selected", "difficulty", "nope", "", "influence:tau=0",
        "influence:tau=inf", "influence:tau=1e-30", "influence:tau=auto", "influence:bag=all", "influence:ess=2",
        "uniform:tau=1",
        "influence:link=top", "pruned:keep=1", "influence:terms=implicit", "influence:tau=1,tau=2",
    ),
    "--protocol": ("dc-cpu", "dsa-cpu", "nope", "", "mtt", "datm", "dc"),
    "--model": (
        "convnet1", "convnet6", "resnet10", "resnet18:none", "nope", "", "torchvision:nope", "timm:nope", "torchvision:",
        "convnet0",
        "convnet99", "make.py:f", "convnet1:8", ":", "torchvision:resnet18:x", "convnet1:instance",
    ),
    "--norm": ("batch", "none", "layer", "nope", "", "group"),
    "--initial": ("noise", "real", "cluster", "nope", ""),
    "--allocation": ("proportional", "nope"),
    "--small-classes": ("cap", "drop", "nope", ""),
    "--split": ("val", "train", ""),
    "--device": ("cpu", "cuda", "mps", "nope", "", "cpu:1", "meta", "xla", "cuda:-1"),
    "--precision": ("bf16", "fp16", ""),
    "--size": ("cpu", "nope"),
    "--terms": ("explicit", "implicit", "nope"),
    "--networks": ("all", "nope"),
    "--risk": ("error", "cross-entropy", ""),
    "--curvature": ("identity", "ggn", "hessian", "kfac", "ekfac", "lbfgs", "lissa", "nope", ""),
    "--drop": ("nope", "x.parquet:0.5", ":", "x:y", ""),
    "--relabel": ("nope", "x.parquet:0.5", ":", "x:y", ""),
    "--noise": ("symmetric:0.4", "asymmetric:1", "nope", ":", ""),
    "--labels": ("nope", ":", "x.csv:", ":y", ""),
    "--image-column": ("image", ""),
    "--group-column": ("id", ""),
    "--pixels": ("unit", "nope"),
    "--format": ("parquet", "tensors", "imagefolder", "nope", ""),
    "--nope": ("1",),
}  # fmt: skip
ARMS = (
    "random", "dm", "herding", "dm+influence", "random", "nope", "", "dm+", "+influence", "dm+influence:tau=.1",
    "dm:image_lr=2", "full",
    "random:factor=2", "dm+shuffled", "dm/../x", "dm ", "dm+influence:tau=inf",
)  # fmt: skip
MORE = (("--resume",), ("--quiet", "--quiet"), ("--compile=x",), ("extra",), ("--help=1",), ("--skip-corrupt",))
REST = (
    ["nope"], ["report", "/nope"], ["report", "/proc"], ["repeat", "."], ["ls"], ["estimate"], ["--version"], ["distil"],
    [""],
    ["run", "nope", "--out", "x"], ["report"], ["distill"], ["compare", "--data"], ["score", "--out", "/proc"], ["--nope"],
)  # fmt: skip
OUTS = ("file", "inside", "taken", "other run", "deep", "long", "below a file", "odd", "broken")
HELD = ("config.json", "distilled/card.json", "distilled/images.safetensors", "evaluation.json", "metrics.jsonl", "report.html",
        "checkpoint/state.safetensors")  # fmt: skip


@lru_cache
def _kept() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="fuzz-made-")  # removed at the end of the process


@lru_cache
def made() -> Path:
    """Small pictures, a finished run and a comparison; made once, copied for each input."""
    root = Path(_kept().name)
    with place():
        folder(root / "data")
        for words in (
            ("distill", "--method", "dm", "--out", root / "run"),
            ("compare", "--methods", "random", "dm", "--seeds", "1", "--workers", "1", "--out", root / "all"),
        ):
            code, _, err = run([*words, "--data", root / "data", *STEP])
            assert code == 0, err
    return root


def _drawn(draw: Draw, command: str) -> list[str]:
    """At most two flags of the command with a drawn value each."""
    words: list[str] = []
    for _ in range(any_of(draw, (0, 1, 1, 2))):
        flag = any_of(draw, (*NUMERIC[command], *WORDS[command]))
        values = VALUES.get(flag, NUMBERS if command == "score" else COUNTS)
        words += [flag, *mostly(draw, (any_of(draw, values),), ((),), 29)]
    large = [i for i, word in enumerate(words) if word in LARGE and words[i - 1] in ("--threads", "--workers")]
    words = [word for i, word in enumerate(words) if not {i, i + 1} & {*large}]  # not wrong, but too much for a test
    return [*words, *mostly(draw, (), MORE, 9)]


def _out(draw: Draw, at: Place, suffix: str) -> Path:
    """Where the result is to go: mostly a free place."""
    kind, plain = mostly(draw, "free", OUTS, 2), at.root / f"out{suffix}"
    at.taken = kind in ("file", "taken", "other run", "broken")
    if kind == "file":
        plain.write_text("mine")
    elif at.taken:
        shutil.copytree(made() / ("all" if kind == "other run" else "run"), plain)
    if kind == "broken":
        for name in {*some_of(draw, HELD, 3)}:
            (plain / name).write_bytes((plain / name).read_bytes()[: any_of(draw, (0, 30))])
    return {
        "inside": at.data / f"out{suffix}",
        "deep": at.root / "a" / "b" / f"out{suffix}",
        "long": at.root / ("x" * 300 + suffix),
        "below a file": at.data / "train" / "dog" / "0.png" / f"out{suffix}",
        "odd": at.root / (any_of(draw, ("[red]", "é", "a b", "x\udce9", "a\nb", "-x", ".hidden")) + suffix),
    }.get(kind, plain)


def _subject(draw: Draw, at: Place) -> Path:
    """The folder of a finished run, at times another one or one that was changed by hand."""
    subject, others = at.root / "subject", (made() / "all", made() / "all" / "units" / "random" / "0", made() / "data")
    shutil.copytree(mostly(draw, made() / "run", others, 3), subject)
    files = sorted(path for path in subject.rglob("*") if path.suffix in (".json", ".safetensors"))
    if files and mostly(draw, False, (True,), 3):
        file = any_of(draw, files)
        held = file.read_bytes()
        changed = (held[:40], held.replace(b"1", b"9", 1), held.replace(b":", b"", 1), bytes(64), held.replace(b"0", b'"x"', 3))
        file.write_bytes(any_of(draw, (b"", b"{}", b"[]", b"null", *changed)))
    return subject


def case(draw: Draw, at: Place) -> list[Any]:
    """A command with drawn flags."""
    shutil.copytree(made() / "data", at.data, dirs_exist_ok=True)
    command = any_of(
        draw, ("distill", "distill", "score", "compare", "evaluate", "export", "report", "repeat", "estimate", "rest")
    )
    if command == "rest":
        return list(any_of(draw, REST))
    if command == "estimate":
        return ["estimate", "distill", "--data", at.data, "--method", "dm", *STEP, *_drawn(draw, "distill")]
    if command == "evaluate":
        at.out, at.taken = _subject(draw, at), True
        return [command, at.out, "--nets", "1", "--epochs", "1", "--threads", "1", *_drawn(draw, command)]
    if command == "report":
        at.out, at.taken = _subject(draw, at), True
        return [command, at.out]
    words = _drawn(draw, command)
    at.out = _out(draw, at, ".parquet" if command == "score" else "")
    if command in ("export", "repeat"):
        words = [_subject(draw, at), *words]
    elif command == "distill":
        words = ["--data", at.data, "--method", "random", *STEP, *words]
    elif command == "compare":
        arms = [any_of(draw, ("random", "dm")), *mostly(draw, (), [(arm,) for arm in ARMS], 1)]
        words = ["--data", at.data, *STEP, "--seeds", "1", "--methods", *arms, *words, "--workers", "1"]
    elif mostly(draw, True, (False,), 2):
        words = ["--data", at.data, "--folds", "2", *TINY, *words]
    else:
        others = (made() / "all", made() / "all" / "units" / "dm" / "0", at.data, at.root / "nope")
        words = ["--distilled", mostly(draw, _subject(draw, at), others, 2), "--nets", "1", *words]
    return [command, *words, "--out", at.out]
