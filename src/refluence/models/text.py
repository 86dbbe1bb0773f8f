"""Networks of texts by name, through transformers' `AutoModelForSequenceClassification`.

    minilm              the encoder of all-MiniLM-L6-v2 (six layers of 384) with a new head
    minilm-N            a student of it: embeddings, pooling and N of its layers, evenly chosen, are copied
    hf:NAME, hf:FOLDER  a network of the Hub, or in a folder, with its head where that fits the classes
    NAME:random         the same network with drawn weights

A new head, and all weights of `:random`, are drawn as the library draws them, from a seed of our generator. Ours: dropout is
off, as in the libraries' networks for images, so that a text has one gradient; attention is written out (`eager`), which
forward mode can differentiate.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from refluence.errors import InputError, option
from refluence.files import Json
from refluence.models.build import ModelSpec
from refluence.models.custom import refuse_beside
from refluence.models.library import SEEDS
from refluence.models.plain import without_dropout
from refluence.models.text_net import TextNet, shorten
from refluence.models.user_file import Shape
from refluence.randomness import seeded
from refluence.text import HUB, MINILM, TextShape, place, quiet, reached, readable, tokenizer, transformers

if TYPE_CHECKING:
    from transformers import PretrainedConfig

RANDOM = ":random"
NAMES = f"{MINILM}, {MINILM}-2 (… layers), hf:NAME, hf:FOLDER"
_MINILM = re.compile(rf"{MINILM}(?:-(\d+))?")


class Name(NamedTuple):
    """A network's name, read: where its files are, how many of its layers (None: all), whether its weights are drawn."""

    base: str
    layers: int | None
    random: bool


def is_text(name: str) -> bool:
    """Whether a name is that of a network of texts."""
    return name.startswith(HUB) or _MINILM.fullmatch(name.removesuffix(RANDOM)) is not None


def read_text_name(name: str) -> Name:
    """A name that `is_text` knows, in its parts.

    Example:
        >>> read_text_name("minilm-2:random")
        Name(base='minilm', layers=2, random=True)
    """
    random, base = name.endswith(RANDOM), name.removesuffix(RANDOM)
    if found := _MINILM.fullmatch(base):
        return Name(MINILM, int(found[1]) if found[1] else None, random)
    return Name(base, None, random)


@dataclass(frozen=True)
class TextSpec(ModelSpec):
    """What it takes to build a network of texts again. Its width is that of its layers.

    `weights` is the SHA-256 of the files that it starts from (of the configuration alone where its weights are drawn).
    `separator`: see `TextNet`.
    """

    weights: str = ""
    separator: int | None = None

    def __post_init__(self) -> None:
        """Everything was found by `text_spec`."""

    @property
    def words(self) -> TextShape:
        """What it reads."""
        assert isinstance(self.shape, TextShape), "a network of texts"
        return self.shape

    def to_json(self) -> Json:
        """Plain values, as config.json keeps them."""
        return {**super().to_json(), "weights": self.weights, "separator": self.separator}

    def other(self, name: str | None = None, width: int | None = None, norm: str | None = None) -> ModelSpec:
        """The network `name` (None: this one) for the same texts and classes."""
        refuse_beside(name or self.name, width, norm)
        return self if name is None else text_spec(name, self.shape, self.classes)

    def verify(self) -> None:
        """`InputError` where its files are not here, or are others than those of the run."""
        name = read_text_name(self.name)
        if (now := files_digest(place(name.base), name.random)) != self.weights:
            raise InputError(
                f"the files of {self.name} are others than those of the run (sha256 {self.weights[:12]} then, {now[:12]} now)"
            )

    def fresh(self, generator: torch.Generator) -> TextNet:
        """A network on the CPU, in training mode: pretrained, or drawn from the generator; its head as the files have it, or
        drawn."""
        name, library = read_text_name(self.name), transformers()
        auto, where = library.AutoModelForSequenceClassification, place(name.base)
        config = _config(name.base, self.classes)
        config.pad_token_id = self.words.pad
        with seeded(int(torch.randint(SEEDS, (), generator=generator))), quiet(), readable("network", self.name):
            if name.random:
                config.num_hidden_layers = name.layers or config.num_hidden_layers
                model = auto.from_config(config, attn_implementation="eager")
            else:
                model = auto.from_pretrained(
                    where,
                    config=config,
                    attn_implementation="eager",
                    dtype=torch.float32,
                    ignore_mismatched_sizes=True,
                    use_safetensors=True,
                    local_files_only=not reached(where),
                )
            if name.layers is not None and not name.random:
                shorten(model, name.layers)
        net = TextNet(model, self.words.pad, self.separator)
        without_dropout(net)
        return net.train()

    @property
    def label(self) -> str:
        """The network as people say it."""
        return f"{self.name}, width {self.width}"


