"""An epoch of weighted distillation over an epoch of plain distillation, and one direction of a large network, in one run.

    python benchmarks/transfer_step.py epochs --data CIFAR10 [--rows 10000] [--rounds 3] [--threads 1] [--out FILE.jsonl]
    python benchmarks/transfer_step.py direction [--images 16] [--rounds 3] [--threads 1] [--out FILE.jsonl]
    python benchmarks/transfer_step.py text [--texts 128] [--lengths 24 64] [--layers 2] [--rounds 5] [--out FILE.jsonl]

epochs: convnet3:128 teaches convnet3:32 at size cpu, the teacher's forward on line. `kd` against `student` with one refresh an
epoch, by curvature identity, by identity on the last block alone and by GGN-CG. Every arm is a work of its own, advanced an
epoch at a time; a round goes through all arms in turn, and the ratio is that of a round. Epochs without scores (the first) and
those that make what is kept (the second: the teacher's logits, the engine's proof) are not counted. Without --data images are
random.

direction: <v, grad l_j> of MobileNetV2 (torchvision, 224 px, 100 classes, random weights) by the engine that is chosen, against
one backward pass an image and its product with v. Beside it the same for 100 validation images: here one gradient of their mean
and one direction; where every validation image has a direction of its own, the backward passes are made 100 times (one is
timed).

text: scores of texts by a classifier of MiniLM's size (a BERT of so many layers, hidden 384, 12 heads, random weights,
random token ids) over a forward pass without a graph. Along all parameters by the engine that is chosen and by forward mode,
along the last block, along the head; then along adapters alone, where query and value of every layer have such of rank 8 (LoRA,
by hand), over a forward pass of that network.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refluence.arm import read_arm
from refluence.compute import Compute
from refluence.data import load
from refluence.data.dataset import Dataset, Split
from refluence.influence import Scorer, risk_gradient
from refluence.models import ModelSpec
from refluence.models.last_block import last_block
from refluence.models.text_net import TextNet
from refluence.options import SourceOptions
from refluence.run import device as machine
from refluence.seeds import streams
from refluence.transfer import kd, student
from refluence.transfer.arms import weighting_of
from refluence.transfer.job import Teacher, Transferring
from refluence.transfer.settings import CPU, Settings
from refluence.transfer.work import TransferWork

ARMS = {  # name: (whether instances are weighted, numbers)
    "kd": (False, {}),
    "student": (True, {"curvature": "identity"}),
    "student, last": (True, {"curvature": "identity", "parameters": "last"}),
    "student, ggn": (True, {"curvature": "ggn"}),
}
WARM, ENDLESS, VALIDATION = 2, 1000, 100
PLAIN, FITTED = "forward", "forward with adapters"
PIECE = 64  # texts at a time
FIRST, VOCABULARY = 1000, 30522  # token ids; the first that stands for a word


def images(data: str | None, rows: int) -> Dataset:
    if data is not None:
        return load(data, SourceOptions(rows=rows))
    g, n = torch.Generator().manual_seed(0), rows + rows // 10
    pixels, labels = torch.randint(0, 256, (n, 3, 32, 32), generator=g, dtype=torch.uint8), torch.arange(n) % 10
    train, val = (Split(pixels[s], labels[s], torch.arange(n)[s]) for s in (slice(rows), slice(rows, None)))
    return Dataset("random", tuple(map(str, range(10))), train, val, val, (0.5,) * 3, (0.25,) * 3)


def work_of(arm: str, dataset: Dataset, teacher: int = 128, learner: int = 32) -> TransferWork:
    weighted, numbers = ARMS[arm]
    big, small = (ModelSpec("convnet3", dataset.shape, len(dataset.classes), width=width) for width in (teacher, learner))
    settings: Settings = CPU.with_(epochs=ENDLESS, **numbers)
    method = student.METHOD if weighted else kd.METHOD
    said = read_arm(method.name)
    plan = Transferring(method, said, settings, weighting_of(said, method), Teacher(big, settings))
    net = big.fresh(torch.Generator().manual_seed(0)).eval()
    return TransferWork(plan, dataset, small, streams(0), Compute(), net)


def timed(action: Callable[[], object]) -> float:
    """Seconds: of one thread those of the processor, which other processes hardly change; of more those of the clock."""
    now = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    begin = now()
    action()
    return now() - begin


def epochs(dataset: Dataset, arms: list[str], rounds: int) -> dict[str, list[float]]:
    """Seconds of an epoch by arm and round."""
    works = {arm: work_of(arm, dataset) for arm in arms}
    steps = {arm: work.steps() for arm, work in works.items()}

    def epoch(arm: str) -> None:
        for _ in range(works[arm].course.blocks // ENDLESS):
            next(steps[arm])

    for arm in arms:
        for number in range(WARM):
            print(f"{arm}: epoch {number + 1} {timed(lambda arm=arm: epoch(arm)):.1f} s", flush=True)
    found: dict[str, list[float]] = {arm: [] for arm in arms}
    for number in range(rounds):
        for arm in arms if number % 2 == 0 else reversed(arms):
            found[arm].append(timed(lambda arm=arm: epoch(arm)))
            print(f"round {number + 1}: {arm} {found[arm][-1]:.1f} s", flush=True)
    return found


def direction(count: int, side: int, validation: int, rounds: int) -> dict[str, list[float]]:
    """Seconds by what is done, round by round."""
    from torchvision.models import mobilenet_v2

    torch.manual_seed(0)
    net = mobilenet_v2(num_classes=100).eval()
    x, y = torch.randn(count, 3, side, side), torch.randint(100, (count,))
    xv, yv = torch.randn(validation, 3, side, side), torch.randint(100, (validation,))
    v = {name: torch.randn_like(p) for name, p in net.named_parameters()}
    scorer = Scorer(net)

    def backward(x: Tensor, y: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(F.cross_entropy(net(x), y), list(net.parameters())))

    def one_by_one() -> Tensor:
        rows = (backward(x[[j]], y[[j]]) for j in range(count))
        return torch.stack([sum((g * t).sum() for g, t in zip(row, v.values(), strict=True)) for row in rows])

    def forward() -> None:
        with torch.no_grad():
            for part in x.split(4):
                net(part)

    actions = {
        "forward": forward,
        "per-sample backward": one_by_one,
        "ours": lambda: scorer(x, y, v),
        "validation gradient": lambda: risk_gradient(net, [(xv, yv)]),
        "one validation gradient": lambda: backward(xv[:1], yv[:1]),
    }
    torch.testing.assert_close(actions["ours"](), one_by_one(), rtol=1e-2, atol=1e-3 * float(one_by_one().abs().max()))
    print(f"engine {scorer.choice(x, y, v).engine}", flush=True)
    found: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            found[name].append(timed(action))
    return found


class Adapted(nn.Module):
    """W x + b + B A x of a linear layer, in the form that peft gives it; B is not 0, as after some steps."""

    def __init__(self, inner: nn.Linear, rank: int):
        super().__init__()
        self.inner = inner
        self.lora_A = nn.Linear(inner.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, inner.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + self.lora_B(self.lora_A(x))


def adapted(net: nn.Module, rank: int) -> nn.Module:
    """The network with adapters in query and value of every layer; nothing else of it learns."""
    net.requires_grad_(False)
    for place, part in list(net.named_modules()):
        if place.endswith((".query", ".value")):
            net.set_submodule(place, Adapted(part, rank))
    return net


def classifier(layers: int) -> nn.Module:
    """MiniLM's network of so many layers with a head for two classes, in evaluation mode."""
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 384,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
        "num_hidden_layers": layers,
    }
    model = BertForSequenceClassification(BertConfig(**sizes, num_labels=2, attn_implementation="eager"))
    return TextNet(model, pad=0, separator=102).eval()


