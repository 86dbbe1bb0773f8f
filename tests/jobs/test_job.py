"""A job and its JSON: inverse to each other for every method and weight kind, and for what earlier versions wrote."""

import json
import pickle
from types import SimpleNamespace

import pytest

from refluence.arm import Arm, read_arm
from refluence.errors import InputError
from refluence.jobs.catalogue import base_of, methods, parse_arm, with_controls
from refluence.jobs.job import Job
from refluence.jobs.resolve import resolve
from refluence.options import JobOptions
from refluence.transfer.mechanism import Mechanism


class Train(list):
    """A thousand labels of two classes."""

    labels, soft = (0, 1), None

    def members(self, label):
        return range(500)


READ = SimpleNamespace(small_classes="refuse")
DATASET = SimpleNamespace(
    shape=(3, 32, 32), classes=("a", "b"), validated_elsewhere=False, train=Train(range(1000)), options=READ
)
ARMS = [
    *sorted(name for name, method in methods().items() if not isinstance(method, Mechanism)),
    "dc+influence:tau=inf,image_lr=.5",
    "dm+shuffled:bag=batch",
    "idc+pruned:by=loss,keep=.5",
    "pdd:stages=2",
    "random:factor=2",
    "el2n:easiest=1,steps=7",
    "dm+relabelled:by=random,share=.3",
    "dm+scores:terms=implicit",
    "random+pruned:by=score,factor=2",
    "herding+selected:by=loss,keep=.4",
    "influence:on=validation",
]


def job_of(text: str, **options) -> Job:
    return resolve(JobOptions(**{"ipc": 4, **options}), parse_arm(text), DATASET, 3)


@pytest.mark.parametrize("size", ["cpu", "paper"])
@pytest.mark.parametrize("text", ARMS)
def test_json_reads_back_to_the_same_job(text, size):
    job = job_of(text, size=size, epochs=3, allocation="proportional")
    stored = json.loads(json.dumps(job.to_json(), allow_nan=False))
    again = Job.from_json(stored)
    assert again == job
    assert json.loads(json.dumps(again.to_json())) == stored


def test_a_worker_gets_the_same_job():
    job = job_of("dc+influence:tau=inf")
    assert pickle.loads(pickle.dumps(job)) == job


def test_a_method_that_is_gone_is_named():
    stored = {**job_of("dc").to_json(), "arm": "dmx+influence"}
    with pytest.raises(InputError, match="method 'dmx', which this Refluence does not have"):
        Job.from_json(stored)


def test_an_arm_at_equal_seconds_reads_back():
    job = job_of("dc+influence")
    plan = job.plan.with_iterations(17, "cpu").unweighted()
    equal = Job(3, plan, job.model, read_arm("dc:equal_seconds=influence"), 4, job.protocols, job.nets, job.split)
    again = Job.from_json(equal.to_json())
    assert (again.arm, again.plan.iterations, again.plan.weighting.kind) == (equal.arm, 17, "uniform")


def test_an_arm_is_text_and_says_so_again():
    arm = read_arm("dc+influence:tau=.1, image_lr=1")
    assert arm == Arm("dc", "influence", (("tau", ".1"), ("image_lr", "1")))
    assert (arm.name, arm.head) == ("dc+influence:tau=.1,image_lr=1", "dc+influence")
    assert arm.weights == "influence:tau=.1,image_lr=1"
    assert base_of(arm).name == "dc:image_lr=1"
    assert arm.same(read_arm("dc+influence:image_lr=1,tau=.1"))
    assert not arm.same(read_arm("dc+influence:tau=.1"))
    assert [a.name for a in with_controls(["dc+influence"], True)] == ["dc", "dc+influence", "dc+shuffled"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cd", "unknown method 'cd' in arm 'cd': "),
        ("idc2", "did you mean idc"),
        ("dm, random", r"is not one arm but several: compare takes them apart, methods=\['dm', 'random'\]"),
        ("dc+inflence", "unknown weights 'inflence' in arm 'dc\\+inflence': did you mean influence"),
        ("dc:image_lrr=1", "unknown option 'image_lrr=1': did you mean image_lr[?] choose one of iterations"),
        ("dc+influence:tua=1", "unknown option 'tua=1': did you mean tau"),
        ("dc:tau", "options are key=value"),
        ("dc:image_lr=1,image_lr=2", "image_lr is given twice"),
        ("dc:../x=1", "'..' may not stand in an arm"),
    ],
)
def test_a_wrong_arm_says_what_was_probably_meant(text, message):
    with pytest.raises(InputError, match=message):
        parse_arm(text)
