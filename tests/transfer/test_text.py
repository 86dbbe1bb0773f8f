"""Texts in a transfer: from a folder of sentences to a student, its scores, and the folder that others read."""

import pytest
import torch
from torch.func import functional_call, grad

import refluence as rf
from refluence.data import load
from refluence.errors import InputError
from refluence.influence import validation_influence
from refluence.influence.curvature import Curvature
from refluence.influence.losses import cross_entropy
from refluence.jobs.comparing import Comparing
from refluence.models import network
from refluence.models.pretrained import load_teacher
from refluence.models.text import write_transformers
from refluence.options import SourceOptions, TransferOptions
from refluence.transfer.export import export_network
from support.tiny_text import network_folder, text_folder

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("texts")
    return {
        "set": str(text_folder(base / "set", train=120, test=20)),
        "teacher": str(network_folder(base / "teacher", layers=2)),
        "student": str(network_folder(base / "student", layers=1, seed=1)),
    }


@pytest.fixture(scope="module")
def data(folders):
    return load(folders["set"], SourceOptions(tokenizer=folders["teacher"], max_length=12, val_fraction=0.2))


@pytest.fixture(scope="module")
def run(folders, data, tmp_path_factory):
    nets = {name: f"hf:{folders[name]}" for name in ("teacher", "student")}
    out = tmp_path_factory.mktemp("run") / "run"
    return rf.transfer(data, "student", **nets, epochs=8, lr=0.02, out=out), out


def test_a_student_of_texts(run, folders, data):
    found, out = run
    assert found.accuracy > 80
    x = data.pixels(data.test)
    assert torch.equal(rf.StudentRun.load(out).student.net(x), found.student.net(x))
    card = found.card["teacher"]
    assert f"hf:{folders['teacher']}" in card["model"]
    assert found.student.parameters < card["parameters"]
    assert set(found.scores.arrays()["index"].tolist()) == set(data.train.rows.tolist())
    assert "token ids of hf:" in (out / "student" / "README.md").read_text()


def test_a_student_is_scored(run, folders, tmp_path):
    _, out = run
    options = {"tokenizer": folders["teacher"], "max_length": 12}
    table = rf.score(rf.load(folders["set"], **options), load=out / "student" / "model.safetensors", out=tmp_path / "s.parquet")
    assert len(table) > 0
    page = (tmp_path / "s.html").read_text()
    assert "the film was" in page


def test_scores_of_texts_are_of_a_trained_network(data):
    with pytest.raises(InputError, match="holds texts, whose scores are those of a trained network: load="):
        rf.score(data)


def test_a_student_is_a_teacher(run, folders, data):
    _, out = run
    for place, name in ((out, "teacher"), (out / "student", "student")):
        found = load_teacher(str(place), None, data.shape, data.classes)
        assert found.spec.name == f"hf:{folders[name]}"
        accuracy = (found.net(data.pixels(data.test)).argmax(1) == data.test.labels).float().mean()
        assert accuracy > 0.8


def test_a_head_that_is_there_is_read(data, folders, tmp_path):
    net = network(f"hf:{folders['teacher']}", data.shape, 2).fresh(torch.Generator().manual_seed(3)).eval()
    write_transformers(net, network(f"hf:{folders['teacher']}", data.shape, 2), ("1", "0"), tmp_path / "a")
    x = data.pixels(data.test)
    for said, teacher in ((f"hf:{tmp_path}/a", None), (str(tmp_path / "a"), None), ("pretrained", f"hf:{tmp_path}/a")):
        found = load_teacher(said, teacher, data.shape, data.classes)
        assert torch.allclose(found.net(x), net(x).flip(1)), "its logits are put into the order of our classes"
    with pytest.raises(InputError, match="has no trained head, and the data have 0, 1: without load_teacher"):
        load_teacher(f"hf:{folders['teacher']}", None, data.shape, data.classes)
    with pytest.raises(InputError, match="knows the classes 1, 0, and the data have good, bad"):
        load_teacher(f"hf:{tmp_path}/a", None, data.shape, ("good", "bad"))


@pytest.mark.parametrize("parts", [4, 9])
def test_scores_are_products_of_gradients(folders, data, parts):
    """phi_j = -<grad M, grad l_j>, against gradients one by one, for batches of several lengths."""
    net = network(f"hf:{folders['student']}", data.shape, 2).fresh(torch.Generator().manual_seed(0)).eval().double()
    train, val = data.train.take(torch.arange(9)), data.val.take(torch.arange(5))
    batches = [(data.pixels(train, part), train.labels[part]) for part in torch.arange(9).split(parts)]
    held = data.pixels(val), val.labels
    found = validation_influence(net, batches, [held], curvature=Curvature("identity"))
    p = {name: t.detach() for name, t in net.named_parameters()}

    def mean(p, ids, labels):
        return cross_entropy(functional_call(net, p, (ids,)), labels).mean()

    against = grad(mean)(p, *held)
    for j in range(9):
        own = grad(mean)(p, data.pixels(train, torch.tensor([j])), train.labels[j : j + 1])
        expected = -sum((own[name] * against[name]).sum() for name in p)
        assert float(found.scores[j]) == pytest.approx(float(expected), rel=1e-6, abs=1e-9)


def test_a_source_of_images_for_a_network_of_texts(folders):
    with pytest.raises(InputError, match="reads texts, and the data are images of 1 x 8 x 8"):
        rf.transfer("digits", "scratch", student=f"hf:{folders['student']}")


def test_a_student_is_exported(run, data, tmp_path):
    found, out = run
    export_network(out / "student", "transformers", tmp_path / "theirs")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "theirs").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    given = tokenizer(list(data.test.texts), padding=True, return_tensors="pt")
    assert torch.allclose(theirs(**given).logits, found.student.net(data.pixels(data.test)), atol=1e-5)
    assert theirs.config.id2label == dict(enumerate(data.classes))


def test_a_student_that_is_cut_from_its_teacher_has_a_higher_rate(folders, monkeypatch, tmp_path):
    whole = str(network_folder(tmp_path / "tiny", layers=6))
    for module in ("refluence.text", "refluence.models.text"):
        monkeypatch.setattr(f"{module}.place", lambda name: whole if name == "minilm" else name)

    data = load(folders["set"], SourceOptions(tokenizer="minilm", max_length=12, val_fraction=0.2))

    def rates(**options):
        asked = TransferOptions(teacher="minilm", **options)
        (job,) = Comparing(methods=("kd",), transfer=asked, seeds=1, controls=False).jobs(data)
        return job.plan.settings.lr, job.plan.teacher.settings.lr

    assert rates(student="minilm-2") == rates() == (2e-4, 5e-5)
    assert rates(student="minilm") == (5e-5, 5e-5)
    assert rates(student="minilm-2", lr=1e-3) == (1e-3, 1e-3)
