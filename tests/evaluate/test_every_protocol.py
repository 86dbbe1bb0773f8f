"""Every protocol builds and takes steps on a tiny set: grey and colour, hard and soft labels, with and without a teacher."""

import dataclasses
import math

import pytest
import torch

from refluence.data import Dataset, DistilledSet, decoded
from refluence.data.dataset import Split
from refluence.data.whitening import whitening
from refluence.errors import InputError
from refluence.evaluate import evaluate, evaluate_set, protocols, train
from refluence.models import ModelSpec, build
from support.tiny_data import rng

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)


def tiny(channels=3, **parts) -> DistilledSet:
    """Eight images of two classes."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, channels, 8, 8, generator=generator)
    return DistilledSet(images, torch.arange(8) % 2, ("a", "b"), MEAN[:channels], STD[:channels], **parts)


def spec(channels=3) -> ModelSpec:
    return ModelSpec("convnet1", (channels, 8, 8), 2, 4)


def split(channels=3) -> Split:
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (20, channels, 8, 8), generator=generator).to(torch.uint8)
    return Split(images, torch.arange(20) % 2, torch.arange(20))


def parameters(net) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def judged(small, protocol, nets=1, **more):
    """`evaluate_set` on the tiny split, through the protocol's own whitening, fitted on that split."""
    dataset = Dataset("tiny", small.classes, split(), split(), split(), small.mean, small.std)
    facts = (spec(), protocol, split(), rng, nets)
    return evaluate_set(small, *facts, whitened=whitening(protocol.zca, dataset), **more)


SOFT = torch.tensor([[0.7, 0.3], [0.2, 0.8]]).repeat(4, 1)


@pytest.mark.parametrize("name", protocols())
@pytest.mark.parametrize("channels", [1, 3])
def test_takes_steps_and_depends_on_its_generators_alone(name, channels):
    protocol, small = protocols()[name].with_(epochs=2, batch=5), tiny(channels)
    state = torch.get_rng_state()
    net, curve = train(small.images, small.labels, spec(channels), protocol, rng, 0, pixels=(small.mean, small.std))
    again, _ = train(small.images, small.labels, spec(channels), protocol, rng, 0, pixels=(small.mean, small.std))
    assert torch.equal(parameters(net), parameters(again))
    assert torch.equal(state, torch.get_rng_state())
    assert curve.shape == (2,)
    assert curve.isfinite().all()
    assert not torch.equal(parameters(net), parameters(build(spec(channels), rng("evaluation-network", 0))))


@pytest.mark.parametrize("name", protocols())
def test_uses_soft_labels_where_it_says_so(name):
    protocol = protocols()[name].with_(epochs=1)
    hard = judged(tiny(), protocol)
    soft = judged(tiny(soft=SOFT), protocol)
    assert (hard.labels, soft.labels) == ("hard", "soft" if protocol.soft else "hard")
    assert (hard.curve != soft.curve) == protocol.soft
    assert hard.epochs == 1


@pytest.mark.parametrize("name", ["sre2l", "sre2l-cifar", "rded"])
def test_a_teacher_labels_the_images_that_are_seen(name):
    """The first loss is the divergence of the fresh network from a teacher of constant logits."""
    protocol, told = protocols()[name].with_(epochs=1), torch.tensor([[3.0, -1.0]])
    seen = []

    def teacher(x):
        assert not torch.is_grad_enabled()
        seen.append(x)
        return told.expand(len(x), -1)

    small = tiny()
    found = evaluate_set(small, spec(), protocol, split(), rng, 1, teacher=teacher)
    assert found.labels == "teacher"
    net = build(spec(), rng("evaluation-network", 0))
    p, q = ((z / protocol.temperature).softmax(1) for z in (told, net(seen[0])))
    assert found.curve[0][1] == pytest.approx(float((p * (p / q).log()).sum(1).mean().detach()), rel=1e-4)
    assert not torch.equal(seen[0].sort(0)[0], small.images.sort(0)[0]), "not augmented"


def test_other_protocols_take_no_teacher():
    found = evaluate_set(tiny(), spec(), protocols()["dc"].with_(epochs=1), split(), rng, 1, teacher=lambda x: 1 / 0)
    assert found.labels == "hard"


