"""Where networks come from: when a new one comes, what it was trained on, and that nothing else moves it."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from refluence.condense import networks
from refluence.condense.network_training import real, sgd, train_on
from refluence.models import build
from support.small_methods import start


def weights_of(work):
    return torch.cat([p.detach().flatten() for p in work.net.parameters()])


def fresh(work, number):
    net = build(work.networks.context.spec, work.rng("network", number))
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_a_network_lives_for_outer_steps_and_trains_between_them():
    for name in ("dc", "idc1"):
        work = start(name, iterations=5, outer=2, pretrain=0)
        before = []
        steps = work.steps()
        while work.step < 5:
            work.networks.ready(work.step, work.synthetic)
            before.append(weights_of(work))
            next(steps)
        assert torch.equal(before[0], fresh(work, 0))
        assert torch.equal(before[2], fresh(work, 1))
        assert torch.equal(before[4], fresh(work, 2))
        assert not torch.equal(before[1], before[0])


def test_dm_never_trains():
    work = start("dm", iterations=3)
    for number, _ in enumerate(work.steps()):
        assert torch.equal(weights_of(work), fresh(work, number))


def test_training_on_real_data_is_plain_sgd():
    """Against torch.optim.SGD on the same batches; no augmentation, no CutMix."""
    work = start("idc1", cutmix=0.0, augmentation="", net_augmentation="", net_batch=5)
    settings, data = work.settings, work.dataset
    net, twin = (build(work.networks.context.spec, work.rng("network", 0)) for _ in range(2))
    share = train_on(net, sgd(net, settings), real(data, "cpu"), settings, 9, torch.Generator().manual_seed(1))
    optimiser = torch.optim.SGD(twin.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    order, g, right = [], torch.Generator().manual_seed(1), 0
    for _ in range(9):
        if len(order) < 5:  # a new permutation when too few are left
            order = torch.randperm(len(data.train), generator=g).tolist()
        chosen, order = order[:5], order[5:]
        x, y = data.pixels(data.train, chosen), data.train.labels[chosen]
        logits = twin(x)
        right += int((logits.argmax(1) == y).sum())
        optimiser.zero_grad()
        cross_entropy(logits, y).backward()
        optimiser.step()
    assert share == right / 45
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_a_pool_grows_to_its_size_and_knows_each_network_accuracy():
    work = start("idm", iterations=8, pool=5, pool_every=2)
    sizes = []
    for _ in work.steps():
        sizes.append(len(work.networks.kept))
        assert len(work.networks.shares) == sizes[-1]
    assert sizes == [4, 4, 5, 5, 5, 5, 5, 5]
    assert work.networks.made == 3 + 4
    assert max(work.networks.shares) > 0.3


def test_an_interpolated_network_lies_between_first_and_last_weights():
    work = start("ncfm", iterations=1, pool=1, pretrain=5)
    next(work.steps())
    first, last = fresh(work, 0), torch.cat([work.networks.last[0][k].flatten() for k, _ in work.net.named_parameters()])
    now = weights_of(work)
    share = (now - first) @ (last - first) / (last - first).square().sum()
    assert 0 < share < 1
    torch.testing.assert_close(now, first + share * (last - first), rtol=1e-4, atol=1e-5)
    judge = torch.cat([p.detach().flatten() for p in work.networks.final.parameters()])
    assert torch.equal(judge, last)


def test_a_later_stage_starts_from_training_on_the_earlier_images():
    work = start("pdd", iterations=6, outer=2, inner=1)
    for _ in range(2):
        work.networks.ready(work.step, work.synthetic)
        next(work.steps())
    work.synthetic.begin(1)
    work.networks.ready(2, work.synthetic)
    assert not torch.equal(weights_of(work), fresh(work, 1))
    x, y = work.synthetic.training_set(0)
    assert len(x) == 2 * work.settings.factor**2, "one stored image of each class, decoded"
    net = build(work.networks.context.spec, work.rng("network", 1))
    assert cross_entropy(work.net(x), y) < cross_entropy(net(x), y)


def test_earlier_stages_are_learned_at_the_rates_of_pdds_code(monkeypatch):
    """MultiStepLR at 2/3 and 5/6 of the epochs, times .2, a new optimiser for each union of stages; augmented, not cut out."""
    seen = []

    def noted(net, optimiser, data, settings, steps, generator):
        seen.append((id(optimiser), data[0], optimiser.param_groups[0]["lr"], steps, settings.strategy))

    work = start("pdd", iterations=9, outer=3, stage_epochs=200)
    work.synthetic.begin(2)
    monkeypatch.setattr(networks, "train_on", noted)
    work.networks.on_earlier_stages(work.net, work.synthetic, 0)
    twin = torch.optim.SGD(work.net.parameters(), lr=0.01)
    schedule, expected = torch.optim.lr_scheduler.MultiStepLR(twin, [2 * 200 // 3, 5 * 200 // 6], 0.2), []
    for _ in range(200):
        expected.append(twin.param_groups[0]["lr"])
        twin.step()
        schedule.step()
    sizes = [len(work.synthetic.training_set(stage)[0]) for stage in range(2)]
    for stage, size in enumerate(sizes):
        mine = seen[3 * stage : 3 * stage + 3]
        assert len({optimiser for optimiser, *_ in mine}) == 1
        each = [lr for _, n, lr, steps, _ in mine for _ in range(steps // -(-n // 64))]
        assert [n for _, n, *_ in mine] == [size] * 3
        torch.testing.assert_close(torch.tensor(each), torch.tensor(expected))
    assert len(seen) == 6
    assert {strategy for *_, strategy in seen} == {"color_crop_flip_scale_rotate"}
    assert networks.on_stage(work.settings, 1).strategy == "color_crop_scale_rotate"
    assert networks.on_stage(start("dm", stages=2, iterations=4).settings, 3).augmentation_mode == "I", "PDD's, not the base's"


@pytest.mark.parametrize(("epochs", "shares"), [(1, [1, 0, 0]), (2, [1, 1, 0]), (5, [3, 1, 1]), (6, [4, 1, 1])])
def test_a_short_training_on_earlier_stages_begins_at_the_full_rate(monkeypatch, epochs, shares):
    seen = []
    monkeypatch.setattr(networks, "train_on", lambda net, optimiser, data, settings, steps, generator: seen.append(steps))
    work = start("pdd", iterations=9, outer=3, stage_epochs=epochs)
    work.synthetic.begin(1)
    work.networks.on_earlier_stages(work.net, work.synthetic, 0)
    assert seen == shares, "a few images are one batch"
