"""Input that cannot be used: one line that says what, where and what would be right; exit code 2; nothing written."""

import os

import pytest

from refluence.files import write_json
from support.command_line import DIGITS, TINY, pictures, read, tree

QUICK = ("--iterations", "2")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--data", "digitz"], ["digitz", "digits"]),
        (["--data", "/nowhere/at/all"], ["/nowhere/at/all", "expected"]),
        (["--ipc", "0"], ["--ipc 0:", "at least 1"]),
        (["--ipc", "500"], ["500", "--small-classes"]),
        (["--nets", "0"], ["--nets 0:", "at least 1"]),
        (["--epochs", "0"], ["--epochs 0:", "at least 1"]),
        (["--batch", "-1"], ["--batch -1:"]),
        (["--width", "0"], ["--width 0:"]),
        (["--iterations", "0"], ["--iterations 0:"]),
        (["--real-batch", "0"], ["--real-batch 0:"]),
        (["--inner", "-1"], ["--inner -1:", "at least 0"]),
        (["--threads", "-1"], ["--threads -1:", "at least 0"]),
        (["--checkpoint-seconds", "-1"], ["--checkpoint-seconds -1.0:"]),
        (["--method", "dcc"], ["'dcc'", "dc", "herding"]),
        (["--weights", "influenza"], ["'influenza'", "influence"]),
        (["--weights", "influence:tau=0"], ["arm 'dc+influence:tau=0': tau=0: ", "above 0, or auto"]),
        (["--weights", "influence:tau=-1"], ["tau=-1: ", "above 0"]),
        (["--weights", "influence:tau=nan"], ["tau=nan: ", "above 0"]),
        (["--weights", "influence:tau=warm"], ["tau", "warm"]),
        (["--weights", "influence:ess=nan"], ["ess=nan: ", "above 0 and at most 1"]),
        (["--weights", "influence:memory=nan"], ["memory"]),
        (["--checkpoint-seconds", "nan"], ["--checkpoint-seconds nan:"]),
        (["--checkpoint-seconds", "inf"], ["--checkpoint-seconds inf:", "finite"]),
        (["--seed", "-1"], ["--seed -1:", "at least 0"]),
        (["--weights", "influence:heat=1"], ["heat", "tau"]),
        (["--weights", "influence:tau"], ["key=value"]),
        (["--weights", "influence:image_lr=fast"], ["image_lr=fast"]),
        (["--method", "random", "--weights", "influence"], ["random", "takes no weights"]),
        (["--protocol", "dcc"], ["'dcc'", "dc-cpu"]),
        (["--model", "resnet"], ["'resnet'", "convnet"]),
        (["--model", "convnet6"], ["depth 6", "8x8", "1 to 3"]),
        (["--batch", "99999999999999999999"], ["--batch 99999999999999999999:", "at most"]),
        (["--image-size", "99999999999999999999"], ["--image-size 99999999999999999999:", "at most"]),
        (["--threads", "100000"], ["--threads 100000:", "at most 1024"]),
        (["--method", "dm:real_batch=99999999999999999999"], ["real_batch=99999999999999999999", "at most"]),
        (["--out", "x" * 300], ["x" * 300, "File name too long", "shorter"]),
        (["--data", "x" * 300], ["x" * 300, "File name too long", "shorter"]),
        (["--device", "cuda:99"], ["cuda:99", "cpu"]),
        (["--device", "gpu"], ["gpu", "cpu"]),
        (["--device", "cpu:x"], ["cpu:x"]),
        (["--image-size", "0"], ["--image-size 0"]),
        (["--labels", "nothing.csv"], ["--labels", "FILE:COLUMN"]),
        (["--drop", "scores.parquet"], ["--drop"]),
    ],
)
def test_flags_that_cannot_be_used(refused, tmp_path, flags, expected):
    message = refused("distill", *DIGITS, *QUICK, "--out", tmp_path / "run", *flags)
    assert all(word in message for word in expected), message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--seeds", "0"], ["--seeds 0:", "at least 1"]),
        (["--workers", "-1"], ["--workers -1:"]),
        (["--methods", "dc+influence:tau=0"], ["arm 'dc+influence:tau=0': tau=0: ", "above 0, or auto"]),
        (["--methods", "dc", "dc+lose"], ["'dc+lose'", "loss"]),
        (["--methods", "nosuch"], ["'nosuch'", "dc"]),
        (["--methods", "dc:inner=x"], ["inner=x"]),
        (["--methods", "dc:inner=-1"], ["arm 'dc:inner=-1': inner=-1: it must be a whole number, at least 0"]),
        (["--methods", "dc:augmentation=bogus"], ["'bogus'", "crop"]),
        (["--methods", "dc:image_lr=nan"], ["image_lr=nan: ", "above 0"]),
        (["--methods", "dc:image_lr=inf"], ["image_lr=inf: ", "finite"]),
        (["--methods", "dc:net_lr=0"], ["net_lr=0: ", "above 0"]),
        (["--methods", "dc:image_momentum=1"], ["image_momentum=1: ", "below 1"]),
        (["--methods", "dc:augmentation=a/../../../../x"], ["dc:augmentation=a/../../../../x", "'..'"]),
        (["--methods", "dm:net_lr=1"], ["'dm:net_lr=1'", "fresh network each image step", "outer=10"]),
        (["--methods", "dc:pool=3"], ["dc:pool=3", "means nothing for dc"]),
        (["--methods", "idc+loss:terms=both"], ["terms=both means nothing for loss"]),
        (["--equal-seconds"], ["--equal-seconds needs", "dc+influence"]),
        (["--methods", "dc+influence", "--no-controls", "--equal-seconds"], ["--equal-seconds needs 'dc'"]),
    ],
)
def test_comparisons_that_cannot_be_made(refused, tmp_path, flags, expected):
    message = refused("compare", *DIGITS, *QUICK, "--out", tmp_path / "run", "--methods", "dc", *flags)
    assert all(word in message for word in expected), message
    assert not (tmp_path / "run").exists()


