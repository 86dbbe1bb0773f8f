"""A distilled set for other tools: PNG class folders, Parquet for Hugging Face `datasets`, or only the tensors."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

from PIL import Image

from refluence.data.distilled import DistilledSet, decoded, load_distilled, locate, pixel_values, to_uint8
from refluence.data.folder_names import folder_names
from refluence.data.readme import CARD, IMAGES, README
from refluence.errors import InputError, option
from refluence.files import appearing

FORMATS = ("imagefolder", "parquet", "tensors")


def export(folder: Path, format: str, out: Path) -> str:
    """Write the distilled set of `folder` to `out` (new or empty) and say in one paragraph what lies where.

    `imagefolder` writes `out/train/<class>/NNNNN.png`, `parquet` writes `out/train.parquet` with Image and ClassLabel
    features. Stored images that hold several (`factor`) are written decoded, one file an image. Soft labels become a column
    `soft` of the Parquet file. The tensors, card and README always lie beside them, because 8 bits a pixel lose accuracy.
    `out` appears in one step. `InputError` for an unknown format, an `out` that holds something, or a folder without a
    distilled set.
    """
    out = Path(out)
    if format not in FORMATS:
        raise InputError(f"{option('format', format)}: choose one of {', '.join(FORMATS)}")
    place = locate(folder)
    stored = load_distilled(place)
    distilled = decoded(stored)
    with appearing(out) as part:
        written = {"imagefolder": _folders, "parquet": _parquet, "tensors": _nothing}[format](distilled, part)
        for name in (IMAGES, CARD, README):
            if (place / name).exists():
                shutil.copyfile(place / name, part / name)
    tensors = f"The tensors (float32, normalised), {CARD} and {README} lie in {out}: {out / IMAGES}."
    if format == "tensors":
        return f"Wrote {len(stored)} images of {len(stored.classes)} classes. {tensors} Nothing was rounded."
    of = f", decoded from {len(stored)} stored ones," if stored.factor > 1 else ""
    soft = " Soft labels are in the tensors alone." if stored.soft is not None and format == "imagefolder" else ""
    what = f"Wrote {len(distilled)} images{of} of {len(distilled.classes)} classes {written}."
    return f"{what}{soft} {_loss(distilled)} {tensors}"


def _nothing(distilled: DistilledSet, out: Path) -> str:
    return ""


def _folders(distilled: DistilledSet, out: Path) -> str:
    folders, numbered = folder_names(distilled.classes)
    for index, (png, label) in enumerate(zip(_pngs(distilled), distilled.labels.tolist(), strict=True)):
        path = out / "train" / folders[label] / f"{index:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png)
    why = "readers of such folders number the classes by their sorted names"
    if numbered:
        return f"as train/<number>-<class>/NNNNN.png (numbered, because {why})"
    return f"as train/<class>/NNNNN.png ({why})"


def _parquet(distilled: DistilledSet, out: Path) -> str:
    import datasets

    kinds: dict[str, object] = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=list(distilled.classes)),
    }
    columns = {
        "image": [{"bytes": png, "path": None} for png in _pngs(distilled)],
        "label": distilled.labels.tolist(),
    }
    if distilled.soft is not None:
        kinds["soft"] = datasets.Sequence(datasets.Value("float32"), length=len(distilled.classes))
        columns["soft"] = distilled.soft.tolist()
    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # they would write to a standard error that is a file
    try:
        datasets.Dataset.from_dict(columns, features=datasets.Features(kinds)).to_parquet(out / "train.parquet")
    finally:
        if not hidden:
            datasets.enable_progress_bars()
    return "as train.parquet (datasets.Dataset.from_parquet gives Image and ClassLabel columns)"


def _pngs(distilled: DistilledSet) -> list[bytes]:
    channels = distilled.images.shape[1]
    if channels not in (1, 3):
        raise InputError(f"images of {channels} channels cannot become PNG: export with {option('format', 'tensors')}")
    files = []
    for pixels in to_uint8(distilled).numpy():
        stream = io.BytesIO()
        Image.fromarray(pixels[0] if channels == 1 else pixels.transpose(1, 2, 0)).save(stream, "PNG")
        files.append(stream.getvalue())
    return files


def _loss(distilled: DistilledSet) -> str:
    """How much rounding and clamping to 8 bits changes this very set."""
    exact = pixel_values(distilled)
    outside = ((exact < -0.5) | (exact > 255.5)).float().mean().item()
    furthest = (exact - to_uint8(distilled).float()).abs().max().item()
    if not outside:
        changed = f"every value was rounded, by at most {furthest:.1f} levels; none was clamped"
    else:
        changed = (
            f"{outside:.1%} of the values lay outside and were clamped, by at most {furthest:.1f} levels; the rest was rounded"
        )
    return f"PNG holds 256 levels: {changed}. Train on the tensors."
