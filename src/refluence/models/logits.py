"""Classifiers of transformers, from a folder or handed over, as networks of images that return logits."""

from __future__ import annotations

from torch import Tensor, nn


class ImageLogits(nn.Module):
    """The logits of a classifier's output. Its tensors keep their names behind `module.`, which files may lack."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(B, classes)` of normalised images `(B, C, H, W)`."""
        return self.module(pixel_values=x).logits


def of_images(net: nn.Module) -> nn.Module:
    """The network, behind `ImageLogits` where it is a classifier of transformers; no other returns more than logits."""
    theirs = any(kind.__module__.partition(".")[0] == "transformers" for kind in type(net).__mro__)
    return ImageLogits(net) if theirs and type(net).__name__.endswith("ForImageClassification") else net
