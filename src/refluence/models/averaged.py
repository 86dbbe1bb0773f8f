"""The end that networks of maps share: the global average of the last map, and a linear layer on it."""

from __future__ import annotations

from torch import Tensor, nn


class Averaged(nn.Module):
    """`body` gives maps `(B, F, H, W)`, `classifier` logits of their averages; both are set by the network."""

    body: nn.Module
    classifier: nn.Module

    def features(self, x: Tensor) -> Tensor:
        """Embedding `(B, F)` before the classifier: the global average of the last map."""
        return self.body(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(B, classes)`."""
        return self.classifier(self.features(x))
