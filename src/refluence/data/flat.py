"""Pictures that lie side by side without class folders: the message about them, and lines of Python that sort them by class."""

from __future__ import annotations

import json
from pathlib import Path

from refluence.data import walk
from refluence.data.columns import LABEL_NAMES
from refluence.data.convert import first_rows, quoted, reading
from refluence.errors import InputError, option


def refuse(folder: Path, split: str) -> InputError:
    """Pictures that lie side by side, without class folders."""
    _, loose = walk.listing(folder)
    pictures = [path for path in loose if walk.is_picture(path)]
    root = folder.parent if split else folder
    lying = f" ({len(pictures)} images lie straight in it)" if pictures else " (it holds no image)"
    message = f"{folder} has no class folders: expected {folder}/<class>/<image>{lying}"
    if not pictures:
        return InputError(message)
    lines = _shapes(folder, loose)
    if lines:
        return InputError(
            f"{message}. Of LabelMe's .json files, these lines make class folders (the first shape decides):", lines
        )
    tables = sorted({path for place in (folder, root) for path in place.glob("*.[ct]sv")})
    for table in tables:
        if lines := _paths(table, folder, root, pictures):
            return InputError(f"{message}. Of {table}, these lines make a table that can be read:", lines)
    known = f" (labels may be in {tables[0]})" if tables else ""
    return InputError(f"{message}. A table does as well: {root}/train.parquet with a column of paths and one of labels{known}")


def _paths(table: Path, folder: Path, root: Path, pictures: list[Path]) -> tuple[str, ...]:
    """The lines that make a table of paths, where a column of the file names the pictures and another one the classes."""
    header, first = first_rows(table)
    names = {path.name for path in pictures}
    endings = ("", *sorted({path.suffix for path in pictures}))
    for column, value in zip(header, first, strict=False):
        ending = next((ending for ending in endings if Path(value).name + ending in names), None)
        if ending is None:
            continue
        others = [name for name in header if name != column]
        label = next((name for name in others if name.lower() in LABEL_NAMES), others[0] if len(others) == 1 else "LABEL")
        inside = f'"{folder.name}/" + ' if folder != root and "/" not in value else ""
        after = f" + {json.dumps(ending)}" if ending else ""
        paths = f"{inside}table[{json.dumps(column)}]{after}"
        return (
            reading(table, column),
            f'table = pandas.DataFrame({{"image": {paths}, "label": table[{json.dumps(label)}]}})',
            f"table.to_parquet({quoted(root / 'train.parquet')})  # then {option('data', root)} "
            f"{option('image_column', 'image')}",
        )  # fmt: skip
    return ()


def _shapes(folder: Path, loose: list[Path]) -> tuple[str, ...]:
    """The lines for pictures with a .json of LabelMe beside them."""
    notes = [path for path in loose if path.suffix.lower() == ".json"]
    try:
        held = json.loads(notes[0].read_bytes()) if notes else None
    except (OSError, ValueError):
        return ()
    if not isinstance(held, dict) or not {"shapes", "imagePath"} <= set(held):
        return ()
    out = folder.with_name(f"{folder.name}-classes")
    return (
        "import json, pathlib, shutil",
        f'for file in pathlib.Path({quoted(folder)}).glob("*.json"):',
        f'    held = json.loads(file.read_text()); place = pathlib.Path({quoted(out)}, held["shapes"][0]["label"])',
        '    place.mkdir(parents=True, exist_ok=True); shutil.copy(file.parent / held["imagePath"], place)',
        f"# then {option('data', out)}",
    )
