"""Bad input of a transfer: one line each, with both numbers, before anything is trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from refluence import load
from refluence.arm import read_arm
from refluence.data.dataset import Split
from refluence.errors import InputError, in_flags
from refluence.models import ModelSpec
from refluence.transfer import joint, kd, student, teacher
from refluence.transfer.arms import weighting_of
from refluence.transfer.check import check, parameters, remarks, validates
from refluence.transfer.job import Loaded, Teacher, Transferring
from refluence.transfer.settings import Settings
from support.tiny_data import tiny_dataset

SMALL, LARGE = (ModelSpec("convnet1", (3, 8, 8), 3, width) for width in (4, 8))


def plan_of(mechanism=kd.METHOD, arm="kd", net=None, model=LARGE, **settings):
    own, loaded = Settings(**settings), None if net is None else Loaded("1a2b", where="big.safetensors", net=net)
    arm = read_arm(arm)
    return Transferring(mechanism, arm, own, weighting_of(arm, mechanism), Teacher(model, own, loaded))


def refused(plan, data, model=SMALL):
    with pytest.raises(InputError) as caught:
        check(plan, data, model)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_what_fits_passes():
    data = tiny_dataset()
    check(plan_of(), data, SMALL)
    check(plan_of(joint.METHOD, "joint", net=LARGE.fresh(torch.Generator()).train()), data, SMALL)
    assert check(replace(plan_of(), teacher=None), data, SMALL) is None


def test_classes_of_both_networks_are_those_of_the_data():
    data = tiny_dataset()
    said = refused(plan_of(model=LARGE.with_(classes=7)), data)
    assert said == "the teacher convnet1 has 7 classes, tiny has 3: load_teacher needs one of the same classes"
    assert refused(plan_of(), data, SMALL.with_(classes=4)) == "the student convnet1 has 4 classes, tiny has 3"
    with in_flags():
        assert "--load-teacher needs one" in refused(plan_of(model=LARGE.with_(classes=7)), data)


class Boxed(nn.Module):
    def forward(self, x):
        return {"logits": x.flatten(1)[:, :3]}


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 5)), "gives (2, 5) for 2 instances of tiny: it must give logits (2, 3)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), "cannot take the instances of tiny, 3 x 8 x 8: mat1 and mat2"),
        (Boxed(), "gives dict for 2 instances of tiny: it must give logits (2, 3)"),
    ],
)
def test_a_teacher_of_another_shape_is_seen_before_it_teaches(net, message):
    said = refused(plan_of(net=net), tiny_dataset())
    assert said.startswith("the teacher big.safetensors ")
    assert message in said
    assert net.training


@pytest.mark.parametrize("mechanism", [kd.METHOD, student.METHOD])
def test_the_test_split_is_no_validation_split(mechanism):
    g = np.random.default_rng(0)
    images, labels = g.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8), np.arange(60) % 3
    others, theirs = g.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8), np.arange(30) % 3
    plan, order = plan_of(mechanism, mechanism.name), g.permutation(30)
    leaking = load((images, labels), test=(others, theirs), validation=(others[order], theirs[order]))
    said = refused(plan, leaking)
    assert "is the test split: 30 of 30 of its instances are test instances" in said
    assert said.endswith("leave out validation, or name other data")
    half = load((images, labels), test=(others, theirs), validation=(others[:9], theirs[:9]))
    assert "9 of 9 of its instances" in refused(plan, half)
    check(plan, load((images, labels), test=(others[15:], theirs[15:]), validation=(others[:15], theirs[:15])), SMALL)


def test_a_validation_split_does_not_hold_the_test_split_and_is_not_the_training_split():
    g = np.random.default_rng(0)
    images, labels = g.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8), np.arange(60) % 3
    others, theirs = g.integers(0, 256, (45, 8, 8, 3), dtype=np.uint8), np.arange(45) % 3
    holding = load((images, labels), test=(others[:9], theirs[:9]), validation=(others, theirs))
    assert "holds the test split: 9 of 9 test instances" in refused(plan_of(), holding)
    same = load((images, labels), test=(others[:9], theirs[:9]), validation=(images[:30], labels[:30]))
    assert "is the training split: 30 of 30 of its instances are training instances" in refused(plan_of(), same)
    more = (np.concatenate([images, others]), np.concatenate([labels, theirs]))
    whole = load(
        (images[:40], labels[:40]), test=(g.integers(0, 256, (9, 8, 8, 3), dtype=np.uint8), theirs[:9]), validation=more
    )
    assert "holds the training split: 40 of 40 training instances" in refused(plan_of(), whole)


def test_groups_stay_whole_and_leave_no_class_out_of_a_half():
    data = tiny_dataset()
    groups = torch.where(data.val.labels == 0, 0, torch.arange(len(data.val)) + 1)
    grouped = replace(data, val=replace(data.val, groups=groups))
    said = refused(plan_of(student.METHOD, "student"), grouped)
    assert "has no instance of class 'class 0', whose instances lie in too few groups, which stay whole" in said
    check(plan_of(), grouped, SMALL)


def few(data, counts):
    kept = torch.cat([data.val.members(c)[:n] for c, n in enumerate(counts)])
    return replace(data, val=data.val.take(kept))


def test_weights_need_two_validation_instances_of_each_class():
    data, weighted = tiny_dataset(), plan_of(student.METHOD, "student")
    said = refused(weighted, few(data, (5, 0, 1)))
    assert said == (
        "class 'class 1' has 0 validation instances (cut from train), and 2 are needed, one to make weights and one to watch "
        "(and 1 other classes have too few): give a larger val_fraction"
    )
    some, none = few(data, (5, 4, 1)), Split(data.test.images[:0], *2 * [torch.zeros(0).long()])
    val = replace(some.val, images=some.val.images ^ 1)
    elsewhere = replace(some, validation="other", val=val, test=none)
    assert refused(weighted, elsewhere).endswith(
        "(other), and 2 are needed, one to make weights and one to watch: give more of its instances"
    )
    check(weighted, few(data, (2, 2, 2)), SMALL)
    check(plan_of(), few(data, (5, 0, 1)), SMALL)
    assert "class 1" in refused(plan_of(also="validation"), few(data, (5, 0, 5)))


def test_which_arms_read_validation_labels():
    read = ("kd+influence", "kd+shuffled", "kd+random", "kd+flipped", "kd+adapt")
    assert all(validates(plan_of(arm=arm)) for arm in read)
    assert not any(validates(plan_of(arm=arm)) for arm in ("kd", "kd+loss", "kd+small-loss"))
    assert validates(plan_of(teacher.METHOD, "teacher"))


def test_a_pattern_of_parameters_names_some_that_learn():
    weighs = {"arm": "kd+influence", "mechanism": kd.METHOD}
    check(plan_of(**weighs, parameters="body.*"), tiny_dataset(), SMALL)
    said = refused(plan_of(**weighs, parameters="*lora*"), tiny_dataset())
    assert said == (
        "parameters is '*lora*': no parameter of convnet1 that learns has such a name, as body.0.weight and body.0.bias have"
    )
    check(plan_of(parameters="*lora*"), tiny_dataset(), SMALL)


def test_remarks():
    assert remarks(plan_of(), SMALL) == []
    [said] = remarks(plan_of(), LARGE)
    assert (
        said
        == f"the student has {parameters(LARGE):,} parameters, its teacher {parameters(LARGE):,}: it is not the smaller network"
    )
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 3))
    assert "its teacher 579" in remarks(plan_of(net=net), LARGE.with_(width=64))[0]
    assert remarks(replace(plan_of(), teacher=None), LARGE) == []


def test_unrolling_a_large_student_is_remarked(monkeypatch):
    monkeypatch.setattr("refluence.transfer.check.UNROLLED", 100)
    [said] = remarks(plan_of(joint.METHOD, "joint", teacher_gradient="unrolled"), SMALL)
    assert f"a student of {parameters(SMALL):,} parameters" in said
    assert "teacher_gradient='influence' is its approximation" in said
    assert remarks(plan_of(joint.METHOD, "joint"), SMALL) == []
    assert remarks(plan_of(teacher_gradient="unrolled"), SMALL) == []
