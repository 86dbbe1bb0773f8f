"""Whether a network that was trained on the real images recognises what a denoiser samples.

    python benchmarks/recognised.py --data SRC --denoiser FOLDER [--image-size N] [--model convnet:64] [--each 50] [--cfg 2]
        [--out FILE.jsonl]

One row: percent of real test images, and of `--each` unguided samples of every class, that the network puts into their class.
It is trained as teachers are at size cpu (jobs/source_network.py), on 100,000 images in all, epochs counted. A share far below
that of real images says that the denoiser learned too little for sets of its samples to say anything of a method.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from refluence.evaluate.measure import per_class
from refluence.generate.denoiser_folder import load_denoiser
from refluence.generate.facts import normalised
from refluence.generate.sampling import sample
from refluence.generate.settings import Settings
from refluence.jobs.session import Machine, open_session
from refluence.jobs.source_network import need_of, source_network
from refluence.jobs.students import predictions
from refluence.models import network
from refluence.options import SourceOptions
from refluence.run import device
from refluence.run.rows import append_rows
from refluence.seeds import streams
from refluence.training.predict import predict

BATCH = 50


def share(called: Tensor, labels: Tensor) -> float:
    """Percent that are right."""
    return 100 * float((called == labels).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--denoiser", required=True)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--model", default="convnet:64")
    parser.add_argument("--each", type=int, default=50)
    parser.add_argument("--cfg", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    with device.threads(args.threads):
        session = open_session(
            args.data, Machine(device="cpu", threads=args.threads), SourceOptions(image_size=args.image_size)
        )
        data = session.dataset
        count = len(data.classes)
        denoiser = load_denoiser(args.denoiser, data.classes, data.shape)
        net = source_network(need_of(network(args.model, data.shape, count), data, "cpu"), session, None)
        real = predictions(net, data, data.test, session.compute.device)

        labels, made, rng = torch.arange(count).repeat_interleave(args.each), list[Tensor](), streams(0)
        for number, y in enumerate(labels.split(BATCH)):
            noise = torch.randn(len(y), *denoiser.shape, generator=rng("noise", number))
            with torch.no_grad():
                made.append(denoiser.decode(sample(denoiser, noise, y, Settings(cfg=args.cfg)).z).clamp(0, 1))
        images = normalised(torch.cat(made), data.mean, data.std)
        called = predict(lambda x: net(x).argmax(1), lambda part: images[part], len(images), 256)

    found = per_class(labels, called, count)
    row = {
        "denoiser": denoiser.config.kind,
        "parameters": denoiser.parameters,
        "model": args.model,
        "cfg": args.cfg,
        "samples": len(labels),
        "real_accuracy": share(real, data.test.labels),
        "recognised": share(called, labels),
        "recognised_by_class": dict(zip(data.classes, found, strict=True)),
    }
    print(json.dumps(row, indent=2))
    if args.out is not None:
        append_rows(args.out, [row])


if __name__ == "__main__":
    main()
