"""The prepared run for a machine with a GPU: all of its parts on the CPU at tiny size, and checks that break."""

import json
import time

import on_gpu
import pytest
import torch
from gpu import checks
from gpu.rows import Clock, Disagreement, Rows, within
from gpu.sizes import TINY
from gpu.turns import group

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def products():
    """The settings of float32 products, which belong to the process, are put back."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def states(rows: Rows) -> dict[tuple[str, str], str]:
    return {(name, what): outcome.state for name, what, outcome in rows.rows}


def test_every_part_runs_on_the_cpu_and_leaves_rows(tmp_path, capsys):
    out = tmp_path / "raw" / "rows.jsonl"
    flags = ["--tiny", "--minutes", "4", "--device", "cpu", "--methods", "idc", "herding", "--out", str(out)]
    assert on_gpu.main(flags) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["state"] for row in rows} == {"ok"}
    assert all(row["device"] == "cpu" and row["torch"] == str(torch.__version__) and row["date"] for row in rows)
    found = {(row["name"], row["what"]): row["numbers"] for row in rows}
    assert found["method", "idc, fp32"]["error"] == 0  # the same device, the same bits
    assert 0 < found["method", "idc, bf16"]["error"] < 0.5
    assert {("engine", f"{engine}, fp32") for engine in checks.ENGINES} <= set(found)
    assert {("curvature", f"{kind}, fp32") for kind in checks.CURVATURES} <= set(found)
    assert found["dc image step", "weighted"]["over_literal"] > 0
    assert found["16 scores", "ghost"]["over_per-sample_gradients"] > 0
    last = rows[-1]["numbers"]
    assert last["image_steps"] == TINY.last
    assert last["extrapolated_h"] > 0
    printed = capsys.readouterr().out
    assert "| engine | ghost, bf16 | ok |" in printed
    assert f"{len(rows)} rows, 0 failed" in printed


def test_every_method_is_checked_and_one_that_breaks_is_a_failed_row(monkeypatch):
    def broken(method, *_):
        if method.name == "dm":
            raise RuntimeError("no kernel\nand more")
        return {"start": torch.zeros(1), "images": torch.ones(1), "loss": torch.ones(1)}

    monkeypatch.setattr(checks, "stepped", broken)
    rows = Rows(Clock(1), {})
    checks.methods(rows, TINY, CPU, False, 1.0)
    found = {what: outcome for _, what, outcome in rows.rows}
    assert {"dc", "dsa", "dm", "idc", "idc1", "dream", "pdd", "idm", "ncfm"} <= {what.partition(",")[0] for what in found}
    assert (found["dm, fp32"].state, found["dm, fp32"].note) == ("failed", "RuntimeError: no kernel")
    assert {o.state for what, o in found.items() if not what.startswith("dm,")} == {"ok"}
    assert rows.failed() == 2


def test_numbers_beyond_their_tolerance_fail_and_are_kept():
    rows = Rows(Clock(1), {})
    wrong = checks.Question(TINY.check, 4)
    wrong.scores = 2 * wrong.scores
    outcome = rows.check("engine", "ghost", lambda: checks.scored(wrong, CPU, "ghost", "fp32", False))
    assert outcome.state == "failed"
    assert outcome.note == "0.5 away from the CPU, more than 0.0001"
    assert outcome.numbers["error"] == pytest.approx(0.5, rel=1e-3)
    with pytest.raises(Disagreement):
        checks.judged("engine", "fp32", float("nan"))


def test_a_variant_that_breaks_leaves_the_others_of_its_group():
    def never():
        raise torch.OutOfMemoryError("too large")

    turns = iter([0, 0, 1])  # the warm-up, the one whose memory is measured, a round

    def later():
        if next(turns):
            raise ValueError("in a round")

    rows = Rows(Clock(1), {})
    makers = {"base": lambda: lambda: None, "never": never, "later": lambda: later}
    group(rows, "group", makers, TINY, CPU, 1.0, "base")
    assert states(rows) == {("group", "base"): "ok", ("group", "never"): "failed", ("group", "later"): "failed"}
    assert rows.rows[0][2].numbers["over_base"] == 1


def test_no_check_begins_after_its_time_and_none_outlasts_it():
    rows = Rows(Clock(1), {})
    assert rows.check("late", "one", dict, until=-1.0).state == "skipped"
    begin = time.monotonic()
    hanging = rows.check("hangs", "one", lambda: time.sleep(20) or {}, patience=0.05)
    assert (hanging.state, hanging.note) == ("failed", "stopped after 0 s")
    assert time.monotonic() - begin < 10
    with within(5):
        pass
    assert rows.check("next", "one", lambda: {"n": 1}).state == "ok"


def test_an_unknown_device_or_source_is_one_line(capsys):
    assert on_gpu.main(["--device", "toaster"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
