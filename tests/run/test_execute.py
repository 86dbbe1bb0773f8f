"""Executors: results in order, errors with their type, nobody left behind; and their names."""

import os
import time

import pytest

from refluence.errors import InputError, RunError, in_flags, option
from refluence.run import execute
from refluence.run.execute import Processes, Serial, automatic, in_worker, parse

pytestmark = pytest.mark.timeout(60)
SLOW = pytest.mark.slow


def late_for_small(offset, task):
    time.sleep(0.3 if task == 0 else 0)
    return task + offset, os.getpid()


def failing(offset, task):
    if task == 1:
        raise RunError("unit 1: not finite at iteration 3")
    return task


def dying(offset, task):
    os._exit(9)


def sleeping(offset, task):
    if task:
        time.sleep(600)
    return os.getpid()


def is_worker(offset, task):
    return in_worker(), option("ipc")


def hundred():
    return 100


def broken():
    raise InputError("the source has gone")


def gone(pid, seconds=5.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


EXECUTORS = [pytest.param(Serial(), id="serial"), pytest.param(Processes(2), id="processes", marks=SLOW)]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_results_come_in_the_order_of_the_tasks(executor):
    found = list(executor.run(late_for_small, range(5), hundred))
    assert [value for value, _ in found] == [100, 101, 102, 103, 104]
    assert (os.getpid() in {pid for _, pid in found}) == (executor.size == 1)
    assert list(executor.run(late_for_small, [], broken)) == [], "nothing to do needs no context"
    with in_flags():
        assert list(executor.run(is_worker, [0, 1], hundred)) == [(executor.size > 1, "--ipc")] * 2, "words of who started it"
    assert not in_worker()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_errors_keep_their_type_and_their_place(executor):
    results = executor.run(failing, range(3), hundred)
    assert next(results) == 0
    with pytest.raises(RunError, match="unit 1: not finite at iteration 3"):
        next(results)
    with pytest.raises(InputError, match="the source has gone"):
        list(executor.run(failing, range(2), broken))


@pytest.mark.slow
def test_a_worker_that_is_killed_is_a_failed_run():
    with pytest.raises(RunError, match=r"below `if __name__ == .__main__.:`.*executor='processes:N'.*the same call continues"):
        list(Processes(1).run(dying, range(2), hundred))
    with in_flags(), pytest.raises(RunError, match=r"a worker process was killed, perhaps for want of memory.*--executor"):
        list(Processes(1).run(dying, range(2), hundred))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["an exception", "close"])
def test_stopping_in_the_middle_ends_the_workers_at_once(way):
    executor = Processes(2)
    results = executor.run(sleeping, [0, 1, 1], hundred)
    pid = next(results)
    begin = time.monotonic()
    if way == "close":
        executor.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            results.throw(KeyboardInterrupt())
    assert time.monotonic() - begin < 5, "it does not wait for the unit that is running"
    assert gone(pid)
    executor.close()


# names


@pytest.mark.parametrize(
    ("text", "workers", "size"),
    [
        (None, 0, 3),  # the default, below
        (None, 5, 5),
        (None, 1, 1),
        ("serial", 0, 1),
        ("serial", 1, 1),
        ("processes", 0, 4),
        ("processes", 2, 2),
        ("processes:1", 0, 1),
        ("processes:6", 0, 6),
        ("processes:6", 6, 6),
        ("processes:1024", 0, 10),
    ],
)
def test_an_executor_by_its_name(monkeypatch, text, workers, size):
    monkeypatch.setattr(execute, "processors", lambda: 4)
    found = parse(text, workers).open(tasks=10, default=3)
    assert (found.size, type(found)) == (size, Serial if size == 1 else Processes)


@pytest.mark.parametrize(
    ("text", "workers", "expected"),
    [
        ("procceses", 0, r"unknown executor 'procceses': did you mean processes\? There is serial, processes\[:N\]"),
        ("ray:head:6379", 0, r"unknown executor 'ray:head:6379': There is serial, processes\[:N\]"),
        ("", 0, "unknown executor ''"),
        ("serial:2", 0, "'serial:2': expected serial"),
        ("processes:", 0, "'processes:': expected processes:N with N from 1 to 1024"),
        ("processes:0", 0, "expected processes:N"),
        ("processes:-1", 0, "expected processes:N"),
        ("processes:1025", 0, "expected processes:N"),
        ("processes:\u0663", 0, "expected processes:N"),
        ("processes:4", 3, "workers=3 and executor='processes:4' differ"),
        ("serial", 2, "workers=2 and executor='serial' differ"),
    ],
)
def test_names_that_are_none(text, workers, expected):
    with pytest.raises(InputError, match=expected) as caught:
        parse(text, workers)
    assert "\n" not in str(caught.value)


def test_how_many_by_itself(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 4, 6}, raising=False)
    assert automatic(8 * 8, 32, 20, "cpu") == 4
    assert automatic(8 * 8, 32, 3, "cpu") == 3
    assert automatic(8 * 8, 32, 20, "cuda") == 1
    assert automatic(32 * 32 * 3, 32, 20, "cpu") == 1
    assert automatic(8 * 8, 32, 0, "cpu") == 1
    assert automatic(8 * 8, 0, 20, "cpu") == 1, "a network whose width is not known may be large"
