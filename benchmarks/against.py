"""Another checkout of Refluence against this one: seconds of DC steps and of scores, in interleaved pairs.

    python benchmarks/against.py CHECKOUT [--rounds 10] [--threads 2] [--width 128] [--only TEXT] [--out FILE.jsonl]

Each checkout serves its own benchmarks/dc_step.py and influence_scores.py in processes of its own; a round asks one and then
the other, in turns, and the next round begins with the other one. Reported: the median of the ratios this / CHECKOUT, with
the least and the largest. Images are random: time does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection, Listener
from pathlib import Path

from influence_scores import NETWORKS, prepare

HERE = Path(__file__).parents[1]
SERVER = """
import sys
from multiprocessing.connection import Client
from pathlib import Path
address, module, *words = sys.argv[1:]
pipe = Client(address)
if module == "dc_step":
    from dc_step import serve
    serve(pipe, words[0], int(words[1]), int(words[2]))
else:
    from influence_scores import serve
    serve(pipe, words[0], words[1], int(words[2]), Path(words[3]))
"""
STEPS = ("plain", "weighted")
ENGINES = ("ghost", "forward", "double_backward")


def start(checkout: Path, *words: object) -> Connection:
    """A process of `checkout` that serves a benchmark, and the line to it."""
    paths = os.pathsep.join(str(checkout / folder) for folder in ("src", "benchmarks"))
    with tempfile.TemporaryDirectory() as folder, Listener(f"{folder}/line") as listener:
        subprocess.Popen(
            [sys.executable, "-c", SERVER, str(listener.address), *map(str, words)],
            env={**os.environ, "PYTHONPATH": paths},
            cwd=checkout,
        )
        return listener.accept()


def ask(pipe: Connection, what: object) -> float:
    """Seconds of what was asked for."""
    pipe.send(what)
    found = pipe.recv()
    if not isinstance(found, float):
        raise SystemExit(f"the other side failed: {found}")
    return found


def ratios(other: Path, words: tuple[object, ...], asked: list[object], rounds: int) -> dict[str, list[float]]:
    """Of everything that is asked, the ratio this / other in each round."""
    pipes = {"here": start(HERE, *words), "there": start(other, *words)}
    found: dict[str, list[float]] = {}
    for pipe in pipes.values():
        if words[0] == "influence_scores":
            pipe.recv()  # the warm-up's seconds
        for what in asked:
            ask(pipe, what)
    for number in range(rounds):
        order = list(pipes) if number % 2 == 0 else list(reversed(pipes))
        for what in asked:
            spent = {side: ask(pipes[side], what) for side in order}
            name = what if isinstance(what, str) else what[0]
            found.setdefault(name, []).append(spent["here"] / spent["there"])
    for pipe in pipes.values():
        pipe.send("stop")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--only", default="", help="what has this text in its name, such as MLP")
    parser.add_argument("--out", type=Path)
    flags = parser.parse_args()
    other, rows = flags.checkout.resolve(), []

    def report(name: str, words: tuple[object, ...], asked: list[object]) -> None:
        if flags.only not in name:
            return
        for part, each in ratios(other, words, asked, flags.rounds).items():
            said = f"{statistics.median(each):.3f} [{min(each):.3f}, {max(each):.3f}]"
            print(f"{name}, {part}: {said}, {len(each)} pairs", flush=True)
            rows.append({"what": name, "part": part, "ratios": each, "threads": flags.threads})

    for step in STEPS:
        report(f"DC step, {step}", ("dc_step", step, flags.threads, flags.width), ["image", "inner"])
    for name, (_, n, _, _) in NETWORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            prepare(name, None, n, Path(folder))
            for engine in ENGINES:
                report(f"scores of {name}, {engine}", ("influence_scores", name, engine, flags.threads, folder), [("all", n)])
    if flags.out:
        flags.out.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
