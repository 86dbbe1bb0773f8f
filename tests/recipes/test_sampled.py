"""Recipes of sampled sets: arms that there are, the numbers of Table 12, the paper's cells, and every arm starts and steps."""

import re
from dataclasses import replace

import pytest
from PIL import Image

from refluence.arm import UNIFORM
from refluence.compute import Compute
from refluence.data import load
from refluence.evaluate.generated import relation
from refluence.evaluate.protocols import protocols
from refluence.files import read_json
from refluence.generate import training
from refluence.generate.unet import unet_sizes
from refluence.jobs import source_network
from refluence.jobs.catalogue import parse_arm
from refluence.jobs.needs import place_of
from refluence.jobs.resolve import resolve
from refluence.jobs.session import Machine, open_session
from refluence.options import SetOptions, SourceOptions
from refluence.recipes import sampled
from refluence.recipes.base import SETS, Published
from refluence.recipes.find import recipe_named, recipes
from refluence.recipes.making import Making
from refluence.recipes.rows import describe
from refluence.recipes.sampled import LARGE, scaled
from refluence.recipes.trial import teach_briefly, trained_first, try_parts
from support.diffusers_folders import save_pipeline

SAMPLED = [recipe for name, recipe in recipes().items() if name.startswith("igd-")]
EVERY = [(recipe, size) for recipe in SAMPLED for size in ("cpu", "paper")]
SIDE = 72  # above 64 ResNets have the stem that they have at the published 256


@pytest.mark.parametrize(("recipe", "size"), EVERY, ids=lambda value: getattr(value, "name", value))
def test_parts_are_complete_and_name_what_there_is(recipe, size):
    parts = recipe.parts(size)
    assert len({part.name for part in parts}) == len(parts) > 0
    for part in parts:
        assert part.name.replace("-", "").isalnum(), "a folder's name"
        assert part.data in SETS
        assert set(part.protocols) <= set(protocols())
        assert [parse_arm(arm).name for arm in part.arms] == list(part.arms), "rows are found by the canonical name"
        assert len(set(part.arms)) == len(part.arms)


@pytest.mark.parametrize("recipe", SAMPLED, ids=lambda recipe: recipe.name)
def test_every_published_number_belongs_to_a_row(recipe):
    rows = {(part.data, part.ipc, arm) for part in recipe.parts("paper") for arm in part.arms}
    by_network = {(part.data, part.ipc, arm, part.model) for part in recipe.parts("paper") for arm in part.arms}
    assert set(recipe.published) <= rows
    assert set(recipe.by_network) <= by_network


@pytest.mark.parametrize("recipe", SAMPLED, ids=lambda recipe: recipe.name)
def test_networks_of_size_cpu_fit_digits(recipe, tmp_path):
    making, data = Making(recipe=recipe, out=tmp_path, rows=tmp_path / "rows.jsonl"), load("digits")
    for part in (part for part in recipe.parts("cpu") if part.data == "digits"):
        resolved = making.comparing(part).resolver(data)
        assert [resolved(parse_arm(arm), 0).arm.name for arm in part.arms] == list(part.arms)


def test_published_cells_are_those_of_the_paper():
    found = recipe_named("igd-table1")
    part = next(part for part in found.parts("paper") if part.name == "imagewoof-ipc100-resnet18")
    assert found.publication(part, "minimax+igd:k=10,gamma=100", "igd") == Published(72.1, 0.9)
    assert found.publication(part, "dit+pool", "igd") == "none"
    cpu = found.parts("cpu")[0]
    assert found.publication(cpu, "dit+igd", "dsa-cpu") == "none"
    (ten, _, hundred) = recipe_named("igd-imagenet").parts("paper")
    assert recipe_named("igd-imagenet").publication(ten, "dit+igd:k=5,gamma=120", "rded") == Published(45.5, 0.5)
    assert recipe_named("igd-imagenet").publication(hundred, "dit+igd:k=5,gamma=120", "rded") == "none"


