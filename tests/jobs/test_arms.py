"""Arms with the weight kinds and links: what is a method, what is a kind, what is refused."""

import pytest
import torch

import refluence as rf
from refluence.arm import Arm
from refluence.condense.arms import weighting_of
from refluence.condense.method import Method
from refluence.errors import InputError
from refluence.influence.weighting import Weighting
from refluence.jobs.catalogue import arm_of, methods, parse_arm, with_controls


def test_random_weights_are_not_the_random_selection():
    assert parse_arm("random") == Arm("random", "uniform")
    arm = parse_arm("dc+random:tau=.1")
    assert (arm.method, arm.kind, arm.name) == ("dc", "random", "dc+random:tau=.1")
    assert weighting_of(arm) == Weighting("random", tau=0.1)
    with pytest.raises(InputError, match="selects real images and takes no weights"):
        parse_arm("random+random")
    names = [a.name for a in with_controls(["random", "dc+influence", "dc+random"], controls=True)]
    assert names == ["random", "dc", "dc+influence", "dc+shuffled", "dc+random"]


def test_links_are_options_of_an_arm():
    arm = parse_arm("dc+influence:link=sigmoid,sign=-1")
    assert weighting_of(arm) == Weighting("influence", link="sigmoid", sign=-1)
    assert weighting_of(parse_arm("dc+influence:link=prune,keep=.8")).keep == 0.8
    for text, message in [
        (
            "dc+influence:link=cosh",
            "arm 'dc[+]influence:link=cosh': link=cosh: choose one of softmax, sigmoid, exp, top, prune",
        ),
        ("dc+influence:tau=1,image_lr=.1,tau=2", "arm 'dc\\+influence:tau=1,image_lr=.1,tau=2': tau is given twice"),
        ("dc+influence:keep=.8", "keep=.8 means nothing with link=softmax"),
        ("dc:link=top", "link means nothing there, since 'dc' has no weights"),
    ]:
        with pytest.raises(InputError, match=message):
            parse_arm(text)


@pytest.fixture(scope="module")
def digits():
    return rf.load("digits")


@pytest.mark.parametrize("method", [name for name, method in methods().items() if isinstance(method, Method)])
def test_pruned_and_selected_sets_are_distilled_by_every_method(digits, method):
    arms = (f"{method}+pruned:keep=.5", f"{method}+selected:by=random,keep=.5")
    small = {"ipc": 2, "iterations": 2, "width": 8, "real_batch": 16, "threads": 1}
    pruned, selected = (rf.distill(digits, arm, **small).set.images for arm in arms)
    assert not torch.equal(pruned, selected)


@pytest.mark.parametrize(
    ("method", "weights", "expected"),
    [
        ("dc", "uniform", "dc"),
        ("dc", "uniform:image_lr=1", "dc:image_lr=1"),
        ("dc:image_lr=1", "uniform", "dc:image_lr=1"),
        ("dc:image_lr=1", "influence", "dc+influence:image_lr=1"),
        ("dc:image_lr=1", "influence:tau=.1", "dc+influence:image_lr=1,tau=.1"),
        ("random:factor=2", "uniform", "random:factor=2"),
    ],
)
def test_distill_takes_settings_behind_the_method_or_the_weights(method, weights, expected):
    assert arm_of(method, weights) == parse_arm(expected)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["dm+pruned:by=score"], ["dm", "dm+pruned:by=score", "dm+pruned:by=random,keep=auto", "dm+pruned:by=held-out-loss"]),
        (
            ["random:factor=2", "random+relabelled:share=.3,factor=2,terms=both"],
            ["random:factor=2", "random+relabelled:share=.3,factor=2,terms=both",
             "random+relabelled:by=random,share=.3,factor=2", "random+relabelled:by=held-out-loss,share=.3,factor=2"],
        ),
        (
            ["dm+scores:image_lr=1", "dm:image_lr=1"],
            ["dm:image_lr=1", "dm+scores:image_lr=1", "dm+scores:by=random,image_lr=1",
             "dm+scores:by=held-out-loss,image_lr=1"],
        ),
        (
            ["herding+selected:by=score", "herding+selected:by=score,sign=-1"],
            ["herding", "herding+selected:by=score", "herding+selected:by=random", "herding+selected:by=held-out-loss",
             "herding+selected:by=score,sign=-1", "herding+selected:by=held-out-loss,sign=-1"],
        ),
        (
            ["dm+pruned:by=score,keep=.6", "dm+pruned:by=random,keep=0.60", "dm+pruned:by=loss,keep=.6"],
            ["dm", "dm+pruned:by=score,keep=.6", "dm+pruned:by=random,keep=0.60", "dm+pruned:by=held-out-loss,keep=.6",
             "dm+pruned:by=loss,keep=.6"],
        ),
        (["dm+pruned:by=truth", "dm+pruned:by=held-out-loss", "dm+pruned"],) * 2,
    ],
)  # fmt: skip
def test_an_arm_by_score_brings_itself_as_it_is_at_random_and_by_held_out_loss(asked, expected):
    assert [arm.name for arm in with_controls(asked, controls=True)] == expected
    assert [arm.name for arm in with_controls(asked, controls=False)] == asked
    for name in expected:
        parse_arm(name)
