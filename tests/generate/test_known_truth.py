"""The smallest experiment in which the truth is known: half of every class lies upside down, and only the upright half counts.

The denoiser learns both halves; the surrogate's mean gradients are those of upright images alone (weights of 1 and 0). Guidance
by influence must then give more upright images than the same noise without it, and deviation more modes.
"""

from dataclasses import replace

import pytest
import torch
from sklearn.svm import SVC
from torch import Tensor

import refluence as rf
from refluence.compute import Compute
from refluence.generate.settings import Guidance, Settings
from refluence.generate.surrogate import surrogate_defaults
from refluence.generate.surrogate_work import SurrogateWork
from refluence.generate.training import DenoiserWork, denoising_defaults
from refluence.generate.work import SamplingWork
from refluence.models import network
from refluence.seeds import streams

pytestmark = pytest.mark.slow
CLASSES, PER_CLASS = 10, 20


def turned(images: Tensor) -> Tensor:
    return images.flip((2, 3))


def modes(z: Tensor, alike: float = 0.9) -> int:
    """Images `(n, ...)` of which no earlier one that counts has a higher cosine."""
    led = list[Tensor]()
    for each in torch.nn.functional.normalize(z.flatten(1), dim=1):
        if all(float(each @ other) < alike for other in led):
            led.append(each)
    return len(led)


class Halves:
    """Digits of which every second one is upside down, and what is sampled of them."""

    def __init__(self) -> None:
        digits = rf.load("digits").train
        x, y, number = digits.images.float() / 255, digits.labels, torch.arange(len(digits))
        mixed = torch.where((number % 2 == 1)[:, None, None, None], turned(x), x)
        self.data = rf.load((mixed, y), test=(x[:50], y[:50]))
        upright = (self.data.train.rows % 2 == 0).double()
        both = torch.cat([x, turned(x)]).flatten(1).numpy()
        self.judge = SVC(C=10).fit(both, torch.cat([y, y + CLASSES]).numpy())
        config, settings = denoising_defaults(self.data.shape, self.data.classes)
        self.denoiser = self.driven(DenoiserWork(config, settings, self.data, streams(0), Compute())).artifact
        spec = network("convnet:32", self.data.shape, CLASSES)
        own = replace(surrogate_defaults(self.data, "cpu"), epochs=10)
        self.surrogate = self.driven(SurrogateWork(own, spec, self.data, streams(0), Compute(), upright)).artifact

    @staticmethod
    def driven(work):
        for _ in work.steps():
            pass
        return work.result()

    def sampled(self, **guidance):
        """Images of a class or its like upside down, and the card of the set."""
        settings = Settings(batch=100, guidance=Guidance(**guidance))
        counts = (PER_CLASS,) * CLASSES
        work = SamplingWork(settings, self.denoiser, self.surrogate, self.data, counts, streams(1), Compute())
        result = self.driven(work)
        pixels = work.pixels().flatten(1).numpy()
        called, labels = torch.from_numpy(self.judge.predict(pixels)), work.labels
        found = int((called == labels).sum()), int((called == labels + CLASSES).sum())
        return *found, result.card, sum(modes(work.z[labels == c]) for c in range(CLASSES))


@pytest.fixture(scope="module")
def halves():
    return Halves()


def test_influence_raises_the_share_of_what_it_is_taken_on(halves):
    plain_upright, plain_turned, plain, _ = halves.sampled()
    upright, upside_down, steered, _ = halves.sampled(influence=True)
    assert plain_upright + plain_turned > 180, "nearly all samples are recognised"
    assert 0.4 < plain_upright / (plain_upright + plain_turned) < 0.6, "without guidance about as many of each"
    assert upright / (upright + upside_down) > 0.65
    assert steered["influence"]["mean"] < plain["influence"]["mean"], "the energy that is descended falls"


def test_more_influence_leaves_few_of_the_others(halves):
    upright, upside_down, _, _ = halves.sampled(influence=True, k=20.0)
    assert upright / (upright + upside_down) > 0.85


def test_deviation_raises_the_number_of_modes(halves):
    (_, _, plain, few), (_, _, steered, many) = halves.sampled(), halves.sampled(deviation=True, gamma=200.0)
    assert many > few
    assert steered["nearest"] < plain["nearest"]
