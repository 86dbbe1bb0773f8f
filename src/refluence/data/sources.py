"""From the text after `--data` to stored splits: which kind of source it is, and which split is the test split."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from refluence.data import digits, folder, parquet
from refluence.data.options import SourceOptions
from refluence.data.stored import TEST_NAMES, Splits, Stored
from refluence.errors import InputError

FORMS = (
    "digits, a folder with train.parquet, FOLDER:TASK (TASK-train.parquet), an image folder (train/<class>/… or "
    "<class>/…), or a Hugging Face Hub id (owner/name)"
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?(:[\w.-]+)?")


def find(source: str, options: SourceOptions) -> tuple[Stored, Stored | None, tuple[str, ...]]:
    """The stored train split, the stored test split (None: cut one) and notes. Images are not read yet.

    The test split is `test`, else `validation`, else `val`; one whose labels are all missing (-1 or None, as Hub sets
    with hidden test labels have) is passed over, and said so.
    """
    splits = _splits(source, options)
    train = splits["train"]()
    notes = list(train.notes)
    for name in TEST_NAMES:
        if name not in splits:
            continue
        test = splits[name]()
        notes += [note for note in test.notes if note not in notes]
        if all(label is None or label == -1 for label in test.labels):
            notes.append(f"the stored split '{name}' has no labels: not used")
            continue
        if name != "test":
            notes.append(f"the stored split '{name}' is the test split; validation is cut from train")
        return train, test, tuple(notes)
    return train, None, tuple(notes)


def _splits(source: str, options: SourceOptions) -> Splits:
    if source == "digits":
        return digits.splits(options)
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path, options)
    if path.exists():
        raise InputError(f"--data {source} is a file: give the folder that holds train.parquet, or class folders")
    base, colon, task = source.rpartition(":")
    if colon and Path(base).expanduser().is_dir():
        return parquet.splits(Path(base).expanduser(), task, options)
    close = _close(base or source)
    reason = f"close: {', '.join(close)}" if close else "there is no such folder"
    # A single word that is nearly the name of a folder here is a typo; anything else may be a Hub id.
    if _HUB_ID.fullmatch(source) and ("/" in source or not close):
        from refluence.data import hub

        try:
            return hub.splits(base or source, task if colon else None, options)
        except hub.NotOnHubError as error:
            reason += f", and as a Hub id: {error}"
    raise InputError(f"--data {source} is not a data source ({reason}); expected {FORMS}")


def _folder(path: Path, options: SourceOptions) -> Splits:
    if parquet.files_by_task(path):
        return parquet.splits(path, None, options)
    if folder.has_images(path):
        return folder.splits(path, options)
    held = sorted(entry.name for entry in path.iterdir())
    listed = ", ".join(held[:8]) + (", …" if len(held) > 8 else "") if held else "nothing"
    raise InputError(f"--data {path} holds no train.parquet and no images (it holds {listed}); expected {FORMS}")


def _close(source: str) -> list[str]:
    """Existing folders (and `digits`) whose name is nearly that of `source`."""
    path = Path(source).expanduser()
    try:
        beside = [str(entry) for entry in path.parent.iterdir() if entry.is_dir()]
    except OSError:
        beside = []
    names = {Path(name).name: name for name in beside} | ({"digits": "digits"} if path.parent == Path() else {})
    return [names[name] for name in difflib.get_close_matches(path.name, names, n=3, cutoff=0.7)]
