"""How one command has to end: in a result that can be read again, or in one line; never with half of something."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from refluence.cli import main
from refluence.data.distilled import load_distilled
from refluence.errors import InputError

TINY = ("--width", "4", "--epochs", "1", "--threads", "1")
STEP = ("--ipc", "1", "--iterations", "1", "--nets", "1", *TINY)


class Place:
    """The folder of one drawn input: `data` is the user's, `out` is where the command is told to write."""

    def __init__(self, root: Path):
        self.root, self.data, self.out = root, root / "data", root / "out"
        self.taken = False  # whether something lay at `out` before
        self.data.mkdir()
        os.environ["REFLUENCE_CACHE"] = str(root / "cache")


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """A place of its own, and the process as it was before: environment, working folder, places of modules."""
    before, path, folder = dict(os.environ), list(sys.path), os.getcwd()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as root:
        try:
            yield Place(Path(root))
        finally:
            os.chdir(folder)
            sys.path[:] = path
            os.environ.clear()
            os.environ.update(before)


def run(words: Sequence[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command in this process; a traceback is part of the latter."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(word) for word in words])
        except BaseException:  # what gets out of `main` is a crash, an exit from a user's file too
            traceback.print_exc(file=err)
            code = -1
    return code, out.getvalue(), err.getvalue()


def check(words: Sequence[Any], at: Place, again: bool = True) -> bool:
    """Run the command and hold its end to the rules; whether it ended in a result. A broken rule is an `AssertionError`.

    `again`: what is finished is resumed too, which has to leave it as it is.
    """
    words = [str(word) for word in words]
    held, own = tree(at.data), str(at.out.with_suffix(""))
    code, out, err = run(words)
    try:
        _one_line(code, err)
        assert not [*at.root.rglob(".*.part"), *at.root.rglob("*.tmp")], "temporary files are left"
        changed = {name: value for name, value in tree(at.data).items() if not str(at.data / name).startswith(own)}
        assert held == changed, "the user's files were changed"
        if code:
            _nothing_half(words, at)
        else:
            _result(words, at)
            if again and words[0] in ("distill", "compare", "score"):
                _left_alone(words, at)
    except (AssertionError, InputError) as error:
        files = "\n".join(sorted(map(str, at.root.rglob("*")))[:60])
        told = f"{error}\nrefluence {words}\nexit code {code}\n{out}{err}\n{files}"
        raise AssertionError(told.encode(errors="backslashreplace").decode()) from None
    return code == 0


def _one_line(code: int, err: str) -> None:
    assert code in (0, 1, 2), f"exit code {code}"
    assert "Traceback" not in err, "a traceback"
    assert "bug of Refluence" not in err, "called a bug of Refluence"
    said = [line for line in err.splitlines() if line.startswith("refluence: ") and not line.startswith("refluence: note: ")]
    assert len(said) == (code != 0), f"{len(said)} lines of an error"
    if said:
        after = err[err.index(said[0]) + len(said[0]) :].splitlines()
        late = [line for line in after if line and not line.startswith("refluence: note: ")]
        assert all(line.startswith("    ") for line in late), "lines after the error that are not indented"


def _result(words: list[str], at: Place) -> None:
    """What the command is to have written is there, whole, and can be read."""
    if words[0] == "estimate":
        assert not at.out.exists(), "estimate wrote something"
    elif words[0] in ("distill", "compare", "repeat"):
        _run_folder(at.out)
    elif words[0] == "score":
        scores = pq.read_table(at.out)
        assert scores.num_rows, "no score"
        assert all(map(math.isfinite, scores["score"].to_pylist())), "scores that are not finite"
        assert at.out.with_suffix(".html").read_text(encoding="utf-8").rstrip().endswith("</html>")
        assert not at.out.with_suffix(".parts").exists()
    elif words[0] == "export":
        assert any(at.out.rglob("images.safetensors"))


def _run_folder(folder: Path) -> None:
    cards = [*folder.rglob("card.json")]
    assert cards, "no set"
    for card in cards:
        found = load_distilled(card.parent)
        assert found.images.isfinite().all(), "pixels that are not finite"
        judged = json.loads((card.parent.parent / "evaluation.json").read_text(encoding="utf-8"))["evaluations"]
        assert all(math.isfinite(entry["accuracy"]) for entry in judged)
    assert (folder / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")


def _left_alone(words: list[str], at: Place) -> None:
    before = tree(at.root)
    code, _, err = run([*words, "--resume"])
    assert (code, tree(at.root)) == (0, before), f"a finished run is not left as it is: {err}"


def _nothing_half(words: list[str], at: Place) -> None:
    """What a refused or stopped command left is nothing, or can be resumed (or refused) in one line."""
    if at.taken:
        return
    for folder in at.out.rglob("distilled") if os.path.isdir(at.out) else ():
        assert (folder / "card.json").exists(), "a set without its card"
        load_distilled(folder)
    if words[0] == "score" and os.path.isfile(at.out):
        raise AssertionError("scores of a run that failed")
    if os.path.isdir(at.out) and words[0] in ("distill", "compare", "score") and "--resume" not in words:
        code, _, err = run([*words, "--resume"])
        _one_line(code, err)


def tree(folder: Path) -> dict[str, Any]:
    """What every file and link below the folder is: its digest, or where it leads."""
    held = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or path.is_file())
    return {str(path.relative_to(folder)): _state(path) for path in held}


def _state(path: Path) -> str:
    return f"-> {os.readlink(path)}" if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
