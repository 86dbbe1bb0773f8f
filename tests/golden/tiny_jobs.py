"""The golden jobs: command lines of a second each that together go through every family of Refluence.

Only the command line is used, so that the code behind it may change its names and places.
"""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

from refluence.cli import main

ONE = ("--threads", "1", "--device", "cpu", "--quiet")
DIGITS = ("--data", "digits", *ONE)
EVALUATION = ("--nets", "1", "--epochs", "30")
SMALL = (*DIGITS, *EVALUATION, "--width", "8", "--real-batch", "16", "--iterations", "4")
DISTILL = ("distill", *SMALL, "--ipc", "2", "--out", "run")  # the word `run` stands for the folder of the results
COMPARE = ("compare", *SMALL, "--ipc", "2", "--workers", "1", "--out", "run")
SCORE = ("score", *DIGITS, "--folds", "2", "--epochs", "1", "--width", "8", "--out", "run/scores.parquet")
STUDENT = ("--teacher", "convnet1:6", "--student", "convnet1:4", "--epochs", "3", "--rows", "400", "--val-fraction", ".25")
TRANSFER = ("transfer", *DIGITS, *STUDENT, "--out", "run")
INFLUENCE = ("--weights", "influence")
SELECTIONS = ("random", "herding", "kcenter", "forgetting:steps=10", "el2n:steps=4", "loss:steps=4", "influence:steps=2")

Command = tuple[str, ...]
JOBS: dict[str, list[Command]] = {
    "dc": [(*DISTILL, "--method", "dc", *INFLUENCE)],
    "dsa-shuffled": [(*DISTILL, "--method", "dsa", "--weights", "shuffled", "--protocol", "dsa-cpu")],
    "dc-outside": [(*DISTILL, "--method", "dc", "--weights", "influence:where=outside")],
    "dc-difficulty": [(*DISTILL, "--method", "dc", "--weights", "difficulty")],
    "dc-proportional": [(*DISTILL, "--method", "dc:sdc=.1,initial=noise", "--allocation", "proportional", "--ipc", "20")],
    "dc-soft": [(*DISTILL, "--method", "dc:label_lr=.1,lr_lr=.01", *INFLUENCE, "--protocol", "datm")],
    "dc-bf16": [(*DISTILL, "--method", "dc", *INFLUENCE, "--precision", "bf16")],
    "dm-carried": [(*DISTILL, "--method", "dm", "--weights", "influence:carry=.5,memory=.5,warmup=.25,refresh=2")],
    "dm-stages": [(*DISTILL, "--method", "dm:stages=2", "--weights", "flipped")],
    "dm-pruned": [(*DISTILL, "--method", "dm", "--weights", "pruned:by=influence")],
    "dm-pruned-loss": [(*DISTILL, "--method", "dm", "--weights", "pruned:by=loss")],
    "idc-both": [(*DISTILL, "--method", "idc", "--weights", "influence:terms=both")],
    "idc1": [(*DISTILL, "--method", "idc1", "--weights", "loss")],
    "dream": [(*DISTILL, "--method", "dream:cluster_every=2", *INFLUENCE)],
    "pdd": [(*DISTILL, "--method", "pdd:stages=2", *INFLUENCE)],
    "idm": [(*DISTILL, "--method", "idm", "--weights", "influence:bag=batch")],
    "ncfm": [(*DISTILL, "--method", "ncfm:pool=2", "--weights", "influence:bag=all")],
    "selections": [(*COMPARE, "--methods", *SELECTIONS, "random:factor=2", "--seeds", "1")],
    "compare": [(*COMPARE, "--methods", "dc+influence", "--seeds", "2")],
    "score-ggn": [SCORE],
    "score-kfac": [(*SCORE, "--curvature", "kfac")],
    "finished": [
        (*DISTILL, "--method", "dm", *INFLUENCE),
        ("score", "--distilled", "run", "--nets", "1", *ONE, "--out", "run/at_the_set.parquet"),
        ("evaluate", "run", "--protocol", "dsa-cpu", "idc-cpu", *EVALUATION, *ONE),
    ],
    "transfer-joint": [(*TRANSFER, "--mechanism", "joint", "--noise", "symmetric:.2")],
    "transfer-staged": [(*TRANSFER, "--mechanism", "staged:curvature=ggn,loss=dkd", "--batch", "64", "--lr", ".2")],
    "recipe": [("run", "iwd", *SMALL, "--only", "dm-ipc1", "--seeds", "1", "--out", "run")],
}  # fmt: skip


def run(name: str, folder: Path) -> Path:
    """Run the commands of one job below `folder`; the folder of its results."""
    for words in JOBS[name]:
        code = main(_placed(words, folder))
        assert code == 0, f"exit code {code} of: refluence {' '.join(words)}"
    return folder / "run"


def run_stopped(name: str, folder: Path, saves: int) -> Path:
    """The same for a job of one command, stopped as by Ctrl-C after so many checkpoints and then resumed."""
    (words,) = JOBS[name]
    words = _placed((*words, "--checkpoint-seconds", "0"), folder)
    replace, left = os.replace, saves

    def stopping(source, target):
        nonlocal left
        replace(source, target)
        left -= Path(target).parent.name == "checkpoint"
        if not left:
            raise KeyboardInterrupt

    with mock.patch("os.replace", stopping):
        code = main(words)
    assert code == 130, f"exit code {code}: the job was to stop after checkpoint {saves}"
    assert main([*words, "--resume"]) == 0
    return folder / "run"


def _placed(words: Command, folder: Path) -> list[str]:
    command, *rest = words
    return [command, *(str(folder / word) if word.split("/")[0] == "run" else word for word in rest)]
