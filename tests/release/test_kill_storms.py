"""SIGKILL at random moments: a command is killed again and again, resumed until it is done, and ends with the same bits."""

import os
import random
import signal
import subprocess
import time

import pytest
from safetensors.torch import load_file

from golden.digests import digests
from refluence.cli import main
from support.command_line import DIGITS, process, read, without_seconds

pytestmark = [
    pytest.mark.release,
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX"),
]
STEPS = 40
KILLS = 12  # of a storm; then the command may end
PATIENCE = 300  # seconds until a process has to have done what is waited for, on a busy machine
ONE_BY_ONE = ("--checkpoint-seconds", "0", "--iterations", str(STEPS))
COMPARE = ("compare", *DIGITS, *ONE_BY_ONE, "--methods", "dc", "dc+influence", "random", "--no-controls", "--seeds", "2")
NETWORKS = ("--teacher", "convnet1:16", "--student", "convnet1:8", "--epochs", "8", "--checkpoint-seconds", "0")
STUDENTS = ("--data", "digits", *NETWORKS, "--threads", "1", "--quiet")
SHORT = ("--denoiser-iterations", "60", "--surrogate-epochs", "2", "--sample-batch", "5", "--checkpoint-seconds", "0")
SAMPLED = ("--data", "digits", "--guidance", "influence,deviation", *SHORT)
ONE = ("--threads", "1", "--quiet")
COMMANDS = {
    "distill": ("distill", *DIGITS, *ONE_BY_ONE, "--weights", "influence:carry=.5", "--method", "dc:lr_lr=.01"),
    "distill, networks in pools": ("distill", *DIGITS, *ONE_BY_ONE, "--method", "idm", "--weights", "influence"),
    "compare": (*COMPARE, "--workers", "1"),
    "compare in processes": (*COMPARE, "--workers", "2"),
    "transfer": ("transfer", *STUDENTS, "--mechanism", "joint"),
    "transfer with controls, in processes": ("transfer", *STUDENTS, "--mechanism", "student", "--seeds", "1", "--workers", "2"),
    "generate train": ("generate", "train", "--data", "digits", "--iterations", "100", "--checkpoint-seconds", "0", *ONE),
    "generate sample": ("generate", "sample", *SAMPLED, "--threads", "1", "--quiet"),
    "score": ("score", "--data", "digits", "--folds", "4", "--width", "8", "--epochs", "3", "--threads", "1", "--quiet"),
}


def target(name, folder):
    return folder / "scores.parquet" if name == "score" else folder / "run"


def rest(folder):
    """What the digests leave out and a clock does not decide."""
    cards = sorted(folder.rglob("card.json"))
    return {str(path.relative_to(folder)): without_seconds(read(path)) for path in cards}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_killed_again_and_again_ends_with_the_same_bits(tmp_path, name):
    words, draw = COMMANDS[name], random.Random(name)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir(), killed.mkdir()
    begin = time.monotonic()
    child = process(*words, "--out", target(name, whole))
    assert child.wait(PATIENCE) == 0, child.communicate()
    long = time.monotonic() - begin
    kills = 0
    while kills < KILLS:
        child = process(*words, "--out", target(name, killed), "--resume")
        try:
            child.wait(draw.uniform(0.1, 0.4) * long)
            break
        except subprocess.TimeoutExpired:  # still at work
            everyone = draw.random() < 0.5  # or the parent alone, whose workers have to end by themselves
            (os.killpg if everyone else os.kill)(child.pid, signal.SIGKILL)
            child.communicate(timeout=PATIENCE)
            kills += 1
    child = process(*words, "--out", target(name, killed), "--resume")
    said = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, said
    assert kills >= 2, f"{kills} kills fell on the run"
    assert digests(killed) == digests(whole)
    assert digests(whole)
    assert rest(killed) == rest(whole)
    assert not list(killed.rglob("*.part"))
    assert not list(killed.rglob("*.lock"))


def test_a_killed_score_that_left_half_a_fold(tmp_path):
    words = COMMANDS["score"]
    assert main([*words, "--out", str(tmp_path / "whole.parquet")]) == 0
    out, parts = tmp_path / "killed.parquet", tmp_path / "killed.parts"
    for number in (signal.SIGKILL, signal.SIGINT):
        before = saved(parts)
        child = process(*words, "--out", out, "--resume")
        assert wait_until(lambda before=before: saved(parts) > before, child), child.communicate()
        os.kill(child.pid, number)
        _, errors = child.communicate(timeout=60)
        assert child.returncode == (130 if number == signal.SIGINT else -number)
        assert number == signal.SIGKILL or "--resume continues" in errors
        assert not out.exists()
    (parts / "checkpoint" / ".state.safetensors.1.part").write_bytes(b"half of a fold")
    assert main([*words, "--out", str(out), "--resume"]) == 0
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def saved(parts) -> int:
    """How many folds the checkpoint has."""
    state = parts / "checkpoint" / "state.safetensors"
    return int(load_file(state)["step"]) if state.exists() else 0


def wait_until(reached, child) -> bool:
    """Wait for `reached()`; False if the process ended first."""
    end = time.monotonic() + PATIENCE
    while not reached():
        if child.poll() is not None:
            return False
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.002)
    return True


def children(pid: int) -> list[int]:
    """The processes that `pid` started, by /proc."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found.append(int(entry))
    return found


def alive(pid: int) -> bool:
    """Whether the process runs: one that has ended and waits to be asked for it does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


IMPORTS = 20.0  # a worker that is still importing ends when that is done, one at work at once


def all_gone(pids: list[int], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(map(alive, pids)):
        time.sleep(0.02)
    return not any(map(alive, pids))


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for child processes in /proc")
def test_a_comparison_in_processes_leaves_no_orphans(tmp_path):
    words, out = COMMANDS["compare in processes"], tmp_path / "killed"

    def steps() -> int:
        texts = (path.read_text(errors="replace") for path in (out / "units").glob("*/*/metrics.jsonl"))
        return sum(text.count("\n") for text in texts)

    def stop(number: int, at: int) -> tuple[int, str]:
        child = process(*words, "--out", out, "--resume")
        assert wait_until(lambda: steps() >= at, child), child.communicate()
        started = children(child.pid)
        assert len(started) >= 2, "two workers"
        (os.killpg if number == signal.SIGINT else os.kill)(child.pid, number)  # a terminal sends Ctrl-C to the whole group
        _, errors = child.communicate(timeout=60)
        assert all_gone(started, IMPORTS), "orphans"
        return child.returncode, errors

    code, errors = stop(signal.SIGINT, 10)
    assert code == 130
    assert errors.count("\n") == 1, errors
    assert "--resume" in errors
    before = steps()
    assert 0 < before < 3 * STEPS
    code, _ = stop(signal.SIGKILL, before + 30)
    assert code == -signal.SIGKILL
    assert not (out / "results.json").exists()
    # to the end without processes: threads are the same, so the bits are
    alone = (*words[:-1], "1")
    assert main([*alone, "--out", str(out), "--resume"]) == 0
    assert main([*alone, "--out", str(tmp_path / "whole")]) == 0
    assert digests(out) == digests(tmp_path / "whole")