def text_spec(name: str, shape: Shape, classes: int) -> TextSpec:
    """The network `name` for texts of `shape`.

    Raises:
        InputError: images; files that are not there; another vocabulary, other padding or shorter texts than those of the data;
            more layers than there are.
    """
    if not isinstance(shape, TextShape):
        raise InputError(f"{name} reads texts, and the data are images of {' x '.join(map(str, shape))}")
    read = read_text_name(name)
    config, separator = _config(read.base, classes), _check_tokenizer(read.base, shape)
    if (known := config.vocab_size) < shape.vocabulary:
        raise _other_ids(name, read.base, known, shape)
    if (longest := getattr(config, "max_position_embeddings", shape.length)) < shape.length:
        raise InputError(f"{name} reads {longest} tokens at most, {option('max_length', shape.length)} asks for more")
    if read.layers is not None and not 1 <= read.layers <= config.num_hidden_layers:
        raise InputError(
            f"{name}: {read.base} has {config.num_hidden_layers} layers, so {read.base}-1 … -{config.num_hidden_layers}"
        )
    weights = files_digest(place(read.base), read.random)
    return TextSpec(name, shape, classes, config.hidden_size, "layer", weights, separator)


def _check_tokenizer(base: str, shape: TextShape) -> int | None:
    """The network's own separator of texts, where it has a tokenizer that has one. `InputError` where that makes other ids."""
    try:
        own = tokenizer(base)
    except InputError:  # a folder of a network alone: what it says of its vocabulary is checked all the same
        return None
    if (len(own), own.pad_token_id) != (shape.vocabulary, shape.pad):
        raise _other_ids(base, base, len(own), shape, int(own.pad_token_id))
    return own.sep_token_id if "token_type_ids" in own.model_input_names else None


def _other_ids(name: str, base: str, known: int, shape: TextShape, pad: int | None = None) -> InputError:
    padding = "" if pad is None or pad == shape.pad else f", padding {pad}, not {shape.pad}"
    return InputError(
        f"{name} knows {known} token ids, and the texts are tokenised into {shape.vocabulary}{padding}: read the data with "
        f"{option('tokenizer', base)}"
    )


def _config(base: str, classes: int) -> PretrainedConfig:
    where = place(base)
    with quiet(), readable("network", base):
        config = transformers().AutoConfig.from_pretrained(where, num_labels=classes, local_files_only=not reached(where))
        return config


def files_digest(where: str, random: bool) -> str:
    """The SHA-256 of a network's configuration and, unless its weights are drawn, of its weights; of the Hub, its version."""
    folder = Path(where)
    if not folder.is_dir():
        commit = getattr(_config(where, 2), "_commit_hash", None)
        return hashlib.sha256(f"{where} {commit}".encode()).hexdigest()
    files = [folder / "config.json", *([] if random else sorted(folder.glob("*.safetensors")))]
    return _digest(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files if path.is_file()))


@lru_cache
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    found = hashlib.sha256()
    for path, _, size in files:
        found.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            while part := file.read(2**20):
                found.update(part)
    return found.hexdigest()


def trained_text(spec: TextSpec, classes: Sequence[str]) -> TextNet:
    """The network with the head that its files have, its logits in the order of `classes`, in evaluation mode.

    Raises:
        InputError: it has no head for these classes.
    """
    base = read_text_name(spec.name).base
    where = place(base)
    with quiet(), readable("network", base):
        config = transformers().AutoConfig.from_pretrained(where, local_files_only=not reached(where))
    names = [str(config.id2label[i]) for i in range(config.num_labels)]
    if spec.name != base or not any("SequenceClassification" in kind for kind in config.architectures or ()):
        names = []
    net = spec.fresh(torch.Generator().manual_seed(0)).eval()
    if set(names) == set(classes):
        head = net.classifier
        head.load_state_dict({key: t[[names.index(name) for name in classes]] for key, t in head.state_dict().items()})
    elif names != [f"LABEL_{i}" for i in range(len(classes))]:
        has = f"knows the classes {', '.join(names[:5])}" if names else "has no trained head"
        raise InputError(
            f"{spec.name} {has}, and the data have {', '.join(classes[:5])}: without {option('load_teacher')} the teacher "
            f"{spec.name} is trained on them first"
        )
    return net


def write_transformers(net: TextNet, spec: TextSpec, classes: Sequence[str], folder: Path) -> None:
    """Write a trained network so that `AutoModelForSequenceClassification.from_pretrained(folder)` reads it.

    Its configuration has the names of the classes, and its tokenizer lies beside it, where it has one.
    """
    model = net.model
    model.config.id2label = dict(enumerate(classes))
    model.config.label2id = {name: i for i, name in enumerate(classes)}
    with quiet():
        model.save_pretrained(folder)
        try:
            tokenizer(read_text_name(spec.name).base).save_pretrained(folder)
        except InputError:
            return
