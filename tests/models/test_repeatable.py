"""What no run could repeat is refused, and named; what a network draws while it trains is not."""

import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import StochasticDepth

from refluence.errors import InputError
from refluence.models.repeatable import refuse_random_eval, refuse_unseeded
from refluence.randomness import seeded
from support.draws import generator
from support.noisy_nets import stir, stirred

X = torch.randn(2, 3, 8, 8, generator=generator(0))


class Call(nn.Module):
    """`function(x, training)` as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x, self.training)


class Between(nn.Module):
    """A network whose own forward is random, before a layer that is not."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Linear(144, 2)

    def forward(self, x):
        return self.last((self.first(x) + torch.rand(())).flatten(1))


class LeftOn(nn.Module):
    """Dropout in every mode."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.2, inplace=True)

    def train(self, mode=True):
        super().train(mode)
        self.drop.train()
        return self

    def forward(self, x):
        return self.drop(x)


def net(layer):
    with seeded(0):
        made = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), layer, nn.Flatten(), nn.LazyLinear(2))
        made(X)
        return made


QUIET = {
    "dropout": lambda: nn.Dropout(0.5),
    "functional": lambda: Call(lambda x, training: F.dropout(x, 0.5, training)),
    "alpha": lambda: nn.AlphaDropout(0.5),
    "depth": lambda: StochasticDepth(0.5, "batch"),
    "rrelu": lambda: nn.RReLU(),
    "noise times zero": lambda: Call(lambda x, training: x + torch.randn_like(x) * training),
    "numpy": lambda: Call(lambda x, training: x + np.random.rand() if training else x),
    "batch norm": lambda: nn.BatchNorm2d(4, momentum=None),
    "not a number": lambda: Call(lambda x, training: x * torch.nan),
}
RANDOM = {
    "dropout": (lambda: Call(lambda x, training: F.dropout(x, 0.1)), "layer '2' (Call)"),
    "numpy": (lambda: Call(lambda x, training: x + np.random.rand()), "layer '2' (Call)"),
    "rarely": (lambda: Call(lambda x, training: x * (torch.rand(()) < 0.8)), "layer '2' (Call)"),
    "pool": (lambda: nn.FractionalMaxPool2d(2, output_ratio=0.7), "layer '2' (FractionalMaxPool2d)"),
    "in place, left on": (LeftOn, "layer '2.drop' (Dropout)"),
    "clock": (lambda: Call(lambda x, training: x + time.perf_counter_ns() % 1009), "layer '2' (Call)"),
}


@pytest.mark.parametrize("layer", QUIET.values(), ids=QUIET)
def test_random_numbers_of_training_alone_pass(layer):
    stir(0)
    made, before = net(layer()), stirred()
    made(X)
    made[0].eval()
    stir(0)
    refuse_random_eval(made, X)
    refuse_unseeded(lambda: net(layer()), X, "mine")
    assert stirred() == before
    assert [m.training for m in made] == [False, True, True, True, True], "modes are put back"


@pytest.mark.parametrize(("layer", "said"), RANDOM.values(), ids=RANDOM)
def test_a_network_that_is_random_in_evaluation_mode_is_refused_by_its_layer(layer, said):
    with pytest.raises(InputError, match=r"^mine is random in evaluation mode: ") as caught:
        refuse_random_eval(net(layer()), X, "mine")
    assert said in str(caught.value)


def test_a_forward_that_is_random_itself_is_named():
    with pytest.raises(InputError, match="the forward of Between itself"):
        refuse_random_eval(Between(), X)
    with pytest.raises(InputError, match=r"layer '1' \(Between\)"):
        refuse_random_eval(nn.Sequential(nn.Identity(), Between()), X)


def test_generators_that_no_seed_reaches_are_refused():
    own, shared = np.random.default_rng, np.random.default_rng(0)

    def weights():
        made = net(nn.Identity())
        made[0].bias.data += float(own().random())
        return made

    with pytest.raises(InputError, match=r"^mine draws random numbers that no seed holds: 0.bias differs"):
        refuse_unseeded(weights, X, "mine")
    half = Call(lambda x, training: x if shared.random() < 0.5 else -x)
    with pytest.raises(InputError, match=r"in training mode it gives other logits under the same seed"):
        refuse_unseeded(lambda: net(half), X, "mine")


def test_networks_that_share_what_they_learn_are_refused():
    with seeded(0):
        head, body = nn.Linear(3 * 64, 2), nn.Linear(3 * 64, 3 * 64).requires_grad_(False)
    with pytest.raises(InputError, match=r"^mine is not a new one each time: 1.weight is made once"):
        refuse_unseeded(lambda: nn.Sequential(nn.Flatten(), head), X, "mine")

    def on_a_frozen_one():
        with seeded(0):
            return nn.Sequential(nn.Flatten(), body, nn.Linear(3 * 64, 2))

    refuse_unseeded(on_a_frozen_one, X, "mine")
