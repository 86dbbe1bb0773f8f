"""A denoiser of latents wherever another one serves: trained by itself and inside a run, fine-tuned, repeated, estimated."""

import pytest
import torch
from torchvision.transforms.functional import to_pil_image

import refluence as rf
from refluence.arm import read_arm
from refluence.commands.generate_train import said
from refluence.files import read_json
from refluence.jobs.denoisers import DenoiserNeed
from refluence.jobs.estimate import making_seconds, needed_seconds
from refluence.jobs.repeat import artifacts, repeat_run
from refluence.jobs.resolve import resolve
from refluence.jobs.session import Machine, open_session
from refluence.options import SetOptions
from refluence.report.page import write
from refluence.report.reading import read_lines

pytest.importorskip("diffusers")
FIRST = {"space": "latents", "autoencoder_iterations": 2}
QUICK = {"ipc": 1, "steps": 3, "threads": 1}
GUIDE = {"surrogate_epochs": 1, "surrogate": "convnet1:4", "range": "0%:100%"}


@pytest.fixture(scope="module")
def data():
    x = torch.rand(12, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    return rf.load((x, torch.arange(12) % 2), test=(x[:4], torch.arange(4) % 2))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("latents") / "run"
    return rf.train_denoiser(data, iterations=2, threads=1, out=out, **FIRST), out


@pytest.mark.parametrize(("method", "more"), [("dit+influence", GUIDE), ("d4m", {}), ("dit+modes", {})])
def test_one_that_is_trained_inside_a_run_samples_as_its_folder_does(data, run, method, more):
    denoiser, out = run
    assert denoiser.shape == (4, 8, 8)
    made = rf.generate(data, method, denoiser_iterations=2, **FIRST, **QUICK, **more).set.images
    assert made.shape == (2, 1, 32, 32)
    assert made.equal(rf.generate(data, method, denoiser=out, **QUICK, **more).set.images)


def test_fine_tuning_keeps_its_autoencoder(data, run, tmp_path):
    tuned = rf.finetune_denoiser(data, run[1], iterations=1, threads=1, out=tmp_path / "tuned")
    assert (tuned.method, tuned.shape) == ("minimax", (4, 8, 8))
    codec = run[0].codec.state()
    assert all(tensor.equal(codec[name]) for name, tensor in tuned.codec.state().items())
    assert any(not tensor.equal(run[0].state()[name]) for name, tensor in tuned.state().items())
    inside = rf.generate(data, "minimax", denoiser_iterations=2, minimax_iterations=1, **FIRST, **QUICK).set.images
    assert inside.equal(rf.generate(data, "minimax", denoiser=tmp_path / "tuned", **QUICK).set.images)


def test_the_folder_and_the_page_say_how_well_images_come_back(data, run):
    denoiser, out = run
    card = read_json(out / "denoiser" / "card.json")
    back = f"{card['autoencoder']['psnr']['train']:.1f} dB"
    assert f"on latents of 4 x 8 x 8 from which training images come back with a PSNR of {back}" in said(denoiser, card)
    page = write(out).read_text()
    assert "4 numbers for each 4 × 4 pixels; PSNR of decoded images" in page
    assert [line["step"] for line in read_lines(out / "metrics.jsonl")] == [0, 1]


def test_a_run_is_repeated_to_the_same_files(data, tmp_path):
    folder = tmp_path / "data"
    for i, image in enumerate(data.train.images):
        place = folder / "train" / f"c{i % 2}" / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        to_pil_image(image).save(place)
    rf.train_denoiser(str(folder), iterations=1, threads=1, out=tmp_path / "run", **FIRST)
    before = artifacts(tmp_path / "run")
    made = repeat_run(tmp_path / "run", tmp_path / "again")
    assert made.differing == ()
    (tmp_path / "again" / "denoiser" / "autoencoder" / "diffusion_pytorch_model.safetensors").write_bytes(b"other")
    assert artifacts(tmp_path / "again") != before


def test_an_estimate_trains_neither_part_to_its_end(data, monkeypatch):
    monkeypatch.setattr(DenoiserNeed, "make", lambda *given: pytest.fail("it is measured, not made"))
    session = open_session(data, Machine())
    asked = SetOptions(space="latents", autoencoder_iterations=12, denoiser_iterations=2, ipc=1, nets=1, epochs=1, steps=3)
    job = resolve(asked, read_arm("dit"), data, 0)
    assert [name for name, seconds in needed_seconds([job], session) if seconds > 0] == ["denoiser"]
    assert making_seconds(job, session)[0] > 0
