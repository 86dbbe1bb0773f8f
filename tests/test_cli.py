"""The command line as such: help that a newcomer can read, errors of one line, exit codes."""

import contextlib
import errno
import io
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

import refluence
from refluence import cli, files
from refluence.cli import main
from refluence.commands.flags import COMMANDS
from refluence.errors import RunError
from refluence.run.streams import prepare
from support.command_line import DIGITS

FIRST = {
    "compare": ["--data", "--methods", "--ipc", "--seeds", "--out", "--resume"],
    "distill": ["--data", "--method", "--weights", "--ipc", "--out", "--resume"],
    "score": ["--data", "--distilled", "--out", "--resume"],
    "evaluate": ["--protocol", "--nets", "--split"],
    "generate train": ["--data", "--out", "--resume", "--seed"],
    "generate finetune": ["--data", "--denoiser", "--out", "--resume"],
    "generate sample": ["--data", "--guidance", "--pool", "--ipc", "--out", "--resume"],
    "export": ["--format", "--out"],
    "repeat": ["--out", "--resume"],
}


def said(capsys, *words):
    capsys.readouterr()
    try:
        code = main(list(words))
    except SystemExit as stop:
        code = stop.code or 0
    return code, *capsys.readouterr()


@pytest.mark.parametrize("command", [*COMMANDS, "estimate"])
def test_help_fits_a_terminal_and_begins_with_what_matters(capsys, command):
    code, out, err = said(capsys, *command.split(), "--help")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "{None}" not in out
    assert "default: None" not in out
    flags = [flag for flag in re.findall(r"^\W{1,2}(--[a-z][a-z-]*)", out, re.M)]
    assert flags[: len(FIRST.get(command, []))] == FIRST.get(command, [])


