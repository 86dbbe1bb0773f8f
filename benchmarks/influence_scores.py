"""Scores of N training images against the mean validation gradient: Refluence's engines and public peers in one run.

    python benchmarks/influence_scores.py --data FOLDER [--quick] [--rounds 3] [--threads 2]

FOLDER holds `cifar10/` and `mnist/` (Parquet); without it, images are random. The peers (dattri 0.3.0, kronfluence 1.0.1,
captum 0.9.0; those not installed are skipped) and Refluence must be importable by the same Python; torch is the same for all.

Networks: ConvNet-3 of width 128 with GroupNorm(C, C) on CIFAR-10, and a 784-512-256-10 perceptron on MNIST, after 100 steps
of SGD. Every method lives in a process of its own with the same threads and the same allocator setting (freed memory is
kept: run/device.py), is warmed up on one chunk (compilation is not timed, it is reported), and takes its turn in every
round. A method that needs more than 15 s has one turn. Timed: the gradient of M validation images and the scores of N
training images. "pass / forward": the scores alone against a no_grad forward of the same images in the same chunks just
before. Memory: the peak of the process above what it held before (model, data, libraries), at N/4 and at N.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import re
import statistics
import tempfile
import time
import warnings
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "raw" / "influence_scores.jsonl"
NETWORKS = {  # name: (source, N, N when quick, samples a pass)
    "ConvNet-3, CIFAR-10": ("cifar10", 768, 128, 64),
    "MLP, MNIST": ("mnist", 2048, 1024, 256),
}
VALIDATION, STEPS, PATIENCE = 64, 100, 15.0
OURS = {  # name: options of Scorer
    "ghost": {"engine": "ghost"},
    "ghost, bf16": {"engine": "ghost", "precision": "bf16"},
    "forward": {"engine": "forward"},
    "double_backward": {"engine": "double_backward"},
    "ghost, compiled": {"engine": "ghost", "compile": True},
    "ghost, bf16, compiled": {"engine": "ghost", "precision": "bf16", "compile": True},
    "forward, compiled": {"engine": "forward", "compile": True},
    "double_backward, compiled": {"engine": "double_backward", "compile": True},
}


def network(name: str):
    from torch import nn

    from refluence.models import ModelSpec, build
    from refluence.models.initialise import initialise
    from refluence.seeds import streams

    if name.startswith("ConvNet"):
        return build(ModelSpec("convnet3", (3, 32, 32), 10, width=128), streams(0)("network", 0)).eval()
    layers = (nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))
    return initialise(nn.Sequential(*layers), streams(0)("network", 0)).eval()


def prepare(name: str, data: Path | None, n: int, folder: Path) -> str:
    """Write the network, trained a little, with N training and M validation images; say what the images are."""
    import torch
    from safetensors.torch import save_file

    from refluence.data import load
    from refluence.seeds import streams

    source, g = NETWORKS[name][0], streams(0)("sample", 0)
    shape = (3, 32, 32) if source == "cifar10" else (1, 28, 28)
    if data is None:
        count = n + VALIDATION
        x, y = torch.randn(count, *shape, generator=g), torch.randint(10, (count,), generator=g)
        x, xv, y, yv = x[:n], x[n:], y[:n], y[n:]
    else:
        dataset = load(str(data / source))
        some = [torch.randperm(len(s), generator=g)[:k] for s, k in ((dataset.train, n), (dataset.val, VALIDATION))]
        x, xv = dataset.pixels(dataset.train, some[0]), dataset.pixels(dataset.val, some[1])
        y, yv = dataset.train.labels[some[0]], dataset.val.labels[some[1]]
    model = network(name)
    descent = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(STEPS):
        chosen = torch.randint(len(x), (64,), generator=g)
        descent.zero_grad()
        torch.nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
        descent.step()
    save_file({k: p.detach().contiguous() for k, p in model.named_parameters()}, folder / "model.safetensors")
    save_file({"x": x.contiguous(), "y": y, "xv": xv.contiguous(), "yv": yv}, folder / "data.safetensors")
    return "random" if data is None else source


def opened(name: str, folder: Path):
    from influence_peers import Task
    from safetensors.torch import load_file

    model = network(name)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    data = load_file(folder / "data.safetensors")
    return Task(model, data["xv"], data["yv"], NETWORKS[name][3]), data["x"], data["y"]


def serve(pipe, name: str, method: str, threads: int, folder: Path) -> None:
    """Warm up, then answer what, n: "forward", "pass", "all" with seconds, "memory" with bytes, "scores" of the last "all"."""
    warnings.filterwarnings("ignore")
    import torch
    from influence_peers import PEERS

    from refluence.influence import Scorer, risk_gradient
    from refluence.run import device as machine

    machine.prepare(threads)
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            task, x, y = opened(name, folder)
            kept = {}
            if method in OURS:
                scorer = Scorer(task.model, chunk=task.chunk, **OURS[method])

                def gradient():
                    return risk_gradient(task.model, [(task.x, task.y)])[0]

                kept["v"] = gradient()

                def score(x, y):
                    return scorer(x, y, gradient())

                def alone(x, y):
                    return scorer(x, y, kept["v"])
            else:
                score = alone = PEERS[method][2](task)

            @torch.no_grad()
            def forward(x, y):
                for i in range(0, len(x), task.chunk):
                    task.model(x[i : i + task.chunk])

            actions = {"forward": forward, "pass": alone, "all": score}
            begin = time.perf_counter()
            score(x[: task.chunk], y[: task.chunk])
            pipe.send(time.perf_counter() - begin)
            while (asked := pipe.recv()) != "stop":
                what, n = asked
                if what == "scores":
                    pipe.send(kept["scores"])
                    continue
                if what == "memory":
                    memory = machine.PeakMemory(torch.device("cpu"))
                    before = resident()
                    score(x[:n], y[:n])
                    pipe.send(memory.bytes() - before)
                    continue
                begin = time.perf_counter()
                found = actions[what](x[:n], y[:n])
                pipe.send(time.perf_counter() - begin)
                if what == "all":
                    kept["scores"] = [float(s) for s in found.detach().flatten()]
        except Exception as e:
            pipe.send(f"{type(e).__name__}: {e}")


def resident() -> int:
    """Bytes that this process holds now (Linux)."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024