def test_broken_sources(refused, tmp_path):
    data, out = pictures(tmp_path / "pets"), tmp_path / "run"
    words = ("distill", "--data", data, "--ipc", "2", *TINY, *QUICK, "--out", out)
    (data / "cat" / "00.png").write_bytes(b"\x89PNG no picture")
    message = refused(*words)
    assert "cat/00.png" in message
    assert "--skip-corrupt" in message
    pictures(tmp_path / "pets" / "more", classes=("x",), count=1, size=(8, 8))
    (data / "cat" / "00.png").unlink()
    message = refused(*words)
    assert "more" in message, "the class of one image is named"
    assert "--small-classes" in message
    assert not out.exists()


def test_mixed_sizes_name_the_flag(refused, tmp_path):
    data = pictures(tmp_path / "pets")
    pictures(tmp_path / "pets2", classes=("big",), size=(12, 9))
    (tmp_path / "pets2" / "big").rename(data / "big")
    message = refused("distill", "--data", data, "--ipc", "2", *TINY, *QUICK, "--out", tmp_path / "run")
    assert "--image-size" in message
    assert not (tmp_path / "run").exists()


def test_labels_that_are_missing(refused, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "table").mkdir()
    pq.write_table(pa.table({"image": [b"x"], "size": [3]}), tmp_path / "table" / "train.parquet")
    message = refused("distill", "--data", tmp_path / "table", *TINY, *QUICK, "--out", tmp_path / "run")
    assert "train.parquet" in message
    assert "--label-column" in message or "--image-column" in message


