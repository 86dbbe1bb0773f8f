"""A user's network loses its wrappers and keeps its function."""

import pytest
import torch
from torch import nn

from refluence.models.plain import plain


class OptimizedModule(nn.Module):
    """Named as what `torch.compile` gives, which takes seconds to import."""

    def __init__(self, net):
        super().__init__()
        self._orig_mod = net

    def forward(self, x):
        raise AssertionError("compiled code")


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def part(wrap):
    net = small()
    return nn.Sequential(nn.Sequential(wrap(net[0]), net[1]), net[2])


def compiled(net):
    net._compiled_call_impl = lambda *images: 1 / 0
    return net


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (small(), []),
        (nn.DataParallel(small()), ["DataParallel left off"]),
        (OptimizedModule(small()), ["torch.compile left off"]),
        (nn.DataParallel(OptimizedModule(small())), ["DataParallel and torch.compile left off"]),
        (part(nn.DataParallel), ["DataParallel left off"]),
        (part(lambda net: OptimizedModule(nn.DataParallel(net))), ["torch.compile and DataParallel left off"]),
        (compiled(small()), ["compile() left off"]),
        (small().double(), ["its float64 parameters are used as float32"]),
        (nn.DataParallel(small().half()), ["DataParallel left off", "its float16 parameters are used as float32"]),
    ],
)
def test_the_function_stays(net, words):
    x = torch.rand(5, 3)
    found, said = plain(net)
    assert said == words
    torch.testing.assert_close(found(x), small()(x), rtol=1e-2, atol=1e-3)
    assert {p.dtype for p in found.parameters()} == {torch.float32}
    assert "module" not in str(list(found.state_dict())) + str(list(found.state_dict())).replace("_orig_mod", "module")
