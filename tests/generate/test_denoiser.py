"""The denoiser: both estimates of every prediction, guidance, and the folder that it is kept in."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from refluence.errors import InputError
from refluence.generate.denoiser import Denoiser, build_denoiser, digest, fitted
from refluence.generate.denoiser_config import DenoiserConfig
from refluence.generate.denoiser_folder import load_denoiser
from refluence.generate.predictions import STEPS, linear_abar, prediction

CLASSES = ("cat", "dog", "owl")
CONFIG = DenoiserConfig((2, 8, 8), CLASSES, width=16, depth=2, heads=2)


def trained(config=CONFIG, seed=0) -> Denoiser:
    """A denoiser whose weights are nowhere zero, in float64."""
    g = torch.Generator().manual_seed(seed)
    denoiser = build_denoiser(config, g)
    with torch.no_grad():
        for p in denoiser.net.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g))
    denoiser.net.double().eval()
    return denoiser


class Oracle(nn.Module):
    """Knows the clean images and the noise, and gives what a prediction asks for."""

    def __init__(self, z0, eps, kind):
        super().__init__()
        self.z0, self.eps, self.kind, self.abar = z0, eps, kind, linear_abar()

    def forward(self, z, t, y):
        a, s = (share.sqrt().view(-1, 1, 1, 1) for share in (self.abar[t.long()], 1 - self.abar[t.long()]))
        return {"epsilon": self.eps, "flow": self.eps - self.z0, "v": a * self.eps - s * self.z0}[self.kind]


@pytest.mark.parametrize("kind", ["flow", "epsilon", "v"])
def test_an_oracle_gives_its_images_and_noise_back(kind):
    g = torch.Generator().manual_seed(0)
    z0, eps = (torch.randn(3, 2, 8, 8, generator=g, dtype=torch.float64) for _ in range(2))
    denoiser = Denoiser(Oracle(z0, eps, kind), replace(CONFIG, prediction=kind))
    for t in (0, 400, 999):
        abar = denoiser.abar[t]
        z = abar.sqrt() * z0 + (1 - abar).sqrt() * eps
        found = denoiser.predict(z, t, torch.tensor([0, 1, 2]))
        torch.testing.assert_close(found, (z0, eps), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["flow", "epsilon", "v"])
def test_a_network_sees_in_sampling_what_it_was_trained_on(kind):
    g = torch.Generator().manual_seed(0)
    z0, eps = (torch.randn(4, 2, 8, 8, generator=g, dtype=torch.float64) for _ in range(2))
    steps, abar = torch.tensor([0, 10, 500, 999]), linear_abar()
    a, s = abar[steps].sqrt().view(-1, 1, 1, 1), (1 - abar[steps]).sqrt().view(-1, 1, 1, 1)
    x, time = prediction(kind).seen(a * z0 + s * eps, steps, abar[steps])
    trained_on, target = prediction(kind).training_pair(z0, eps, time, abar)
    torch.testing.assert_close(x, trained_on)
    torch.testing.assert_close(prediction(kind).estimates(a * z0 + s * eps, target, abar[steps])[0], z0)
    assert 0 <= time.min() < time.max() < STEPS


@pytest.mark.parametrize("kind", ["flow", "epsilon", "v"])
def test_guidance_is_the_line_through_both_noises(kind):
    denoiser, y, t = trained(replace(CONFIG, prediction=kind)), torch.tensor([2, 0]), 600
    z = torch.randn(2, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    of_y, of_null = (denoiser.predict(z, t, label)[1] for label in (y, None))
    z0, eps = denoiser.predict(z, t, y, cfg=3.0)
    torch.testing.assert_close(eps, of_null + 3 * (of_y - of_null))
    abar = denoiser.abar[t]
    torch.testing.assert_close(z0, (z - (1 - abar).sqrt() * eps) / abar.sqrt())
    torch.testing.assert_close(denoiser.predict(z, torch.tensor([t, t]), y, cfg=3.0)[0], z0)
    for each in (z0, eps):
        assert torch.autograd.grad(each.sum(), z, retain_graph=True)[0].abs().min() > 0


def test_pixels_come_back():
    denoiser, x = trained(), torch.rand(2, 2, 8, 8)
    assert denoiser.shape == (2, 8, 8)
    assert denoiser.encode(x).min() < 0
    torch.testing.assert_close(denoiser.decode(denoiser.encode(x)), x)
    assert denoiser.decode(torch.full((1, 2, 8, 8), 3.0)).max() == 2  # not clamped


def test_a_folder_gives_the_same_bits(tmp_path):
    denoiser = build_denoiser(CONFIG, torch.Generator().manual_seed(1))
    denoiser.method = "minimax"
    denoiser.save(tmp_path, {"seconds": 3.0})
    read = load_denoiser(tmp_path, CLASSES, (2, 8, 8))
    assert (read.config, read.method, read.labels) == (CONFIG, "minimax", None)
    assert digest(read) == digest(denoiser) == read.card["sha256"]
    assert read.card["seconds"] == 3.0
    assert all(torch.equal(a, b) for a, b in zip(read.state().values(), denoiser.state().values(), strict=True))
    assert digest(load_denoiser(tmp_path / "denoiser", CLASSES)) == digest(denoiser)
    assert 'rf.Denoiser.load(".")' in (tmp_path / "denoiser" / "README.md").read_text()
    read.save(tmp_path / "again")  # what was known of it stays
    assert json.loads((tmp_path / "again" / "denoiser" / "card.json").read_text())["seconds"] == 3.0


def test_weights_and_configuration_are_in_the_digest():
    one = build_denoiser(CONFIG, torch.Generator().manual_seed(0))
    same = build_denoiser(CONFIG, torch.Generator().manual_seed(0))
    others = [
        build_denoiser(CONFIG, torch.Generator().manual_seed(1)),
        build_denoiser(replace(CONFIG, classes=("a", "b", "c")), torch.Generator().manual_seed(0)),
    ]
    assert digest(one) == digest(same)
    assert len({digest(each) for each in (one, *others)}) == 3


def test_classes_in_another_order_are_found_by_name(tmp_path):
    denoiser = trained()
    denoiser.save(tmp_path)
    read = load_denoiser(tmp_path, ("owl", "cat"))
    read.net.double()
    z = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(
        read.predict(z, 500, torch.tensor([0, 1]), cfg=2.0),
        denoiser.predict(z, 500, torch.tensor([2, 0]), cfg=2.0),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("first", [("owl", "dog", "cat"), ("owl", "cat")])
def test_classes_are_found_by_name_again_in_a_denoiser_that_was_fitted_before(tmp_path, first):
    denoiser = trained()
    denoiser.save(tmp_path)
    once = Denoiser.load(tmp_path, classes=first)
    assert once.classes == first
    same = fitted(once, "it", first)
    other = fitted(once, "it", ("cat", "owl"))
    assert (same.labels, other.classes, other.labels, other.null_label) == (once.labels, ("cat", "owl"), (0, 2), 3)
    assert fitted(other, "it", ("owl",)).labels == (2,)
    assert len({digest(each) for each in (denoiser, once, other)}) == 3
    with pytest.raises(InputError, match="knows cat, owl, the data have cat, dog: train one"):
        fitted(other, "it", ("cat", "dog"))
    other.save(tmp_path / "again")
    assert Denoiser.load(tmp_path / "again").classes == CLASSES


def test_folders_that_do_not_fit_are_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"is no denoiser: it has no model.safetensors with its config.json; .*generate train"):
        load_denoiser(tmp_path, CLASSES)
    build_denoiser(CONFIG, torch.Generator()).save(tmp_path)
    with pytest.raises(InputError, match="knows cat, dog, owl, the data have cat, cow: train one on these data"):
        load_denoiser(tmp_path, ("cat", "cow"))
    with pytest.raises(
        InputError, match="makes images of 2 x 8 x 8, the data have 2 x 28 x 28: image_size=8 reads the data so"
    ):
        load_denoiser(tmp_path, CLASSES, (2, 28, 28))
    (tmp_path / "denoiser" / "model.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match=r"model.safetensors cannot be read .*it is not whole"):
        load_denoiser(tmp_path, CLASSES)
    (tmp_path / "denoiser" / "config.json").write_text('{"command": "distill"}')
    with pytest.raises(InputError, match="is not that of a denoiser of this version"):
        load_denoiser(tmp_path, CLASSES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"patch": 3}, "patches of 3 do not divide images of 8 x 8 pixels"),
        ({"kind": "gan"}, "unknown kind of denoiser 'gan': choose one of dit"),
        ({"prediction": "flw"}, "unknown prediction 'flw': did you mean flow?"),
        ({"width": 18}, "width 18 of a denoiser: it must be a multiple of 4 and of its 2 heads"),
    ],
)
def test_configurations_that_build_nothing_are_refused(change, said):
    with pytest.raises(InputError, match=said):
        replace(CONFIG, **change)


def test_other_weights_are_refused():
    wide = build_denoiser(replace(CONFIG, width=32), torch.Generator())
    with pytest.raises(InputError, match="not the weights of this denoiser"):
        wide.load_state(trained().state())


def test_a_denoiser_is_shown_in_a_line():
    config = DenoiserConfig((1, 8, 8), ("a", "b"), width=16, depth=1)
    found = build_denoiser(config, torch.Generator().manual_seed(0))
    assert repr(found) == f"Denoiser(dit, {found.parameters:,} parameters, 2 classes, 8 x 8 pixels)"