def test_folders_that_hold_something_else_are_left_as_they_are(refused, tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1.txt").write_text("It was a dark night.")
    before = tree(folder)
    for more in ([], ["--resume"]):
        message = refused("distill", *DIGITS, *QUICK, "--out", folder, *more)
        assert "thesis" in message
        assert "choose a new folder" in message
    assert tree(folder) == before
    assert "is a file" in refused("distill", *DIGITS, *QUICK, "--out", folder / "chapter1.txt")
    assert "is a file" in refused("distill", *DIGITS, *QUICK, "--out", folder / "chapter1.txt" / "run")
    assert tree(folder) == before


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that even root cannot write to")
def test_a_folder_that_cannot_be_written_to(refused, tmp_path):
    assert "cannot write /proc/refluence/run" in refused("distill", *DIGITS, *QUICK, "--out", "/proc/refluence/run")


def test_a_folder_with_a_run_needs_resume_and_the_same_flags(refused, distilled):
    before = tree(distilled)
    words = ("distill", *DIGITS, "--weights", "influence", "--iterations", "6", "--protocol", "iwd-cpu", "--out", distilled)
    assert "--resume" in refused(*words)
    message = refused(*words, "--ipc", "3", "--resume")
    assert "--ipc 2 there, 3 here" in message
    assert "--seed 0 there, 1 here" in refused(*words, "--seed", "1", "--resume")
    assert "--weights influence there, influence:tau=.5 here" in refused(*words, "--weights", "influence:tau=.5", "--resume")
    assert "machine.threads is 1 there, 2 here" in refused(*words, "--threads", "2", "--resume")
    assert "a run of 'distill', not of 'compare'" in refused(
        "compare", *DIGITS, "--methods", "dc", "--out", distilled, "--resume"
    )
    assert tree(distilled) == before


def test_a_configuration_of_another_version_or_broken(refused, distilled):
    words = ("distill", *DIGITS, "--weights", "influence", "--iterations", "6", "--protocol", "iwd-cpu", "--out", distilled)
    config = read(distilled / "config.json")
    others = [("evaluate", distilled), ("report", distilled), ("repeat", distilled), ("score", "--distilled", distilled)]
    for written, expected in (
        ({**config, "version": 99}, "version 99"),
        ({"version": 1}, "is not whole"),
        ([], "version None"),
    ):
        write_json(distilled / "config.json", written)
        before = tree(distilled)
        for command in ([*words, "--resume"], *others):
            assert expected in refused(*command), command
        assert tree(distilled) == before
    (distilled / "config.json").write_text('{"version": 1, "comm')
    for command in ([*words, "--resume"], *others):
        assert "cannot be read as JSON" in refused(*command), command


@pytest.mark.parametrize("command", ["evaluate", "export", "repeat", "report", "score"])
def test_commands_on_folders_without_a_finished_run(refused, distilled, compared, tmp_path, command):
    words = (command, "--distilled") if command == "score" else (command,)
    if command == "score":
        words = ("score", "--out", tmp_path / "s.parquet", "--distilled")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no" in refused(*words, empty)
    assert "does not exist" in refused(*words, tmp_path / "nowhere")
    (distilled / "evaluation.json").unlink()
    (distilled / "distilled" / "card.json").unlink()
    before = tree(distilled)
    assert ("holds no distilled set" if command == "export" else "not finished") in refused(*words, distilled)
    assert tree(distilled) == before
    (compared / "results.json").unlink()
    expected = "not finished" if command in ("report", "repeat") else "units/ARM/SEED"
    assert expected in refused(*words, compared)
    assert list(empty.iterdir()) == []
    assert not (tmp_path / "s.parquet").exists()


def test_a_set_is_judged_and_scored_on_data_that_fits_it(refused, distilled, tmp_path):
    data = pictures(tmp_path / "pets")
    before = tree(distilled)
    for words in (("evaluate", distilled), ("score", "--out", tmp_path / "s.parquet", "--distilled", distilled)):
        message = refused(*words, "--data", data, "--quiet")
        assert "cat, dog" in message
        assert "must be the same" in message
    assert "--nets 0:" in refused("evaluate", distilled, "--nets", "0")
    assert "--nets 0:" in refused("score", "--distilled", distilled, "--nets", "0")
    assert "--width 0:" in refused("evaluate", distilled, "--width", "0")
    assert "'vgg'" in refused("evaluate", distilled, "--model", "vgg")
    assert "depth 5" in refused("evaluate", distilled, "--model", "convnet5")
    assert "'dcc'" in refused("evaluate", distilled, "--protocol", "dcc")
    assert ".parquet" in refused("score", "--distilled", distilled, "--out", tmp_path / "scores.csv")
    assert "cannot write" in refused("score", "--distilled", distilled, "--out", distilled / "config.json" / "s.parquet")
    assert tree(distilled) == before
