"""The promise of the default denoiser on digits: a classifier that never saw it knows its samples, and can learn from them.

Recognition alone would reward samples that are all alike.
"""

import pytest
import torch
from sklearn.svm import SVC

import refluence as rf
from refluence.compute import Compute
from refluence.generate.settings import Settings
from refluence.generate.training import DenoiserWork, denoising_defaults
from refluence.generate.work import SamplingWork
from refluence.seeds import streams

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def digits():
    return rf.load("digits")


@pytest.fixture(scope="module")
def samples(digits):
    """500 samples at cfg 2: pixels and labels."""
    config, settings = denoising_defaults(digits.shape, digits.classes)
    training = DenoiserWork(config, settings, digits, streams(0), Compute())
    for _ in training.steps():
        pass
    work = SamplingWork(
        Settings(cfg=2.0, batch=100), training.result().artifact, None, digits, (50,) * 10, streams(0), Compute()
    )
    for _ in work.steps():
        pass
    return work.pixels().flatten(1).numpy(), work.labels.numpy()


def pixels(split):
    return (split.images.float() / 255).flatten(1).numpy(), split.labels.numpy()


def test_an_independent_classifier_recognises_the_samples(digits, samples):
    x, y = samples
    assert SVC(C=10).fit(*pixels(digits.train)).score(x, y) >= 0.95


def test_a_classifier_that_learns_from_samples_alone_knows_real_images(digits, samples):
    assert SVC(C=10).fit(*samples).score(*pixels(digits.test)) >= 0.85


def test_samples_of_a_class_differ(samples):
    x, y = samples
    for label in range(10):
        own = torch.from_numpy(x[y == label])
        assert float(torch.pdist(own).min()) > 0.1
