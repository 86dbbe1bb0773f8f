"""The distilled set: what is written is what comes back, and what a broken folder says."""

import dataclasses
import json
import threading

import pytest
import torch
from safetensors.torch import load_file, save_file

from refluence.data import DistilledSet, count_test_use, decoded, load_distilled, read_card, save_distilled, to_uint8
from refluence.errors import InputError


def make(channels=3, count=6, spread=1.0):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, channels, 8, 8, generator=generator) * spread
    return DistilledSet(
        images, torch.arange(count) % 3, ("a", "b", "c"), (0.5, 0.4, 0.3)[:channels], (0.2, 0.25, 0.3)[:channels]
    )


@pytest.fixture
def folder(tmp_path):
    save_distilled(tmp_path / "run" / "distilled", make(), {"method": "dc", "ipc": 2, "seed": 0, "data": "digits"})
    return tmp_path / "run" / "distilled"


def test_round_trip(folder):
    for place in (folder, folder.parent, str(folder)):
        back = load_distilled(place)
        assert torch.equal(back.images, make().images)
        assert torch.equal(back.labels, make().labels)
        assert (back.classes, back.mean, back.std) == (make().classes, make().mean, make().std)


def test_card(folder):
    card = read_card(folder)
    assert card["method"] == "dc"
    assert card["classes"] == ["a", "b", "c"]
    assert card["shape"] == [6, 3, 8, 8]
    assert card["stored_bytes"] == 6 * 3 * 8 * 8 * 4 + 6 * 8
    assert card["test_uses"] == 0
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "card.json", "images.safetensors"]


@pytest.mark.parametrize(("iterations", "said", "unsaid"), [(0, "real", "learned images"), (200, "learned", "loses nothing")])
def test_the_readme_tells_real_from_learned_images(tmp_path, iterations, said, unsaid):
    save_distilled(tmp_path, make(), {"method": "x", "iterations": iterations})
    text = (tmp_path / "README.md").read_text()
    assert f"6 {said} images of" in text
    assert unsaid not in text


def test_test_uses_are_counted(folder):
    assert [count_test_use(folder), count_test_use(folder.parent)] == [1, 2]
    assert read_card(folder)["test_uses"] == 2
    assert read_card(folder)["method"] == "dc"


def test_uses_of_the_test_split_that_happen_at_once_all_count(folder):
    threads = [threading.Thread(target=lambda: [count_test_use(folder) for _ in range(5)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_card(folder)["test_uses"] == 15


def test_the_readme_really_loads(folder, monkeypatch):
    text = (folder / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    assert len(code.strip().splitlines()) <= 5
    monkeypatch.chdir(folder)
    names = {}
    exec(code, names)
    assert torch.equal(names["dataset"][1][0], make().images[1])
    assert "PNG" in text


def test_uint8_undoes_the_normalisation():
    pixels = torch.randint(0, 256, (2, 3, 4, 4), generator=torch.Generator().manual_seed(1))
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    normal = (pixels / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    back = to_uint8(DistilledSet(normal, torch.tensor([0, 1]), ("a", "b"), mean, std))
    assert back.dtype == torch.uint8
    assert torch.equal(back.long(), pixels)
    wild = DistilledSet(torch.tensor([-9.0, 9.0]).view(2, 1, 1, 1), torch.tensor([0, 1]), ("a", "b"), (0.5,), (0.2,))
    assert to_uint8(wild).flatten().tolist() == [0, 255]  # clamped, not wrapped round


def test_gradients_and_halves_are_stored_as_plain_floats(tmp_path):
    one = make()
    learned = DistilledSet(one.images.bfloat16().requires_grad_(), one.labels.int(), one.classes, one.mean, one.std)
    save_distilled(tmp_path, learned, {})
    assert load_distilled(tmp_path).images.dtype == torch.float32
    assert load_file(tmp_path / "images.safetensors")["labels"].dtype == torch.int64


def test_what_cannot_be_saved(tmp_path):
    one = make()
    for wrong, message in (
        (DistilledSet(one.images, one.labels[:3], one.classes, one.mean, one.std), "do not fit"),
        (DistilledSet(one.images, one.labels + 1, one.classes, one.mean, one.std), "labels run from 1 to 3"),
        (DistilledSet(one.images, one.labels, one.classes, (0.5,), (0.2,)), "3 channels, but 1 means"),
        (DistilledSet(one.images / 0, one.labels, one.classes, one.mean, one.std), "not finite"),
    ):
        with pytest.raises(InputError, match=message):
            save_distilled(tmp_path / "x", wrong, {})


def test_folders_that_cannot_be_loaded(folder, tmp_path):
    with pytest.raises(InputError, match=r"nowhere does not exist"):
        load_distilled(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no distilled set: expected images.safetensors and card.json"):
        load_distilled(tmp_path)
    tensors = load_file(folder / "images.safetensors")
    save_file({"images": tensors["images"]}, folder / "images.safetensors")
    with pytest.raises(InputError, match=r"expected images and labels"):
        load_distilled(folder)
    (folder / "images.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"cannot be read as safetensors"):
        load_distilled(folder)
    (folder / "images.safetensors").unlink()
    with pytest.raises(InputError, match=r"not whole"):
        load_distilled(folder)
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "version": 99}))
    with pytest.raises(InputError, match=r"version 99"):
        read_card(folder)
    (folder / "card.json").write_text('{"mean": 1}')
    with pytest.raises(InputError, match=r"lacks classes, std, version"):
        read_card(folder)
    (folder / "card.json").write_text("{")
    with pytest.raises(InputError, match=r"cannot be read as JSON"):
        read_card(folder)


SOFT = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]).repeat(3, 1)


def learned(**parts):
    return dataclasses.replace(make(), **parts)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"classes": ["a", []]}, r"classes is .*expected a list of names"),
        ({"mean": [None]}, r"mean is \[None\]: expected a list of finite numbers"),
        ({"std": [-1.0]}, r"std is \[-1.0\]: expected a list of finite numbers"),
        ({"mean": [float("nan")]}, r"cannot be read as JSON \(NaN"),
        ({"lr": "fast"}, "learning rate is fast"),
        ({"test_uses": "many"}, "test_uses is 'many': expected a whole number"),
    ],
)
def test_cards_changed_by_hand(folder, changed, message):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changed))
    with pytest.raises(InputError, match=message):
        load_distilled(folder)


