"""`distill`: what lies in its folder, what resume does, how a run ends that has to stop."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from refluence.condense.loop import Distillation
from refluence.files import write_json
from refluence.run import checkpoint
from support.command_line import DIGITS, lines, pictures, read, tree, without_seconds

WORDS = ("distill", *DIGITS, "--weights", "influence", "--iterations", "6", "--protocol", "iwd-cpu")
RESULTS = ("distilled/images.safetensors", "scores.parquet", "scores_images.safetensors")


def same_results(a, b):
    for name in RESULTS:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    for name in ("distilled/card.json", "evaluation.json"):
        assert without_seconds(read(a / name)) == without_seconds(read(b / name)), name
    assert without_seconds(lines(a / "metrics.jsonl")) == without_seconds(lines(b / "metrics.jsonl"))


def test_the_folder_holds_what_the_contract_says(distilled_once):
    names = {path.name for path in distilled_once.iterdir()}
    assert names >= {"config.json", "metrics.jsonl", "checkpoint", "distilled", "evaluation.json", "report.html"}
    assert {p.name for p in (distilled_once / "distilled").iterdir()} == {"images.safetensors", "card.json", "README.md"}
    config = read(distilled_once / "config.json")
    assert (config["version"], config["command"]) == (1, "distill")
    assert config["arguments"]["data"] == "digits"
    unit = config["resolved"]["unit"]
    assert unit["settings"]["iterations"] == 6
    assert unit["settings"]["real_batch"] == 16
    assert None not in unit["settings"].values(), "no default is left open"
    assert unit["weighting"]["tau"] == 1.0
    assert unit["model"] == {"name": "convnet1", "shape": [1, 8, 8], "classes": 10, "width": 8, "norm": "instance"}
    assert unit["protocols"][0]["name"] == "iwd-cpu:epochs=2"
    constants = config["resolved"]["constants"]
    assert (constants["val_fraction"], constants["test_fraction"], constants["pretraining"]["steps"]) == (0.1, 0.2, 500)
    machine = config["resolved"]["machine"]
    assert {"torch", "threads", "device", "precision", "compile"} <= set(machine)
    assert machine["threads"] == 1
    steps = lines(distilled_once / "metrics.jsonl")
    assert [step["step"] for step in steps] == list(range(6))
    assert all(0 < step["ess"] <= 1 and len(step["loss_by_class"]) == 10 for step in steps)
    card = read(distilled_once / "distilled" / "card.json")
    assert "gradient matching" in card["summary"]
    assert "influence" in card["weights_summary"]
    assert (card["images"], card["test_uses"], card["iterations"]) == (20, 1, 6)
    assert not list(distilled_once.rglob("*.part"))


def test_a_finished_run_is_left_alone(refluence, distilled):
    before = tree(distilled)
    said = refluence(*WORDS, "--out", distilled, "--resume")
    assert said.code == 0
    assert "nothing to do" in said.out
    assert tree(distilled) == before


def test_resume_without_a_run_starts_one(refluence, distilled_once, tmp_path):
    assert refluence(*WORDS, "--out", tmp_path / "new" / "run", "--resume").code == 0
    same_results(tmp_path / "new" / "run", distilled_once)


def stopping_at(monkeypatch, step, error):
    """A distillation that raises `error` instead of its step number `step`."""
    real = Distillation.image_step

    def image_step(self):
        if self.step == step:
            raise error
        return real(self)

    monkeypatch.setattr(Distillation, "image_step", image_step)


@pytest.mark.parametrize("every", ["0", "100"])
def test_a_stopped_run_goes_on_to_the_same_bits(refluence, distilled_once, tmp_path, monkeypatch, every):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        stopping_at(patch, 4, KeyboardInterrupt())
        said = refluence(*WORDS, "--out", out, "--checkpoint-seconds", every)
    assert said.code == 130
    assert (checkpoint.load(out) is not None) == (every == "0")
    (out / "checkpoint").mkdir(exist_ok=True)
    for stale in (out / "checkpoint" / ".state.safetensors.123.part", out / ".metrics.jsonl.9.part"):
        stale.write_bytes(b"half")
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    assert refluence(*WORDS, "--out", out, "--resume").code == 0, "how often a checkpoint is written may change"
    same_results(out, distilled_once)
    assert not list(out.rglob("*.part"))


def test_a_run_that_was_stopped_while_it_was_judged_is_judged_again(refluence, distilled, distilled_once):
    (distilled / "evaluation.json").unlink()
    (distilled / "report.html").unlink()
    images = tree(distilled / "distilled")["images.safetensors"]
    said = refluence(*WORDS, "--out", distilled, "--resume")
    assert "nothing to do" not in said.out
    assert tree(distilled / "distilled")["images.safetensors"] == images
    same_results(distilled, distilled_once)
    assert (distilled / "report.html").exists()


def test_a_broken_checkpoint_is_named(refused, distilled):
    shutil.rmtree(distilled / "distilled")
    (distilled / "evaluation.json").unlink()
    (distilled / "checkpoint" / "state.safetensors").write_bytes(b"\x80\x04K\x01.")
    message = refused(*WORDS, "--out", distilled, "--resume")
    assert "checkpoint/state.safetensors is not a checkpoint" in message
    assert "delete it" in message


def test_the_number_of_processors_is_told_but_not_held_against_a_run(refluence, distilled):
    config = read(distilled / "config.json")
    config["resolved"]["machine"]["cpus"] = 512
    write_json(distilled / "config.json", config)
    assert refluence(*WORDS, "--out", distilled, "--resume").code == 0


@pytest.mark.parametrize("weights", ["uniform:image_lr=1e30", "influence:image_lr=1e30", "influence:image_lr=1e30,bag=all"])
def test_numbers_that_are_no_longer_finite_stop_the_run(refluence, tmp_path, weights):
    words = ("distill", *DIGITS, "--weights", weights, "--iterations", "8", "--checkpoint-seconds", "0")
    said = refluence(*words, "--out", tmp_path / "run")
    assert said.code == 1
    assert len(said.err.strip().splitlines()) == 1
    assert "Traceback" not in said.err
    step = len(lines(tmp_path / "run" / "metrics.jsonl"))
    assert 0 < step < 8
    assert f"at iteration {step}" in said.err
    assert "last good checkpoint: none yet" in said.err, "the images were spoilt by the first step"
    assert checkpoint.load(tmp_path / "run") is None
    assert not (tmp_path / "run" / "distilled").exists()


def test_the_last_good_checkpoint_is_named_and_is_good(refluence, tmp_path, monkeypatch):
    real = Distillation.image_step

    def image_step(self):
        event = real(self)
        if self.step == 3:
            self.synthetic.pixels.data.mul_(float("inf"))
        return event

    monkeypatch.setattr(Distillation, "image_step", image_step)
    said = refluence(*WORDS, "--out", tmp_path / "run", "--checkpoint-seconds", "0")
    assert said.code == 1
    assert "at iteration 4" in said.err
    assert "checkpoint/state.safetensors, after 3 iterations" in said.err
    saved, _ = checkpoint.load(tmp_path / "run")
    assert all(bool(t.isfinite().all()) for t in saved.values())


def test_an_evaluation_that_diverges_says_which(refluence, tmp_path, monkeypatch):
    words = ("distill", *DIGITS, "--method", "random", "--protocol", "iwd-cpu", "--out", tmp_path / "run")
    real = torch.nn.functional.cross_entropy
    with monkeypatch.context() as patch:
        patch.setattr("torch.nn.functional.cross_entropy", lambda *a, **k: real(*a, **k) * float("nan"))
        said = refluence(*words)
    assert said.code == 1
    assert len(said.err.strip().splitlines()) == 1
    for words_said in ("random seed 0", "iwd-cpu", "not finite", "epoch 1"):
        assert words_said in said.err
    assert not (tmp_path / "run" / "evaluation.json").exists()
    assert refluence(*words, "--resume").code == 0, "the set itself was kept"


def test_out_of_memory_in_the_middle_of_a_run(refluence, tmp_path, monkeypatch):
    stopping_at(monkeypatch, 2, RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."))
    said = refluence(*WORDS, "--out", tmp_path / "run")
    assert said.code == 1
    assert "--real-batch" in said.err
    assert "Traceback" not in said.err


def test_a_full_disk_stops_with_one_line(refluence, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    said = refluence(*WORDS, "--out", tmp_path / "run", "--checkpoint-seconds", "0")
    assert said.code in (1, 2)
    assert "No space left on device" in said.err
    assert len(said.err.strip().splitlines()) == 1


def test_seeds_differ_and_real_pictures_work(refluence, tmp_path, distilled_once):
    data = pictures(tmp_path / "pets")
    sets = []
    for seed in ("0", "1"):
        words = ("distill", *DIGITS, "--data", data, "--iterations", "2", "--seed", seed, "--norm", "batch")
        said = refluence(*words, "--out", tmp_path / seed)
        assert said.code == 0, said.err
        sets.append(load_file(tmp_path / seed / "distilled" / "images.safetensors")["images"])
    assert sets[0].shape == (4, 3, 8, 8)
    assert not torch.equal(*sets)
    assert read(tmp_path / "0" / "distilled" / "card.json")["classes"] == ["cat", "dog"]


def test_quiet_says_only_what_was_asked_for(refluence, tmp_path):
    words = ("distill", *DIGITS, "--method", "random", "--out")
    said = refluence(*words, tmp_path / "quiet")
    assert said.err == ""
    loud = refluence(*[word for word in words if word != "--quiet"], tmp_path / "loud")
    assert "were cut from train" in loud.err
    assert "Traceback" not in loud.err
    assert said.out.replace("quiet", "loud").splitlines()[0].split("accuracy")[0] in loud.out


def test_training_beforehand_is_in_proportion_to_the_image_steps(refluence, tmp_path):
    """At size cpu, so that a short run is short as a whole; what an arm says of it stands."""
    short = ("distill", *DIGITS, "--ipc", "2", "--real-batch", "8", "--epochs", "1", "--nets", "1")
    for number, (method, steps, found) in enumerate([
        ("ncfm", "2", {"pretrain": 1}),
        ("ncfm:pretrain=3", "2", {"pretrain": 3}),
        ("ncfm:iterations=4", None, {"pretrain": 2}),
        ("pdd", "40", {"stage_epochs": 1, "pretrain": 0}),
        ("dc", "2", {"stage_epochs": 200}),
        ("dm:stages=2", "80", {"stage_epochs": 2}),
    ]):  # fmt: skip
        out = tmp_path / str(number)
        more = () if steps is None else ("--iterations", steps)
        assert refluence(*short, "--method", method, *more, "--out", out).code == 0
        settings = read(out / "config.json")["resolved"]["unit"]["settings"]
        assert found.items() <= settings.items(), method
