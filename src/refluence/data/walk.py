"""Walking through a folder of pictures: what counts as a picture, and what nobody means as data."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from refluence.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
OTHER_SUFFIXES = (".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jfif", ".jp2", ".avif")
"""Read where a split holds none of `SUFFIXES`."""

LITTER = frozenset(
    ("__MACOSX", "@eaDir", "@Recycle", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information", "lost+found")
)
"""Folders of thumbnails and deleted files that network storage and operating systems leave behind."""


def is_picture(path: Path) -> bool:
    """Whether the file's name is that of a picture."""
    return path.suffix.lower() in (*SUFFIXES, *OTHER_SUFFIXES)


def kind(path: Path) -> str:
    """What a file is counted as: its suffix."""
    return path.suffix.lower() or "without a suffix"


def is_run(folder: Path) -> bool:
    """Whether Refluence wrote the folder as that of a run or a comparison."""
    parts = ("distilled", "units", "metrics.jsonl")
    return os.path.exists(folder / "config.json") and any(os.path.exists(folder / name) for name in parts)


def holds_set(folder: Path) -> bool:
    """Whether a distilled set lies in the folder, or in its `distilled/`."""
    names = ("card.json", "images.safetensors")
    return any(all(os.path.exists(place / name) for name in names) for place in (folder, folder / "distilled"))


def holds_set_alone(folder: Path) -> bool:
    """Whether there is a distilled set and nothing else: no run, and no pictures or tables that it was exported as."""
    known = {"card.json", "images.safetensors", "README.md", "distilled"}
    return holds_set(folder) and not is_run(folder) and {name for name in os.listdir(folder) if name[0] != "."} <= known


def _is_ours(folder: Path) -> bool:
    """Whether Refluence wrote the folder: a run, or a distilled or exported set."""
    return is_run(folder) or all(os.path.exists(folder / name) for name in ("card.json", "images.safetensors"))


def _why_not(folder: Path) -> str | None:
    """Why a folder below the data is not looked into, or None."""
    if folder.name in LITTER:
        return f"folder{{s}} {folder.name}"
    if folder.name.startswith("."):
        return "hidden folder{s}"
    if _is_ours(folder):
        return f"folder{{s}} {folder.name} that Refluence wrote"
    if folder.is_symlink() and folder.resolve() in (folder.parent.resolve(), *folder.parent.resolve().parents):
        return f"link{{s}} {folder.name} to a folder above it"
    return None


def refuse(error: OSError) -> NoReturn:
    """`InputError` for a file or folder that may not be read."""
    raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error


def files(folder: Path, passed: Counter[str] | None = None) -> Iterator[Path]:
    """Every visible file in and below the folder, sorted, following links once; what is passed over is counted in `passed`.

    Errors: `InputError` for a folder that may not be read.
    """
    passed = Counter() if passed is None else passed
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        reasons = {name: _why_not(Path(root, name)) for name in folders}
        passed.update(reason for reason in reasons.values() if reason)
        folders[:] = sorted(name for name, reason in reasons.items() if reason is None)
        shown = sorted(name for name in names if not name.startswith("."))
        passed["hidden file{s}"] += len(names) - len(shown)
        yield from (Path(root, name) for name in shown)


def listing(folder: Path, passed: Counter[str] | None = None) -> tuple[list[Path], list[Path]]:
    """The visible folders straight in a folder, and the visible files, each sorted."""
    try:
        with os.scandir(folder) as entries:
            held = sorted((entry.name, entry.is_dir()) for entry in entries)
    except OSError as error:
        refuse(error)
    reasons = {folder / name: _why_not(folder / name) for name, is_folder in held if is_folder}
    loose = [folder / name for name, is_folder in held if not is_folder]
    shown = [path for path in loose if not path.name.startswith(".")]
    if passed is not None:
        passed.update(reason for reason in reasons.values() if reason)
        passed["hidden file{s}"] += len(loose) - len(shown)
    return [path for path, reason in reasons.items() if reason is None], shown


def has_pictures(folder: Path) -> bool:
    """Whether any picture lies in or below the folder."""
    return any(map(is_picture, files(folder)))


def with_pictures(folder: Path) -> Iterator[Path]:
    """The folders straight in a folder which hold pictures at any depth; looked at one by one, as they are asked for."""
    return filter(has_pictures, listing(folder)[0])


def counted(passed: Counter[str], where: str = "") -> tuple[str, ...]:
    """What was passed over: `3 .txt in train`, one a kind. Of a kind, `{s}` is the plural."""
    spelled = {what: what.replace("{s}", "s" if count > 1 else "") for what, count in passed.items() if count}
    return tuple(f"{passed[what]} {said}{where}" for what, said in sorted(spelled.items()))
