"""Charts are drawn by another process: where it dies, refuses or hangs, the page is written without them and a line says so."""

import re
import warnings
from pathlib import Path

import pytest

from refluence import report
from refluence.report import charts, drawing
from report import fabricate

FINE = {
    "data": {"values": [{"a": 1}, {"a": 2}]},
    "mark": "point",
    "encoding": {"x": {"field": "a", "type": "quantitative"}},
}
DYING = {
    "signal": ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
    "import": ("import no_such_engine", "exit code 1"),
    "half an answer": ("import sys; sys.stdin.buffer.readline(); print('{\"drawn\":', end='', flush=True)", "exit code 0"),
    "hanging": ("import time; time.sleep(60)", "ended by SIGKILL"),
}


@pytest.fixture
def drawer(monkeypatch):
    """A drawer of this test alone."""
    own = drawing.Drawer()
    monkeypatch.setattr(drawing, "_drawer", own)
    yield own
    own.close()


@pytest.mark.parametrize("how", DYING)
def test_a_process_that_dies_is_one_warning(tmp_path, monkeypatch, drawer, how):
    code, reason = DYING[how]
    (tmp_path / "dying.py").write_text(code)
    monkeypatch.setattr(drawing, "DRAWER", tmp_path / "dying.py")
    monkeypatch.setattr(drawing, "SECONDS", 0.2)
    with pytest.warns(UserWarning, match=r"page\.html is written without its charts") as said:
        assert drawing.draw([(FINE, "svg")] * 9, Path("page.html")) == [None] * 9
    assert len(said) == 1
    assert reason in str(said[0].message)


def test_the_page_is_whole_but_for_the_charts(tmp_path, monkeypatch, drawer):
    monkeypatch.setattr(drawing.Drawer, "ask", lambda *_: (_ for _ in ()).throw(OSError("it was ended by SIGTRAP")))
    folder = fabricate.compare(tmp_path / "run", classes=["a", "b"], channels=1, size=8)
    with pytest.warns(UserWarning, match="SIGTRAP"):
        page = report.write(folder).read_text(encoding="utf-8")
    assert page.count("could not be drawn") == page.count(charts.ABSENT) > 3
    assert "<!--chart" not in page
    assert "</html>" in page


def test_a_chart_that_the_engine_refuses_leaves_the_others(drawer):
    with pytest.warns(UserWarning, match="without some of its charts.*ValueError"):
        found = drawing.draw([(FINE, "svg"), ({"mark": 3}, "svg"), (FINE, "png")], Path("page.html"))
    assert found[0].startswith(b"<svg")
    assert found[1] is None
    assert found[2].startswith(b"\x89PNG")


def test_names_that_no_svg_can_hold_are_drawn_all_the_same(drawer):
    names = ["\x1b[31mred", "\x00", "\udce9", "\ufffe", "fine"]
    chart = {"data": {"values": [{"a": name} for name in names]}, "mark": "text", "encoding": {"text": {"field": "a"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (drawn,) = drawing.draw([(chart, "svg")], Path("page.html"))
    assert "\ufffd[31mred" in drawn.decode()


def test_after_a_death_the_next_page_has_its_charts_again(drawer):
    assert drawer.ask(FINE, "svg").startswith(b"<svg")
    drawer.process.kill()
    drawer.process.wait()
    with pytest.warns(UserWarning, match="some of its charts"):
        assert [d is None for d in drawing.draw([(FINE, "svg"), (FINE, "svg")], Path("page.html"))] == [True, False]


def test_what_users_write_is_no_chart():
    name = "<!--chart W10=-->"
    assert charts.MARK.search(name)
    assert not charts.MARK.search(charts.legend({name: charts.INK}))


def test_the_process_that_draws_imports_nothing_of_ours():
    """It must start in hundredths of a second, where memory is short."""
    imported = re.findall(r"^\s*(?:import|from) (\w+)", drawing.DRAWER.read_text(encoding="utf-8"), re.M)
    assert set(imported) <= {"base64", "json", "os", "signal", "sys", "vl_convert"}
