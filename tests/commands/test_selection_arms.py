"""Tiled selections and prune-then-distil on the command line."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from refluence.cli import main
from refluence.condense.arms import weighting_of
from refluence.data import load, load_distilled
from refluence.data.formation import decode, repeat
from refluence.errors import InputError
from refluence.evaluate import evaluation
from refluence.influence.weighting import Weighting
from refluence.jobs import ranking
from refluence.jobs.catalogue import methods, parse_arm
from refluence.select.job import read as read_options
from refluence.select.tiles import tiled
from support.command_line import DIGITS, read, without_seconds

SHORT = ("--iterations", "4")


def options(text):
    arm = parse_arm(text)
    return read_options(arm, methods()[arm.method])


def test_options_of_selections():
    assert options("random:factor=2") == {"factor": 2}
    assert options("el2n:factor=3,easiest=1,steps=7") == {"factor": 3, "easiest": True, "steps": 7}
    for text, message in [
        ("random:factor=0", "arm 'random:factor=0': factor=0: it must be a whole number, at least 1"),
        ("random:factor=two", "factor=two: it must be a whole number, at least 1"),
        ("random:easiest=1", "easiest=1 means nothing for random: choose one of factor"),
        ("herding:tau=1", "tau=1 means nothing for herding: choose one of factor, steps"),
        ("full:factor=2", "factor=2 means nothing for full: it has no options"),
        ("forgetting:easiest=yes", "easiest=yes: it must be 1 .* or 0"),
    ]:
        with pytest.raises(InputError, match=message):
            parse_arm(text)


def test_options_of_pruning():
    assert weighting_of(parse_arm("dc+pruned")) == Weighting("pruned", keep=0.9)
    assert weighting_of(parse_arm("dc+pruned:by=loss")) == Weighting("pruned", keep=0.2, by="loss")
    assert weighting_of(parse_arm("dc+selected:keep=.3,sign=-1")) == Weighting("selected", keep=0.3, sign=-1)
    for text, message in [
        ("dc+pruned:by=size", "arm 'dc[+]pruned:by=size': by=size: choose one of influence, loss, random"),
        ("dc+pruned:tau=1", "tau means nothing with pruned"),
        ("dc+influence:by=loss", "by=loss means nothing with influence"),
        ("dc+pruned:keep=0", "keep=0: it must be a finite number, above 0 and at most 1"),
        ("random+pruned", "by=influence ranks by the method.s own objective, and random has none: by=score"),
        ("random+influence", "selects real images and takes no weights of this kind"),
    ]:
        with pytest.raises(InputError, match=message):
            parse_arm(text)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    out = tmp_path_factory.mktemp("selections") / "run"
    tiles = ("random:factor=2", "herding:factor=2")
    arms = ("random", *tiles, "dc", "dc+pruned", "dc+pruned:keep=1", "dc+pruned:by=loss", "dc+selected:keep=.1")
    words = ("compare", *DIGITS, "--methods", *arms, *SHORT, "--seeds", "1", "--workers", "1", "--out", str(out))
    assert main([*words]) == 0
    return out / "units"


def test_a_tiled_selection_stores_ipc_images_and_decodes_to_the_chosen_ones(compared):
    place = compared / "random@factor=2" / "0" / "distilled"
    small, card = load_distilled(place), read(place / "card.json")
    assert (len(small), small.factor, card["factor"], card["images"], len(card["rows"])) == (20, 2, 2, 20, 80)
    plain = read(compared / "random" / "0" / "distilled" / "card.json")
    assert (plain["stored_bytes"], plain.get("factor", 1)) == (card["stored_bytes"], 1)
    data = load("digits")
    positions = torch.tensor([data.train.rows.tolist().index(row) for row in card["rows"]])
    images, labels = tiled(data, positions, 2)
    assert torch.equal(images, small.images)
    assert torch.equal(repeat(labels, 2), repeat(small.labels, 2))
    assert decode(small.images, 2).shape == (80, 1, 8, 8)
    text = (place / "README.md").read_text()
    assert "each stored image holds 2 x 2 images, 80 in all" in text
    assert "Exporting to PNG loses accuracy" in text, "reduced pixels are not of 8 bits"
    page = (compared.parent / "report.html").read_text()
    assert page.count("Each picture holds 2 x 2 reduced real images.") == 2, "both tiled selections"


def test_a_ranking_is_tiled_as_random_images_are(compared):
    place, rival = (compared / arm / "0" / "distilled" for arm in ("herding@factor=2", "random@factor=2"))
    card, data = read(place / "card.json"), load("digits")
    positions = torch.tensor([data.train.rows.tolist().index(row) for row in card["rows"]])
    assert data.train.labels[positions].bincount().tolist() == [8] * 10
    assert len(set(card["rows"])) == 80
    assert card["stored_bytes"] == read(rival / "card.json")["stored_bytes"]
    assert set(card["rows"]) != set(read(rival / "card.json")["rows"])
    assert torch.equal(tiled(data, positions, 2)[0], load_distilled(place).images)


def test_the_evaluation_is_that_of_the_decoded_images(refluence, compared, monkeypatch):
    seen = []
    train = evaluation.train
    monkeypatch.setattr(
        evaluation, "train", lambda images, *rest, **named: seen.append(images) or train(images, *rest, **named)
    )
    unit = compared / "random@factor=2" / "0"
    assert refluence("evaluate", unit, "--nets", "1", "--epochs", "1", "--split", "val", "--quiet").code == 0
    assert torch.equal(seen[0], decode(load_distilled(unit / "distilled").images, 2))


def test_what_was_kept_is_in_the_card_and_in_the_folder(compared):
    for arm, share, by in (
        ("dc+pruned", 0.9, "influence"),
        ("dc+pruned@by=loss", 0.2, "loss"),
        ("dc+selected@keep=.1", 0.1, "influence"),
    ):
        unit = compared / arm / "0"
        facts, file = read(unit / "distilled" / "card.json")["kept"], load_file(unit / "kept.safetensors")
        assert (facts["share"], facts["by"], facts["images"]) == (share, by, len(file["rows"]))
        assert facts["of"] == len(file["scores"]) == len(load("digits").train)
        assert facts["images"] == pytest.approx(share * facts["of"], abs=5)
        assert 0 < facts["seconds"] <= read(unit / "distilled" / "card.json")["seconds"]
    rows = {a: load_file(compared / a / "0" / "kept.safetensors")["rows"] for a in ("dc+selected@keep=.1", "dc+pruned")}
    best, most = (set(kept.tolist()) for kept in rows.values())
    assert best < most


def test_keeping_all_is_the_base_method_and_the_others_are_not(compared):
    sets = {a: (compared / a / "0/distilled/images.safetensors") for a in ("dc", "dc+pruned@keep=1", "dc+pruned")}
    images = {a: load_file(path)["images"] for a, path in sets.items()}
    assert torch.equal(images["dc"], images["dc+pruned@keep=1"])
    assert not torch.equal(images["dc"], images["dc+pruned"])


def test_a_resumed_run_does_not_rank_again(refluence, compared, tmp_path, monkeypatch):
    unit = shutil.copytree(compared / "dc+pruned" / "0", tmp_path / "unit")
    shutil.rmtree(unit / "distilled")
    shutil.rmtree(unit / "checkpoint")
    for name in ("evaluation.json", "metrics.jsonl"):
        (unit / name).unlink()
    monkeypatch.setattr(ranking, "scores", None)  # a call would fail
    words = ("distill", *DIGITS, *SHORT, "--weights", "pruned", "--out", unit, "--resume")
    said = refluence(*words)
    assert said.code == 0, said
    assert (unit / "distilled/images.safetensors").read_bytes() == (
        compared / "dc+pruned/0/distilled/images.safetensors"
    ).read_bytes()
    own, first = (without_seconds(read(u / "distilled/card.json")) for u in (unit, compared / "dc+pruned/0"))
    assert own == first


def test_what_cannot_be_is_refused_before_the_work(refused, tmp_path):
    out = ("--out", tmp_path / "x")
    fits = int(load("digits").train.labels.bincount().min()) // 4
    words = ("compare", *DIGITS, "--methods", "random:factor=2", *out)
    assert f"--ipc {fits} or factor=1 would fit" in refused(*words, "--ipc", fits + 1)
    assert "keep=0.1 leaves" in refused("distill", *DIGITS, "--ipc", "50", "--weights", "selected", *out)
    assert "pruned weighs nothing here" in refused(
        "score", "--data", "digits", "--weights", "pruned", "--out", tmp_path / "s.parquet"
    )
    assert not (tmp_path / "x").exists()


def test_estimate_takes_these_arms(refluence):
    said = refluence("estimate", "compare", *DIGITS, "--methods", "random:factor=2", "dc+pruned", *SHORT, "--no-controls")
    assert said.code == 0, said
    assert "random:factor=2: " in said.out
    assert "5.3 kB stored" in said.out.splitlines()[0], "as many bytes as without tiles"


def test_pruning_ranks_at_real_images_where_the_run_starts_from_noise(refluence, tmp_path):
    found = []
    for start in ("noise", "real"):
        out = tmp_path / start
        words = ("--method", "dc", "--weights", "pruned", "--initial", start, "--iterations", "1")
        assert refluence("distill", *words, *DIGITS, "--out", out).code == 0
        found.append([load_file(out / name) for name in ("kept.safetensors", "distilled/images.safetensors")])
    assert torch.equal(*(ranked["scores"] for ranked, _ in found))
    assert not torch.equal(*(small["images"] for _, small in found))
