from types import SimpleNamespace

import pytest
import torch
from torch import nn

from refluence.errors import InputError
from refluence.influence.parameters import _wide, add, dot, parameters_of, scaled, zeros
from support.cases import Shared


def test_dot_products_of_float32_are_accumulated_in_float64():
    big = torch.tensor([1e5, 1.0, -1e5])
    a = {"p": big, "q": torch.tensor([[2.0]])}
    b = {"p": torch.tensor([1e5, 1.0, 1e5]), "q": torch.tensor([[3.0]])}
    assert dot(a, b) == 7  # in float32 the 1 is lost beside 1e10
    assert dot({"q": a["q"]}, b) == 6


def test_devices_without_float64_take_float32():
    assert _wide(SimpleNamespace(device=torch.device("mps"))) == torch.float32
    assert _wide(SimpleNamespace(device=torch.device("cuda"))) == torch.float64


def test_sums_multiples_and_zeros_leave_their_arguments_alone():
    a, b = {"p": torch.tensor([1.0, 2.0])}, {"p": torch.tensor([10.0, 20.0])}
    assert add(a, b)["p"].tolist() == [11, 22]
    assert add(a, b, -0.5)["p"].tolist() == [-4, -8]
    assert scaled(a, 3)["p"].tolist() == [3, 6]
    assert zeros(a)["p"].tolist() == [0, 0]
    assert a["p"].tolist() == [1, 2]


def test_parameters_are_detached_in_the_order_of_the_model_and_tied_ones_once():
    model = Shared()
    every = parameters_of(model)
    assert list(every) == [name for name, _ in model.named_parameters()]
    assert "tied.weight" not in every
    assert not any(p.requires_grad for p in every.values())
    assert all(p.requires_grad for p in model.parameters())
    assert list(parameters_of(model, (n for n in ("out.bias", "first.weight")))) == ["first.weight", "out.bias"]


def test_unknown_names_and_nothing_to_choose_are_refused():
    with pytest.raises(InputError, match="no parameter 'nope': it has weight, bias"):
        parameters_of(nn.Linear(2, 2), ["nope"])
    with pytest.raises(InputError, match="names is empty"):
        parameters_of(nn.Linear(2, 2), [])
    with pytest.raises(InputError, match="the model has none"):
        parameters_of(nn.Flatten())
