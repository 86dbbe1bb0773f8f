"""SIGKILL in each phase of a transfer: it is resumed from its last block, and every file is that of a run that went through."""

import os

import pytest
from safetensors.torch import load_file

from refluence.cli import main
from support.command_line import lines, read, without_seconds
from support.killed import Place, killed_at

pytestmark = [pytest.mark.slow, pytest.mark.release, pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")]
TRANSFER = (
    *("transfer", "--data", "digits", "--rows", "300", "--val-fraction", ".25", "--teacher", "convnet1:6"),
    *("--student", "convnet1:4", "--epochs", "3", "--refresh", "8", "--threads", "1", "--checkpoint-seconds", "0"),
    "--mechanism",
)
BLOCK, STEP = "refluence.transfer.work:TransferWork._block", "refluence.training.loop:batch_loss"
SCORING, CHUNK = "refluence.transfer.refresh:Weighed._weigh", "refluence.influence.ghost:Ghost.__call__"
LEARNING, GRADIENT = "refluence.transfer.learning:LearningTeacher.learn", "refluence.transfer.learning:teacher_gradient"
TRAINED, SCORED, LEARNS = (
    "refluence.jobs.teachers.make",
    "refluence.transfer.scoring._influence",
    "refluence.transfer.learning.learn",
)
# An epoch is a block of 6 steps: the teacher's are the first three blocks, the student's the next three. Instances are scored
# at the student's steps 8 and 16, within a block, in chunks of 64; by `joint` at the student and then for the teacher.
PHASES = {  # a place, what the process is inside there, and the blocks that are done
    "joint, the teacher is trained": ("joint", Place(BLOCK, 2, STEP, 3), {TRAINED}, 1),
    "joint, the student's instances are scored": ("joint", Place(SCORING, 3, CHUNK, 3), {SCORED}, 2),
    "joint, the student is trained": ("joint", Place(BLOCK, 6, STEP, 3), set(), 2),
    "joint, the teacher's instances are scored": ("joint", Place(SCORING, 4, CHUNK, 3), {SCORED, LEARNS}, 2),
    "joint, the teacher learns": ("joint", Place(LEARNING, 15, GRADIENT), {LEARNS}, 2),
    "student, its instances are scored": ("student:curvature=ggn", Place(SCORING, 2, CHUNK, 3), {SCORED}, 2),
    "student, it is trained": ("student:curvature=ggn", Place(BLOCK, 6, STEP, 6), set(), 2),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an arm's run that nothing interrupts, made once."""
    made = {}

    def run(arm):
        if arm not in made:
            made[arm] = tmp_path_factory.mktemp("whole") / "run"
            assert main([*TRANSFER, arm, "--quiet", "--out", str(made[arm])]) == 0
        return made[arm]

    return run


@pytest.mark.parametrize("phase", PHASES)
def test_a_transfer_that_is_killed_goes_on_to_the_same_bits(tmp_path, capsys, whole, phase):
    arm, place, inside, blocks = PHASES[phase]
    out = tmp_path / "run"
    stack = set(killed_at(place, [*TRANSFER, arm, "--quiet", "--out", out], tmp_path / "stack"))
    assert stack & {TRAINED, SCORED, LEARNS} == inside
    (checkpoint,) = out.rglob("state.safetensors")
    assert (checkpoint.parent.parent == out) == (TRAINED not in inside)
    assert int(load_file(checkpoint)["step"]) == blocks
    assert not (out / "student").exists()
    before = whole(arm)
    capsys.readouterr()
    assert main([*TRANSFER, arm, "--out", str(out), "--resume"]) == 0
    what = "teacher" if TRAINED in inside else arm
    assert f"{what} seed 0: goes on after {6 * blocks} of 18 steps" in capsys.readouterr().err
    assert kept(out) == kept(before)


def kept(folder):
    """Every file by its path: its bytes, or what it says without seconds, memory and the folder's name."""
    return {path.relative_to(folder): content(path) for path in folder.rglob("*") if path.is_file()}


def content(path):
    if path.suffix == ".jsonl":
        return without_seconds(lines(path))
    if path.name == "config.json":
        return read(path)["resolved"]
    if path.suffix == ".json":
        return without_seconds(read(path))
    if path.suffix == ".html":  # shows seconds
        return None
    if path.name == "tensors.safetensors":  # its header has seconds
        return {name: tensor.tolist() for name, tensor in load_file(path).items()}
    return path.read_bytes()
