"""Scores and captures of tiny text classifiers, layer by layer as the Hub has them, against autograd of each text alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refluence.errors import InputError
from refluence.influence import Curvature, Scorer, Unsupported, capture, validation_influence
from refluence.influence.batches import at_once
from refluence.influence.parameters import Parameters

WORDS, WIDTH, CLASSES = 20, 8, 3
pytestmark = pytest.mark.filterwarnings("ignore")


class HubNorm(nn.Module):
    """RMSNorm as model families of the Hub write it: times w, or times 1 + w."""

    def __init__(self, offset: float = 0.0):
        super().__init__()
        self.weight, self.offset = nn.Parameter(torch.ones(WIDTH)), offset

    def forward(self, x: Tensor) -> Tensor:
        return (self.offset + self.weight) * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6))


def conv1d(wide: int, narrow: int) -> nn.Module:
    return pytest.importorskip("transformers.pytorch_utils").Conv1D(wide, narrow)


class Text(nn.Module):
    """Words and positions, an attention, two products, a head over the mean of the words that are no padding (id 0)."""

    def __init__(self, positions: str = "row", norm: type[nn.Module] | None = None, product=None, tied: bool = False):
        super().__init__()
        product = (lambda i, o: nn.Linear(i, o)) if product is None else product
        self.words, self.places = nn.Embedding(WORDS, WIDTH, padding_idx=0), nn.Embedding(12, WIDTH)
        self.positions = positions
        self.norm = nn.LayerNorm(WIDTH) if norm is None else norm()
        self.qkv, self.out = product(WIDTH, 3 * WIDTH), product(WIDTH, WIDTH)
        self.up = nn.Linear(WIDTH, WORDS, bias=False)
        if tied:
            self.up.weight = self.words.weight
        self.head = nn.Linear(WORDS, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        place, mask = torch.arange(ids.shape[1], device=ids.device), ids != 0
        place = {"bare": place, "row": place[None], "samples": place.expand(ids.shape)}[self.positions]
        h = self.words(ids) + self.places(place)
        q, k, v = self.qkv(self.norm(h)).chunk(3, -1)
        h = h + self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, :]))
        m = mask[..., None].to(h)
        return self.head(torch.tanh(self.up((h * m).sum(1) / m.sum(1))))


def texts(n: int = 6, length: int = 7, classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(n)
    x = torch.randint(1, WORDS, (n, length), generator=g)
    x[1 % n, 3:] = 0
    return x, torch.randint(classes, (n,), generator=g)


def shaken(net: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    net = net.to(dtype).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())).to(p))
    return net


def gradients(net: nn.Module, x: Tensor, y: Tensor) -> Parameters:
    """`(n, *shape)` by name, of each text alone."""
    own = dict(net.named_parameters())
    rows = [
        torch.autograd.grad(F.cross_entropy(net(x[[j]]), y[[j]]), list(own.values()), materialize_grads=True)
        for j in range(len(x))
    ]
    return {name: torch.stack(each) for name, each in zip(own, zip(*rows, strict=True), strict=True)}


def check(net: nn.Module, x: Tensor, y: Tensor, engine: str = "ghost", tolerance: float = 1e-9, **options) -> None:
    """Scores, and the contractions of a capture, are those of autograd."""
    each = gradients(net, x, y)
    v = {name: torch.randn_like(p) for name, p in net.named_parameters()}
    want = sum((g.flatten(1) @ v[name].flatten() for name, g in each.items()), torch.zeros(len(x), dtype=x[:0].double().dtype))
    scorer = Scorer(net, **options)
    assert scorer.choice(x, y, v).engine == engine, scorer.choice(x, y, v)
    torch.testing.assert_close(scorer(x, y, v).double(), want.double(), rtol=tolerance, atol=tolerance)
    kept, omega = capture(net, x, y, **options), torch.rand(len(x)).double()
    assert (type(kept).__name__ == "Capture") == (engine == "ghost")
    torch.testing.assert_close(kept.scores(v).double(), want.double(), rtol=tolerance, atol=tolerance)
    for name, g in kept.gradient(omega).items():
        mean = (omega.view(-1, *[1] * (g.dim())) * each[name]).mean(0)
        torch.testing.assert_close(g.double(), mean, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("positions", ["bare", "row", "samples"])
@pytest.mark.parametrize("norm", [None, lambda: nn.RMSNorm(WIDTH), HubNorm, lambda: HubNorm(1.0)])
def test_words_positions_and_norms(positions, norm):
    check(shaken(Text(positions, norm)), *texts())


@pytest.mark.parametrize(("n", "length", "chunk"), [(7, 7, 64), (12, 4, 4), (9, 4, 4), (1, 5, 64), (5, 1, 64)])
def test_positions_are_no_samples_where_there_are_as_many(n, length, chunk):
    check(shaken(Text("bare")), *texts(n, length), chunk=chunk)


def test_the_hubs_transposed_product():
    check(shaken(Text(product=lambda i, o: conv1d(o, i))), *texts())


def test_tied_words_count_in_both_places():
    check(shaken(Text(tied=True)), *texts())


def test_a_shared_embedding_that_is_used_in_another_way_goes_to_another_engine():
    class First(Text):
        def forward(self, ids: Tensor) -> Tensor:
            return super().forward(ids) + self.places(torch.zeros(1, 1, dtype=torch.long))[0, 0, :CLASSES]

    check(shaken(First("row")), *texts(), engine="forward")


def test_a_norm_whose_weight_acts_on_other_numbers_too_is_read_through_its_own_derivative():
    class Mixed(HubNorm):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(super().forward(x)) * torch.softmax(self.weight, 0)

    check(shaken(Text(norm=Mixed)), *texts())


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"max_norm": 1.0}, Unsupported, "'words' .Embedding. rewrites its weight"),
        ({"scale_grad_by_freq": True}, InputError, "couples the samples of a batch"),
    ],
)
def test_an_embedding_that_is_no_plain_table_is_refused(options, error, said):
    net, (x, y) = shaken(Text()), texts()
    net.words = nn.Embedding(WORDS, WIDTH, dtype=torch.float64, **options)
    with pytest.raises(error, match=said):
        Scorer(net, engine="ghost")(x, y, {"words.weight": torch.ones(WORDS, WIDTH)})


def test_a_bag_of_words_goes_to_another_engine():
    net = shaken(nn.Sequential(nn.EmbeddingBag(WORDS, WIDTH, mode="mean"), nn.Linear(WIDTH, CLASSES)))
    x, y = texts()
    v = {name: torch.ones_like(p) for name, p in net.named_parameters()}
    assert Scorer(net).choice(x, y, v).engine != "ghost"
    each = gradients(net, x, y)
    torch.testing.assert_close(Scorer(net)(x, y, v), sum(g.flatten(1).sum(1) for g in each.values()))


def hub(kind: str) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    small = {"vocab_size": WORDS, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
    if kind == "bert":
        config = transformers.BertConfig(
            hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, num_labels=CLASSES, **small
        )
        return transformers.BertForSequenceClassification(config)
    if kind == "gpt2":
        config = transformers.GPT2Config(n_embd=WIDTH, n_layer=2, n_head=2, n_positions=16, num_labels=CLASSES, **small)
        return transformers.GPT2ForSequenceClassification(config)
    config = transformers.LlamaConfig(
        hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=CLASSES, **small
    )
    return transformers.LlamaForSequenceClassification(config)


class Logits(nn.Module):
    """Ids `(B, L)`, padded with 0, to the logits of a model of the Hub."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, ids: Tensor) -> Tensor:
        return self.net(input_ids=ids, attention_mask=(ids != 0).long()).logits


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_models_of_the_hub(kind):
    check(shaken(Logits(hub(kind))), *texts())