def test_learned_parts_come_back_and_are_paid_for(tmp_path):
    plain = 6 * 3 * 8 * 8 * 4 + 6 * 8
    for parts, price in (
        ({}, 0),
        ({"soft": SOFT}, 6 * 3 * 4),
        ({"stage": torch.arange(6) // 2}, 6 * 8),
        ({"lr": 0.03}, 4),
        ({"factor": 2}, 0),
        ({"soft": SOFT, "stage": torch.arange(6), "lr": 0.5, "factor": 3}, 6 * 3 * 4 + 6 * 8 + 4),
    ):
        save_distilled(tmp_path, learned(**parts), {})
        back, card = load_distilled(tmp_path), read_card(tmp_path)
        assert card["stored_bytes"] == plain + price
        assert (back.factor, back.lr) == (parts.get("factor", 1), parts.get("lr"))
        assert ("factor" in card, "lr" in card) == ("factor" in parts, "lr" in parts)
        for name in ("soft", "stage"):
            assert (getattr(back, name) is None) == (name not in parts)
            if name in parts:
                assert torch.equal(getattr(back, name), parts[name])


def test_influence_is_free(tmp_path):
    save_distilled(tmp_path, learned(influence=torch.ones(6)), {})
    assert read_card(tmp_path)["stored_bytes"] == 6 * 3 * 8 * 8 * 4 + 6 * 8


@pytest.mark.parametrize("factor", [2, 3])
def test_the_readme_really_decodes(tmp_path, monkeypatch, factor):
    small = learned(factor=factor, soft=SOFT, stage=torch.arange(6) // 2, lr=0.03)
    save_distilled(tmp_path, small, {})
    text = (tmp_path / "README.md").read_text()
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in text.split("```python\n")[1:]:
        exec(block.split("```")[0], names)
    whole = decoded(small)
    assert (len(whole), whole.factor) == (6 * factor**2, 1)
    assert torch.equal(names["images"], whole.images)
    assert torch.equal(names["labels"], whole.labels)
    assert torch.equal(whole.soft, torch.cat([SOFT] * factor**2))
    assert torch.equal(whole.stage, torch.cat([small.stage] * factor**2))
    for said in ("soft labels", "`stage`", "0.03", f"{6 * factor**2} in all"):
        assert said in text
    assert decoded(make()).images.shape == (6, 3, 8, 8)


def test_the_readme_of_a_plain_set_says_nothing_of_learned_parts(folder):
    text = (folder / "README.md").read_text()
    assert not [word for word in ("soft", "stage", "Decode", "learning rate") if word in text]


def test_learned_parts_that_cannot_be_saved(tmp_path):
    for parts, message in (
        ({"soft": SOFT[:4]}, r"soft labels \(4, 3\) .*expected \(6, 3\)"),
        ({"soft": SOFT * 2}, "no probabilities"),
        ({"soft": SOFT - 0.25}, "no probabilities"),
        ({"stage": torch.arange(4)}, r"stages \(4,\)"),
        ({"stage": torch.arange(6) - 1}, "from 0 on"),
        ({"factor": 0}, "factor is 0"),
        ({"factor": 9}, "factor is 9: expected a whole number from 1 to the side of the images, 8"),
        ({"lr": -0.1}, "learning rate is -0.1"),
        ({"lr": float("inf")}, "learning rate is inf"),
    ):
        with pytest.raises(InputError, match=message):
            save_distilled(tmp_path / "x", learned(**parts), {})
