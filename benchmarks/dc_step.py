"""Seconds and peak memory of one DC step at the published size, against a literal transcription of the published loop.

    python benchmarks/dc_step.py [--rounds 5] [--threads 2] [--width 128] [--out docs/results/raw/dc_step.jsonl]

CIFAR-10's shape, ConvNet-3, 256 real images a class, 10 synthetic images a class, 50 inner epochs (10 of them timed). Every
variant lives in a process of its own (so that peak memory is its own); the rounds go through the variants in turn, so that
a machine whose speed drifts is fair to all. Reported: medians, and the ratio to another variant round by round. Images are
random: time does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import time
from pathlib import Path

CLASSES, IPC, REAL = 10, 10, 256
INNER, SHARE = 50, 5  # of the 50 inner epochs one in SHARE is timed, and its time counted SHARE times
VARIANTS = {  # name: (kind, allocator kept, precision, compile, weights)
    "literal": ("literal", False, "fp32", False, None),
    "literal, allocator kept": ("literal", True, "fp32", False, None),
    "plain": ("ours", True, "fp32", False, ("uniform", 1)),
    "weighted": ("ours", True, "fp32", False, ("influence", 1)),
    "weighted, refresh=5": ("ours", True, "fp32", False, ("influence", 5)),
    "plain, bf16": ("ours", True, "bf16", False, ("uniform", 1)),
    "weighted, bf16": ("ours", True, "bf16", False, ("influence", 1)),
    "plain, compiled": ("ours", True, "fp32", True, ("uniform", 1)),
    "weighted, compiled": ("ours", True, "fp32", True, ("influence", 1)),
}


def random_dataset(per_class: int):
    import torch

    from refluence.data.dataset import Dataset, Split

    g = torch.Generator().manual_seed(0)
    n = CLASSES * per_class
    images = torch.randint(0, 256, (n, 3, 32, 32), generator=g, dtype=torch.uint8)
    split = Split(images, torch.arange(n) % CLASSES, torch.arange(n))
    return Dataset("random", tuple(map(str, range(CLASSES))), split, split, split, (0.5,) * 3, (0.25,) * 3)


def serve(pipe, variant: str, threads: int, width: int) -> None:
    """Answer "image" and "inner" with the seconds of one of them, "peak" with bytes, "first" with the first step's seconds."""
    import torch

    from refluence.condense.dc import METHOD
    from refluence.models import ModelSpec, build
    from refluence.run import device as machine
    from refluence.seeds import streams

    kind, allocator, precision, compiled, weights = VARIANTS[variant]
    torch.set_num_threads(threads)
    if allocator:
        machine.prepare(threads)
    dataset, spec = random_dataset(REAL + 64), ModelSpec("convnet3", (3, 32, 32), CLASSES, width=width)
    settings = METHOD.settings(IPC, "paper").with_(inner=INNER // SHARE)
    if kind == "literal":
        actions = literal(dataset, build(spec, streams(0)("network", 0)), settings)
    else:
        from refluence.compute import Compute
        from refluence.condense.loop import Distillation
        from refluence.influence.weighting import Weighting

        weighting = Weighting(weights[0], refresh=weights[1])
        compute = Compute(torch.device("cpu"), precision, compiled)
        work = Distillation(METHOD, settings, weighting, dataset, spec, streams(0), compute)

        def image() -> None:
            work.image_step()
            work.step += 1

        actions = {"image": image, "inner": lambda: work.networks.advance(0, work.synthetic)}
    memory = machine.PeakMemory(torch.device("cpu"))
    while (asked := pipe.recv()) != "stop":
        if asked == "peak":
            pipe.send(memory.bytes())
            continue
        begin = time.perf_counter()
        actions[asked]()
        pipe.send(time.perf_counter() - begin)


def literal(dataset, net, settings):
    """The published loop's two halves on the same data."""
    import torch
    from literal_dc import inner_epoch, matching_loss

    g = torch.Generator().manual_seed(0)
    images = torch.randn(CLASSES * IPC, 3, 32, 32, generator=g).requires_grad_()
    labels = torch.arange(CLASSES).repeat_interleave(IPC)
    members = [dataset.train.members(c) for c in range(CLASSES)]
    of_images = torch.optim.SGD([images], lr=settings.image_lr, momentum=settings.image_momentum)
    of_net = torch.optim.SGD(net.parameters(), lr=settings.net_lr)

    def image() -> None:
        real = []
        for c, m in enumerate(members):
            chosen = m[torch.randperm(len(m), generator=g)[:REAL]]
            real.append((dataset.pixels(dataset.train, chosen), torch.full((len(chosen),), c)))
        loss = matching_loss(net, [(images[labels == c], labels[labels == c]) for c in range(CLASSES)], real)
        of_images.zero_grad()
        loss.backward()
        of_images.step()

    def inner() -> None:
        for _ in range(settings.inner):
            inner_epoch(net, images, labels, of_net, settings.net_batch)

    return {"image": image, "inner": inner}


def measure(variants: list[str], rounds: int, threads: int, width: int) -> dict[str, dict]:
    """Per variant: first image step, then per round the seconds of an image step (mean over a refresh period) and of inner."""
    context = multiprocessing.get_context("spawn")
    found = {}
    servers = {}
    for name in variants:
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(there, name, threads, width), daemon=True)
        process.start()
        there.close()  # so that the end of the process is seen here
        servers[name] = here
        found[name] = {"first_image": ask(here, "image"), "first_inner": ask(here, "inner"), "image": [], "inner": []}
        period = VARIANTS[name][4][1] if VARIANTS[name][4] else 1
        for _ in range(period - 1):  # a whole period, so that every round begins with a measured step
            ask(here, "image")
    for number in range(rounds):
        for name, pipe in servers.items():
            period = VARIANTS[name][4][1] if VARIANTS[name][4] else 1
            found[name]["image"].append(statistics.fmean(ask(pipe, "image") for _ in range(period)))
            found[name]["inner"].append(SHARE * ask(pipe, "inner"))
            print(
                f"round {number + 1}: {name}: {found[name]['image'][-1]:.2f} s, inner {found[name]['inner'][-1]:.2f} s",
                flush=True,
            )
    for name, pipe in servers.items():
        found[name]["peak_bytes"] = ask(pipe, "peak")
        pipe.send("stop")
    return found