@pytest.mark.parametrize("size", ["cpu", "paper"])
def test_classifier_free_guidance_is_an_arm_and_every_denoiser_has_its_pool(size):
    for part in recipe_named("igd-components").parts(size):
        plain, guided = (parse_arm(arm) for arm in part.arms if arm.endswith("cfg=1"))
        assert relation(guided, plain) == UNIFORM, "guidance is compared at the same scale"
    for name in ("igd-components", "igd-table1"):
        assert all("dit:cfg=1" in part.arms for part in recipe_named(name).parts(size))
    for name in ("igd-components", "igd-table1", "igd-imagenet"):
        for part in recipe_named(name).parts(size):
            steered = {arm.partition("+")[0] for arm in part.arms if "+igd" in arm}
            assert {f"{method}+pool" for method in steered} <= set(part.arms)


def test_scales_are_those_of_table_12():
    assert scaled("dit+igd", "imagenette", 10) == "dit+igd:k=5,gamma=50"
    assert scaled("dit+igd", "imagewoof", 100) == "dit+igd:k=5,gamma=120"
    assert scaled("minimax+influence", "imagenette", 50) == "minimax+influence:k=15"
    assert scaled("minimax+deviation", "imagewoof", 10) == "minimax+deviation:gamma=50"
    assert scaled("dit+igd", "food101", 50) == "dit+igd:k=5,gamma=120", "not in the table: as of ImageNette"
    assert [scaled(arm, "imagenet", 10) for arm in ("random", "dit", "dit+pool")] == ["random", "dit", "dit+pool"]


