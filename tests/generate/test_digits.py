"""The promise of the default denoiser on digits: a classifier that never saw it knows its samples, and can learn from them.

Recognition alone would reward samples that are all alike.
"""

import pytest
import torch
from sklearn.svm import SVC

import refluence as rf

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def digits():
    return rf.load("digits")


@pytest.fixture(scope="module")
def samples(digits, digits_denoiser):
    """500 samples at cfg 2: pixels and labels."""
    made = rf.generate(digits, "dit", denoiser=digits_denoiser, ipc=50, cfg=2.0, sample_batch=100, threads=1).set
    x = made.images * made.std[0] + made.mean[0]
    return x.flatten(1).numpy(), made.labels.numpy()


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
