"""Drawn files for `--labels FILE:COLUMN`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from fuzz.drawing import Draw, any_of, mostly
from fuzz.ending import Place
from fuzz.folders import command, write
from fuzz.pictures import fine

CLASSES = ("café", "dog")
ROWS = 8
FILES = ("labels.tsv", "labels.txt", "labels.parquet", "labels.parquet", "labels.xlsx", "LABELS.CSV", "a b.csv", "labels")
CELLS = (
    "dog", " dog ", "DOG", "", "cafe\u0301", "café", "cow", "1", "0", "1.0", "-1", "nan", "1e3", "٣", "d\nog", 'd"og', "[red]",
    "9" * 30, "0.5", "inf", "\x00", "dog,cat", "\ufeffdog", "=1+1",
)  # fmt: skip
ENCODINGS = ("utf-8-sig", "utf-16", "latin-1", "utf-16-le", "utf-32", "cp437", "cp1252")


def folder(root: Path) -> None:
    """Two classes, one with an accent."""
    for split in ("train", "test"):
        for c, name in enumerate(CLASSES):
            for i in range(4):
                write(root / split / name / f"{i}.png", fine(4 * c + i + 8 * (split == "test")))


def _text(draw: Draw, path: Path, cells: list[str]) -> None:
    mark, end = mostly(draw, ",", (";", "\t", "|", ":"), 2), mostly(draw, "\n", ("\r\n", "\r"), 2)
    quote, beside = mostly(draw, "", ('"', "'"), 2), mostly(draw, "", ("index", "file", "note"), 2)
    shuffled = mostly(draw, False, (True,), 9)
    order = list(range(len(cells)))
    values = {
        "index": order,
        "file": [f"{i % 4}.png" for i in order],
        "note": ['"', *[f"a{mark}b" if quote else "x"] * len(cells)],
    }
    lines = [mark.join(filter(None, (beside, f"{quote}human{quote}")))]
    for i in reversed(order) if shuffled else order:
        lines.append(mark.join(([str(values[beside][i])] if beside else []) + [f"{quote}{cells[i]}{quote}"]))
    for what in mostly(draw, (), (("blank",), ("short",), ("long",), ("sep",), ("comment",), ("twice",), ("no end",))):
        {
            "blank": lambda: lines.extend(["", ""]),
            "short": lambda: lines.pop(),
            "long": lambda: lines.append(mark.join("abc")),
            "sep": lambda: lines.insert(0, f"sep={mark}"),
            "comment": lambda: lines.insert(0, "# labels"),
            "twice": lambda: lines.__setitem__(0, mark.join(("human", "human"))),
            "no end": lambda: lines.append('"dog'),
        }[what]()
    content = (end.join(lines) + end).encode(mostly(draw, "utf-8", ENCODINGS, 2), "replace")
    write(path, mostly(draw, content, (b"", content[:17], b"\xff" + content, content.split(b"\n")[0]), 9))


def case(draw: Draw, at: Place) -> list[Any]:
    """A folder of pictures, a file of labels for it, and a command that reads both."""
    folder(at.data)
    cells = [CLASSES[i // 4] for i in range(ROWS)]
    for _ in range(any_of(draw, (0, 0, 1, 2))):
        cells[draw(st.integers(0, ROWS - 1))] = any_of(draw, (*CLASSES, *CELLS))
    name = mostly(draw, "labels.csv", FILES, 2)
    path = at.root / name
    if name.endswith(".parquet"):
        odd = ([None, *cells[1:]], list(range(ROWS)), [b"dog"] * ROWS, [["dog"]] * ROWS, [1.5] * ROWS, cells[1:])
        column = mostly(draw, cells, odd, 1)
        pq.write_table(pa.table({"human": pa.array(column), "index": pa.array(range(len(column)))}), path)
        if mostly(draw, False, (True,)):
            path.write_bytes(path.read_bytes()[:-5])
    else:
        _text(draw, path, cells)
    column = mostly(draw, "human", ("Human", "nope", "", "index", "a:b"), 9)
    source = mostly(draw, f"{path}:{column}", (str(path), f"{at.root}:human", f"{at.root}/nope.csv:human"), 9)
    return [*command(draw, at), "--labels", source]
