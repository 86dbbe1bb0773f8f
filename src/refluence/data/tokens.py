"""Texts of a source, stored and as token ids: what decoding is for images. The tokenizer is an option of the source."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from refluence.data.pixels import Pixels
from refluence.data.stored import RawSplit
from refluence.errors import InputError, option
from refluence.options import SourceOptions
from refluence.text import MINILM, TextShape, tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LENGTH = 128  # tokens at most, where no other number is asked for
CHUNK = 4096  # texts that are tokenised at a time
BETWEEN = " || "  # the two texts of a pair, to be read


def stored(
    where: str,
    texts: Sequence[Sequence[object]],
    labels: Sequence[object],
    names: tuple[str, ...] | None,
    groups: Sequence[object] | None,
) -> RawSplit:
    """A stored split of `texts`, one column or two. `InputError` for a row without a text."""
    for column in texts:
        for row, value in enumerate(column):
            if not isinstance(value, str):
                raise InputError(f"row {row} of {where} has no text, but {value!r}: remove it, or write what it says")
    for row, label in enumerate(labels):
        if isinstance(label, float) and math.isfinite(label) and not label.is_integer():
            raise InputError(
                f"row {row} of {where}: label {label:g} is a number and no class (a task of regression): expected classes"
            )
    rows = [tuple(map(str, row)) for row in zip(*texts, strict=True)]
    return RawSplit(where, labels, functools.partial(_bytes, rows), names=names, groups=groups, texts=rows)


def _bytes(rows: Sequence[tuple[str, ...]]) -> Iterator[bytes]:
    return (readable(row).encode("utf-8", "surrogatepass") for row in rows)


def readable(row: tuple[str, ...]) -> str:
    """The texts of a row in one."""
    return BETWEEN.join(row)


def check(splits: Mapping[str, RawSplit], options: SourceOptions) -> None:
    """`InputError` for texts beside images, and for options of the other kind."""
    kinds = {split.what: split.where for split in splits.values()}
    if len(kinds) > 1:
        raise InputError(f"{kinds['texts']} holds texts and {kinds['images']} images: train, validation and test must be alike")
    (kind,) = kinds
    foreign = {"texts": ("image_size", "image_column", "shift"), "images": ("text_columns", "tokenizer", "max_length")}[kind]
    for name in foreign:
        if (value := getattr(options, name)) is not None:
            other = "texts" if kind == "images" else "images"
            raise InputError(f"{option(name, value)} is for {other}: {splits['train'].where} holds {kind}, leave it out")


def read(
    splits: Mapping[str, RawSplit], rows: Mapping[str, np.ndarray], options: SourceOptions
) -> tuple[dict[str, Pixels], TextShape]:
    """Token ids `(N, L)` int32 of each split, L the same in all of them, and what a network has to know of them.

    Only the `rows` of each split that are used are tokenised, the others are left as padding. Two texts of a row are joined as
    the tokenizer joins pairs. Errors: `InputError` for a tokenizer that cannot be read, and for a length that it does not take.
    """
    maker, length = tokenizer(options.tokenizer or MINILM), options.max_length or LENGTH
    if length > maker.model_max_length:
        raise InputError(f"{option('max_length', length)}: the tokenizer takes {maker.model_max_length} tokens at most")
    pad = int(maker.pad_token_id)
    found = {name: _ids(maker, split, rows[name], length) for name, split in splits.items()}
    width = max(len(row) for made, _ in found.values() for row in made)
    every = {}
    for name, (made, cut) in found.items():
        count = len(splits[name])
        ids, digests = torch.full((count, width), pad, dtype=torch.int32), torch.zeros(count, dtype=torch.int64)
        for row, own in zip(rows[name].tolist(), made, strict=True):
            ids[row, : len(own)] = torch.from_numpy(own)
            digests[row] = _digest(own)
        note = f"{cut} of {len(made)} texts of {splits[name].where} are cut to {length} tokens"
        every[name] = Pixels(ids, digests, torch.zeros(count, 1, 2), {}, notes=(note,) if cut else ())
    return every, TextShape(length, len(maker), pad)


def _ids(maker: PreTrainedTokenizerBase, split: RawSplit, chosen: np.ndarray, length: int) -> tuple[list[np.ndarray], int]:
    """The ids of the `chosen` rows, and how many of these were longer."""
    assert split.texts is not None, "a split of texts"
    rows: list[np.ndarray] = []
    cut = 0
    for start in range(0, len(chosen), CHUNK):
        columns = list(map(list, zip(*(split.texts[row] for row in chosen[start : start + CHUNK]), strict=True)))
        whole = maker(*columns, verbose=False)["input_ids"]
        if long := [i for i, ids in enumerate(whole) if len(ids) > length]:
            some = [[column[i] for i in long] for column in columns]
            shorter = maker(*some, truncation=True, max_length=length)["input_ids"]
            for i, ids in zip(long, shorter, strict=True):
                whole[i] = ids
        cut += len(long)
        rows += [np.array(ids, np.int32) for ids in whole]
    return rows, cut


def _digest(ids: np.ndarray) -> int:
    """A fingerprint of a row."""
    return int.from_bytes(hashlib.blake2b(ids.tobytes(), digest_size=8).digest(), "little", signed=True)
