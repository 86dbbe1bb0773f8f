"""The message about files that are not read: what they are, and lines of Python that turn them into a folder that is.

Pickles are never loaded, here neither: only names, headers and first lines are looked at.
"""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

from refluence.errors import InputError, option

PICKLES = (".pkl", ".pickle", ".p", ".pt", ".pth", ".npy.pkl", ".joblib")
ARRAYS = (".npy", ".mat", ".h5", ".hdf5", ".tfrecord", ".tfrecords", ".lmdb", ".mdb", ".bin")
ARCHIVES = {".zip": "zipfile", ".tar": "tarfile", ".tgz": "tarfile", ".gz": "tarfile", ".bz2": "tarfile", ".xz": "tarfile"}
PAIRS = (("x_{}", "y_{}"), ("{}_images", "{}_labels"), ("{}_data", "{}_labels"), ("X_{}", "y_{}"))
ALONE = (("images", "labels"), ("image", "label"), ("data", "labels"), ("x", "y"), ("X", "y"), ("arr_0", "arr_1"))
"""What arrays of images and of labels are called, by split and without splits."""

FEATURES = 'features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})'


def file(path: Path) -> InputError:
    """One file, given as a source or found where nothing else is."""
    name, kind = path.name.lower(), path.suffix.lower()
    if kind == ".npz":
        return _npz(path)
    if name.startswith(("data_batch", "test_batch", "batches.meta")) or (path.parent / "fine_label_names").exists():
        return _cifar(path.parent)
    if path.parent.name.startswith("cifar-100-python"):
        return _cifar(path.parent)
    if kind in PICKLES:
        return InputError(
            f"{path} is a pickle, which can run any program when it is loaded: Refluence loads none. Where you trust the file, "
            "load it into images x (N, H, W[, 3]), uint8, and whole numbers y (N), and write a table:",
            _table("x", "y", path.with_name("train.parquet")),
        )
    if kind == ".gz" and "ubyte" in name:
        return InputError(f"{path} is packed: unpack it and the files beside it (gunzip {path.parent}/*.gz)")
    if kind in ARCHIVES:
        out = path.with_name(path.name.split(".")[0])
        line = f"python -m {ARCHIVES[kind]} -e {path} {out}"
        return InputError(f"{path} is an archive: unpack it, then give {option('data', out)}", (line,))
    if kind in (".csv", ".tsv"):
        return _csv(path)
    if kind == ".arrow":
        lines = (
            "import datasets",
            f"datasets.Dataset.from_file({quoted(path)}).to_parquet({quoted(path.with_name('train.parquet'))})",
        )
        return InputError(f"{path} is one Arrow file: these lines make a table of it that can be read:", lines)
    if kind in ARRAYS:
        return InputError(
            f"{path} is not read: load it into images x (N, H, W[, 3]), uint8, and whole numbers y (N), and write a table:",
            _table("x", "y", path.with_name("train.parquet")),
        )
    return InputError(f"{path} is a file: give the folder that holds train.parquet, or class folders")


def is_known(path: Path) -> bool:
    """Whether `file` has more to say of the file than that it is one."""
    return not str(file(path)).startswith(f"{path} is a file:")


def quoted(path: Path) -> str:
    """A path as it stands in Python code."""
    return json.dumps(str(path), ensure_ascii=False)


def _table(images: str, labels: str, out: Path) -> tuple[str, ...]:
    return ("import datasets", FEATURES, _written(images, labels, out))


def _written(images: str, labels: str, out: Path) -> str:
    data = f'{{"image": list({images}), "label": list({labels})}}'
    return f"datasets.Dataset.from_dict({data}, features=features).to_parquet({quoted(out)})"


def _npz(path: Path) -> InputError:
    try:
        with zipfile.ZipFile(path) as arrays:
            held = [name.removesuffix(".npy") for name in arrays.namelist()]
    except (OSError, zipfile.BadZipFile):
        return InputError(f"{path} is no whole file of numpy arrays")
    found = {
        split: (images.format(split), labels.format(split))
        for split in ("train", "test", "val")
        for images, labels in PAIRS
        if {images.format(split), labels.format(split)} <= set(held)
    }
    if "train" not in found:
        found = {"train": next((pair for pair in ALONE if set(pair) <= set(held)), ("IMAGES", "LABELS"))}
    place, name = path.parent, path.stem
    lines = [
        _written(f'arrays["{images}"]', f'arrays["{labels}"].ravel()', place / f"{name}-{split}.parquet")
        for split, (images, labels) in found.items()
    ]
    return InputError(
        f"{path} holds numpy arrays ({', '.join(held)}): these lines make tables of them, then give "
        f"{option('data', f'{place}:{name}')}",
        (f"import datasets, numpy; arrays = numpy.load({quoted(path)})", FEATURES, *lines),
    )


def _cifar(folder: Path) -> InputError:
    kind = "CIFAR100" if "100" in folder.name or (folder / "fine_label_names").exists() else "CIFAR10"
    root, name = folder.parent, kind.lower()
    return InputError(
        f"{folder} holds pickles, which can run any program when they are loaded: Refluence loads none. torchvision checks "
        "that these are the published files; with its help these lines make tables, then give "
        f"{option('data', f'{root}:{name}')}",
        (
            "import datasets, torchvision",
            'for name in ("train", "test"):',
            f'    t = torchvision.datasets.{kind}({quoted(root)}, train=name == "train")',
            '    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=t.classes)})',
            '    rows = {"image": list(t.data), "label": t.targets}',
            f'    datasets.Dataset.from_dict(rows, features=features).to_parquet({quoted(root)} + f"/{name}-{{name}}.parquet")',
        ),
    )


def first_rows(path: Path) -> tuple[list[str], list[str]]:
    """The header and the first line of a CSV or TSV file; empty where it cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
            reader = csv.reader(stream, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            return next(reader, []), next(reader, [])
    except (OSError, csv.Error):
        return [], []


def reading(path: Path, text: str | None = None) -> str:
    """The line that reads a CSV or TSV file; the column `text` keeps its leading zeros."""
    more = ', sep="\\t"' if path.suffix.lower() == ".tsv" else ""
    more += f", dtype={{{json.dumps(text)}: str}}" if text else ""
    return f"import pandas; table = pandas.read_csv({quoted(path)}{more})"


def _csv(path: Path) -> InputError:
    """A CSV file by itself: pixels a column each, or labels that need their pictures."""
    header, _ = first_rows(path)
    pixels = [name for name in header if name.lower().startswith("pixel")]
    side = round(len(pixels) ** 0.5)
    if not pixels or side * side != len(pixels) or len(header) - len(pixels) != 1:
        return InputError(
            f"{path} is a table of text: give the folder of the images that it names, or a Parquet file with a column of "
            "paths and one of labels"
        )
    label = next(name for name in header if name not in pixels)
    x = f'table.drop(columns={json.dumps(label)}).to_numpy("uint8").reshape(-1, {side}, {side})'
    lines = (reading(path), *_table(x, f"table[{json.dumps(label)}]", path.with_name("train.parquet")))
    return InputError(f"{path} holds a pixel a column: these lines make a table of images that can be read:", lines)