def test_what_flags_and_the_folder_decide_is_refused_before_torch_is_loaded(tmp_path):
    """It takes seconds to load; a line about a flag is there in a fraction of one."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").touch()
    runs = {
        "generate sample": [],
        "generate train": [],
        "generate finetune": ["--denoiser", "there"],
        "distill": [],
        "transfer": ["--teacher", "convnet"],
        "compare": ["--methods", "dit+igd"],
    }
    wrong = [
        *(["generate sample", flag, value] for flag, value in (("--ipc", "0"), ("--solver", "euler"), ("--range", "5:1"))),
        ["generate sample", "--steps", "0"],
        ["generate sample", "--guidance", "entropie"],
        ["generate sample", "--guidance", "entropy", "--pool"],
        ["distill", "--ipc", "0"],
        ["transfer", "--workers", "2"],
        ["compare", "--methods"],
        *([run, *flags, "--out", "taken"] for run, flags in runs.items()),
        *([run, *flags, "--out", "taken/notes.txt"] for run, flags in runs.items()),
    ]
    code = (
        "import sys; from refluence.cli import main\n"
        f"for command, *flags in {wrong}:\n"
        "    data = ['--data', 'digits', *([] if '--out' in flags else ['--out', 'x'])]\n"
        "    print(main([*command.split(), *data, *flags]), 'torch' in sys.modules)\n"
        "print(main(['compare', '--methods', 'dit+igd', '--out', 'x']), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines() == ["2 False"] * (len(wrong) + 1)
    said = done.stderr.splitlines()
    assert said[2].startswith("refluence: --range 5:1: it must be")
    assert sum("taken is not empty and holds no Refluence run" in line for line in said) == len(runs)
    assert sum("taken/notes.txt is a file" in line for line in said) == len(runs)
    assert not (tmp_path / "x").exists()


def test_help_ends_in_the_narrowest_terminal(capsys, monkeypatch):
    """A terminal of a build machine may claim to have one column, where tyro wraps for ever."""
    monkeypatch.setattr("refluence.commands.parse.sys", SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True)))
    monkeypatch.setenv("COLUMNS", "1")
    assert said(capsys, "ls", "--help")[0] == 0
    assert os.environ["COLUMNS"] == "1"


@pytest.mark.parametrize("command", ["compare", "distill"])
def test_help_comes_in_groups_and_every_flag_is_explained(capsys, command):
    _, out, _ = said(capsys, command, "--help")
    transfer = ["sampling", "transfer"] if command == "compare" else []
    assert re.findall(r"^\W*(\w+) options", out, re.M) == [
        "main",
        "size",
        "network",
        "evaluation",
        *transfer,
        "data",
        "machine",
    ]
    for flag in ("--seed", "--device", "--threads", "--precision", "--compile", "--no-compile", "--resume", "--quiet"):
        assert flag in out
    for line in re.findall(r"^\W{1,2}--[a-z].*\n.*", out, re.M):  # an explanation stands beside the flag or below it
        assert re.search(r"--[a-z-]+( \S+| \[.*\]|, --\S+)?\W+[A-Za-z]", line), line


def test_the_examples_in_the_help_are_commands_that_can_be_read(capsys):
    from refluence.commands.parse import parse

    for command in ("compare", "distill", "transfer", *(c for c in COMMANDS if " " in c), "score", "evaluate"):
        _, out, _ = said(capsys, *command.split(), "--help")
        example = re.search(r"For example:\n(.*?)\n\n", out, re.S)[1].replace("\\\n", " ").split()
        name, flags = parse(example[1:])
        assert name == command.replace(" ", "_")
        assert isinstance(flags, COMMANDS[command])


def test_a_command_of_two_words_lists_its_actions_with_an_example_each(capsys):
    from refluence.commands.parse import GENERATE, parse

    code, out, _ = said(capsys, "generate", "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert said(capsys, "generate")[:2] == (2, out), "no action is a mistake"
    for action, kind in GENERATE.items():
        example = re.search(rf"(refluence generate {action} .*?)\n\n", out, re.S)[1].replace("\\\n", " ").split()
        name, flags = parse(example[1:])
        assert (name, type(flags)) == (f"generate_{action}", kind)


def test_version_and_usage(capsys):
    assert said(capsys, "--version") == (0, f"refluence {refluence.__version__}\n", "")
    code, out, _ = said(capsys, "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    for command in [*COMMANDS, "estimate"]:
        assert f"refluence {command.split()[0]} " in out
    assert said(capsys)[0] == 2, "no command at all is a mistake"


def test_the_module_runs_as_a_program():
    for words, code in ((["--version"], 0), (["distil"], 2)):
        done = subprocess.run([sys.executable, "-m", "refluence", *words], capture_output=True, text=True)
        assert done.returncode == code
    assert done.stderr.startswith("refluence: unknown command 'distil': did you mean distill?")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["frobnicate"], "unknown command 'frobnicate'"),
        (["evalute"], "did you mean evaluate?"),
        (["generate", "trian"], "unknown action 'generate trian': did you mean train? choose one of train, finetune, sample"),
        (["generate", "train"], "generate train: --data and --out are missing; refluence generate train --help explains"),
        (["estimate", "generate", "train"], "or generate sample, not 'generate train'"),
        (["estimate", "generate", "simple"], "unknown action 'generate simple': did you mean sample?"),
        (["distill"], "--data and --out are missing"),
        (["distill", "--data", "digits"], "--out is missing"),
        (["compare", "--data", "digits", "--out", "x"], "--methods is missing"),
        (["compare", "--data", "digits", "--out", "x", "--methods"], "--methods names no arm"),
        (["evaluate"], "DIR is missing"),
        (["distill", "--data", "digits", "--out", "x", "--iteratons", "3"], "did you mean --iterations?"),
        (["distill", "--data", "digits", "--out", "x", "--width", "wide"], "--width wide: expected a whole number"),
        (["distill", "--data", "digits", "--out", "x", "--ipc", "2.5"], "--ipc 2.5: expected a whole number"),
        (["distill", "--data", "digits", "--out", "x", "--checkpoint-seconds", "soon"], "expected a number"),
        (["distill", "--data", "digits", "--out", "x", "--size", "big"], "--size big: choose one of cpu, paper"),
        (
            ["distill", "--data", "digits", "--out", "x", "--norm", "weight"],
            "choose one of instance, group, batch, layer, none",
        ),
        (["export", "x", "--format", "zip"], "--format zip: choose one of imagefolder, parquet, tensors"),
        (["distill", "--data"], "--data needs a value"),
        (
            ["estimate", "report", "x"],
            "a command, compare or distill or transfer or score or generate sample, not 'report'",
        ),
        (["estimate", "foo"], "not 'foo'"),
        (["estimate", "--data", "x", "--ipcc", "1"], "estimate distill: there is no --ipcc (did you mean --ipc?)"),
        (
            ["compare", "--out", "x", "--resume"],
            "--data and --methods are missing; a run that continues takes the flags of its",
        ),
        (["distill", "--data", "x", "--out", "y", "--method", "dm", "random"], "--method takes one value, so 'random' is one"),
        (
            ["compare", "--methods", "dm", "dc", "--data", "x", "--out", "y", "--ipc", "1", "--seeds", "0", "1"],
            "--seeds takes one value, so '1' is one too many",
        ),
        (["distill", "--data", "x", "--out", "y", "--resume", "yes"], "--resume takes no value, so 'yes' is one too many"),
        (["distill", "--data", "x", "--out=y", "z"], "--out takes one value, so 'z' is one too many"),
        (["distill", "x", "--data", "x", "--out", "y"], "there is no x;"),
        (["report", "x", "y"], "there is no y;"),
        (["distill", "--data", "x", "--out", "y", "--iteration", "5"], "there is no --iteration (did you mean --iterations?);"),
        (
            ["distill", "--data", "digits", "--out", "y", "--method", "dm+influence", "--weights", "loss"],
            "--method dm+influence has weights already: leave out --weights loss",
        ),
        (
            ["compare", "--data", "digits", "--out", "y", "--methods", "dm,random"],
            "'dm,random' is not one arm but several: compare takes them apart, --methods dm random",
        ),
    ],
)
def test_a_mistyped_command_is_one_line(capsys, monkeypatch, tmp_path, words, expected):
    monkeypatch.chdir(tmp_path)
    code, out, err = said(capsys, *words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert expected in err
    assert list(tmp_path.iterdir()) == []


def test_estimate_takes_the_flags_of_both_commands():
    from refluence.commands.parse import parse

    name, flags = parse(["estimate", "compare", "--data", "digits", "--methods", "dc"])
    assert (name, type(flags)) == ("estimate", COMMANDS["compare"])
    assert type(parse(["estimate", "--data", "digits", "--out=x"])[1]) is COMMANDS["distill"]


def failing(monkeypatch, error):
    def run(flags):
        raise error

    monkeypatch.setattr("refluence.commands.ls.run", run)


CPU = "[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: not enough memory: you tried to allocate 4000000 bytes."


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(CPU),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error code 12"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_out_of_memory_names_the_flags_that_help(capsys, monkeypatch, error):
    failing(monkeypatch, error)
    code, _, err = said(capsys, "ls")
    assert code == 1
    assert err.count("\n") == 1
    for flag in ("--real-batch", "--batch", "--width", "--precision bf16"):
        assert flag in err


def test_an_unexpected_error_keeps_its_traceback_and_says_whose_it_is(capsys, monkeypatch):
    failing(monkeypatch, ZeroDivisionError("by nought"))
    code, _, err = said(capsys, "ls")
    assert code == 1
    assert "Traceback" in err
    assert "ZeroDivisionError: by nought" in err
    assert "a bug of Refluence" in err.splitlines()[-1]


def test_an_ordinary_runtime_error_is_not_taken_for_want_of_memory(capsys, monkeypatch):
    failing(monkeypatch, RuntimeError("shapes do not fit"))
    assert "a bug of Refluence" in said(capsys, "ls")[2]


def test_a_failed_run_and_ctrl_c_have_codes_of_their_own(capsys, monkeypatch):
    failing(monkeypatch, RunError("diverged\nat iteration 7"))
    assert said(capsys, "ls") == (1, "", "refluence: diverged at iteration 7\n")
    failing(monkeypatch, KeyboardInterrupt())
    code, _, err = said(capsys, "ls")
    assert (code, err.count("\n")) == (130, 1)
    assert "--resume" in err


def test_a_reader_that_goes_away_is_no_error():
    ls = subprocess.Popen([sys.executable, "-m", "refluence", "ls"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ls.stdout.close()
    _, err = ls.communicate(timeout=60)
    assert (ls.returncode, err) == (0, b"")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
@pytest.mark.parametrize("words", [["ls"], ["--help"], ["distill", "--help"], ["distil", "…/猫\udce9"]])
def test_any_encoding_of_the_terminal_will_do(monkeypatch, encoding, words):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    with contextlib.suppress(SystemExit):
        assert main(words) == (2 if words[0] == "distil" else 0)
    err.flush()
    assert (out.buffer.getvalue() or err.buffer.getvalue()).isascii() or encoding != "ascii"
    assert b"Traceback" not in err.buffer.getvalue()


def test_what_an_encoding_has_no_character_for_is_spelled(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", out)
    prepare()
    print("30.0 ± 1.4 … 猫 \udce9", flush=True)
    assert out.buffer.getvalue() == rb"30.0 +- 1.4 ... \u732b \udce9" + os.linesep.encode()


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_closed_stream_is_no_error(monkeypatch, capsys, name):
    monkeypatch.setattr(sys, name, None)
    code = main(["distil"])
    getattr(sys, name).close()
    assert code == 2


class Full(io.StringIO):
    """Standard output on a full disk, which shows when it is flushed."""

    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fileno(self):
        return os.open(os.devnull, os.O_WRONLY)


def test_an_output_that_cannot_be_written_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Full())
    assert main(["--version"]) == 1
    assert capsys.readouterr().err == "refluence: standard output cannot be written to: No space left on device\n"
    monkeypatch.setattr(sys, "stderr", Full())
    assert main(["distil"]) == 1, "there is nobody to tell"


def test_what_the_machine_refuses_is_no_bug_of_ours(capsys, monkeypatch):
    failing(monkeypatch, OSError(errno.EMFILE, "Too many open files", "pixels.u8"))
    code, _, err = said(capsys, "ls")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("refluence: pixels.u8: Too many open files; ")


def test_a_library_that_cannot_be_loaded_is_named(capsys, monkeypatch):
    failing(monkeypatch, ImportError("libGL.so.1: cannot open shared object file", name="cv2"))
    code, _, err = said(capsys, "ls")
    assert (code, err.count("\n")) == (1, 1)
    assert "cannot be loaded (libGL.so.1: cannot open shared object file)" in err
    failing(monkeypatch, ImportError("cannot import name 'x'", name="refluence.run"))
    assert "a bug of Refluence" in said(capsys, "ls")[2]


def test_control_characters_of_a_name_do_not_reach_the_terminal(capsys):
    assert "\\x1b[31mred\\u202e'" in said(capsys, "\x1b[31mred\u202e")[2]


def test_flags_of_the_fixtures_exist():
    from refluence.commands.parse import parse

    assert parse(["distill", *DIGITS, "--out", "x"])[1].width == 8


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["export", "x", "--nope", "1"], "refluence: export: there is no --nope;"),
        (["distill", "--methd", "dm"], "refluence: distill: --data and --out are missing, and there is no --methd;"),
        (["distill", "--data", "x", "--out", "y", "--ipc", "a"], "refluence: distill: --ipc a: expected a whole number;"),
    ],
)
def test_boxes_of_the_parser_become_one_line_in_any_encoding(monkeypatch, capsys, encoding, words, line):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert main(words) == 2
    assert capsys.readouterr().err == f"{line} refluence {words[0]} --help explains every flag\n"


def test_an_error_after_files_of_a_run_were_read_names_them(capsys, monkeypatch, tmp_path):

    monkeypatch.setattr(files, "READ", {})
    (tmp_path / "card.json").write_text("{}")
    assert cli._unexpected(KeyError("ipc")) == 1
    assert "a bug of Refluence" in capsys.readouterr().err
    files.read_json(tmp_path / "card.json")
    for error, named in ((KeyError("ipc"), True), (AssertionError(), False)):
        assert cli._unexpected(error) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert ("changed by hand, put it back" in last) == named
        assert ("card.json" in last) == named
