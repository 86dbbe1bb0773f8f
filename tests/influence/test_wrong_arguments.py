"""What is given in the place of tensors, batches and weightings is one line that says what would be right."""

import numpy as np
import pytest
import torch
from torch import nn

import refluence as rf

NET, X, Y = nn.Linear(4, 2), torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1] * 3)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: rf.weights(X[:, 0], "influence"), r"weighting is a str: give a Weighting\('influence'\)"),
        (lambda: rf.weights([0.1, 0.2], rf.Weighting("influence")), r"scores are a list: give a tensor \(n,\)"),
        (lambda: rf.capture(NET, X.numpy(), Y), r"x is a ndarray: give a tensor, torch.as_tensor\(x\)"),
        (lambda: rf.capture(NET, X, Y.tolist()), "y is a int: give a tensor"),
        (lambda: rf.scores(NET, X, Y.numpy(), {"bias": torch.ones(2)}), "y is a ndarray: give a tensor"),
        (lambda: rf.validation_influence(NET, [(X, Y)], rf.load("digits").val), r"a Split holds no batches: give a list of"),
        (lambda: rf.validation_influence(NET, [(X, Y)], [(np.zeros((2, 4)), Y[:2])]), "x is a ndarray: give a tensor"),
    ],
)  # fmt: skip
def test_what_is_no_tensor_batch_or_weighting_is_one_line(call, said):
    with pytest.raises(rf.InputError, match=f"^{said}"):
        call()
