"""SIGKILL at any moment: a real process is killed again and again, and goes on to the bits of an uninterrupted run."""

import os
import random
import signal
import time

import pytest

from refluence.cli import main
from support.command_line import DIGITS, lines, process, read, without_seconds

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")]
STEPS = 40
PATIENCE = 120  # seconds until a process has to have done what is waited for, on a busy machine


def count(path) -> int:
    return path.read_text(errors="replace").count("\n") if path.exists() else 0


def wait_until(reached, child) -> bool:
    """Wait for `reached()`; False if the process ended first."""
    end = time.monotonic() + PATIENCE
    while not reached():
        if child.poll() is not None:
            return False
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.002)
    return True


def kill(child) -> None:
    os.kill(child.pid, signal.SIGKILL)
    child.communicate(timeout=30)


def same_unit(a, b) -> None:
    for name in ("images.safetensors",):
        assert (a / "distilled" / name).read_bytes() == (b / "distilled" / name).read_bytes()
    if (b / "scores.parquet").exists():
        assert (a / "scores.parquet").read_bytes() == (b / "scores.parquet").read_bytes()
    if (b / "metrics.jsonl").exists():
        assert without_seconds(lines(a / "metrics.jsonl")) == without_seconds(lines(b / "metrics.jsonl"))
    for name in ("evaluation.json", "distilled/card.json"):
        assert without_seconds(read(a / name)) == without_seconds(read(b / name))


def test_a_run_killed_at_random_moments_ends_with_the_same_bits(tmp_path):
    words = ("distill", *DIGITS, "--weights", "influence", "--iterations", str(STEPS), "--checkpoint-seconds", "0")
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0
    out, draw = tmp_path / "killed", random.Random(7)
    metrics, card = out / "metrics.jsonl", out / "distilled" / "card.json"
    hits, targets = [], [*sorted(draw.sample(range(2, STEPS - 8), 3)), None]
    for target in targets:  # None: when the set was made, in the middle of its evaluation or the report
        child = process(*words, "--out", out, "--resume")
        moment = card.exists if target is None else lambda target=target: count(metrics) >= target
        running = wait_until(moment, child)
        time.sleep(draw.random() * 0.02)
        if running and child.poll() is None:
            kill(child)
            hits.append(count(metrics))
    assert sum(0 < step < STEPS for step in hits) >= 3, f"the kills fell on steps {hits}"
    assert not (out / "report.html").exists() or len(hits) < 4
    (out / "checkpoint" / ".state.safetensors.1.part").write_bytes(b"half of a checkpoint")
    child = process(*words, "--out", out, "--resume")
    said, errors = child.communicate(timeout=PATIENCE)
    assert (child.returncode, errors) == (0, ""), errors
    assert "nothing to do" not in said
    same_unit(out, tmp_path / "whole")
    assert not list(out.rglob("*.part"))


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


IMPORTS = 20.0  # a worker that is still importing hears of its parent's end when that is done; one at work hears at once


def all_gone(pids: list[int], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(map(alive, pids)):
        time.sleep(0.02)
    return not any(map(alive, pids))


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for child processes in /proc")
def test_a_comparison_in_processes_survives_ctrl_c_and_a_kill(tmp_path):
    words = ("compare", *DIGITS, "--methods", "dc", "dc+influence", "--no-controls", "--seeds", "2")
    words = (*words, "--iterations", str(STEPS), "--checkpoint-seconds", "0")
    out = tmp_path / "killed"
    units = out / "units"

    def steps() -> int:
        return sum(count(path) for path in units.glob("*/*/metrics.jsonl"))

    def stop(number: int, at: int) -> tuple[int, str]:
        child = process(*words, "--workers", "2", "--out", out, "--resume")
        assert wait_until(lambda: steps() >= at, child), child.communicate()
        started = children(child.pid)
        assert len(started) >= 2, "two workers"
        (os.killpg if number == signal.SIGINT else os.kill)(child.pid, number)  # the terminal tells the whole group
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
    assert main([*words, "--workers", "1", "--out", str(out), "--resume"]) == 0
    assert main([*words, "--workers", "1", "--out", str(tmp_path / "whole")]) == 0
    for arm in ("dc", "dc+influence"):
        for seed in ("0", "1"):
            same_unit(units / arm / seed, tmp_path / "whole" / "units" / arm / seed)
    rows = [without_seconds(read(folder / "results.json")) for folder in (out, tmp_path / "whole")]
    assert rows[0] == rows[1]
    assert not list(out.rglob("*.part"))
