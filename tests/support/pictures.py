"""Pictures whose content is known: `picture(i)` differs for every i; files, class folders and Parquet made of them."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def array(index, size=(8, 8), grey=False):
    """uint8 `(H, W)` or `(H, W, 3)`, coloured for sure, different for every index."""
    shape = size if grey else (*size, 3)
    return np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)


def picture(index, size=(8, 8), grey=False):
    return Image.fromarray(array(index, size, grey))


def png(index, size=(8, 8), grey=False):
    return encoded(picture(index, size, grey))


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def write(path: Path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def class_folders(root: Path, counts: dict[str, int], start=0, **how):
    """`root/<class>/NNN.png`, `counts[class]` of them."""
    index = start
    for name, count in counts.items():
        for i in range(count):
            write(root / name / f"{i:03d}.png", picture(index, **how))
            index += 1
    return root


def parquet(path: Path, labels, images=None, start=0, features=None, **columns):
    """A Parquet file with `image` (struct of bytes and path) and `label`; `features` (datasets.Features) go into it."""
    images = images or [{"bytes": png(start + i), "path": f"{start + i}.png"} for i in range(len(labels))]
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {"image": images, "label": labels, **columns}
    if features is None:
        pq.write_table(pa.table(table), path)
    else:
        import datasets

        datasets.Dataset.from_dict(table, features=features).to_parquet(path)
    return path


def labels_of(counts):
    """`{0: 3, 1: 2}` as `[0, 0, 0, 1, 1]`."""
    return [label for label, count in counts.items() for _ in range(count)]