def ask(pipe, what: str):
    pipe.send(what)
    return pipe.recv()


def ratio(found: dict, a: str, b: str, part: str) -> tuple[float, float, float]:
    """Median, least and largest of a/b, round by round."""

    def seconds(name: str) -> list[float]:
        both = zip(found[name]["image"], found[name]["inner"], strict=True)
        return [i + j if part == "outer" else i for i, j in both]

    each = [x / y for x, y in zip(seconds(a), seconds(b), strict=True)]
    return statistics.median(each), min(each), max(each)


def table(found: dict) -> str:
    heads = ["variant", "image step s", "inner s", "outer step s", "image / literal", "image / plain", "outer / plain"]
    heads += ["peak GB", "first image + inner step s"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, own in found.items():
        image, inner = statistics.median(own["image"]), statistics.median(own["inner"])
        base = "plain" + name[name.index(",") :] if name.startswith("weighted,") and "refresh" not in name else "plain"
        cells = [ratio(found, name, "literal", "image"), ratio(found, name, base, "image"), ratio(found, name, base, "outer")]
        shown = " | ".join(f"{m:.2f} [{low:.2f}, {high:.2f}]" for m, low, high in cells)
        lines.append(f"| {name} | {image:.2f} | {inner:.2f} | {image + inner:.2f} | {shown} "
                     f"| {own['peak_bytes'] / 1e9:.2f} | {own['first_image']:.1f} + {own['first_inner']:.1f} |")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--out", type=Path)
    flags = parser.parse_args()
    found = measure(flags.variants, flags.rounds, flags.threads, flags.width)
    print(table(found))
    if flags.out:
        facts = {"torch": torch.__version__, "threads": flags.threads, "width": flags.width, "machine": platform.machine()}
        flags.out.write_text("".join(json.dumps({"variant": k, **v, **facts}) + "\n" for k, v in found.items()))


if __name__ == "__main__":
    main()
