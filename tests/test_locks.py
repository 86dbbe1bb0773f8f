"""A lock that one process holds: many that begin at once, dead holders, holders of another host."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, replace

import pytest

from refluence import locks, processes
from refluence.errors import InputError, RunError
from refluence.locks import LEASE, held, refuse_held
from refluence.processes import Process

GONE = 2**22 + 7  # no process: beyond the largest number that Linux gives


def written(path, **changes):
    path.write_text(json.dumps(asdict(replace(Process.this(), **changes))))
    return path


def at_once(number, work):
    """Call `work` in threads that begin together; what each returned."""
    found, start = [], threading.Barrier(number)

    def run():
        start.wait()
        found.append(work())

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_a_lock_is_there_while_it_is_held_and_gone_after(tmp_path):
    path = tmp_path / "new" / ".lock"
    with held(path, "the run"):
        assert json.loads(path.read_text())["pid"] == os.getpid()
        with pytest.raises(
            InputError, match=rf"the run is in use by process {os.getpid()} of this machine since 20\d\d-"
        ) as caught:
            refuse_held(path, "the run")
        assert str(caught.value).count("\n") == 0
        assert str(path) in str(caught.value)
    assert not path.exists()
    refuse_held(path, "the run")
    with pytest.raises(KeyboardInterrupt), held(path, "the run"):
        raise KeyboardInterrupt
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("dead", [False, True], ids=["free", "of a dead process"])
def test_of_many_that_begin_at_once_exactly_one_has_it(tmp_path, dead):
    for turn in range(30):
        path = tmp_path / f"{turn}"
        if dead:
            written(path, pid=GONE)
        with ExitStack() as kept:

            def take(path=path, kept=kept):
                try:
                    kept.enter_context(held(path, "it"))
                except InputError:
                    return 0
                return 1

            assert sum(at_once(4, take)) == 1
        assert list(tmp_path.iterdir()) == [], "nothing is left"


def test_processes_that_begin_at_once(tmp_path):
    code = (
        "import sys; from pathlib import Path; from refluence.locks import held\n"
        "print('ready', flush=True); sys.stdin.readline(); won = 0\n"
        "for turn in range(100):\n"
        "    try:\n"
        "        with held(Path(sys.argv[1]) / 'lock', 'it', 10.0):\n"
        "            count = Path(sys.argv[1]) / 'count'; count.write_text(str(int(count.read_text()) + 1))\n"
        "    except Exception as error:\n"
        "        print(error, flush=True)\n"
    )
    (tmp_path / "count").write_text("0")
    written(tmp_path / "lock", pid=GONE)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], **pipes) for _ in range(2)]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    assert [child.communicate(timeout=60)[0] for child in children] == ["", ""]
    assert (tmp_path / "count").read_text() == "200", "no turn was lost"


def test_who_waits_has_it_next(tmp_path):
    path, order = tmp_path / "lock", []

    def second():
        with held(path, "it", wait=20.0):
            order.append("second")

    with held(path, "it"):
        other = threading.Thread(target=second)
        other.start()
        order.append("first")
    other.join()
    assert order == ["first", "second"]


def test_a_holder_on_another_machine_is_refused_while_it_gives_signs_of_life(tmp_path):
    path = written(tmp_path / "lock", host=socket.gethostname(), machine="a clone of this one", pid=GONE)
    before = path.read_text()
    with (
        pytest.raises(InputError, match=rf"process {GONE} of another machine \(.*last sign of life \d seconds ago") as caught,
        held(path, "it"),
    ):
        pass
    assert str(caught.value).endswith(f"try again in {LEASE:.0f} seconds, or remove {path} now")
    with pytest.raises(InputError, match="of another machine"):
        refuse_held(path, "it")
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path], "nothing is left"


def test_a_holder_on_another_machine_that_gives_no_sign_of_life_has_ended(tmp_path):
    path = written(tmp_path / "lock", machine="a clone of this one")  # with the number of a process that lives here
    silent(path, LEASE + 60)
    refuse_held(path, "it")
    with held(path, "it"):
        assert Process(**json.loads(path.read_text())).here
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_an_unknown_machine_is_never_taken_over(tmp_path):
    path = written(tmp_path / "lock", machine=None, pid=GONE)  # as earlier versions wrote it
    silent(path, 1e6)
    with pytest.raises(InputError, match=rf"wait for its end; if that run has ended, remove {path}$"), held(path, "it"):
        pass


def silent(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2)


@pytest.mark.parametrize("left", [0.0, LEASE + 60], ids=["free", "left behind by a third"])
def test_two_machines_of_one_name_never_both_hold_it(tmp_path, monkeypatch, left):
    place, inside, most = threading.local(), [], []
    monkeypatch.setattr(processes, "machine", lambda: place.machine)
    path, start = tmp_path / "lock", threading.Barrier(2)
    if left:
        place.machine = "third"
        silent(written(path), left)

    def work(machine):
        place.machine = machine
        start.wait()
        for _ in range(40):
            with held(path, "it", wait=30.0):
                inside.append(machine)
                most.append(len(inside))
                inside.pop()

    machines = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.join()
    assert most == [1] * 80
    assert list(tmp_path.iterdir()) == []


def test_who_holds_it_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.01)
    with held(tmp_path / "lock", "it"):
        silent(tmp_path / "lock", 1000)
        deadline = time.monotonic() + 10
        while time.time() - (tmp_path / "lock").stat().st_mtime > 100:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_who_wakes_up_after_another_took_the_lock_over_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.01)
    path = tmp_path / "lock"

    def sleeper():
        with held(path, "it"):
            os.replace(written(tmp_path / "other", machine="another"), path)
            for _ in range(1000):
                time.sleep(0.01)
        raise AssertionError("it was not stopped")

    with pytest.raises(RunError, match="it was taken over by another process"):
        sleeper()
    assert json.loads(path.read_text())["machine"] == "another", "the lock of the other stays"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="the system says when a process began")
def test_a_number_that_another_process_has_now_is_no_holder(tmp_path):
    with held(written(tmp_path / "lock", born="1"), "it"):
        assert Process(**json.loads((tmp_path / "lock").read_text())).host == socket.gethostname()


def test_a_killed_child_is_no_holder_before_and_after_it_is_reaped(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"], stdout=subprocess.PIPE
    )
    child.stdout.readline()
    path = written(tmp_path / "lock", pid=child.pid, born=None)
    with pytest.raises(InputError, match=f"process {child.pid} of this machine"):
        refuse_held(path, "it")
    child.kill()
    if os.path.isdir("/proc/self"):
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
        refuse_held(path, "it")
    child.communicate()
    with held(path, "it"):
        pass


@pytest.mark.parametrize("text", ["", "{half", "[]", '{"host": "a"}'])
def test_a_lock_that_says_nothing_is_refused_after_a_moment(tmp_path, monkeypatch, text):
    monkeypatch.setattr(locks, "GRACE", 0.02)
    path = tmp_path / "lock"
    path.write_text(text)
    with pytest.raises(InputError, match=r"unfinished: remove .*lock if no run"), held(path, "it"):
        pass
    assert path.read_text() == text


def test_a_take_over_that_was_killed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "GRACE", 0.02)
    path = written(tmp_path / "lock", pid=GONE)
    (tmp_path / "lock.guard").write_text("")
    with pytest.raises(InputError, match=r"lock or lock\.guard beside it"), held(path, "it"):
        pass


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"), held(tmp_path / "file" / "lock", "it"):
        pass
    refuse_held(tmp_path / "file" / "lock", "it")
