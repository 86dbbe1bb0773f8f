"""Progress goes to standard error: a bar on a terminal, now and then a line in a log, nothing when quiet."""

import io
import warnings

import pytest
from rich.console import Console
from rich.table import Table

from refluence.errors import InputError, RunError
from refluence.run import progress
from refluence.run.progress import Reporter, begun, notes_wait, one_line_warnings, print_table


def test_quiet_prints_nothing(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    reporter = Reporter(quiet=True)
    reporter.say("hello")
    assert list(reporter.track(range(3), "dc", 3)) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_plain_lines_with_rate_and_time_left(capsys, monkeypatch):
    reporter = Reporter()
    assert list(reporter.track(range(3), "dc seed 0", 3)) == [0, 1, 2]
    assert capsys.readouterr() == ("", ""), "short work needs no line"
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    clock = iter(range(0, 100, 2))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    list(reporter.track(range(2), "dc [seed] 0", total=12, done=8))
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("dc [seed] 0: 9/12, ")
    assert lines[1].startswith("dc [seed] 0: 10/12, ")
    assert all("/s, " in line and line.endswith(" s left") for line in lines)
    assert "\x1b" not in err


def test_a_bar_counts_what_users_count(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    list(Reporter().track(range(2), "denoiser", 3, 1, lambda steps: min(20 * steps, 45)))
    assert [line.partition(",")[0] for line in capsys.readouterr().err.splitlines()] == ["denoiser: 40/45", "denoiser: 45/45"]


def test_a_long_note_stays_one_line(capsys):
    Reporter().say("x" * 300 + " [bold]y")
    assert capsys.readouterr() == ("", "x" * 300 + " [bold]y\n")


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    reporter, screen = Reporter(), io.StringIO()
    reporter.console = Console(file=screen, force_terminal=True, width=100)
    for _ in reporter.track(range(4), "dc seed 0", 10, 6):
        pass
    shown = screen.getvalue()
    assert "dc seed 0" in shown
    assert "10/10" in shown
    assert "left" in shown
    assert capsys.readouterr() == ("", "")


def test_items_are_not_read_ahead():
    seen = []

    def items():
        for i in range(3):
            seen.append(i)
            yield i

    for i in Reporter(quiet=True).track(items(), "x", 3):
        assert seen[-1] == i


def test_warnings_are_one_line_and_deprecations_none(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        one_line_warnings()
        warnings.warn("a bag of fewer than 5", stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        warnings.warn("older", FutureWarning, stacklevel=1)
    assert capsys.readouterr().err == "refluence: note: a bag of fewer than 5\n"


def test_names_are_printed_as_they_are(capsys):
    table = Table("class [dim]")
    names = ["[red]cat[/red]", "[/x]", ":cat:"]
    for name in names:
        table.add_row(name)
    print_table(table)
    out = capsys.readouterr().out
    assert all(name in out for name in [*names, "class [dim]"])
    Reporter().say("[/x] :cat: a\x1b[31mb\nc")
    assert capsys.readouterr().err == "[/x] :cat: a\\x1b[31mb\\nc\n"


def test_a_narrow_terminal_loses_no_number(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    table = Table("arm", "accuracy %", "seconds")
    for column in table.columns:
        column.no_wrap = True
    table.add_row("dc+influence:tau=.1", "12.3 ± 4.5", "678.9")
    print_table(table)
    out = capsys.readouterr().out
    assert all(cell in out for cell in ("dc+influence:tau=.1", "12.3 ± 4.5", "678.9"))


def test_a_log_that_cannot_be_written_does_not_end_the_work(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError("no space left")

    monkeypatch.setattr("sys.stderr", Gone())
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    assert list(Reporter().track(range(3), "dc", 3)) == [0, 1, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        one_line_warnings()
        warnings.warn("a note", stacklevel=1)


def test_notes_wait_until_work_begins_and_are_not_said_where_input_is_refused(capsys):
    reporter = Reporter()
    with warnings.catch_warnings():
        one_line_warnings()
        with notes_wait():
            reporter.say("first")
            warnings.warn("second", stacklevel=1)
            reporter.say_now("at once")
            assert capsys.readouterr().err == "at once\n"
            begun()
            assert capsys.readouterr().err == "first\nrefluence: note: second\n"
            reporter.say("third")
            assert capsys.readouterr().err == "third\n"

        def end_in(error):
            with notes_wait():
                reporter.say("before it ends")
                raise error

        with pytest.raises(RunError):
            end_in(RunError("stopped"))
        assert capsys.readouterr().err == "before it ends\n"
        with pytest.raises(InputError):
            end_in(InputError("refused"))
        reporter.say("afterwards")
    assert capsys.readouterr().err == "afterwards\n"
