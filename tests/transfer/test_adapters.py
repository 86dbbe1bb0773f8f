"""A student with adapters (LoRA) in a run: influence along their parameters alone is that of autograd; nothing else learns."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import refluence as rf
from refluence.transfer.scoring import Measure

NETS = '''
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


class Reader(nn.Module):
    """A transformer of one layer, to which an image is a sentence of its rows."""

    def __init__(self, side, classes, width=16):
        super().__init__()
        self.embed, self.classifier = nn.Linear(side, width), nn.Linear(width, classes)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        h = self.embed(x.flatten(1, 2))
        h = self.norm(h + self.out(scaled_dot_product_attention(self.query(h), self.key(h), self.value(h))))
        return self.classifier(h.mean(1))


class Adapted(nn.Module):
    """W x + B A x, W as it is."""

    def __init__(self, inner, rank=2):
        super().__init__()
        self.inner = inner
        self.lora_A = nn.Parameter(torch.randn(rank, inner.in_features) / 4)
        self.lora_B = nn.Parameter(torch.zeros(inner.out_features, rank))

    def forward(self, x):
        return self.inner(x) + x @ self.lora_A.T @ self.lora_B.T


def own(shape, classes):
    net = Reader(shape[1], classes).requires_grad_(False)
    net.query, net.value = Adapted(net.query), Adapted(net.value)
    net.classifier.requires_grad_(True)
    return net


def by_peft(shape, classes):
    import peft

    options = peft.LoraConfig(r=2, target_modules=["query", "value"], modules_to_save=["classifier"])
    return peft.get_peft_model(Reader(shape[1], classes), options)
'''


def recorded(monkeypatch):
    """Each scoring of a run: the network as it was, training and validation batches, and what was found."""
    found, call = [], Measure.__call__

    def measured(measure, train, validation, fit):
        scores = call(measure, train, validation, fit)
        found.append((copy.deepcopy(measure.net), measure.loss, list(train), list(validation), scores))
        return scores

    monkeypatch.setattr(Measure, "__call__", measured)
    return found


def gradient(net: nn.Module, loss: torch.Tensor, names: list[str]) -> torch.Tensor:
    own = dict(net.named_parameters())
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, [own[name] for name in names])])


@pytest.mark.parametrize("kind", ["own", "by_peft"])
def test_influence_is_along_adapters_alone(kind, tmp_path, monkeypatch):
    if kind == "by_peft":
        pytest.importorskip("peft")
    (tmp_path / "NETS.py").write_text(NETS)
    found = recorded(monkeypatch)
    options = {"teacher": "convnet1:6", "student": f"{tmp_path}/NETS.py:{kind}", "epochs": 2, "threads": 1}
    run = rf.transfer(rf.load("digits", rows=200, val_fraction=0.2), "student:parameters=*lora_*", **options)
    net, loss, ((x, (labels, logits)), *_), ((xv, yv), *_), scores = found[-1]
    net.double().requires_grad_(True)
    names = [name for name, _ in net.named_parameters() if "lora_" in name]
    assert len(names) == 4
    assert all(bool(p.any()) for name, p in net.named_parameters() if name in names), "they have learned"
    x, logits, xv = x.double(), logits.double(), xv.double()
    against = gradient(net, cross_entropy(net(xv), yv), names)
    some = range(0, len(x), 7)
    each = [loss(net(x[[j]]), (labels[[j]], logits[[j]])).sum() for j in some]
    want = torch.stack([-(gradient(net, one, names) @ against) for one in each])
    torch.testing.assert_close(scores.value[::7].double(), want, rtol=1e-3, atol=1e-4 * float(want.abs().max()))
    begun, ended = found[0][0].state_dict(), run.student.net.state_dict()
    assert {name for name, tensor in ended.items() if not torch.equal(tensor, begun[name])} == {
        name for name, p in run.student.net.named_parameters() if p.requires_grad
    }
