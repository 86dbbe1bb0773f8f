"""The deviation energy and its gradient against autograd written out, and what counts as there already."""

import torch

from refluence.generate.deviation import deviation, gamma_of
from refluence.generate.memory import Memory
from refluence.generate.settings import Guidance

G = torch.Generator().manual_seed(3)
Z, FINISHED = (torch.randn(n, 1, 2, 3, generator=G, dtype=torch.float64) for n in (5, 4))
Y, LABELS = torch.tensor([0, 1, 0, 2, 0]), torch.tensor([0, 1, 1, 0])


def literal(z: torch.Tensor) -> torch.Tensor:
    """Eq. 8 of each sample: the highest cosine with an image of its class, else 0."""
    values = []
    for i, label in enumerate(Y.tolist()):
        others = [m for m, of in zip(FINISHED, LABELS.tolist(), strict=True) if of == label]
        others += [m.detach() for j, m in enumerate(z) if j != i and int(Y[j]) == label]
        cosines = [(z[i] * m).sum() / (z[i].norm() * m.norm()) for m in others]
        values.append(max(cosines) if cosines else z.new_zeros(()))
    return torch.stack(values)


def test_energy_and_gradient_equal_autograd():
    z = Z.clone().requires_grad_()
    wanted = literal(z)
    (slope,) = torch.autograd.grad(wanted.sum(), z)
    energy, gradient = deviation(Z, Y, FINISHED, LABELS)
    assert torch.allclose(energy, wanted.detach(), atol=1e-12)
    assert torch.allclose(gradient, slope, atol=1e-12)
    assert float(energy[3]) == 0  # the only one of its class
    assert float(gradient[3].abs().max()) == 0


def test_without_memory_and_mates_there_is_nothing():
    energy, gradient = deviation(Z[:1], Y[:1], FINISHED[:0], LABELS[:0])
    assert float(energy) == 0 == float(gradient.abs().max())


def test_a_sample_that_is_zero_is_left_alone():
    energy, gradient = deviation(torch.zeros(2, 3), torch.zeros(2).long(), torch.ones(1, 3), torch.zeros(1).long())
    assert bool(energy.isfinite().all())
    assert bool(gradient.isfinite().all())


def test_scaled_gamma_moves_z_by_the_same_share_at_any_size():
    shares = []
    for side in (8, 16, 64):
        z = torch.randn(64, 1, side, side, generator=torch.Generator().manual_seed(side), dtype=torch.float64)
        memory = torch.randn(1, 1, side, side, generator=G, dtype=torch.float64)
        y = torch.arange(64)
        _, gradient = deviation(z[:1], y[:1], memory, y[:1])
        step = gamma_of(Guidance(gamma=50), side * side) * gradient
        shares.append(float(step.norm() / z[0].norm()))
    assert max(shares) < 1.25 * min(shares)
    assert 0.01 < shares[-1] < 0.015  # the published 1.2 %
    assert gamma_of(Guidance(gamma=50, scaled_gamma=False), 64) == 50


def test_a_memory_keeps_all_or_the_last_of_each_class():
    everything, last = Memory(), Memory(2)
    for memory in (everything, last):
        memory.add(torch.arange(6.0)[:, None], torch.tensor([0, 0, 1, 0, 0, 1]))
        memory.add(torch.tensor([[6.0]]), torch.tensor([1]))
    z = torch.zeros(1, 1)
    assert everything.among(z, torch.tensor([1]))[0].flatten().tolist() == [2, 5, 6]
    found, labels = last.among(torch.zeros(2, 1), torch.tensor([1, 0]))
    assert found.flatten().tolist() == [3, 4, 5, 6]
    assert labels.tolist() == [0, 0, 1, 1]
    assert len(last.among(z, torch.tensor([7]))[0]) == 0
    none = Memory(0)
    none.add(torch.ones(1, 1), torch.tensor([0]))
    assert len(none.among(z, torch.tensor([0]))[0]) == 0
