"""A lock that one process holds: many that begin at once, dead holders, holders of another host."""

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import asdict, replace

import pytest

from refluence import locks
from refluence.errors import InputError
from refluence.locks import Holder, held, refuse_held

GONE = 2**22 + 7  # no process: beyond the largest number that Linux gives


def written(path, **changes):
    path.write_text(json.dumps(asdict(replace(Holder.this(), **changes))))
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


def test_the_lock_of_another_host_is_refused_with_what_to_do(tmp_path):
    path = written(tmp_path / "lock", host="node7", pid=GONE)
    before = path.read_text()
    with (
        pytest.raises(InputError, match=rf"process {GONE} on node7 since .* UTC: .* ended, remove ") as caught,
        held(path, "it"),
    ):
        pass
    assert str(path) in str(caught.value)
    assert path.read_text() == before


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="the system says when a process began")
def test_a_number_that_another_process_has_now_is_no_holder(tmp_path):
    with held(written(tmp_path / "lock", born="1"), "it"):
        assert Holder(**json.loads((tmp_path / "lock").read_text())).host == socket.gethostname()


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
