"""Generated sets as jobs: what they need is made once and shared, pools get the seconds of guidance, folders go on."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

import refluence as rf
from refluence.arm import read_arm
from refluence.errors import InputError
from refluence.files import read_json
from refluence.generate.beforehand import Loaded, Trained
from refluence.generate.job import Sampling
from refluence.generate.pool import sampled_counts
from refluence.generate.surrogate_work import SurrogateWork
from refluence.generate.trajectory import TrajectoryWork
from refluence.jobs import needs, pool_seconds
from refluence.jobs.catalogue import guided_arm, parse_arm, with_controls
from refluence.jobs.comparing import Comparing
from refluence.jobs.denoisers import DenoiserNeed, SurrogateNeed, TrajectoryNeed
from refluence.jobs.estimate import making_seconds, needed_seconds
from refluence.jobs.job import Job
from refluence.jobs.record import options_from
from refluence.jobs.repeat import repeat_run
from refluence.jobs.resolve import resolve
from refluence.jobs.session import Machine, open_session
from refluence.options import SetOptions
from refluence.recipes.igd_checkpoints import RECIPE

TINY = {"ipc": 2, "nets": 1, "epochs": 1, "width": 4, "denoiser_iterations": 2, "surrogate_epochs": 1, "steps": 4}
TINY |= {"surrogate": "convnet1:4", "range": "0%:100%"}


@pytest.fixture(scope="module")
def data():
    x = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return rf.load((x, torch.arange(40) % 2), test=(x[:10], torch.arange(10) % 2))


@pytest.fixture(scope="module")
def compared(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("generated") / "run"
    found = rf.compare(data, ["minimax+igd", "dit+influence"], seeds=2, minimax_iterations=1, out=out, **TINY)
    return found, out


def job_of(text, data, seed=0, **options):
    return resolve(SetOptions(**{**TINY, **options}), parse_arm(text), data, seed)


def test_what_is_guided_brings_the_same_without_and_a_pool():
    assert [arm.name for arm in with_controls(["dit+igd:k=3,cfg=1"], True)] == [
        "dit:cfg=1",
        "dit+igd:k=3,cfg=1",
        "dit+pool:cfg=1",
    ]
    assert [arm.name for arm in with_controls(["dit+igd"], False)] == ["dit+igd"]
    weighted = [arm.name for arm in with_controls(["dit+igd:weights=influence"], True)]
    assert weighted == ["dit", "dit+igd", "dit+igd:weights=influence", "dit+igd:weights=shuffled", "dit+pool"]


def test_other_guidance_brings_the_same_and_goes_with_no_other():
    assert [arm.name for arm in with_controls(["d4m+entropy:strength=.5"], True)] == [
        "d4m:strength=.5",
        "d4m+entropy:strength=.5",
        "d4m+pool:strength=.5",
    ]
    assert guided_arm("dit", "modes:mode_scale=.2", False).name == "dit+modes:mode_scale=.2"
    with pytest.raises(InputError, match="entropy goes with no other"):
        guided_arm("dit", "entropy,influence", False)


def test_entropy_modes_and_d4m_are_compared(data, tmp_path):
    arms = ["dit+entropy", "dit+modes", "dit+learnability", "d4m"]
    found = rf.compare(data, arms, seeds=1, out=tmp_path / "run", **{**TINY, "range": "-30:30", "cfg": 1.0})
    made = {row["arm"]: rf.DistilledSet.load(tmp_path / "run" / "units" / row["arm"] / "0").images for row in found.rows}
    assert set(made) == {"dit", "dit+pool", *arms}
    assert all(float((made[name] - made["dit"]).abs().max()) > 1e-4 for name in arms)
    sizes = read_json(tmp_path / "run" / pool_seconds.FILE)
    seconds = {row["arm"]: row["seconds"] for row in found.rows if row["arm"] in arms[:3]}
    assert sizes["dit+pool"]["of"] == max(seconds, key=seconds.__getitem__), "the rival has the seconds of the slowest"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dit+igt", "igd"),
        ("dit:k=3", "k means nothing there"),
        ("dit+deviation:weights=influence", "weights means nothing there"),
        ("dit+igd:range=5:1", "the lower first"),
        ("dit+igd:weights=loss", "influence, shuffled"),
        ("dit+pool:factor=.5", "at least 1"),
        ("dit:strength=.5", "strength means nothing there"),
        ("d4m:strength=0", "above 0"),
        ("dit+modes:k=3", "k means nothing there"),
        ("dit+entropy:weights=influence", "weights means nothing there"),
    ],
)
def test_an_arm_that_means_nothing_is_one_line(text, says):
    with pytest.raises(InputError, match=says) as caught:
        parse_arm(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["dit", "dit+igd:k=2,memory=3,through=stop", "dit+pool:by=influence,factor=2", "minimax+igd", "d4m+modes:mode_scale=.2"],
)
def test_json_reads_back_to_the_same_job(data, text):
    job = job_of(text, data)
    stored = json.loads(json.dumps(job.to_json(), allow_nan=False))
    assert Job.from_json(stored) == job


def test_all_earlier_images_is_a_word_beside_numbers(data):
    said = {
        ("dit+igd", "all"): None, ("dit+igd", 64): 64, ("dit+igd:memory=all", 64): None, ("dit+igd:memory=3", "all"): 3
    }  # fmt: skip
    for (arm, memory), expected in said.items():
        assert job_of(arm, data, memory=memory).plan.settings.guidance.memory == expected
    assert job_of("dit+igd", data).plan.settings.guidance.memory is None
    assert options_from({"memory": None}) == SetOptions(), "as folders of earlier versions have it"
    with pytest.raises(InputError, match="memory is 'al': it must be a whole number, at least 0, or all"):
        SetOptions(memory="al")


def test_all_arms_and_seeds_share_one_denoiser_and_one_surrogate(compared):
    found, out = compared
    assert {row["arm"] for row in found.rows} == {
        "minimax", "minimax+igd", "minimax+pool", "dit", "dit+influence", "dit+pool"
    }  # fmt: skip
    assert sorted(path.name.partition("-")[0] for path in (out / "shared").iterdir() if path.is_dir()) == [
        "denoiser", "minimax", "surrogate", "trajectory"
    ]  # fmt: skip
    assert all(row["denoiser_seconds"] > 0 for row in found.rows)
    assert all("surrogate_seconds" in row for row in found.rows if "+" in row["arm"])


def test_surrogates_that_differ_in_their_checkpoints_or_weights_share_a_training(data, tmp_path, monkeypatch):
    trained, real = [], TrajectoryNeed.make
    monkeypatch.setattr(TrajectoryNeed, "make", lambda own, *rest: trained.append(own.facts) or real(own, *rest))
    arms = ["dit+igd:threshold=.6", "dit+igd:regular=2", "dit+igd:weights=influence", "dit+igd:surrogate_epochs=2"]
    rows = rf.compare(data, arms, seeds=1, controls=False, out=tmp_path / "run", **TINY).rows
    assert [facts["settings"]["epochs"] for facts in trained] == [1, 2]
    shared = [path.name.partition("-")[0] for path in (tmp_path / "run" / "shared").iterdir() if path.is_dir()]
    assert (shared.count("surrogate"), shared.count("trajectory")) == (4, 2)
    (least,) = (needs.read_prepared(path).seconds for path in tmp_path.glob("run/shared/trajectory-*/tensors.safetensors")
                if json.loads((path.parent / "need.json").read_text())["settings"]["epochs"] == 1)  # fmt: skip
    assert all(row["surrogate_seconds"] > least for row in rows[:2]), "each card counts the training, whoever began it"


@pytest.mark.parametrize("kind", [TrajectoryWork, SurrogateWork])
def test_a_surrogate_that_was_stopped_while_it_is_trained_or_looked_at_has_the_same_bits(data, tmp_path, monkeypatch, kind):
    session = open_session(data, Machine(checkpoint_seconds=0.0))
    need = SurrogateNeed(job_of("dit+igd:surrogate_epochs=3,threshold=1", data).plan.guide)
    whole = needs.obtain(need, session, tmp_path / "whole").tensors
    real, begun = kind.steps, []

    def stopped(work):
        for number, event in enumerate(real(work)):
            begun.append(event.step)
            yield event
            if number == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kind, "steps", stopped)
        with pytest.raises(KeyboardInterrupt):
            needs.obtain(need, session, tmp_path / "stopped")
    monkeypatch.setattr(kind, "steps", lambda work: (begun.append(event.step) or event for event in real(work)))
    again = needs.obtain(need, session, tmp_path / "stopped").tensors
    assert begun == list(range(len(begun))), "it goes on where it was stopped"
    assert whole.keys() == again.keys()
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())
    assert not list(tmp_path.rglob("state.safetensors"))


def test_the_recipe_of_checkpoints_trains_one_surrogate(data):
    (part,) = RECIPE.parts("cpu")
    needed = [SurrogateNeed(job_of(text, data).plan.guide) for text in part.arms if "+igd" in text]
    assert len({needs.key(need, open_session(data, Machine())) for need in needed}) == len(needed) == 7
    assert len({needs.key(need.trajectory, open_session(data, Machine())) for need in needed}) == 1


def test_arms_say_how_checkpoints_are_retained(data):
    usual, other = (job_of(text, data).plan.guide for text in ("dit+igd", "dit+igd:similarity=per-class,evenly=1"))
    assert (usual.settings.similarity, usual.settings.evenly) == ("mean-gradient", False)
    assert (other.settings.similarity, other.settings.evenly) == ("per-class", True)
    keys = {needs.key(SurrogateNeed(guide), open_session(data, Machine())) for guide in (usual, other)}
    assert len(keys) == 2


def test_a_surrogate_of_an_earlier_version_is_read_and_not_trained_again(data, tmp_path, monkeypatch):
    session = open_session(data, Machine())
    need = SurrogateNeed(job_of("dit+igd", data).plan.guide)
    made = needs.obtain(need, session, tmp_path)
    (trajectory,) = tmp_path.glob("trajectory-*")
    shutil.rmtree(trajectory)
    monkeypatch.setattr(TrajectoryNeed, "make", lambda *given: pytest.fail("it is there"))
    again = needs.obtain(need, session, tmp_path)
    assert again.seconds == made.seconds
    assert all(torch.equal(tensor, again.tensors[name]) for name, tensor in made.tensors.items())


def test_a_pool_is_as_large_as_the_seconds_of_guidance_allow(compared):
    found, out = compared
    sizes = read_json(out / pool_seconds.FILE)
    assert set(sizes) == {"minimax+pool", "dit+pool"}
    assert (sizes["dit+pool"]["of"], sizes["minimax+pool"]["of"]) == ("dit+influence", "minimax+igd")
    for name, size in sizes.items():
        assert size["selection_seconds"] > 0
        for unit, arm in (("seconds", size["of"]), ("base_seconds", size["base"])):
            own = [row["cpu_seconds"] for row in found.rows if row["arm"] == arm]
            assert size[unit] == pytest.approx(sum(own) / len(own)), "of processors: a busy machine makes no pool larger"
        left = size["seconds"] - size["selection_seconds"]
        assert size["factor"] == pytest.approx(max(1.0, left / size["base_seconds"]), abs=0.02)
        made = {row["sampled"] for row in found.rows if row["arm"] == name}
        assert len(made) == 1, "the same number for every seed"
        assert made.pop() == sum(sampled_counts((2, 2), size["factor"]))


def test_guided_and_unguided_images_begin_in_the_same_noise(compared):
    _, out = compared
    plain, steered = (rf.DistilledSet.load(out / "units" / name / "0") for name in ("dit", "dit+influence"))
    other = rf.DistilledSet.load(out / "units" / "dit" / "1")
    near = (plain.images - steered.images).abs().mean()
    assert 0 < near < (plain.images - other.images).abs().mean()


def test_a_comparison_goes_on_with_the_pools_that_it_measured(data, compared):
    found, out = compared
    before = read_json(out / pool_seconds.FILE)
    again = rf.compare(data, ["minimax+igd", "dit+influence"], seeds=3, minimax_iterations=1, out=out, **TINY)
    assert read_json(out / pool_seconds.FILE) == before
    assert [row for row in again.rows if row["seed"] < 2 and row["arm"] == "dit+pool"] == [
        row for row in found.rows if row["arm"] == "dit+pool"
    ]


def test_a_comparison_repeats_to_the_same_bits(tmp_path):
    out = tmp_path / "run"
    rf.compare("digits", ["dit+deviation:memory=all"], seeds=1, out=out, **{**TINY, "ipc": 1})
    repeated = repeat_run(out, tmp_path / "again")
    assert repeated.names
    assert not repeated.differing


def test_each_strength_of_cfg_has_a_pool_of_its_own(data):
    asked = Comparing(methods=("dit+igd", "dit+igd:cfg=1", "dit+pool:cfg=1,factor=2"), options=SetOptions(**TINY), seeds=1)
    jobs = asked.jobs(data)
    of = {job.arm.name: pool_seconds.guided(job.arm, jobs) for job in jobs if job.arm.kind == "pool"}
    assert {name: [arm.name for arm in arms] for name, arms in of.items()} == {
        "dit+pool": ["dit+igd"], "dit+pool:cfg=1": ["dit+igd:cfg=1"], "dit+pool:cfg=1,factor=2": ["dit+igd:cfg=1"]
    }  # fmt: skip
    assert [job.arm.name for job in jobs if pool_seconds.waits(job, jobs)] == ["dit+pool", "dit+pool:cfg=1"]
    assert {job.plan.settings.cfg for job in jobs if job.arm.name.startswith("dit+pool:cfg=1")} == {1.0}


def test_a_pool_alone_has_the_usual_size(data):
    jobs = Comparing(methods=("dit+pool",), options=SetOptions(**TINY), seeds=1, controls=False).jobs(data)
    assert not pool_seconds.waits(jobs[0], jobs)
    alone = pool_seconds.alone(jobs[0])
    assert alone.plan.settings.pool.factor == pool_seconds.FACTOR


def test_a_denoiser_of_a_comparison_can_be_given_to_another(data, compared, tmp_path):
    _, out = compared
    (folder,) = (out / "shared").glob("denoiser-*")
    job = job_of("dit", data, denoiser=str(folder), denoiser_iterations=None)
    assert isinstance(job.plan.denoiser, Loaded)
    assert isinstance(job_of("dit", data).plan.denoiser, Trained)
    assert isinstance(Job.from_json(job.to_json()).plan, Sampling)
    (tuned,) = (out / "shared").glob("minimax-*")
    with pytest.raises(InputError, match="is fine-tuned by minimax"):
        job_of("dit", data, denoiser=str(tuned), denoiser_iterations=None)
    assert job_of("minimax", data, denoiser=str(tuned), denoiser_iterations=None).plan.minimax is None


def test_a_range_that_no_step_falls_in_is_refused_before_any_work(data):
    with pytest.raises(InputError, match="holds none of the 4 steps"):
        job_of("dit+igd", data, range="-100:-99")


def test_options_of_sampled_sets_mean_nothing_without_one():
    with pytest.raises(InputError, match="cfg is for sampled sets"):
        Comparing(methods=("random",), options=SetOptions(cfg=3.0)).arms()


def test_weights_of_real_images_are_of_a_table_of_scores(data):
    job = job_of("dit+igd:weights=influence", data)
    assert job.plan.weighting.kind == "scores"
    assert job.plan.table is not None
    assert replace(job, arm=read_arm("dit+igd")).plan.guide == job_of("dit+igd", data).plan.guide


def test_an_estimate_trains_nothing_to_its_end(data, monkeypatch):
    monkeypatch.setattr(DenoiserNeed, "make", lambda *given: pytest.fail("it is measured, not made"))
    session = open_session(data, Machine())
    job = job_of("dit+igd", data, denoiser_iterations=200)
    assert [name for name, seconds in needed_seconds([job], session) if seconds > 0] == ["denoiser", "trajectory", "surrogate"]
    seconds, stored = making_seconds(job, session)
    assert seconds > 0, "though all images are one batch"
    assert stored == 4 * 16 * 4 + 4 * 8
