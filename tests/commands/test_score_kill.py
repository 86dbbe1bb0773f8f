"""SIGKILL between and inside folds: the run goes on to the bits of an uninterrupted one."""

import os
import signal
import time

import pytest

from refluence.cli import main
from support.command_line import process

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")]
PATIENCE = 120  # seconds until a process has to have done what is waited for, on a busy machine


def test_a_killed_score_ends_with_the_same_bits(tmp_path):
    words = ("score", "--data", "digits", "--folds", "4", "--width", "8", "--epochs", "3", "--threads", "1", "--quiet")
    assert main([*words, "--out", str(tmp_path / "whole.parquet")]) == 0
    out, parts = tmp_path / "killed.parquet", tmp_path / "killed.parts"
    for fold, signed in ((0, signal.SIGKILL), (1, signal.SIGINT)):
        child, end = process(*words, "--out", out, "--resume"), time.monotonic() + PATIENCE
        while not (parts / f"fold{fold}-net0.safetensors").exists():
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < end, "nothing happens"
            time.sleep(0.002)
        os.kill(child.pid, signed)
        _, errors = child.communicate(timeout=60)
        assert child.returncode == (130 if signed == signal.SIGINT else -signed)
        assert signed == signal.SIGKILL or "--resume continues" in errors
        assert not out.exists()
    (parts / ".fold3-net0.safetensors.1.part").write_bytes(b"half of a fold")
    assert main([*words, "--out", str(out), "--resume"]) == 0
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert not parts.exists()