def text(length: int, count: int, layers: int, rank: int, rounds: int) -> dict[str, list[float]]:
    """Seconds by what is done, round by round, for so many texts of so many tokens."""
    torch.manual_seed(0)
    plain, fitted = classifier(layers), adapted(classifier(layers), rank)
    ids, y = torch.randint(FIRST, VOCABULARY, (count, length)), torch.randint(2, (count,))
    every = [name for name, _ in plain.named_parameters()]
    head = next(place for place, part in plain.named_modules() if part is plain.classifier)
    adapters = [name for name, p in fitted.named_parameters() if p.requires_grad]
    ways = {
        "all parameters": (plain, every, "auto"),
        "all parameters, forward mode": (plain, every, "forward"),
        "last block": (plain, last_block(plain, head), "auto"),
        "head": (plain, [name for name in every if name.startswith(head)], "auto"),
        f"adapters of rank {rank}": (fitted, adapters, "auto"),
    }
    found: dict[str, list[float]] = {PLAIN: [], FITTED: [], **{way: [] for way in ways}}
    actions: dict[str, Callable[[], object]] = {PLAIN: lambda: forward(plain, ids), FITTED: lambda: forward(fitted, ids)}
    for way, (net, names, engine) in ways.items():
        own, scorer = dict(net.named_parameters()), Scorer(net, engine=engine)
        v = {name: torch.randn_like(own[name]) for name in names}
        first = torch.autograd.grad(F.cross_entropy(net(ids[:1]), y[:1]), [own[name] for name in names])
        want = sum((g * v[name]).sum() for name, g in zip(names, first, strict=True))
        torch.testing.assert_close(scorer(ids, y, v)[0], want, rtol=1e-2, atol=1e-2)
        print(f"{length} tokens, {way}: engine {scorer.choice(ids, y, v).engine}", flush=True)
        actions[way] = lambda scorer=scorer, v=v: scorer(ids, y, v)
    for _ in range(rounds):
        for way, action in actions.items():
            found[way].append(timed(action))
    return found


