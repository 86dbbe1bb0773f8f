"""One split of an image folder: each subfolder is a class, every picture below it (at any depth) belongs to it."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

from refluence.data import flat, walk
from refluence.data.stored import UNSPLIT, RawSplit, split_names
from refluence.errors import InputError, option

LISTED = 5  # names in a note


def read(folder: Path, split: str, train: bool) -> RawSplit:
    """The pictures of a split (its name, or `UNSPLIT`) and their classes.

    Pictures are jpg, png and webp; a split that holds none of them is read from bmp, tif and the like. A test split without
    class folders has no labels: they are None. Errors: `InputError` for a train split without class folders.
    """
    passed: Counter[str] = Counter()
    classes, loose = walk.listing(folder, passed)
    found = {path.name: list(walk.files(path, passed)) for path in classes}
    kinds = [kind for kind in (walk.SUFFIXES, walk.OTHER_SUFFIXES) if any(_are(kind, paths) for paths in found.values())]
    kind = kinds[0] if kinds else walk.SUFFIXES + walk.OTHER_SUFFIXES
    chosen = {name: _are(kind, paths) for name, paths in found.items()}
    paths = [path for name in chosen for path in chosen[name]]
    labels: list[str | None] = [name for name in chosen for _ in chosen[name]]
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
    return RawSplit(
        where=str(folder),
        labels=labels,
        encoded=functools.partial(iter, paths),
        identity=["folder"],
        files=paths,
        paths=relative,
        notes=_merged(folder, split, chosen),
        passed=walk.counted(passed, f" in {split}" if split else ""),
    )


def _are(kind: tuple[str, ...], paths: list[Path]) -> list[Path]:
    return [path for path in paths if path.suffix.lower() in kind]


def _merged(folder: Path, split: str, chosen: dict[str, list[Path]]) -> tuple[str, ...]:
    """A note where classes hold their pictures in several subfolders, as a hierarchy of classes does.

    Errors: `InputError` where the subfolders of what would be a class are a train and a test split.
    """
    below = {name: _subfolders([path.relative_to(folder).parts[1:-1] for path in paths]) for name, paths in chosen.items()}
    several = {name: sorted(parts) for name, parts in below.items() if len(parts) > 1}
    for name, parts in several.items() if split == UNSPLIT else ():
        trains, tests = split_names(parts, str(folder / name))
        if trains and tests:
            raise InputError(
                f"{folder / name} holds splits of its own ({trains[0]}, {tests[0]}): {option('data', folder / name)} "
                "reads it alone; "
                f"where {name} is a class, lay the images as {folder}/train/{name}/… and {folder}/test/{name}/…"
            )
    if not several:
        return ()
    first = next(iter(several))
    listed = "; ".join(f"{name}: {_list(parts)}" for name, parts in list(several.items())[:LISTED])
    return (
        f"the subfolders of {len(several)} of {len(chosen)} classes are merged into them ({listed}); if the subfolders are the "
        f"classes, lay all of them straight in one folder ({option('data', folder / first)} reads those of {first} alone)",
    )


def _subfolders(places: list[tuple[str, ...]]) -> set[str]:
    """The names of the first level of folders that is more than one wrapping folder."""
    while places and all(places) and len({place[0] for place in places}) == 1:
        places = [place[1:] for place in places]
    return {place[0] for place in places if place}


def _list(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")
