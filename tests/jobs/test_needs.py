"""What jobs need is made once and shared: by all arms of a seed that rank alike, also by those that come later."""

import shutil
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

import refluence as rf
from refluence.errors import InputError
from refluence.jobs import needs, ranking
from refluence.jobs.session import Machine, open_session
from refluence.run import checkpoint

SHORT = {"ipc": 1, "width": 4, "nets": 1, "epochs": 1, "threads": 1, "iterations": 1, "real_batch": 8}
ARMS = ["dm+pruned:by=loss,keep=.9", "dm+pruned:by=loss,keep=.5", "dm+pruned:by=random"]


@pytest.fixture(scope="module")
def data():
    return rf.load("digits")


@pytest.fixture
def ranked(monkeypatch):
    """The rankings that are made: (by, seed)."""
    made, real = [], ranking.scores

    def scores(asked, *rest):
        made.append((asked.by, asked.seed))
        return real(asked, *rest)

    monkeypatch.setattr(ranking, "scores", scores)
    return made


def test_arms_that_rank_alike_share_a_ranking(tmp_path, data, ranked):
    out = tmp_path / "run"
    rf.compare(data, ARMS, seeds=2, controls=False, out=out, **SHORT)
    assert ranked == [("loss", 0), ("random", 0), ("loss", 1), ("random", 1)]
    assert len(list((out / "shared").iterdir())) == 4
    rf.compare(data, [*ARMS, "dm+selected:by=loss"], seeds=2, controls=False, out=out, **SHORT)
    assert len(ranked) == 4, "an arm that comes later finds it"
    files = [load_file(p) for p in sorted(out.glob("units/*/0/kept.safetensors")) if "random" not in str(p)]
    assert all(torch.equal(file["scores"], files[0]["scores"]) for file in files)
    assert len({len(file["rows"]) for file in files}) == 3
    run = rf.distill(data, ARMS[1], out=tmp_path / "alone", **SHORT)
    assert (ranked[-1], (run.folder / "shared").exists()) == (("loss", 0), False)
    unit = rf.open(out / "units" / "dm+pruned@by=loss,keep=.5" / "0")
    assert torch.equal(unit.set.images, run.set.images), "the bits are those of a run by itself"
    assert unit.costs["seconds"] >= unit.card["kept"]["seconds"] > 0, "each arm pays for what it needs"


def test_nothing_is_ranked_twice_where_nothing_is_written(data, ranked):
    rf.compare(data, ARMS[:2], seeds=1, controls=False, **SHORT)
    assert ranked == [("loss", 0)]


def test_a_unit_of_an_earlier_version_keeps_its_ranking(tmp_path, data, ranked):
    out = tmp_path / "run"
    rf.compare(data, ARMS[:1], seeds=1, controls=False, out=out, **SHORT)
    unit = next(out.glob("units/*/0"))
    for name in ("distilled", "checkpoint", "evaluation.json", "metrics.jsonl"):
        shutil.rmtree(unit / name) if (unit / name).is_dir() else (unit / name).unlink()
    shutil.rmtree(out / "shared")
    for name in ("results.json", "report.html"):
        (out / name).unlink()
    rf.compare(data, ARMS[:1], seeds=1, controls=False, out=out, **SHORT)
    assert len(ranked) == 1
    assert not (out / "shared").exists()


class Slow:
    name = "teacher"

    def __init__(self):
        self.facts, self.made = {"depth": 3}, 0

    def make(self, session, folder):
        self.made += 1
        time.sleep(0.05)
        return {"weight": torch.ones(2)}


def test_a_need_that_was_stopped_counts_the_seconds_of_all_its_sessions(tmp_path, data):
    session, slow = open_session(data, Machine()), Slow()
    folder = tmp_path / f"teacher-{needs.key(slow, session)}"
    checkpoint.save(folder, {"step": torch.tensor(3)}, {"seconds": 40.0, "cpu_seconds": 30.0})
    assert 40.05 <= needs.obtain(slow, session, tmp_path).seconds < 60
    assert needs.obtain(slow, session, tmp_path).seconds > 40, "as it is read again"
    assert 30 < needs.obtain(slow, session, tmp_path).time.cpu < 40, "sleep is no time of a processor"
    (folder / "tensors.safetensors").unlink()
    (folder / checkpoint.NAME).write_bytes(b"no")
    assert needs.obtain(slow, session, tmp_path).seconds < 40


def test_a_need_is_made_once_under_its_lock_and_known_by_its_facts(tmp_path, data):
    session, slow = open_session(data, Machine()), Slow()
    needs.obtain(slow, session, tmp_path)
    assert slow.made == 1
    other = SimpleNamespace(name="teacher", facts={"depth": 4}, make=slow.make)
    assert needs.key(other, session) != needs.key(slow, session)
    folder = tmp_path / f"teacher-{needs.key(slow, session)}"
    shutil.rmtree(folder)
    threads = [threading.Thread(target=needs.obtain, args=(slow, session, tmp_path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert slow.made == 2
    assert torch.equal(needs.obtain(slow, session, tmp_path).tensors["weight"], torch.ones(2))
    (folder / "tensors.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match=r"tensors\.safetensors is not what a run wrote there .*delete it"):
        needs.obtain(slow, session, tmp_path)