@torch.no_grad()
def forward(net: nn.Module, x: Tensor) -> list[Tensor]:
    """Logits, in as many pieces as scores are made in."""
    return [net(part) for part in x.split(PIECE)]


def ratio(above: list[float], below: list[float]) -> dict[str, object]:
    """Median, least and largest of the ratios round by round."""
    each = [a / b for a, b in zip(above, below, strict=True)]
    return {"ratio": statistics.median(each), "least": min(each), "largest": max(each), "n": len(each)}


def rows_of_epochs(found: dict[str, list[float]]) -> list[dict]:
    return [
        {"what": f"an epoch of {arm} / kd", **ratio(own, found["kd"]), "seconds": statistics.median(own)}
        for arm, own in found.items()
    ]


def rows_of_direction(found: dict[str, list[float]], validation: int) -> list[dict]:
    alone, ours = found["per-sample backward"], found["ours"]
    whole = [a + b for a, b in zip(found["validation gradient"], ours, strict=True)]
    repeated = [validation * (a + b) for a, b in zip(found["one validation gradient"], alone, strict=True)]
    return [
        {"what": "ours / per-sample backward", **ratio(ours, alone)},
        {"what": "ours / forward", **ratio(ours, found["forward"])},
        {"what": "per-sample backward / forward", **ratio(alone, found["forward"])},
        {"what": f"{validation} validation images, each its own direction / ours", **ratio(repeated, whole)},
    ]


def rows_of_text(found: dict[str, list[float]], length: int) -> list[dict]:
    return [
        {
            "what": f"texts of {length} tokens: scores along {way} / forward",
            **ratio(own, found[FITTED if way.startswith("adapters") else PLAIN]),
            "seconds": statistics.median(own),
            "tokens": length,
        }
        for way, own in found.items()
        if way not in (PLAIN, FITTED)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("epochs", "direction", "text"))
    parser.add_argument("--data")
    parser.add_argument("--rows", type=int, default=10000)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--validation", type=int, default=VALIDATION)
    parser.add_argument("--texts", type=int, default=128)
    parser.add_argument("--lengths", type=int, nargs="+", default=[24, 64])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    flags = parser.parse_args()
    machine.prepare(flags.threads)
    torch.set_num_threads(flags.threads)
    clock = "processor" if flags.threads == 1 else "wall"
    facts = {"torch": torch.__version__, "threads": flags.threads, "clock": clock}
    if flags.part == "epochs":
        rows = rows_of_epochs(epochs(images(flags.data, flags.rows), flags.arms, flags.rounds))
        facts |= {"rows": flags.rows, "data": "random" if flags.data is None else Path(flags.data).name}
    elif flags.part == "text":
        sizes = (flags.texts, flags.layers, flags.rank, flags.rounds)
        rows = [row for length in flags.lengths for row in rows_of_text(text(length, *sizes), length)]
        facts |= {"texts": flags.texts, "layers": flags.layers}
    else:
        found = direction(flags.images, flags.side, flags.validation, flags.rounds)
        rows = rows_of_direction(found, flags.validation)
        facts |= {"images": flags.images, "side": flags.side}
    for row in rows:
        print(f"{row['what']}: {row['ratio']:.2f} [{row['least']:.2f}, {row['largest']:.2f}], {row['n']} pairs")
    if flags.out:
        with flags.out.open("a") as file:
            file.writelines(json.dumps({**row, **facts}) + "\n" for row in rows)


if __name__ == "__main__":
    main()