class Failed(Exception):  # noqa: N818
    """What a method's process raised."""


def ask(pipe, *what):
    if what:
        pipe.send(what)
    try:
        found = pipe.recv()
    except EOFError:
        raise Failed("its process ended") from None
    if isinstance(found, str):
        raise Failed(found)
    return found


def measure(name: str, methods: list[str], n: int, rounds: int, threads: int, folder: Path) -> dict[str, dict]:
    """Per method: seconds of the warm-up, seconds by round, scores, peak bytes at N/4 and N."""
    context = multiprocessing.get_context("spawn")
    found: dict[str, dict] = {}
    pipes = {}

    def each(work) -> None:
        for method in list(pipes):
            try:
                work(method, pipes[method], found[method])
            except Failed as e:
                print(f"{method}: {e}", flush=True)
                found.pop(method)
                pipes.pop(method)

    def start(method, pipe, own) -> None:
        own["warm_up"] = ask(pipe)
        print(f"{name}: {method} ready after {own['warm_up']:.1f} s", flush=True)

    for method in methods:
        here, there = context.Pipe()
        context.Process(target=serve, args=(there, name, method, threads, folder), daemon=True).start()
        there.close()
        pipes = {**pipes, method: here}
        found[method] = {"all": [], "pass": [], "forward": []}
        with contextlib.suppress(Failed):
            start(method, here, found[method])
            continue
        print(f"{method}: could not start", flush=True)
        pipes.pop(method)
        found.pop(method)

    def turn(method, pipe, own) -> None:
        if own["all"] and own["all"][0] > PATIENCE:
            return
        if method in OURS:
            own["forward"].append(ask(pipe, "forward", n))
            own["pass"].append(ask(pipe, "pass", n))
        own["all"].append(ask(pipe, "all", n))

    def rest(method, pipe, own) -> None:
        own["scores"] = ask(pipe, "scores", n)
        own["peak"] = [ask(pipe, "memory", n // 4), ask(pipe, "memory", n) if own["all"][0] <= PATIENCE else None]
        print(f"{name}: {method}: {statistics.median(own['all']):.2f} s", flush=True)

    for _ in range(rounds):
        each(turn)
    each(rest)
    for pipe in pipes.values():
        pipe.send("stop")
    return found


def judge(name: str, found: dict[str, dict], folder: Path) -> None:
    """Add the correlation with our float32 ghost scores over the parameters that a method covers."""
    import torch
    from influence_peers import LINEAR_ALONE, names_of

    from refluence.influence import scores

    task, x, y = opened(name, folder)
    v = task.gradient()
    for method, own in found.items():
        mine = torch.tensor(own.pop("scores"))
        names = names_of(task, method)
        same = scores(task.model, x[: len(mine)], y[: len(mine)], {k: v[k] for k in names}, chunk=task.chunk)
        own["correlation"] = float(torch.corrcoef(torch.stack([same, mine]).double())[0, 1])
        own["parameters"] = "of Conv2d and Linear" if method in LINEAR_ALONE else "all"


def table(found: dict[str, dict]) -> str:
    best = min((m for m in found if m in OURS), key=lambda m: statistics.median(found[m]["all"]))
    heads = ["method", "s", "pass / forward", "best of ours is faster by", "correlation", "peak MB at N/4, N", "first chunk s"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for method, own in found.items():
        ratio = "–"
        if own["pass"]:
            each = [p / f for p, f in zip(own["pass"], own["forward"], strict=True)]
            ratio = f"{statistics.median(each):.2f} [{min(each):.2f}, {max(each):.2f}]"
        times = [a / b for a, b in zip(own["all"], found[best]["all"], strict=False)]
        peak = ", ".join("–" if b is None else f"{b / 2**20:.0f}" for b in own["peak"])
        shown = method + ("" if own["parameters"] == "all" else " (Conv2d and Linear)")
        cells = [shown, f"{statistics.median(own['all']):.2f}", ratio]
        cells += [f"{statistics.median(times):.1f} [{min(times):.1f}, {max(times):.1f}]", f"{own['correlation']:.6f}", peak]
        cells.append(f"{own['warm_up']:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def processor() -> str:
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        if found:
            return found[1]
    return "unknown"


def installed() -> dict[str, str]:
    """Peers that are there, with their versions; the others are named."""
    from influence_peers import PEERS

    there = {}
    for peer, (package, version, _) in PEERS.items():
        try:
            there[peer] = f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            print(f"skipped: {peer} ({package} {version} is not installed)")
    return there


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--methods", nargs="+", help="default: all of ours and every peer that is installed")
    parser.add_argument("--out", type=Path, default=RESULTS)
    flags = parser.parse_args()
    import torch

    from refluence.run import device as machine

    os.environ["TQDM_DISABLE"] = "1"
    machine.prepare(flags.threads)
    peers, rows = installed(), []
    methods = [m for m in (*OURS, *peers) if not flags.methods or m in flags.methods]
    rounds = flags.rounds or (1 if flags.quick else 3)
    for name in flags.networks:
        _, n, few, chunk = NETWORKS[name]
        n = few if flags.quick else n
        with tempfile.TemporaryDirectory() as folder:
            images = prepare(name, flags.data, n, Path(folder))
            found = measure(name, methods, n, rounds, flags.threads, Path(folder))
            judge(name, found, Path(folder))
        facts = {"n": n, "validation": VALIDATION, "chunk": chunk, "rounds": rounds, "images": images, "threads": flags.threads}
        facts |= {"torch": torch.__version__, "processor": processor()}
        print(f"\n{name}: {facts}\n\n{table(found)}\n", flush=True)
        rows += [
            {"network": name, "method": m, "version": peers.get(m, "refluence"), **own, **facts} for m, own in found.items()
        ]
        flags.out.parent.mkdir(parents=True, exist_ok=True)
        flags.out.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
