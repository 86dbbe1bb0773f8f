"""`--labels FILE:COLUMN`: one column of a Parquet or text file, whose row i belongs to row i of the stored train split."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from refluence.data.options import split_pair
from refluence.data.stored import RawSplit
from refluence.errors import InputError, option

TEXT = (".csv", ".tsv", ".txt")
DELIMITERS = ",;\t|"
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks, the longer ones first: that of UTF-32 begins with that of UTF-16."""
NUMBERS = ("", "unnamed: 0", "index", "idx", "row", "id")
"""Columns (in lower case) that may number the rows, from 0 or from 1."""
NAMES = ("path", "file", "filename", "file_name", "image", "image_id", "id", "name")
"""Columns that may name the image of each row: by path, by name, or by name without suffix."""


@dataclass(frozen=True)
class LabelColumn:
    """The values of a column, the class names behind its numbers where the file has them, and what a reader has to know."""

    values: Sequence[object]
    names: tuple[str, ...] | None
    where: str
    note: str = ""


def read_column(pair: str, train: RawSplit) -> LabelColumn:
    """The values of `FILE:COLUMN` for the rows of `train`. `InputError` where they cannot be those."""
    file, column = split_pair(pair, "labels", "FILE:COLUMN, a .parquet or .csv file and one of its columns")
    path = Path(file).expanduser()
    if not path.is_file():
        raise InputError(f"{option('labels', pair)}: there is no file {path}")
    if path.suffix.lower() in TEXT:
        found, beside = _text_column(path, column, pair)
    else:
        found, beside = _parquet_column(path, column, pair)
    if len(found.values) != len(train):
        raise InputError(
            f"{found.where} has {len(found.values)} rows, {train.where} has {len(train)}: row i must belong to row i"
        )
    _check_order(found.where, beside, train)
    return found


def _parquet_column(path: Path, column: str, pair: str) -> tuple[LabelColumn, Mapping[str, Sequence[object]]]:
    from refluence.data import columns, parquet

    schema = parquet.schema(path)
    features = columns.features(schema)
    columns.require(features, column, "labels", str(path), option("labels", pair))
    values = parquet.column([path], column)
    text_or_whole = [field.name for field in schema if "int" in str(field.type) or columns.is_text(field.type)]
    beside = {name: parquet.column([path], name) for name in text_or_whole if name != column and _tells_rows(name)}
    return LabelColumn(values, columns.class_names(features, column), option("labels", pair)), beside


def _text_column(path: Path, column: str, pair: str) -> tuple[LabelColumn, Mapping[str, Sequence[object]]]:
    text, note = _text(path, pair)
    try:
        header, rows = _table(text, column)
    except csv.Error as error:
        raise InputError(f"{option('labels', pair)}: {path} cannot be read as a table of text ({error})") from error
    if header.count(column) != 1:
        problem = f"no column '{column}'" if column not in header else f"several columns '{column}'"
        raise InputError(f"{option('labels', pair)}: {path} has {problem}; it has {', '.join(header) or 'nothing'}")
    for row, cells in enumerate(rows):
        if any(cells[len(header) :]):
            raise InputError(
                f"row {row} of {option('labels', pair)} has {len(cells)} fields, the header line {len(header)}: which "
                "column is which "
                "cannot be known"
            )
    values = {name: [cells[i] if i < len(cells) else None for cells in rows] for i, name in enumerate(header)}
    beside = {name: held for name, held in values.items() if name != column and _tells_rows(name)}
    where = option("labels", pair) + (f" ({note})" if note else "")
    return LabelColumn(values[column], None, where, f"{path} {note}" if note else ""), beside


def _text(path: Path, pair: str) -> tuple[str, str]:
    """The text of a file: UTF-8, what its byte order mark says, else Windows-1252, and a note where that was a guess."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{option('labels', pair)}: {path} cannot be read ({error.strerror or error})") from error
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8-sig")
    note = ""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        row, byte = data.count(b"\n", 0, error.start) - 1, data[error.start]
        try:
            text, note = data.decode("cp1252"), "is no UTF-8 and was read as Windows-1252"
        except UnicodeDecodeError:
            raise InputError(
                f"{option('labels', pair)}: row {row} of {path} is no "
                f"{'UTF-8' if encoding == 'utf-8-sig' else encoding.upper()} (byte "
                f"0x{byte:02x}) and no Windows-1252: store the file as UTF-8"
            ) from None
    if "\0" in text:
        raise InputError(f"{option('labels', pair)}: {path} is no text in UTF-8 (it holds zero bytes): store it as UTF-8")
    return text, note


def _table(text: str, column: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows, under the delimiter that gives the column, else the most columns. Empty last lines are no rows.

    A first line `sep=;`, as Excel writes it, decides.
    """
    stated = re.match(r"sep=(.)\r?\n", text)
    text, delimiters = (text[stated.end() :], stated[1]) if stated else (text, DELIMITERS)

    def header_under(delimiter: str) -> list[str]:
        return [name.strip() for name in next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])]

    headers = {delimiter: header_under(delimiter) for delimiter in delimiters}
    delimiter = max(delimiters, key=lambda mark: (column in headers[mark], len(headers[mark])))
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))[1:]
    while rows and not any(cell.strip() for cell in rows[-1]):
        rows.pop()
    return headers[delimiter], rows


def _tells_rows(name: str) -> bool:
    return name.lower() in (*NUMBERS, *NAMES)


def _check_order(where: str, beside: Mapping[str, Sequence[object]], train: RawSplit) -> None:
    """Refuse a file that says itself that its rows come in another order than those of the source."""
    count = len(train)
    orders: list[tuple[tuple[str, ...], list[str]]] = [(NUMBERS, [str(i + first) for i in range(count)]) for first in (0, 1)]
    if train.paths is not None:
        paths = [PurePath(path) for path in train.paths]
        orders += [(NAMES, [part(path) for path in paths]) for part in (str, lambda p: p.name, lambda p: p.stem)]
    for name, values in beside.items():
        given = [str(value).strip() for value in values]
        for names, order in orders:
            if name.lower() in names and given != order and sorted(given) == sorted(order):
                row = next(i for i in range(count) if given[i] != order[i])
                raise InputError(
                    f"{where}: its column '{name}' has the rows in another order than {train.where} (row {row}: "
                    f"'{given[row]}', there '{order[row]}'): sort them, row i must belong to row i"
                )
