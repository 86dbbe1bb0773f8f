"""Drawn Parquet tables."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from fuzz.drawing import Draw, mostly
from fuzz.ending import Place
from fuzz.folders import command, write
from fuzz.pictures import ODD, fine

ROWS = 8
LABELS: dict[str, Callable[[int], Any]] = {
    "int": lambda i: i % 2,
    "text": lambda i: ("cat", "dög")[i % 2],
    "whole floats": lambda i: float(i % 2),
    "fractions": lambda i: i % 2 + 0.5,
    "bool": lambda i: bool(i % 2),
    "decimal": lambda i: decimal.Decimal(i % 2),
    "bytes": lambda i: (b"cat", b"dog\xff")[i % 2],
    "date": lambda i: datetime.date(2020, 1, 1 + i % 2),
    "time": lambda i: datetime.datetime(2020, 1, 1 + i % 2),
    "list": lambda i: [i % 2],
    "struct": lambda i: {"a": i % 2},
    "large": lambda i: 2**62 + i % 2,
    "minus one": lambda i: (-1, 1, 0)[i % 3],
    "pair": lambda i: (-1, 1)[i % 2],
    "one class": lambda i: 0,
    "all missing": lambda i: None,
    "many": lambda i: i,
    "markup": lambda i: ("[red]", "[/]")[i % 2],
    "infinite": lambda i: (float("inf"), 1.0)[i % 2],
    "huge floats": lambda i: (1e300, 1.0)[i % 2],
}
EXTRA: dict[str, Callable[[], pa.Array]] = {
    "id": lambda: pa.array(range(ROWS)),
    "tags": lambda: pa.array([["a", None]] * ROWS),
    "meta": lambda: pa.array([{"a": 1, "b": [2.0]}] * ROWS),
    "when": lambda: pa.array([datetime.datetime(2020, 1, 1)] * ROWS),
    "mask": lambda: pa.array([{"bytes": fine(2), "path": None}] * ROWS),
    "blob": lambda: pa.array([b"\xff\x00"] * ROWS),
    "nothing": lambda: pa.nulls(ROWS),
    "map": lambda: pa.array([[("k", 1)]] * ROWS, pa.map_(pa.string(), pa.int64())),
    "words": lambda: pa.array(["a"] * ROWS).dictionary_encode(),
    "price": lambda: pa.array([decimal.Decimal("1.5")] * ROWS),
    "labels": lambda: pa.array([0, 1] * (ROWS // 2)),
    "class": lambda: pa.array(["x", "y"] * (ROWS // 2)),
    "vector": lambda: pa.array([[1.0, 2.0]] * ROWS, pa.list_(pa.float32(), 2)),
    "half": lambda: pa.array([1.0] * ROWS, pa.float16()) if hasattr(pa, "float16") else pa.nulls(ROWS),
    "took": lambda: pa.array([datetime.timedelta(1)] * ROWS),
    "": lambda: pa.array(range(ROWS)),
    "filename": lambda: pa.array([f"{i}.png" for i in range(ROWS)]),
}
IMAGES = ("bytes", "path", "struct of paths", "absolute path", "numbers", "pixels", "no image", "text", "nothing")
_PAIR = '"image": {"_type": "Image"}, "label": '
FACTS = (
    b"{}", b"no json", b"[]", b"\xff\xfe", b'{"info": null}', b'{"info": {"features": []}}',
    *(b'{"info": {"features": {%b}}}' % text.encode() for text in (
        _PAIR + '{"_type": "ClassLabel", "names": ["cat", "dog"]}',
        _PAIR + '{"_type": "ClassLabel", "names": ["cat", "cat"]}',
        _PAIR + '{"_type": "ClassLabel", "names": ["cat"]}',
        _PAIR + '{"_type": "ClassLabel"}',
        _PAIR + '{"_type": "ClassLabel", "names": null}',
        _PAIR + '{"_type": "Sequence", "feature": {"_type": "Value", "dtype": "int64"}}',
        '"image": {"_type": "Unheard"}',
        '"image": 3, "label": []',
    )),
)  # fmt: skip


def _images(draw: Draw, kind: str, folder: Path, start: int) -> list[Any]:
    odd = mostly(draw, "", (*sorted(ODD), "missing"), 9)
    content: list[bytes | None] = [fine(start + i) for i in range(ROWS)]
    if odd:
        content[3] = None if odd == "missing" else ODD[odd]()
    if "path" in kind:
        for i, held in enumerate(content):
            write(folder / "pictures" / f"{start + i}.png", held or b"")
    paths = [f"pictures/{start + i}.png" for i in range(ROWS)]
    return {
        "struct": lambda: [None if held is None else {"bytes": held, "path": f"{i}.png"} for i, held in enumerate(content)],
        "bytes": lambda: content,
        "path": lambda: paths,
        "absolute path": lambda: [str(folder / path) for path in paths],
        "struct of paths": lambda: [{"bytes": None, "path": path} for path in paths],
        "numbers": lambda: list(range(ROWS)),
        "pixels": lambda: [[[float(i)] * 8] * 8 for i in range(ROWS)],
        "no image": lambda: [f"nowhere/{i}.png" for i in range(ROWS)],
        "text": lambda: ["a cat"] * ROWS,
        "nothing": lambda: [None] * ROWS,
    }[kind]()


def _table(draw: Draw, folder: Path, start: int, image: str, kind: str, columns: tuple[str, str]) -> pa.Table:
    labels: list[Any] = [LABELS[kind](i) for i in range(ROWS)]
    for _ in range(mostly(draw, 0, (1, 3), 9)):
        labels[draw(st.integers(0, ROWS - 1))] = None
    built = {columns[0]: pa.array(_images(draw, image, folder, start)), columns[1]: pa.array(labels)}
    for name in draw(st.lists(st.sampled_from(sorted(EXTRA)), max_size=2, unique=True)):
        built.setdefault(name, EXTRA[name]())
    table = pa.table(built)
    if kind == "text" and draw(st.booleans()):
        table = table.set_column(1, columns[1], table.column(1).dictionary_encode())
    if mostly(draw, False, (True,), 19):
        table = table.append_column(columns[1], pa.array(range(ROWS)))  # a name twice
    return table


def case(draw: Draw, at: Place) -> list[Any]:
    """A folder of tables and a command that reads it."""
    image, kind = mostly(draw, "struct", IMAGES, 1), mostly(draw, "text", tuple(LABELS), 1)
    columns = mostly(draw, ("image", "label"), COLUMNS, 3)
    names = mostly(draw, ("train.parquet", "test.parquet"), NAMES, 2)
    facts, config = mostly(draw, None, FACTS), mostly(draw, "", ("default", "plain_text", "data"))
    folder = at.data / config
    for number, name in enumerate(names):
        own = mostly(draw, kind, sorted(LABELS), 19)
        try:
            table = _table(draw, (folder / name).parent, 8 * number, image, own, columns)
        except (pa.ArrowException, TypeError):  # what Arrow itself cannot hold
            table = pa.table({columns[0]: pa.array([fine(i) for i in range(ROWS)]), columns[1]: pa.array(range(ROWS))})
        if facts is not None:
            table = table.replace_schema_metadata({b"huggingface": facts})
        table = mostly(draw, table, (table.slice(0, 0), table.slice(0, 1), table.select([0]), table.select([])), 19)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / name)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(mostly(draw, content, (content[:-7], b"", b"PAR1" + bytes(30) + b"PAR1"), 19))
    inside = mostly(draw, "", (":", ":train", ":nope", ":pets", "/train.parquet", "/nothing"), 9)
    words = command(draw, at, f"{at.data}{inside}")
    needed = columns != ("image", "label") or "path" in image
    for flag, value in zip(("--image-column", "--label-column"), columns, strict=True):
        words += mostly(draw, (flag, value) if needed else (), ((flag, value), (), (flag, "nope"), (flag, "")))
    return [*words, *mostly(draw, (), (("--group-column", "id"), ("--group-column", "meta"), ("--group-column", "nope")), 9)]


COLUMNS = (("img", "fine_label"), ("photo", "y"), ("label", "image"), ("a b", "é"), ("image", "image.label"), ("x.y", "z"))
NAMES = (
    ("train.parquet",),
    ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet"),
    ("train-00000-of-00002.parquet", "test.parquet"),
    ("train/0000.parquet", "test/0000.parquet"),
    ("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"),
    ("pets-train.parquet", "pets-test.parquet", "cars-train.parquet"),
    ("all.parquet",),
    ("a.parquet", "b.parquet"),
    ("test.parquet",),
    ("TRAIN.parquet", "Test.parquet"),
    ("train.parquet", "Train.parquet"),
    ("train.parquet", "val.parquet", "test.parquet"),
)
"""Files of a folder."""
