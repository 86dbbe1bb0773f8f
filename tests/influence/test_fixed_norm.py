"""Passes that read layers leave out the sums of a batch norm's backward pass: the scores stay those of autograd in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from refluence.influence import Scorer, capture
from refluence.influence.batches import WIDE, at_once
from refluence.influence.fixed_norm import lighter
from support.brute_force import close

KINDS = {
    "maps": (nn.BatchNorm2d, (5, 4, 6, 6)),
    "rows": (nn.BatchNorm1d, (5, 4)),
    "signals": (nn.BatchNorm1d, (5, 4, 7)),
    "volumes": (nn.BatchNorm3d, (5, 4, 3, 3, 3)),
}


class Net(nn.Module):
    """Something with weights of its own before the norm, a ReLU in its place behind it, and a head."""

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(4, 4), norm, nn.Linear(4, 3)

    def forward(self, x):
        x = self.first(x.movedim(1, -1)).movedim(-1, 1)
        return self.head(F.relu_(self.norm(x)).reshape(len(x), 4, -1).mean(2))


def moved(norm):
    torch.manual_seed(0)
    norm = norm.double().eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    if norm.affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize(("kind", "shape"), KINDS.values(), ids=KINDS)
def test_the_gradient_by_the_input_is_that_of_the_norm(kind, shape):
    norm = moved(kind(4))
    a = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    native = norm(a)
    out = lighter(norm, a, native)
    assert out.grad_fn is not native.grad_fn
    assert torch.equal(out, native)
    delta = torch.randn_like(native)
    close(*(torch.autograd.grad(o, a, delta)[0] for o in (out, native)), 1e-12)


@pytest.mark.parametrize(("kind", "shape"), KINDS.values(), ids=KINDS)
def test_scores_and_captures_are_those_of_autograd(kind, shape):
    net = Net(moved(kind(4))).double().eval()
    x, y = torch.randn(shape, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
    v = {name: torch.randn_like(p) for name, p in net.named_parameters()}

    def one(j):
        gradients = torch.autograd.grad(F.cross_entropy(net(x[[j]]), y[[j]]), list(net.parameters()))
        return sum((g * t).sum() for g, t in zip(gradients, v.values(), strict=True))

    want = torch.stack([one(j) for j in range(len(x))]).detach()
    close(Scorer(net, engine="ghost")(x, y, v), want, 1e-10)
    close(capture(net, x, y, engine="ghost").scores(v), want, 1e-10)


def test_a_loss_of_gradients_is_not_read_in_silence():
    """The norm's weight is in the gradient of the input: no engine that reads layers sees that share."""
    net = Net(moved(nn.BatchNorm1d(4))).double().eval()

    def steep(logits, y):
        each = F.cross_entropy(logits, y, reduction="none")
        slope = torch.autograd.grad(each.sum(), net.seen, create_graph=True)[0]
        return each + slope.square().sum(1)

    def keep(module, args):
        net.seen = args[0] if args[0].requires_grad else args[0].requires_grad_()
        return (net.seen,)

    net.first.register_forward_pre_hook(keep)
    x, y = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
    v = {"norm.weight": torch.randn(4, dtype=torch.float64)}

    def one(j):
        loss = steep(net(x[[j]].clone()), y[[j]])
        return (torch.autograd.grad(loss.sum(), net.norm.weight)[0] * v["norm.weight"]).sum()

    want = torch.stack([one(j) for j in range(len(x))]).detach()
    close(Scorer(net, loss=steep)(x.clone(), y, v), want, 1e-10)


@pytest.mark.parametrize(("why", "change"), [("train mode", nn.Module.train), ("other type", nn.Module.float)])
def test_what_is_no_such_norm_keeps_its_own_graph(why, change):
    norm = change(moved(nn.BatchNorm1d(4)))
    a = torch.randn(5, 4, dtype=norm.weight.dtype).requires_grad_()
    out = norm(a)
    if why == "other type":
        a = a.double().detach().requires_grad_()
    assert lighter(norm, a, out) is out


def test_wide_layers_take_fewer_samples_a_pass():
    x = torch.empty(1, 3, 32, 32)
    assert [at_once(x, widest=w) for w in (0, WIDE // 64, WIDE // 64 + 1, WIDE // 16, 2 * WIDE)] == [64, 64, 32, 16, 1]
