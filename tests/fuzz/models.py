"""Drawn networks of a user's (`score --model FILE.py:FUNCTION`) and drawn files of weights (`--load`)."""

from __future__ import annotations

import pickle
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from fuzz.drawing import Draw, any_of, mostly
from fuzz.ending import Place
from fuzz.label_files import folder
from refluence.models import ModelSpec, build

LAYERS = {
    "": "",
    "batch norm": "nn.BatchNorm2d(4)",
    "tracks nothing": "nn.BatchNorm2d(4, track_running_stats=False)",
    "group norm": "nn.GroupNorm(2, 4)",
    "instance norm": "nn.InstanceNorm2d(4, affine=True)",
    "dropout": "nn.Dropout(0.3)",
    "always drops": "Always()",
    "max pool": "nn.MaxPool2d(2)",
    "one convolution twice": "again",
    "weight norm": "nn.utils.parametrizations.weight_norm(conv())",
    "old weight norm": "nn.utils.weight_norm(conv())",
    "spectral norm": "nn.utils.parametrizations.spectral_norm(conv())",
    "pruned": "prune.l1_unstructured(conv(), 'weight', 0.5)",
    "lazy": "nn.LazyConv2d(4, 3, padding=1)",
    "attention": "Attention()",
    "coupled": "Coupled()",
    "counts": "Counts()",
    "noise": "Noise()",
    "prints": "Prints()",
    "no gradient": "Detached()",
    "rounds": "Rounds()",
    "transposed": "nn.ConvTranspose2d(4, 4, 3, padding=1)",
    "complex": "Fourier()",
    "sparse": "Sparse()",
    "numpy": "Numpy()",
    "hook": "hooked",
    "checkpoint": "Checkpoint()",
    "prelu": "nn.PReLU()",
    "softmax": "nn.Softmax(1)",
    "nan": "Nan()",
    "nan while it trains": "Late()",
    "quits": "Quits()",
    "integers": "Integers()",
    "in place": "nn.ReLU(inplace=True)",
    "writes into the image": "Writes()",
    "fails for one": "Two()",
    "fails later": "Later()",
}
PLAIN = ("batch norm", "group norm", "dropout", "max pool", "prelu", "in place")
ENDS = {
    "": "net",
    "double": "net.double()",
    "half": "net.half()",
    "bfloat": "net.bfloat16()",
    "frozen": "net.requires_grad_(False)",
    "first frozen": "[net, net[0].requires_grad_(False)][0]",
    "huge": "[net, [p.data.mul_(1e30) for p in net.parameters()]][0]",
    "infinite": "[net, [p.data.fill_(float('inf')) for p in net.parameters()]][0]",
    "zero": "[net, [p.data.zero_() for p in net.parameters()]][0]",
    "parallel": "nn.DataParallel(net)",
    "class": "nn.Sequential",
    "none": "None",
    "function": "lambda x: net(x)",
    "weights": "net.state_dict()",
    "tuple": "Tuple(net)",
    "dict": "Dict(net)",
    "wrong shape": "nn.Sequential(net, nn.Linear(classes, classes + 1))",
    "one number": "nn.Sequential(net, nn.Linear(classes, 1), nn.Flatten(0))",
    "log softmax": "nn.Sequential(net, nn.LogSoftmax(1))",
    "quits": "sys.exit('enough')",
    "quits well": "sys.exit(0)",
    "raises": "1 / 0",
    "raises without words": "(_ for _ in ()).throw(KeyError())",
    "interrupts": "(_ for _ in ()).throw(Exception('two\\nlines [red]'))",
    "meta": "net.to('meta')",
    "compiled": "torch.compile(net)",
    "scripted": "torch.jit.script(net)",
    "traced": "torch.jit.trace(net.eval(), torch.zeros(2, *shape))",
    "shared": "shared",
    "doubled": "Doubled(net)",
    "integral": "Integral(net)",
    "no parameters": "nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(classes))",
    "only a buffer": "[net, setattr(net, 'x', 1)][0]",
    "inference": "inferred(net)",
    "averaged": "torch.optim.swa_utils.AveragedModel(net)",
    "quantised": "torch.ao.quantization.quantize_dynamic(net, {nn.Linear})",
}
ODD = Path(__file__).with_name("odd_layers.py").read_text(encoding="utf-8")
BROKEN = (
    "", "\x00", "1/0\n", "make = 3\n", "class make: pass\n", "def make(shape, classes:\n", "import nothing_like_it\n",
    "raise SystemExit\n", "é = '\udce9'\n", "import sys; sys.exit(0)\n", "# coding: utf-99\n",
    "from refluence.models import nothing\n", "def make(): pass\n", "def make(shape, classes, more): pass\n",
    "def make(*a): return make(*a)\n", "def make(s, c): raise MemoryError\n", "async def make(s, c): pass\n",
    "def make(s, c): yield\n", "def make(s, c): assert False\n", "def make(s, c): raise InputError\n",
    "import os; os.chdir('/')\ndef make(s, c): raise OSError('x')\n",
)  # fmt: skip