def test_a_model_of_the_hub_that_casts_to_single_precision():
    net = shaken(Logits(hub("llama")), torch.float32)
    check(net, *texts(), tolerance=1e-3)


def test_other_engines_score_attention_too():
    net, (x, y) = shaken(Logits(hub("bert"))), texts()
    v = {name: torch.randn_like(p) for name, p in net.named_parameters()}
    want = Scorer(net)(x, y, v)
    for engine in ("forward", "double_backward", "single"):
        torch.testing.assert_close(Scorer(net, engine=engine)(x, y, v), want, rtol=1e-9, atol=1e-9)


def test_the_adapters_alone_count_in_a_network_with_lora():
    peft = pytest.importorskip("peft")
    options = peft.LoraConfig(r=2, target_modules=["query", "value"], task_type="SEQ_CLS")
    net = shaken(Logits(peft.get_peft_model(hub("bert"), options)))
    learned = [name for name, p in net.named_parameters() if p.requires_grad]
    assert learned
    assert all("lora_" in name or "classifier" in name for name in learned)
    (x, y), (xv, yv) = texts(), texts(4)
    names = [name for name in learned if "lora_" in name]
    found = validation_influence(net, [(x, y)], [(xv, yv)], names=names, curvature=Curvature("identity", damping=0.5))
    net.requires_grad_(True)
    each, risk = gradients(net, x, y), {name: g.mean(0) for name, g in gradients(net, xv, yv).items()}
    want = -sum(each[name].flatten(1) @ risk[name].flatten() for name in names) / found.solution.damping
    assert set(found.solution.x) == set(names)
    ratio = found.scores / want
    torch.testing.assert_close(ratio, ratio[:1].expand(len(x)))
    assert float(ratio[0]) > 0


def test_below_the_lowest_parameter_that_counts_there_is_no_graph():
    class Seen(nn.Module):
        def forward(self, h: Tensor) -> Tensor:
            graphs.append(h.requires_grad)
            return h

    graphs: list[bool] = []
    layers = [nn.Linear(4, 4), Seen(), nn.Tanh(), nn.Linear(4, 4), Seen(), nn.Tanh(), nn.Linear(4, CLASSES), Seen()]
    net, x, y = nn.Sequential(*layers).double(), torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    v = {"3.weight": torch.ones(4, 4).double(), "6.bias": torch.ones(CLASSES).double()}
    scorer, want = Scorer(net), gradients(net, x, y)
    scorer(x, y, v)
    graphs.clear()
    got = scorer(x, y, v)
    assert graphs == [False, True, True]
    torch.testing.assert_close(got, sum(want[name].flatten(1) @ t.flatten() for name, t in v.items()))
    assert all(p.requires_grad for p in net.parameters())


def test_a_text_of_another_length_asks_again_only_beyond_the_next_power_of_two():
    net, lengths = shaken(Text()), []
    net.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    v, scorer = {name: torch.ones_like(p) for name, p in net.named_parameters()}, Scorer(net)
    for length in (5, 8, 7, 9):
        scorer.choice(*texts(6, length), v)
    assert set(lengths) == {5, 9}


def test_large_images_are_scored_in_smaller_pieces_by_products_that_are_summed_as_they_are_made():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    net = shaken(nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, CLASSES)))
    x, y = torch.randn(3, 3, 132, 132, dtype=torch.float64), torch.tensor([0, 1, 2])
    assert at_once(torch.empty(0, 3, 128, 128)) == 64
    assert at_once(torch.empty(1, 3, 224, 224)) == 5
    check(net, x, y)
