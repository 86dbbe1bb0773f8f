"""Evaluation protocols by name: how the networks are trained that say what a small set is worth.

Stated by the sources and taken over: SGD, momentum .9, weight decay 5e-4, batch 256, 300 epochs and no augmentation (`dc`:
Zhao et al. 2020, arXiv 2006.05929) or 1000 epochs with DSA augmentation, one operation per batch and parameters per image
(`dsa`: Zhao and Bilen 2021, arXiv 2102.08259), learning rate .01, times .1 once at half way with a new optimiser, so that
momentum starts again (their code); `dc_grey` augmentation for MNIST alone under `dc`; flip left out for MNIST under `dsa`.
IWD (arXiv 2510.27253) states SGD with this momentum and decay, learning rate .1 with DC, and the augmentation of the base
method: `iwd` is `dc` at .1, and `dc` itself is its counterpart at .01.

Ours: we run the stated number of epochs, where the authors' code runs one more and drops the rate one epoch after the
middle; every grey source counts as MNIST-like (their code keeps flip for FashionMNIST and has no `dc` augmentation there);
IWD's number of epochs, which it does not state, is that of `dc`; and the `-cpu` protocols, which are short sizes that
compare with no published number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from refluence.matching.augment import DSA


@dataclass(frozen=True)
class Protocol:
    """How one network is trained. `milestones` are shares of the epochs; `rebuild` forgets momentum at each of them."""

    name: str
    epochs: int
    note: str
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch: int = 256
    milestones: tuple[float, ...] = (0.5,)
    factor: float = 0.1
    rebuild: bool = True
    augmentation: str = "none"
    augmentation_grey: str = "none"
    mode: str = "S"

    def strategy(self, channels: int) -> str:
        """The augmentation for images with this many channels."""
        return self.augmentation_grey if channels == 1 else self.augmentation

    def with_(self, epochs: int | None = None, batch: int | None = None) -> Protocol:
        """A copy with other sizes, which its name then tells: `dc:epochs=30`. None leaves a size as it is."""
        changes = {key: value for key, value in (("epochs", epochs), ("batch", batch)) if value is not None}
        changes = {key: value for key, value in changes.items() if value != getattr(self, key)}
        if not changes:
            return self
        base, _, before = self.name.partition(":")
        options = dict(part.split("=") for part in before.split(",") if part) | changes
        return replace(self, name=f"{base}:" + ",".join(f"{key}={value}" for key, value in options.items()), **changes)


dc = Protocol(
    "dc",
    epochs=300,
    augmentation_grey="dc_grey",
    note="DC (Zhao et al. 2020): 300 epochs, SGD .01, times .1 at half way, no augmentation but crop/scale/rotate for grey",
)
dsa = Protocol(
    "dsa",
    epochs=1000,
    augmentation=DSA,
    augmentation_grey=DSA.replace("flip_", ""),
    note="DSA (Zhao and Bilen 2021): 1000 epochs, SGD .01, times .1 at half way, DSA augmentation, no flip for grey",
)
iwd = replace(dc, name="iwd", lr=0.1, note="IWD with DC (arXiv 2510.27253): as dc, but SGD .1; its epochs are not stated")

dc_cpu = replace(dc, name="dc-cpu", epochs=100, note="short, ours: dc with 100 epochs")
dsa_cpu = replace(dsa, name="dsa-cpu", epochs=200, note="short, ours: dsa with 200 epochs")
iwd_cpu = replace(iwd, name="iwd-cpu", epochs=100, note="short, ours: iwd with 100 epochs")


def protocols() -> dict[str, Protocol]:
    """Every protocol of this module by its name."""
    return {value.name: value for value in globals().values() if isinstance(value, Protocol)}