@pytest.mark.parametrize("name", ["dc", "idc", "ncfm", "pdd"])
def test_a_set_that_holds_several_equals_its_decoded_images(name):
    """Decoded by hand: four tiles of an image, enlarged, one after the other."""
    small = tiny(soft=SOFT, factor=2, stage=torch.arange(8) // 4)
    tiles = [small.images[:, :, a : a + 4, b : b + 4] for a in (0, 4) for b in (0, 4)]
    images = torch.cat([torch.nn.functional.interpolate(tile, (8, 8), mode="bilinear") for tile in tiles])
    protocol = protocols()[name].with_(epochs=2)
    labels = torch.cat([small.soft if protocol.soft else small.labels] * 4)
    facts = (small.mean, small.std, rng, 2)
    by_hand = evaluate(images, labels, spec(), protocol, split(), *facts, stage=torch.cat([small.stage] * 4))
    found = evaluate_set(small, spec(), protocol, split(), rng, 2)
    assert found.accuracies == by_hand.accuracies
    assert found.curve == by_hand.curve
    assert found.epochs == (4 if name == "pdd" else 2)
    assert evaluate_set(decoded(small), spec(), protocol, split(), rng, 2).curve == found.curve


def test_a_learned_rate_is_used_by_those_who_learn_it():
    for name in ("mtt", "datm", "dc", "dsa"):
        protocol = protocols()[name].with_(epochs=1)
        with_rate = judged(tiny(lr=0.2), protocol)
        assert with_rate.lr == (0.2 if name in ("mtt", "datm") else 0.01)
        by_hand = judged(tiny(), dataclasses.replace(protocol, lr=with_rate.lr))
        assert by_hand.curve == with_rate.curve


def test_epochs_follow_the_decoded_images():
    small, igd = tiny(factor=2), protocols()["igd"]
    assert igd.resolve(len(decoded(small).labels), 2).epochs == 1500  # 16 a class, where 4 are stored
    assert igd.resolve(len(small), 2).epochs == 2000


@pytest.mark.parametrize("name", ["mtt", "frepo"])
def test_whitened_images_are_what_is_trained_and_judged_on(name):
    """What `train` makes of the whitened set, judged on the whitened split."""
    protocol, small = protocols()[name].with_(epochs=2), tiny()
    dataset = Dataset("tiny", small.classes, split(), split(), split(), MEAN, STD)
    whitened = whitening(protocol.zca, dataset)
    seen = []

    def compiled(net):
        return lambda x: seen.append(x.detach().clone()) or net(x)

    found = judged(small, protocol, compiled=compiled)
    net, curve = train(whitened(small.images), small.labels, spec(), protocol, rng, 0, pixels=(MEAN, STD))
    assert [loss for _, loss in found.curve] == curve.tolist()
    torch.testing.assert_close(seen[-1], whitened(dataset.pixels(dataset.test)))
    with torch.no_grad():
        right = (net.eval()(seen[-1].clone()).argmax(1) == dataset.test.labels).float().mean()
    assert found.accuracy == pytest.approx(100 * float(right))
    with pytest.raises(InputError, match=f"protocol {protocol.name} whitens: give whitened"):
        evaluate_set(small, spec(), protocol, split(), rng, 1)


def test_an_epoch_of_frepo_is_one_update(problem):
    images, labels, _, grey = problem
    seen = []
    protocol = protocols()["frepo"].with_(epochs=3, batch=10)
    train(images, labels, grey, protocol, lambda purpose, index: seen.append(index) or rng(purpose, index), 0)
    assert seen == [0, 0, 1, 2]
    net, _ = train(images, labels, grey, protocol.with_(epochs=1), rng, 0)
    moved = parameters(net) - parameters(build(grey, rng("evaluation-network", 0)))
    assert float(moved.abs().max()) == pytest.approx(3e-4, rel=1e-2), "of thirty images in tens: one step of Adam, not three"


@pytest.mark.parametrize("name", ["resnet101", "mobilenet_v2", "efficientnet_b0", "swin_t"])
def test_the_networks_of_the_published_table_learn_from_a_teacher_at_8_pixels(name):
    """IGD's Table 3, by their names in torchvision. Statistics of batch norm count at 1 x 1 pixels: batches of four."""
    network = ModelSpec(f"torchvision:{name}", (1, 8, 8), 2)
    protocol, small = protocols()["rded"].with_(epochs=1, batch=4), tiny(1)
    found = evaluate_set(small, network, protocol, split(1), rng, 1, teacher=lambda x: x.flatten(1)[:, :2])
    assert (found.labels, found.epochs) == ("teacher", 1)
    assert math.isfinite(found.curve[0][1])
