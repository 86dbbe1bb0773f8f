"""Folders as runs leave them, made once: the pages are only read."""

import pytest

from refluence import report
from report import fabricate, fabricate_generated, fabricate_students

TEN = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CLEANED = {"dm": 80.1, "dm+pruned:by=score": 86.7, "dm+pruned:by=random,keep=auto": 80.0, "dm+relabelled": 86.7}
HOSTILE = ['<img src="https://evil.example/x.png" onerror="alert(1)">', "a class with a very long name, " + "x" * 120]


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Folder per kind of run, each with its `report.html`."""
    root = tmp_path_factory.mktemp("reports")
    made = {
        "compare": fabricate.compare(root / "compare", classes=[str(i) for i in range(10)], channels=1, size=8),
        "one seed": fabricate.compare(root / "one", seeds=1, ipc=1),
        "unit": fabricate.unit(root / "unit", classes=TEN, size=32),
        "hundred": fabricate.unit(root / "hundred", classes=[f"class name {i}" for i in range(100)], ipc=1, real=12),
        "hostile": fabricate.unit(root / "hostile", classes=HOSTILE, ipc=12, size=48),
        "student": fabricate_students.student(root / "student"),
        "students": fabricate_students.compare(root / "students"),
        "sampled": fabricate_generated.unit(root / "sampled"),
        "sampled sets": fabricate_generated.compare(root / "sampled sets", classes=[str(i) for i in range(10)]),
        "denoiser": fabricate_generated.denoiser(root / "denoiser"),
        "terms": fabricate.unit(root / "terms", "idc+influence:terms=both,bag=batch", classes=TEN, size=32),
        "cleaned": fabricate.compare(root / "cleaned", 2, CLEANED, classes=TEN, ipc=1, size=32),
        "bare": fabricate.unit(root / "bare", arm="random", without=("metrics", "influence", "config", "evaluation")),
    }
    for folder in made.values():
        report.write(folder)
    return made


@pytest.fixture(scope="session")
def score_pages(tmp_path_factory):
    """`scores.html` per kind of scores."""
    root = tmp_path_factory.mktemp("scores")
    pages = {}
    for kind, classes, facts in (
        ("ten", TEN, {"size": 32}),
        ("hundred", [f"class name {i}" for i in range(100)], {"real": 12}),
        ("hostile", HOSTILE, {"size": 48, "labels": "votes.csv:<b>"}),
    ):
        path, images = fabricate.validation_scores(root / kind / "scores.parquet", classes, **facts)
        pages[kind] = report.write_scores(path, images, classes, f"{kind}: <b>")
    return pages
