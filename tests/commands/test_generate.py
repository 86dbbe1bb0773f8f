"""generate train, finetune and sample as a user calls them: folders, resumption, bits, and input that cannot be used."""

import os
import shutil
import signal
import sys
import time
from dataclasses import fields

import pytest
from safetensors.torch import load_file

from refluence.cli import main
from refluence.commands.flags import COMMANDS
from refluence.commands.generate_train import reading
from refluence.options import SourceOptions
from support.command_line import lines, pictures, process, read, tree

QUIET = ("--threads", "1", "--quiet")
TRAIN = ("generate", "train", "--data", "digits", "--iterations", "60", *QUIET)
JUDGED = ("--nets", "1", "--epochs", "1", "--width", "4", *QUIET)
SAMPLE = ("generate", "sample", "--data", "digits", "--ipc", "1", "--steps", "10", *JUDGED)
BOTH = ("--guidance", "influence,deviation", "--surrogate-epochs", "1")


def names(kind):
    return {f.name for f in fields(kind)}


@pytest.fixture(scope="module")
def denoiser_once(tmp_path_factory):
    out = tmp_path_factory.mktemp("denoiser") / "run"
    assert main([*TRAIN, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def tuned_once(tmp_path_factory, denoiser_once):
    out = tmp_path_factory.mktemp("tuned") / "run"
    words = ("generate", "finetune", "--data", "digits", "--denoiser", denoiser_once, "--iterations", "3", *QUIET)
    assert main([*map(str, words), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def sampled_once(tmp_path_factory, denoiser_once):
    out = tmp_path_factory.mktemp("sampled") / "run"
    assert main([*SAMPLE, *BOTH, "--denoiser", str(denoiser_once), "--out", str(out)]) == 0
    return out


@pytest.fixture
def denoiser(denoiser_once, tmp_path):
    return shutil.copytree(denoiser_once, tmp_path / "denoiser")


@pytest.fixture
def sampled(sampled_once, tmp_path):
    return shutil.copytree(sampled_once, tmp_path / "sampled")


# a denoiser


def test_a_training_is_a_run(denoiser_once):
    config = read(denoiser_once / "config.json")
    assert config["command"] == "generate train"
    assert set(config["arguments"]) == names(COMMANDS["generate train"])
    assert [line["step"] for line in lines(denoiser_once / "metrics.jsonl")] == [0, 1, 2]
    card = read(denoiser_once / "denoiser" / "card.json")
    assert (card["method"], card["source"], card["seed"]) == ("dit", "digits", 0)
    assert card["seconds"] > 0
    assert "sample 4" in (denoiser_once / "report.html").read_text()


def test_the_last_line_is_the_next_command(refluence, denoiser):
    said = refluence(*TRAIN, "--out", denoiser, "--resume")
    assert said.code == 0, said.err
    assert said.out.startswith("denoiser (dit, flow): 255,300 parameters, 10 classes of 8 x 8 pixels, ")
    assert "is finished: nothing to do" in said.out
    following = said.out.strip().splitlines()[-1]
    assert following.startswith("next: refluence generate sample --data digits --denoiser ")
    out = denoiser.parent / "next"
    words = following.split()[2:]
    assert words[words.index("--denoiser") + 1] == str(denoiser)
    words[words.index("--out") + 1] = str(out)
    assert refluence(*words, "--ipc", "1", "--steps", "2", *JUDGED).code == 0
    assert read(out / "distilled" / "card.json")["arm"] == "dit"


def test_fine_tuning_keeps_where_it_came_from(tuned_once, denoiser_once):
    config, card = read(tuned_once / "config.json"), read(tuned_once / "denoiser" / "card.json")
    assert set(config["arguments"]) == names(COMMANDS["generate finetune"])
    assert card["method"] == "minimax"
    assert (
        config["resolved"]["denoiser"]["sha256"] == read(denoiser_once / "denoiser" / "card.json")["sha256"] != card["sha256"]
    )


@pytest.mark.parametrize("command", ["train", "finetune"])
def test_a_denoiser_is_repeated_to_the_same_bits(refluence, denoiser_once, tuned_once, tmp_path, command):
    folder = {"train": denoiser_once, "finetune": tuned_once}[command]
    said = refluence("repeat", folder, "--out", tmp_path / "again")
    assert said.out.startswith("1 denoiser: the same bit for bit as in "), said
    assert read(tmp_path / "again" / "config.json")["command"] == f"generate {command}"


def test_other_commands_say_what_a_denoiser_is_for(refluence, refused, denoiser):
    assert refluence("report", denoiser).code == 0
    for command in ("evaluate", "export", "score --distilled"):
        message = refused(*command.split(), denoiser)
        assert f"holds a denoiser: refluence generate sample --denoiser {denoiser}" in message


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_training_that_is_killed_continues_to_the_same_bits(tmp_path, denoiser_once):
    out = tmp_path / "killed"
    child = process(*TRAIN, "--checkpoint-seconds", "0", "--out", out)
    deadline = time.monotonic() + 300
    while not (out / "checkpoint" / "state.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert main([*TRAIN, "--out", str(out), "--resume"]) == 0
    whole, killed = (load_file(folder / "denoiser" / "model.safetensors") for folder in (denoiser_once, out))
    assert all(killed[name].equal(tensor) for name, tensor in whole.items())
    assert [line["step"] for line in lines(out / "metrics.jsonl")] == [0, 1, 2]


# a set


def test_a_sampled_set_is_a_run_like_any_other(refluence, sampled):
    config = read(sampled / "config.json")
    assert config["command"] == "generate sample"
    assert set(config["arguments"]) == names(COMMANDS["generate sample"])
    assert (config["arguments"]["guidance"], config["arguments"]["pool"]) == ("influence,deviation", False)
    assert refluence("evaluate", sampled, "--protocol", "dc-cpu", *JUDGED).code == 0
    assert refluence("export", sampled).code == 0
    assert refluence("report", sampled).code == 0


def test_the_result_says_which_steps_were_guided(refluence, sampled, denoiser_once):
    before = tree(sampled)
    said = refluence(*SAMPLE, *BOTH, "--denoiser", denoiser_once, "--out", sampled, "--resume")
    assert said.code == 0, said.err
    assert "dit+igd, seed 0, 10 images: " in said.out
    assert "4 of 10 steps are guided, " in said.out
    notes = read(sampled / "distilled" / "card.json")["notes"]
    assert any("4 of 10 steps are guided, " in note for note in notes)
    assert any("test" in note for note in notes), "that the test split was cut"
    assert "nothing to do" in said.out
    assert tree(sampled) == before


def test_a_sampled_set_is_repeated_to_the_same_bits(refluence, sampled_once, tmp_path):
    said = refluence("repeat", sampled_once, "--out", tmp_path / "again")
    assert said.out.startswith("1 distilled set: the same bit for bit"), said


def test_another_denoiser_is_another_run(refused, sampled, tuned_once):
    message = refused(*SAMPLE, *BOTH, "--denoiser", tuned_once, "--out", sampled, "--resume")
    assert "holds another run" in message


@pytest.mark.parametrize(
    ("flags", "arm"),
    [
        ([], "minimax"),
        (["--guidance", "deviation:gamma=10"], "minimax+deviation:gamma=10"),
        (["--pool", "--factor", "2"], "minimax+pool"),
    ],
)
def test_the_method_is_the_denoisers(refluence, tuned_once, tmp_path, flags, arm):
    assert refluence(*SAMPLE, "--denoiser", tuned_once, *flags, "--out", tmp_path / "run").code == 0
    assert read(tmp_path / "run" / "distilled" / "card.json")["arm"] == arm


def test_an_estimate_measures_what_is_trained_first_once(refluence, tmp_path):
    words = ("compare", "--data", "digits", "--methods", "dit+influence", "--seeds", "2", "--ipc", "1", *JUDGED)
    said = refluence("estimate", *words, "--out", tmp_path / "nothing")
    assert said.code == 0, said.err
    assert [line.partition(":")[0] for line in said.out.splitlines()][:6] == [
        "denoiser", "trajectory", "surrogate", "dit", "dit+influence", "dit+pool",
    ]  # fmt: skip
    assert refluence("estimate", *SAMPLE, *BOTH).out.startswith("denoiser: ")
    assert not (tmp_path / "nothing").exists()


# input that cannot be used


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--ipc", "0"], ["--ipc 0:", "at least 1"]),
        (["--guidance", "influenze"], ["--guidance influenze:", "did you mean influence?"]),
        (["--guidance", "none,influence"], ["--guidance none,influence:", "none goes with no other"]),
        (["--guidance", "influence", "--pool"], ["--pool", "leave out --guidance influence"]),
        (["--guidance", "influence:gamma=1"], ["gamma means nothing there"]),
        (["--k", "3"], ["'dit' does not read it: --k needs guidance, --guidance influence or igd"]),
        (
            ["--k", "3", "--surrogate-epochs", "2"],
            ["--k needs", "--surrogate-epochs needs guidance, --guidance influence or igd or entropy or", "or --pool"],
        ),
        (["--factor", "3"], ["'dit' does not read it: --factor needs --pool"]),
        ([*BOTH, "--range", "3:1"], ["--range 3:1:", "the lower first"]),
        ([*BOTH, "--range", "0:.01"], ["range", "0:0.01", "none of the 10 steps"]),
        ([*BOTH, "--range", "150%:160%"], ["--range 150%:160%:"]),
        (["--solver", "euler"], ["--solver euler: choose one of ddim, ddpm, dpm"]),
        (["--steps", "0"], ["--steps 0:", "at least 1"]),
        (["--guidance", "deviation", "--memory", "some"], ["--memory some: expected a whole number, or all"]),
        (["--surrogate", "convnot", *BOTH], ["unknown model 'convnot'", "did you mean convnet?"]),
        (["--denoiser", "/nowhere/at/all"], ["there is no folder /nowhere/at/all", "generate train"]),
        (["--denoiser-iterations", "0"], ["--denoiser-iterations 0:", "at least 1"]),
    ],
)  # fmt: skip
def test_flags_that_cannot_be_used(refused, tmp_path, flags, expected):
    message = refused(*SAMPLE, *flags, "--out", tmp_path / "run")
    assert all(word in message for word in expected), message
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_denoiser(refused, tmp_path, sampled_once):
    for command in (SAMPLE, ("generate", "finetune", "--data", "digits", *QUIET)):
        message = refused(*command, "--denoiser", sampled_once, "--out", tmp_path / "run")
        assert f"{sampled_once} is no denoiser" in message
    assert not (tmp_path / "run").exists()


def test_a_run_names_the_denoiser_that_it_trained(refused, tmp_path, denoiser_once):
    shutil.copytree(denoiser_once / "denoiser", tmp_path / "sampled" / "shared" / "denoiser-key")
    message = refused(*SAMPLE, "--denoiser", tmp_path / "sampled", "--out", tmp_path / "run")
    assert f"trained one: give {tmp_path / 'sampled' / 'shared' / 'denoiser-key'}" in message


def test_a_flag_of_sampling_has_another_name_in_training(refused, tmp_path):
    message = refused("generate", "train", "--data", "digits", "--denoiser-iterations", "3", "--out", tmp_path / "run")
    assert "there is no --denoiser-iterations (--iterations is what it is called here)" in message


def test_a_denoiser_of_other_classes_or_another_size(refused, tmp_path, denoiser_once):
    small = pictures(tmp_path / "small", ("cat", "dog"))
    large = pictures(tmp_path / "large", ("0", "1"), size=(12, 12))
    for data, expected in (
        (small, "knows 0, 1, 2, 3, 4, 5, …"),
        (large, "makes images of 1 x 8 x 8, the data have 3 x 12 x 12"),
    ):
        for words in (SAMPLE, ("generate", "finetune", *QUIET)):
            message = refused(*words, "--data", data, "--denoiser", denoiser_once, "--out", tmp_path / "run")
            assert expected in message, message
    assert not (tmp_path / "run").exists()


def test_a_denoiser_that_is_fine_tuned_is_not_fine_tuned_again(refused, tmp_path, tuned_once):
    words = ("generate", "finetune", "--data", "digits", "--denoiser", tuned_once, *QUIET)
    assert "is fine-tuned by minimax already" in refused(*words, "--out", tmp_path / "run")
    words = (*SAMPLE, "--denoiser", tuned_once, "--method", "dit")
    assert "is fine-tuned by minimax" in refused(*words, "--out", tmp_path / "run")


def test_a_class_with_fewer_real_images_than_are_sampled_of_it_is_refused(refluence, refused, tmp_path):
    few = pictures(tmp_path / "few", count=12)
    words = ("--data", few, "--ipc", "14", "--steps", "2", "--denoiser-iterations", "1", *JUDGED)
    for command in (("generate", "sample"), ("compare", "--methods", "dit")):
        message = refused(*command, *words, "--out", tmp_path / "run")
        assert "--small-classes" in message
        assert not (tmp_path / "run").exists()
    capped = (*words, "--small-classes", "cap", "--out", tmp_path / "capped")
    assert refluence("generate", "sample", *capped).code == 0
    assert read(tmp_path / "capped" / "distilled" / "card.json")["images"] < 28
    assert refluence("evaluate", tmp_path / "capped", *JUDGED).code == 0


def test_sampled_sets_are_made_by_generate(refused, tmp_path):
    message = refused("distill", "--data", "digits", "--method", "dit", "--out", tmp_path / "run", *QUIET)
    assert "--method dit: its images are sampled from a denoiser: refluence generate sample" in message
    assert not (tmp_path / "run").exists()


def test_a_transformer_is_trained_without_diffusers(refluence, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    out = tmp_path / "run"
    words = ("generate", "train", "--data", "digits", "--iterations", "1", *QUIET)
    assert refluence(*words, "--out", out).code == 0
    assert (out / "report.html").exists()
    assert not (out / "denoiser" / "samples.safetensors").exists()


def test_without_diffusers_one_line_says_what_to_install(refused, tmp_path, monkeypatch, denoiser_once):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    for words in ((*SAMPLE, "--denoiser", denoiser_once), (*TRAIN, "--network", "unet")):
        message = refused(*words, "--out", tmp_path / "run")
        assert "pip install refluence[generate]" in message
        assert not (tmp_path / "run").exists()


def test_what_comes_next_reads_the_data_in_the_same_way():
    asked = SourceOptions(image_size=32, rows=300, drop="scores.parquet:0.2", skip_corrupt=True)
    assert reading(SourceOptions()) == []
    assert reading(asked) == ["--image-size", "32", "--rows", "300", "--skip-corrupt", "--drop", "scores.parquet:0.2"]
