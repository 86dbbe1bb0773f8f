"""A classifier of texts of the Hub's kind as the package sees a network: token ids (B, L) to logits (B, classes).

    mask = ids != pad           types = 1 behind the first separator, 0 before it and where ids are padding
    logits = head(pooled)       pooled as the Hub's own class does it: of BERT tanh(W h_[CLS] + b)

Mask and types are made here, of the one tensor that a batch of texts is, without a branch that depends on its values: so every
engine of influence, vmap and forward mode too, sees a function of parameters and ids.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from refluence.errors import InputError
from refluence.text import TextShape

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADDED = ("albert", "bert", "camembert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta")
"""Kinds of networks that add a mask (B, 1, 1, L) to their attention as it is; others get ids != pad and look at its values."""


class TextNet(nn.Module):
    """`(B, L)` int64 ids to `(B, classes)` logits; `features` gives the embedding `(B, F)` before the last linear layer.

    `pad` is the id of padding. `separator` ends a text of a pair; None: the network knows no types of tokens.
    """

    def __init__(self, model: PreTrainedModel, pad: int, separator: int | None = None):
        super().__init__()
        self.model, self.pad = model, pad
        self.separator = separator if getattr(model.config, "type_vocab_size", 0) > 1 else None
        self.adds = model.config.model_type in ADDED
        heads = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
        if not heads or model.get_submodule(heads[-1]).out_features != model.config.num_labels:
            raise InputError(f"{type(model).__name__} does not end in one linear layer, so it has no embedding")
        self.place = heads[-1]

    @property
    def classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.model.get_submodule(self.place)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits `(B, classes)`."""
        real = ids != self.pad
        mask = real.long()
        if self.adds:
            lowest = torch.finfo(self.model.dtype).min
            mask = torch.zeros_like(real, dtype=self.model.dtype).masked_fill(~real, lowest)[:, None, None, :]
        given = {"input_ids": ids, "attention_mask": mask}
        if self.separator is not None:
            ends = (ids == self.separator).long()
            given["token_type_ids"] = (ends.cumsum(1) - ends).clamp(max=1) * real
        return self.model(**given).logits

    def features(self, ids: Tensor) -> Tensor:
        """Embedding `(B, F)`."""
        seen: list[Tensor] = []
        handle = self.classifier.register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
        try:
            self(ids)
        finally:
            handle.remove()
        return seen[-1].flatten(1)


def of_texts(net: nn.Module, shape: TextShape) -> nn.Module:
    """A user's network, which gets token ids alone: one of transformers gets its mask too, and gives its logits alone."""
    library = sys.modules.get("transformers")  # who has such a network has imported it
    if library is None or not isinstance(net, library.PreTrainedModel):
        return net
    return TextNet(net, shape.pad, getattr(net.config, "sep_token_id", None))


def shorten(model: PreTrainedModel, layers: int) -> None:
    """Keep that many layers of an encoder, evenly chosen: of L layers those with the numbers floor(i L / layers), i = 0, 1, …

    Embeddings, pooling and head stay. In place. Errors: `InputError` for more layers than there are, or an unknown encoder.
    """
    base = model.base_model
    stack = getattr(base, "encoder", None) or getattr(base, "transformer", None)
    whole = getattr(stack, "layer", None)
    if stack is None or not isinstance(whole, nn.ModuleList):
        raise InputError(f"{type(model).__name__} has no list of layers to choose from")
    if not 1 <= layers <= len(whole):
        raise InputError(f"{layers} layers of {len(whole)} cannot be kept")
    stack.layer = nn.ModuleList(whole[i * len(whole) // layers] for i in range(layers))
    model.config.num_hidden_layers = layers
