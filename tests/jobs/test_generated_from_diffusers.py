"""Sets sampled from denoisers that diffusers saved: comparisons, fine-tuning first, and what is refused before any work."""

import json

import pytest
import torch

import refluence as rf
from refluence.errors import InputError
from support.diffusers_folders import save_pipeline

diffusers = pytest.importorskip("diffusers")
TINY = {"ipc": 1, "nets": 1, "epochs": 1, "width": 4, "surrogate_epochs": 1, "steps": 4, "surrogate": "convnet1:4"}


@pytest.fixture(scope="module")
def data():
    x = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return rf.load((x, torch.arange(40) % 2), test=(x[:10], torch.arange(10) % 2))


def test_the_published_kind_is_guided_and_fine_tuned_first(data, tmp_path):
    save_pipeline(diffusers, tmp_path / "dit", classes=2)
    (tmp_path / "dit" / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    asked = {**TINY, "minimax_iterations": 2, "denoiser": str(tmp_path / "dit"), "out": tmp_path / "run"}
    with pytest.warns(UserWarning, match="are under CC-BY-NC-4.0"):
        found = rf.compare(data, ["dit+influence", "minimax"], seeds=1, **asked)
    assert {row["arm"] for row in found.rows} >= {"dit", "dit+influence", "dit+pool", "minimax"}
    cards = [json.loads(path.read_text()) for path in (tmp_path / "run").rglob("distilled/card.json")]
    assert len(cards) >= 4
    assert {card["denoiser"]["licence"] for card in cards} == {"CC-BY-NC-4.0"}
    assert len({card["denoiser"]["sha256"] for card in cards}) == 2, "one of them fine-tuned"


def test_a_network_without_a_null_class_is_refused_before_anything_is_written(data, tmp_path):
    sizes = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4, "num_class_embeds": 2}
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    diffusers.UNet2DModel(sample_size=8, **sizes, **blocks).save_pretrained(tmp_path / "unet")
    asked = {**TINY, "denoiser": str(tmp_path / "unet"), "out": tmp_path / "run"}
    with pytest.raises(InputError, match="cfg=1 asks for none"):
        rf.compare(data, ["dit"], seeds=1, **asked)
    assert not (tmp_path / "run").exists()
    assert rf.compare(data, ["dit:cfg=1"], seeds=1, **asked).rows


def test_more_steps_than_the_schedule_has_are_refused_before_anything_is_written(data, tmp_path):
    save_pipeline(diffusers, tmp_path / "dit", classes=2, num_train_timesteps=20)
    asked = {**TINY, "denoiser": str(tmp_path / "dit"), "out": tmp_path / "run"}
    with pytest.raises(InputError, match="steps is 21: the denoiser's schedule has 20 steps, so it can be at most that"):
        rf.compare(data, ["dit:solver=dpm,steps=21"], seeds=1, **asked)
    assert not (tmp_path / "run").exists()
    assert rf.compare(data, ["dit:solver=dpm,steps=20"], seeds=1, **asked).rows
