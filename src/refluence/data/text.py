"""A dataset of texts: its splits hold token ids `(N, L)` where others hold images, and what can be read beside them."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import torch
from torch import Tensor

from refluence.data.dataset import Dataset, Split
from refluence.data.html import SHOWN
from refluence.errors import InputError
from refluence.text import TextShape

UNIT = (0.0,), (1.0,)
"""Mean and std of texts, which are not normalised."""
NONE = TextShape(0, 0, 0)


@dataclass(frozen=True)
class TextDataset(Dataset):
    """A source of texts, tokenised and split. `images (N, L)` int32 of its splits are ids, `texts` the same to be read.

    Args:
        source: as in `Dataset`, and so the others; `mean` and `std` are 0 and 1.
        words: what networks have to know of the ids.
        tokenizer: what made them: `minilm`, `hf:NAME` or a folder.
    """

    words: TextShape = NONE
    tokenizer: str = ""

    def __repr__(self) -> str:
        counts = f"train {len(self.train)}, val {len(self.val)} ({self.validation}), test {len(self.test)}"
        return f"TextDataset({self.source}: {len(self.classes)} classes, at most {self.words.length} tokens, {counts})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<li>{escape(self.classes[label])}: {escape(text)}</li>"
            for text, label in zip(self.train.texts or (), self.train.labels[:SHOWN].tolist(), strict=False)
        )
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return f"<p>{escape(repr(self))}</p><ul>{rows}</ul><ul>{notes}</ul>"

    @property
    def shape(self) -> TextShape:
        """What networks have to know of a row: its length at most, the vocabulary, the id of padding."""
        return self.words

    @property
    def area(self) -> int:
        """As many pixels as an image would have that takes as much memory: 64 a token (ours, by MiniLM beside a ConvNet)."""
        return 64 * self.words.length

    def pixels(self, split: Split, positions: Tensor | slice = slice(None), device: str | torch.device = "cpu") -> Tensor:
        """Token ids `(B, L)` int64, as long as the longest of these rows."""
        ids = split.images[positions]
        used = (ids != self.words.pad).any(0).nonzero()
        longest = int(used.max()) + 1 if len(used) else 1
        return ids[:, :longest].to(device, torch.int64)


def refuse_texts(dataset: Dataset, what: str) -> None:
    """`InputError` where `what` (such as "distill") is asked of texts."""
    if isinstance(dataset, TextDataset):
        raise InputError(f"{dataset.source} holds texts, and {what} takes images: texts are for transfer")