def source(draw: Draw) -> str:
    """The text of a file with a function `make`."""
    if mostly(draw, False, (True,), 7):
        return any_of(draw, BROKEN)
    layers = [LAYERS[kind] for kind in (any_of(draw, ("", *PLAIN)), mostly(draw, "", sorted(LAYERS), 1)) if kind]
    end = ENDS[mostly(draw, "", sorted(ENDS), 2)]
    first, last = ("nn.Conv2d(shape[0], 4, 3, padding=1)", "nn.GELU()"), ("nn.AdaptiveAvgPool2d(2)", "nn.Flatten()")
    body = ", ".join((*first, *layers, *last, "nn.Linear(16, classes)"))
    return f"{ODD}\ndef make(shape, classes):\n    net = nn.Sequential({body})\n    return {end}\n"


WAYS = (("--terms", "explicit"), ("--batch", "1"), *(("--curvature", kind) for kind in ("hessian", "identity", "lissa")))
HEADERS = ({"format": "pt"}, {"refluence": "no json"}, {"model": "convnet", "width": "x"}, {"refluence": "{}"}, {"model": "9"})
FAULTS = (
    "module.", "_orig_mod.", "half", "double", "nan", "extra", "less", "shape", "integers", "none", "bytes", "empty key",
    "scalar",
)  # fmt: skip
OTHERS = ((), ("--width", "5"), ("--model", "resnet10", "--width", "4"), ("--model", "torchvision:nope"))
PIXELS = (*(("--pixels", text) for text in ("unit", "imagenet", "0.5:0", "nan:1", "1,2:3,4", "0.5:inf", "")), ("--folds", "2"))


@lru_cache
def _weights() -> dict[str, torch.Tensor]:
    return build(ModelSpec("convnet", (3, 8, 8), 2, width=4), torch.Generator().manual_seed(0)).state_dict()


def weights(draw: Draw, path: Path) -> None:
    """A file for `--load`, often a faulty one."""
    held, head = dict(_weights()), mostly(draw, None, HEADERS, 2)
    first = sorted(held)[0]
    if fault := mostly(draw, "", FAULTS, 1):
        if fault.endswith("."):
            held = {fault + key: value for key, value in held.items()}
        held |= {"half": {k: v.half() for k, v in held.items()}, "double": {k: v.double() for k, v in held.items()}}.get(
            fault, {}
        )
        held |= {
            "nan": {first: held.get(first, torch.ones(1)) * float("nan")},
            "extra": {"more": torch.ones(2)},
            "shape": {first: torch.ones(3, 3)},
            "integers": {first: torch.ones(4, dtype=torch.int64)},
            "bytes": {first: torch.ones(4, dtype=torch.uint8)},
            "scalar": {first: torch.tensor(1.0)},
            "empty key": {"": torch.ones(1)},
        }.get(fault, {})
        if fault == "less":
            held.pop(first)
        if fault == "none":
            held = {}
    content = save(held, head)
    broken = (content[:-9], content[:20], b"", pickle.dumps({"a": 1}), bytes(99), b"PK\x03\x04" + bytes(99), content + b"x")
    path.write_bytes(mostly(draw, content, broken))


def case(draw: Draw, at: Place) -> list[Any]:
    """A small folder of pictures, scored by a network of the user's."""
    folder(at.data)
    at.out = at.root / "scores.parquet"
    words = ["score", "--data", at.data, "--out", at.out, "--threads", "1", "--quiet"]
    if mostly(draw, True, (False,), 2):
        file = at.root / mostly(draw, "net.py", ("torch.py", "a b.py", "é.py", "net.txt"), 9)
        file.write_bytes(source(draw).encode("utf-8", "surrogateescape"))
        name = mostly(draw, "make", ("nope", "", "__name__", "nn", "a.b"), 14)
        words += ["--model", f"{file}:{name}", "--folds", "2", "--epochs", "1"]
        return [*words, *mostly(draw, (), WAYS, 2)]
    file = at.root / mostly(draw, "net.safetensors", ("net.pt", "net.ckpt", "net"), 9)
    weights(draw, file)
    words += ["--load", mostly(draw, file, (at.root / "nothing.safetensors", at.data), 14)]
    words += mostly(draw, ("--width", "4", "--model", "convnet"), OTHERS)
    return [*words, *mostly(draw, (), PIXELS, 2)]
