"""One split of an image folder: each subfolder is a class, every picture below it (at any depth) belongs to it."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

from refluence.data import flat, walk
from refluence.data.stored import Stored

LISTED = 5  # names in a note


def read(folder: Path, split: str, train: bool) -> Stored:
    """The pictures of a split (its name, or `UNSPLIT`) and their classes.

    Pictures are jpg, png and webp; a split that holds none of them is read from its bmp, tif and gif. A test split without
    class folders has no labels: they are None. Errors: `InputError` for a train split without class folders.
    """
    passed: Counter[str] = Counter()
    classes, loose = walk.listing(folder, passed)
    found = {path.name: list(walk.files(path, passed)) for path in classes}
    kinds = [kind for kind in (walk.SUFFIXES, walk.OTHER_SUFFIXES) if any(_are(kind, paths) for paths in found.values())]
    kind = kinds[0] if kinds else walk.SUFFIXES + walk.OTHER_SUFFIXES
    chosen = {name: _are(kind, paths) for name, paths in found.items()}
    paths = [path for name in chosen for path in chosen[name]]
    labels = [name for name in chosen for _ in chosen[name]]
    if not paths and train:
        raise flat.refuse(folder, split)
    if not paths:
        paths, loose = _are(kind, loose), [path for path in loose if not walk.is_picture(path)]
        labels = [None] * len(paths)
    for inside in found.values():
        passed.update(walk.kind(path) for path in inside if path.suffix.lower() not in kind)
    if empty := [name for name in chosen if not chosen[name]]:
        what = "jpg, png or webp" if any(map(walk.is_picture, found[empty[0]])) else "images"
        passed[f"folder{{s}} without {what} ({_list(empty)})"] = len(empty)
    passed.update("image{s} in no class folder" if walk.is_picture(path) else walk.kind(path) for path in loose)
    relative = tuple(str(path.relative_to(folder)) for path in paths)
    return Stored(
        where=str(folder),
        labels=labels,
        encoded=functools.partial(iter, paths),
        identity=["folder"],
        files=paths,
        paths=relative,
        notes=_merged(folder, chosen),
        passed=walk.counted(passed, f" in {split}" if split else ""),
    )


def _are(kind: tuple[str, ...], paths: list[Path]) -> list[Path]:
    return [path for path in paths if path.suffix.lower() in kind]


def _merged(folder: Path, chosen: dict[str, list[Path]]) -> tuple[str, ...]:
    """A note where classes hold their pictures in several subfolders, as a hierarchy of classes does."""
    below = {name: {path.relative_to(folder).parts[1:-1][:1] for path in paths} - {()} for name, paths in chosen.items()}
    several = {name: sorted(part[0] for part in parts) for name, parts in below.items() if len(parts) > 1}
    if not several:
        return ()
    first = next(iter(several))
    listed = "; ".join(f"{name}: {_list(parts)}" for name, parts in list(several.items())[:LISTED])
    return (
        f"the subfolders of {len(several)} of {len(chosen)} classes are merged into them ({listed}); if the subfolders are the "
        f"classes, lay all of them straight in one folder (--data {folder / first} reads those of {first} alone)",
    )


def _list(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")