def test_rows_of_another_sampling_are_not_taken_for_the_same():
    recipe, data = recipe_named("igd-components"), load("digits", SourceOptions(rows=100))

    def digest(**asked):
        unit = resolve(SetOptions(ipc=1, **asked), parse_arm("dit+igd"), data, 0)
        return describe(recipe, recipe.parts("cpu")[0], unit, Compute(), "digits", "cpu", {})["settings"]

    assert digest() == digest() == digest(entropy_scale=3.0, omega=2.0), "numbers of guidance that is off decide nothing"
    others = [digest(**asked) for asked in ({"steps": 20}, {"cfg": 1.0}, {"denoiser_iterations": 9}, {"surrogate_epochs": 3})]
    assert len({digest(), *others}) == 5


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of two classes of ImageNet, as many images as 100 a class ask for."""
    return pictures(tmp_path_factory.mktemp("images"), ("n01440764", "n02102040"), (SIDE, "RGB"), 120)


@pytest.fixture(scope="module")
def small_images(tmp_path_factory):
    """Folders of two classes in the place of CIFAR, as many images as 1,000 a class ask for, and of MNIST."""
    cifar = pictures(tmp_path_factory.mktemp("colour"), ("0", "1"), (32, "RGB"), 1120)
    mnist = pictures(tmp_path_factory.mktemp("grey"), ("0", "1"), (28, "L"), 120)
    return {"digits": "digits", "mnist": mnist, "cifar10": cifar, "cifar100": cifar}


def pictures(folder, names, kind, count):
    side, mode = kind
    for label, name in enumerate(names):
        for split in ("train", "test"):
            (folder / split / name).mkdir(parents=True)
            for i in range(count if split == "train" else 5):
                colour = (9 * i % 256, 80 * label, 5 * i % 256) if mode == "RGB" else 100 * label + i
                Image.new(mode, (side, side), colour).save(folder / split / name / f"{i}.png")
    return str(folder)


@pytest.fixture(scope="module")
def published_denoiser(tmp_path_factory):
    """A folder as that of the published DiT, for images of this test."""
    folder = tmp_path_factory.mktemp("dit")
    save_pipeline(pytest.importorskip("diffusers"), folder, side=SIDE)
    return str(folder)


def tried(recipe, parts, size, given, tmp_path):
    """The parts and arms of a trial of one step."""
    machine = Machine(device="cpu", threads=1)
    making = Making(recipe=recipe, out=tmp_path, rows=tmp_path / "rows.jsonl", size=size, machine=machine)
    lines = try_parts(making, parts, {**dict.fromkeys(LARGE, given["images"]), **given}, 1)
    return [tuple(line.split(": ")[:2]) for line in lines]


def narrow(part):
    """The part with classifiers of 8 channels, but for those of torchvision: every other number is its own."""
    own = {"surrogate": "convnet:8"} | ({} if part.model.startswith("torchvision") else {"width": 8})
    arms = tuple(re.sub(r"surrogate=(\w+)", r"surrogate=\1:8", arm) for arm in part.arms)
    return replace(part, arms=arms, primary=None, options={**part.options, **own})


def arms_of(parts):
    return [(part.name, arm) for part in parts for arm in part.arms]


@pytest.fixture
def as_published(monkeypatch, published_denoiser):
    """Photographs are of `SIDE` pixels, and the published denoiser is one that is there."""
    monkeypatch.setattr(sampled, "SIZE", SIDE)
    monkeypatch.setattr(sampled, "DIT", published_denoiser)


def test_a_trial_trains_its_teachers_for_a_step_too(monkeypatch, tmp_path):
    monkeypatch.setattr(source_network, "TEACHERS", {"paper": "convnet1:4"})
    session = open_session(load("digits", SourceOptions(rows=400)), Machine())
    asked = SetOptions(ipc=1, nets=1, model="convnet1:4", protocol=("rded",))
    job = resolve(asked, parse_arm("random"), session.dataset, 0).shortened(1, 16)
    teach_briefly(job, session, tmp_path, 1)
    (need,) = (source_network.taught_by(protocol, session.dataset) for protocol in job.protocols)
    assert need.teacher.settings.epochs == 240, "as published"
    assert [each.name for each in tmp_path.iterdir()] == [place_of(need, session, tmp_path).name]
    (made,) = tmp_path.glob("*/need.json")
    assert read_json(made)["transfer"]["epochs"] == 1


def test_a_trial_measures_by_networks_of_an_epoch(tmp_path):
    pytest.importorskip("ot")
    data = load("digits", SourceOptions(rows=400))
    asked = SetOptions(ipc=1, nets=1, size="paper", quality=True, feature_network="convnet1:4")
    job = resolve(asked, parse_arm("random"), data, 0).shortened(1, 16)
    assert (job.quality.guide.settings.epochs, job.quality.guide.settings.real) == (1, 16)
    (need,) = trained_first(job, data)
    assert need.teacher.model.name == "convnet1"


@pytest.mark.slow
def test_the_arms_of_the_table_start_and_step_at_the_published_size(as_published, images, tmp_path):
    parts = [narrow(part) for part in recipe_named("igd-table1").parts("paper")[:1]]
    assert tried(recipe_named("igd-table1"), parts, "paper", {"images": images}, tmp_path) == arms_of(parts)


@pytest.mark.release
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["igd-table1", "igd-surrogates", "igd-cifar"])
def test_networks_of_the_published_width_start_and_step(name, as_published, images, small_images, tmp_path):
    parts = recipe_named(name).parts("paper")[:1]
    assert tried(recipe_named(name), parts, "paper", {"images": images, **small_images}, tmp_path) == arms_of(parts)


@pytest.mark.release
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("recipe", "size"), EVERY, ids=lambda value: getattr(value, "name", value))
def test_every_arm_of_every_part_starts_and_steps(recipe, size, as_published, images, small_images, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "unet_sizes", lambda shape, size: unet_sizes(shape, "cpu"))
    parts = [narrow(part) for part in recipe.parts(size)]
    assert tried(recipe, parts, size, {"images": images, **small_images}, tmp_path) == arms_of(parts)
