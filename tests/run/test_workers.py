"""Processes side by side: results in order, errors with their type, nobody left behind."""

import os
import time

import pytest

from refluence.errors import InputError, RunError
from refluence.run.workers import automatic, side_by_side

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
_offset: list[int] = []


def prepare(offset):
    _offset.append(offset)


def broken_prepare(offset):
    raise InputError("the source has gone")


def late_for_small(task):
    time.sleep(0.3 if task == 0 else 0)
    return task + _offset[0], os.getpid()


def failing(task):
    if task == 1:
        raise RunError("unit 1: not finite at iteration 3")
    return task


def dying(task):
    os._exit(9)


def sleeping(task):
    if task:
        time.sleep(600)
    return os.getpid()


def gone(pid, seconds=5.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_results_come_in_the_order_of_the_tasks_from_other_processes():
    found = list(side_by_side(late_for_small, range(5), 2, prepare, (100,)))
    assert [value for value, _ in found] == [100, 101, 102, 103, 104]
    assert os.getpid() not in {pid for _, pid in found}
    assert _offset == [], "nothing is prepared here"


def test_errors_keep_their_type_and_their_place():
    results = side_by_side(failing, range(3), 2, prepare, (0,))
    assert next(results) == 0
    with pytest.raises(RunError, match="unit 1: not finite at iteration 3"):
        next(results)
    with pytest.raises(InputError, match="the source has gone"):
        list(side_by_side(failing, range(2), 1, broken_prepare, (0,)))


def test_a_worker_that_is_killed_is_a_failed_run():
    with pytest.raises(RunError, match=r"a worker process was killed.*--workers.*--resume"):
        list(side_by_side(dying, range(2), 1, prepare, (0,)))


def test_stopping_in_the_middle_ends_the_workers_at_once():
    results = side_by_side(sleeping, [0, 1, 1], 2, prepare, (0,))
    pid = next(results)
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt())
    assert time.monotonic() - begin < 5, "it does not wait for the unit that is running"
    assert gone(pid)


def test_how_many_by_itself(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 4, 6}, raising=False)
    assert automatic(8 * 8, 32, 20, "cpu") == 4
    assert automatic(8 * 8, 32, 3, "cpu") == 3
    assert automatic(8 * 8, 32, 20, "cuda") == 1
    assert automatic(32 * 32 * 3, 32, 20, "cpu") == 1
    assert automatic(8 * 8, 32, 0, "cpu") == 1
