"""The influence of the real instances: its histogram, and the instances at its two ends. Also as a page of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from refluence.errors import InputError
from refluence.files import write_text
from refluence.report import charts
from refluence.report.gallery import Gallery, real_gallery
from refluence.report.reading import Scores, read_scores
from refluence.report.template import render
from refluence.report.words import common_unit, counted, signed

BINS = 45


@dataclass(frozen=True)
class ScoreSection:
    """What the page says about the influence of the real instances."""

    source: str
    facts: list[tuple[str, str]]
    notes: list[str]
    histogram: Markup
    gallery: Gallery
    unit: str


def section(scores: Scores | None, classes: list[str], source: str) -> ScoreSection | None:
    """The section, or None if no instance was scored."""
    gallery = None if scores is None else real_gallery(scores, classes, source)
    if scores is None or gallery is None:
        return None
    unit, name, digits = common_unit(scores.spread)
    score = scores.score / unit
    bins, beyond = histogram_bins(score)
    facts = [
        ("Scored", counted(len(score), "instance")),
        ("Above zero", f"{100 * float((score > 0).mean()):.0f} %"),
        ("Median", signed(np.median(score), digits)),
        ("Lowest, highest", f"{signed(score.min(), digits)}, {signed(score.max(), digits)}"),
    ]
    notes = [f"Scores on this page are in units of {name}."] if name else []
    if beyond:
        notes.append(f"The outermost bars also hold {counted(beyond, 'instance')} further out.")
    axis = "influence dM/dw" + (f", in {name}" if name else "")
    chart = charts.histogram(bins, axis, "Histogram of the influence of the real instances")
    key = charts.legend({"raises the discrepancy": charts.RAISES, "lowers it": charts.LOWERS})
    return ScoreSection(source, facts, notes, key + chart, gallery, name)


def histogram_bins(score: np.ndarray) -> tuple[list[tuple[float, float, int]], int]:
    """Bins (from, to, count) with an edge at zero, and how many scores beyond the range the end bins took in.

    The range leaves out the outermost 0.1 % at each end where they would squeeze the rest into a few bars.
    """
    low, high = float(score.min()), float(score.max())
    near, far = np.quantile(score, [0.001, 0.999])
    if far > near and high - low > 2 * (far - near):
        low, high = float(near), float(far)
    width = (high - low) / BINS or abs(high) / 4 or 1.0
    first, last = np.floor(low / width), np.floor(high / width) + 1
    edges = np.arange(first, last + 1) * width
    beyond = int(((score < edges[0]) | (score > edges[-1])).sum())
    counts, _ = np.histogram(np.clip(score, edges[0], edges[-1]), edges)
    return [(float(a), float(b), int(n)) for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True) if n], beyond


def write_scores(parquet: Path, images: Mapping[int, Any], classes: Sequence[str], title: str) -> Path:
    """Write the page beside the Parquet file, under its name (`scores.html` for `scores.parquet`), and return its path.

    `images` maps rows of the dataset to uint8 pictures (C, H, W), arrays or tensors; `picture_rows` says which rows
    are of use. Errors: `InputError` if the file is missing or has no scores.
    """
    parquet = Path(parquet)
    pictures = {int(row): np.asarray(image) for row, image in images.items()}
    found = section(read_scores(parquet, pictures), [str(name) for name in classes], title)
    if found is None:
        raise InputError(f"{parquet} holds no finite score; write it with `refluence score` first")
    target = parquet.with_suffix(".html")
    write_text(target, render("scores.html.j2", title=title, scores=found))
    return target
