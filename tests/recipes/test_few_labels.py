"""CIFAR-10 with 4,000 labels and SVHN with 1,000: both sizes of the recipe start and step, networks and batches its own."""

from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from refluence.jobs.catalogue import parse_arm
from refluence.recipes.find import recipe_named
from refluence.recipes.kd_semi import ARMS
from refluence.recipes.making import Making
from refluence.recipes.trial import try_parts
from refluence.seeds import streams
from refluence.work import Prepared
from support.pictures import encoded, parquet

DATA = Path(__file__).parents[3] / "shared" / "data"
REAL = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the folder of real datasets is absent ({DATA})"),
]
SETS = ["svhn", pytest.param("cifar10", marks=REAL)]
LABELS = {"svhn": 1000, "cifar10": 4000}


def house_numbers(folder):
    """Parquet files in the form of SVHN's: cropped digits of 32 x 32 pixels in colours, `image` and a `label` with names."""
    named = datasets.ClassLabel(names=[str(digit) for digit in range(10)])
    features = datasets.Features({"image": datasets.Image(), "label": named})
    grey, labels = load_digits(return_X_y=True)
    draw = np.random.default_rng(0)
    for split, count in (("train", 2200), ("test", 100)):
        images, rows = [], draw.integers(0, len(labels), count)
        for row in rows:
            shown = Image.fromarray((grey[row].reshape(8, 8) * 15).astype(np.uint8)).resize((32, 32))
            front, back = draw.integers(0, 256, (2, 3))
            colours = back + (front - back) * (np.asarray(shown)[..., None] / 255)
            images.append({"bytes": encoded(Image.fromarray(colours.astype(np.uint8))), "path": None})
        parquet(folder / f"{split}.parquet", labels[rows].tolist(), images, features=features)


def some_of_cifar10(folder):
    """600 training images of each class, and 100 test ones."""
    folder.mkdir()
    train, test = (pq.read_table(DATA / "cifar10" / f"{split}.parquet") for split in ("train", "test"))
    pq.write_table(train.take([5000 * label + i for label in range(10) for i in range(600)]), folder / "train.parquet")
    pq.write_table(test.slice(0, 100), folder / "test.parquet")


def begun(name, size, tmp_path):
    """The recipe's part of a set, and how it is made."""
    {"svhn": house_numbers, "cifar10": some_of_cifar10}[name](tmp_path / name)
    recipe = recipe_named("kd-semi")
    part = next(part for part in recipe.parts(size) if part.data == name)
    making = Making(recipe=recipe, out=tmp_path / "out", rows=tmp_path / "rows.jsonl", size=size)
    return making, part, {name: str(tmp_path / name)}


@pytest.mark.parametrize("name", SETS)
def test_the_short_size_starts_and_steps(name, tmp_path):
    making, part, given = begun(name, "cpu", tmp_path)
    session = making.open(part, given)
    assert session.dataset.shape == (3, 32, 32)
    assert session.dataset.train.labels.bincount().tolist() == [LABELS[name] // 10] * 10
    assert len(session.dataset.unlabelled) > 2 * 32, "as many as a step takes"
    assert [line.split(": ")[1] for line in try_parts(making, [part], given, 1)] == list(ARMS)


@pytest.mark.release
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", SETS)
def test_the_published_size_starts_and_steps(name, tmp_path):
    """One step of both networks and one on labels alone, at the published numbers; every pseudo-label counts."""
    making, part, given = begun(name, "paper", tmp_path)
    session, asked = making.open(part, given), making.comparing(part)
    job = asked.resolver(session.dataset)(parse_arm("semi+influence"), 0)
    how = job.plan.settings
    assert (job.model.name, job.plan.teacher.model.name) == ("wrn-28-2", "wrn-28-2")
    assert (how.batch, how.mu, how.steps, len(session.dataset.train)) == (128, 7, 300_000, LABELS[name])
    assert len(session.dataset.unlabelled) >= how.batch * how.mu
    short = how.lasting(1).with_(threshold=0.0)
    assert (short.batch, short.mu, short.tune_batch) == (128, 7, 512)
    plan = replace(job.plan, settings=short)
    work = plan.open(session.dataset, job.model, streams(job.seed), session.compute, Prepared())
    together, alone = work.steps()
    assert (together.tuned, together.sure, alone.tuned) == (False, 1.0, True)
    assert 0 < together.ess < 1, "896 images were weighed"
    assert alone.loss > 0
