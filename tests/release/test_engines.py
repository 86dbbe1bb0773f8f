"""Networks of the sizes that people use, every engine against autograd; influence against retraining without each instance."""

import leave_one_out
import pytest
import torch

from refluence.influence import Unsupported, capture, cross_entropy, scores
from refluence.models import ModelSpec, build
from support.draws import generator

pytestmark = [pytest.mark.release, pytest.mark.slow, pytest.mark.timeout(1500)]
N = 6
NETWORKS = {
    "convnet3 128": ModelSpec("convnet3", (3, 32, 32), 10, width=128),
    "convnet4, batch norm": ModelSpec("convnet4", (3, 64, 64), 10, width=64, norm="batch"),
    "resnet10": ModelSpec("resnet10", (3, 32, 32), 100, width=64),
    "resnet18": ModelSpec("resnet18", (3, 32, 32), 10, width=64),
    "resnetap10": ModelSpec("resnetap10", (3, 64, 64), 10, width=64),
    "torchvision:mobilenet_v3_small": ModelSpec("torchvision:mobilenet_v3_small", (3, 64, 64), 10),
    "torchvision:regnet_y_400mf": ModelSpec("torchvision:regnet_y_400mf", (3, 64, 64), 10),
    "torchvision:swin_t": ModelSpec("torchvision:swin_t", (3, 64, 64), 10),
    "torchvision:convnext_tiny": ModelSpec("torchvision:convnext_tiny", (3, 64, 64), 10),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_engine_gives_the_numbers_of_autograd(name):
    spec = NETWORKS[name]
    net = build(spec, generator(0)).double().eval()
    g = generator(1)
    x, y = torch.randn(N, *spec.shape, generator=g, dtype=torch.float64), torch.arange(N) % spec.classes
    v = {k: torch.randn(p.shape, generator=g, dtype=torch.float64) for k, p in net.named_parameters()}
    want, mean = torch.zeros(N, dtype=torch.float64), {k: torch.zeros_like(t) for k, t in v.items()}
    for j in range(N):
        net.zero_grad()
        cross_entropy(net(x[j : j + 1]), y[j : j + 1]).sum().backward()
        for k, p in net.named_parameters():
            want[j] += (p.grad * v[k]).sum()
            mean[k] += p.grad / N
    net.zero_grad()
    answered = 0
    for engine in ("auto", "ghost", "forward", "double_backward", "single"):
        try:
            found = scores(net, x, y, v, engine=engine)
        except Unsupported:
            assert engine not in ("auto", "single")
            continue
        answered += 1
        torch.testing.assert_close(found, want, rtol=1e-8, atol=1e-8 * float(want.abs().max()))
    assert answered >= 3
    kept = capture(net, x, y)
    torch.testing.assert_close(kept.scores(v), want, rtol=1e-8, atol=1e-8 * float(want.abs().max()))
    for k, gradient in kept.gradient().items():
        torch.testing.assert_close(gradient, mean[k], rtol=1e-7, atol=1e-9 * max(1.0, float(mean[k].abs().max())))


@pytest.mark.parametrize("lam", [1e-1, 1e-2])
def test_influence_predicts_retraining_without_each_instance(lam):
    rows = {row["curvature"]: row for row in leave_one_out.run(lam)}
    for name in ("ggn, tolerance 1e-8", "ggn (default, tolerance 1e-2)"):
        assert rows[name]["pearson"] > 0.999
        assert rows[name]["slope"] == pytest.approx(1, abs=0.1)
    assert rows["ekfac"]["spearman"] > rows["identity"]["spearman"] - 0.05
