"""Drawn image folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from fuzz.drawing import Draw, any_of, mostly, some_of
from fuzz.ending import STEP, TINY, Place
from fuzz.pictures import FINE, ODD, fine

TRAIN = ("train", "Train", "training", "TRAIN", "trainval", "Training ")
TEST = ("test", "testing", "val", "Valid", "validation", "dev", "TEST", "test2")
NAMES = (
    "cat", "dog", "Cat", "café", "cafe\u0301", "a b", " a", "a ", "..a", "[red]", "[/]", "[bold]x[/bold]", ":smile:", "x" * 200,
    "ß", "日本語", "0", "1", "01", "-1", "1.0", "nan", "None", "'", '"', "a,b", "a:b", "a=b", "{x}", "%s", "\\n", "a\nb", "\t",
    "\x1b[31m", "train", "test", "caf\udce9", "\U0001f600", "\u202eabc", "n01440764", "<b>", "&amp;", "$x", "~", "*", "?",
)  # fmt: skip
LITTER = (
    "labels.csv", "notes.txt", "Thumbs.db", ".DS_Store", "a.json", "README", "model.pt", "x.npz", "x.parquet", "a.zip",
    "desktop.ini",
    "._00.png", "a.tar", "card.json", "metadata.csv", "loose.png", "x.idx", "LICENSE.md", "dataset_info.json", "state.json",
    "a.png.txt", "train.csv", "annotations.xml",
)  # fmt: skip
SUFFIXES = (".png", ".PNG", ".jpg", ".JPEG", ".Png", ".webp", ".bmp", ".tif", ".gif")
LAYOUTS = ("flat classes", "wrapped", "train alone", "nested", "flat split", "test alone", "unlabelled test")


def class_names(draw: Draw) -> list[str]:
    """Two or three names of classes, plain ones half of the time."""
    if draw(st.booleans()):
        return ["cat", "dog", "hen"][: draw(st.integers(2, 3))]
    odd = st.one_of(st.sampled_from(NAMES), st.text(min_size=1, max_size=12).filter(is_name))
    return draw(st.lists(odd, min_size=1, max_size=3, unique=True))


def is_name(text: str) -> bool:
    """Whether a file may be called so."""
    try:
        return not set(text) & {"/", "\0"} and text not in (".", "..") and len(os.fsencode(text)) < 200
    except UnicodeEncodeError:
        return False


def write(path: Path, content: bytes) -> None:
    """A file with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def picture_folder(draw: Draw, root: Path) -> None:
    """Pictures in folders, with at most a few things that are odd."""
    layout, classes = mostly(draw, "split", LAYOUTS, 1), class_names(draw)
    train, test = mostly(draw, "train", TRAIN), mostly(draw, "test", TEST)
    root = root / any_of(draw, ("pets", "data set", "déjà")) if layout == "wrapped" else root
    root.mkdir(exist_ok=True)
    places = {
        "flat classes": [root],
        "train alone": [root / train],
        "test alone": [root / test],
        "flat split": [],
        "unlabelled test": [root / train],
    }.get(layout, [root / train, root / test])
    suffix, counts = mostly(draw, ".png", SUFFIXES, 2), [4, 4, mostly(draw, 4, (1, 0))]
    written, index = [], 0
    for place in places:
        for name, count in zip(classes, counts, strict=False):
            inside = place / name / "a" if layout == "nested" else place / name
            inside.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                written.append(inside / f"{i}{suffix}")
                write(written[-1], fine(index := (index + 1) % FINE))
    if layout in ("flat split", "unlabelled test"):
        for split in [train, test] if layout == "flat split" else [test]:
            for i in range(4):
                write(root / split / f"{i}{suffix}", fine(i))
    folders = [root, *places, *(path.parent for path in written[:1])]
    for what in some_of(draw, ("litter", "odd picture", "odd pictures", "link", "empty folder", "hidden"), 2):
        where = any_of(draw, folders)
        if what == "litter":
            write(where / any_of(draw, LITTER), any_of(draw, (b"", b"a,b\n1,2\n", b"\x00\xff" * 40, fine(7))))
        elif what.startswith("odd") and written:
            kind = any_of(draw, sorted(ODD))
            for path in written if what == "odd pictures" else [any_of(draw, written)]:
                path.write_bytes(ODD[kind]())
        elif what == "link" and where.is_dir() and not os.path.lexists(link := where / any_of(draw, ("link.png", "link"))):
            link.symlink_to(any_of(draw, ("nowhere", ".", "..", "link.png", str(root))))
        elif what == "empty folder":
            (where / any_of(draw, ("void", "@eaDir", "test", "train", "data"))).mkdir(parents=True, exist_ok=True)
        elif what == "hidden":
            write(where / ".hidden" / "0.png", fine(1))


def command(draw: Draw, at: Place, source: str | None = None) -> list[Any]:
    """A command that reads a source: mostly the cheapest."""
    source = str(at.data) if source is None else source
    name = mostly(draw, "random", ("herding", "dm", "score"), 3)
    words = ["score" if name == "score" else "distill", "--data", source]
    if name == "score":
        at.out = at.out.with_suffix(".parquet")
        words += ["--folds", "2", *TINY]
    else:
        words += ["--method", name, *STEP]
    words += mostly(draw, (), (("--image-size", "8"),), 2)
    words += mostly(draw, (), (("--skip-corrupt",),), 2)
    words += mostly(draw, (), (("--small-classes", "drop"), ("--small-classes", "cap")), 2)
    words += any_of(draw, (("--quiet",), ()))
    return [*words, "--out", at.out]


def case(draw: Draw, at: Place) -> list[Any]:
    """An image folder and a command that reads it."""
    picture_folder(draw, at.data)
    return command(draw, at)
