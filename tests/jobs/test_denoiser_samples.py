"""Samples that a denoiser's page shows: of its first classes, the same for the same seed."""

import pytest
import torch
from safetensors.torch import load_file

from refluence.generate.denoiser import build_denoiser
from refluence.generate.denoiser_config import DenoiserConfig
from refluence.jobs import denoiser_samples
from refluence.jobs.session import Machine, open_session


@pytest.fixture(scope="module")
def digits_session():
    return open_session("digits", Machine(threads=1, progress=False))


def test_samples_are_pictures_of_the_first_classes_and_the_same_again(digits_session, tmp_path):
    dataset = digits_session.dataset
    config = DenoiserConfig(dataset.shape, dataset.classes, patch=4, width=8, depth=1, heads=1)
    denoiser = build_denoiser(config, torch.Generator().manual_seed(0))
    denoiser_samples.write(denoiser, digits_session, 3, tmp_path)
    stored = load_file(tmp_path / denoiser_samples.FILE)
    assert stored["images"].shape == (80, *dataset.shape)
    assert stored["images"].dtype == torch.uint8
    assert stored["labels"].bincount().tolist() == [8] * 10
    again, _ = denoiser_samples.draw(denoiser, digits_session, 3)
    assert torch.equal(again, stored["images"])
    assert not torch.equal(denoiser_samples.draw(denoiser, digits_session, 4)[0], again)
