"""The benchmark of a denoiser's training on a few images: rows have both shares for every scale."""

from dataclasses import replace

import denoiser_training

from refluence.generate.denoiser_config import DenoiserConfig
from refluence.generate.training import DenoiserSettings
from support.tiny_data import tiny_dataset


def test_a_tiny_denoiser_is_trained_and_judged():
    data = tiny_dataset()
    config = DenoiserConfig(data.shape, data.classes, patch=4, width=16, depth=1, heads=2)
    denoiser, seconds, processors = denoiser_training.train(data, config, DenoiserSettings(iterations=4, batch=8), 0)
    row = denoiser_training.judged(denoiser, data, [1.0, 2.0], 0, per_class=2)
    assert min(seconds, processors) > 0
    assert set(row["recognised"]) == set(row["accuracy"]) == {"1", "2"}
    assert all(0 <= share <= 100 for name in ("recognised", "accuracy") for share in row[name].values())
    assert row["accuracy_real"] == 100  # the test images are those that it is fitted to


def test_samples_are_so_many_of_each_class_and_pixels():
    data = tiny_dataset()
    denoiser, *_ = denoiser_training.train(
        data, replace(CONFIG, classes=data.classes), DenoiserSettings(iterations=1, batch=2), 0
    )
    pixels, labels = denoiser_training.sampled(denoiser, 3, 2.0, 0)
    assert labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert pixels.shape == (9, 192)
    assert pixels.min() >= 0
    assert pixels.max() <= 1


CONFIG = DenoiserConfig((3, 8, 8), ("a", "b", "c"), patch=4, width=16, depth=1, heads=2)
