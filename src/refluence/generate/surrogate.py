"""The network whose training says what a class teaches: a few of its checkpoints, with class-mean gradients (IGD, section 3.2).

Published: ConvNet-6, 50 epochs of SGD, learning rate .01, delta .7. The batch of 64 and the numbers for small sets are ours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from refluence.data.dataset import Dataset
from refluence.files import Json, write_json, write_tensors, write_text
from refluence.models import ModelSpec, build
from refluence.version import __version__

TRAINED = "trained."  # before names in a state
WEIGHTS, CARD, README = "model.safetensors", "card.json", "README.md"


@dataclass(frozen=True)
class TrajectorySettings:
    """How the surrogate is trained: plain SGD."""

    epochs: int
    lr: float
    batch: int


@dataclass(frozen=True)
class SurrogateSettings:
    """How the surrogate is trained and which checkpoints it keeps.

    `regular`: so many evenly spaced checkpoints instead of Algorithm 2; `evenly`: as many as it retains. `real`: images of each
    class in its mean gradient, None for all.
    """

    epochs: int = 50
    lr: float = 0.01
    batch: int = 64
    threshold: float = 0.7
    similarity: str = "mean-gradient"
    regular: int | None = None
    real: int | None = None
    evenly: bool = False

    def to_json(self) -> Json:
        """Plain values; what came later only where it is unusual, so that what was made before is found."""
        return {name: value for name, value in asdict(self).items() if name != "evenly" or value}

    @property
    def training(self) -> TrajectorySettings:
        """What of it decides the training, and not what is made of its checkpoints."""
        return TrajectorySettings(self.epochs, self.lr, self.batch)


def surrogate_defaults(dataset: Dataset, size: str) -> SurrogateSettings:
    """The published numbers (`paper`), or numbers for a CPU (`cpu`; ours): 200,000 images in 5 to 20 epochs, and of each class
    at most 200 in its mean gradient, as in the released code."""
    if size == "paper":
        return SurrogateSettings()
    least = min(len(dataset.train.members(label)) for label in range(len(dataset.classes)))
    return SurrogateSettings(epochs=max(5, min(20, 200_000 // len(dataset.train))), batch=32, real=max(1, min(200, least)))


@dataclass(frozen=True, eq=False)
class Surrogate:
    """Checkpoints of a trained network, and the mean gradients of the classes at them.

    Args:
        model: what it takes to build the network.
        checkpoints: state (parameters and buffers by name) of each retained checkpoint, in the order of the training.
        gradients: `(C, P)` at each of them, flat over the parameters in the order of the network.
        epochs: after how many epochs each was taken.
        rates: the learning rate with which training goes on from each.
        mean: `(C,)`, what its images are normalised by, on [0, 1] pixels.
        std: the same.
        trained: its state after the last epoch; None: that of the last checkpoint, which is the same or from earlier versions.
    """

    kind: ClassVar[str] = "surrogate"
    files: ClassVar[tuple[str, ...]] = (WEIGHTS,)

    model: ModelSpec
    checkpoints: tuple[dict[str, Tensor], ...]
    gradients: tuple[Tensor, ...]
    epochs: tuple[int, ...]
    rates: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    trained: dict[str, Tensor] | None = None

    def __len__(self) -> int:
        """How many checkpoints it keeps."""
        return len(self.checkpoints)

    @property
    def stored_bytes(self) -> int:
        """Bytes of its tensors."""
        return sum(t.numel() * t.element_size() for t in self.state().values())

    def networks(self, device: torch.device | str = "cpu") -> list[nn.Module]:
        """The network at each checkpoint, in evaluation mode, in the precision of the checkpoints."""
        return [self._network(state, device) for state in self.checkpoints]

    def classifier(self, device: torch.device | str = "cpu") -> nn.Module:
        """The network after the last epoch, which Algorithm 2 need not have retained; in evaluation mode."""
        return self._network(self.checkpoints[-1] if self.trained is None else self.trained, device)

    def _network(self, state: dict[str, Tensor], device: torch.device | str) -> nn.Module:
        net = build(self.model, torch.Generator().manual_seed(0))
        net.to(next(t.dtype for t in state.values() if t.is_floating_point())).load_state_dict(state)
        return net.to(device).eval()

    def state(self) -> dict[str, Tensor]:
        """All of it but `model` as tensors."""
        own = {
            "epochs": torch.tensor(self.epochs),
            "rates": torch.tensor(self.rates, dtype=torch.float64),
            "mean": torch.tensor(self.mean, dtype=torch.float64),
            "std": torch.tensor(self.std, dtype=torch.float64),
        }
        for number, (checkpoint, gradients) in enumerate(zip(self.checkpoints, self.gradients, strict=True)):
            own |= {f"checkpoint.{number}.{name}": t for name, t in checkpoint.items()}
            own[f"gradients.{number}"] = gradients
        return own | {f"{TRAINED}{name}": t for name, t in (self.trained or {}).items()}

    @classmethod
    def from_state(cls, model: ModelSpec, tensors: dict[str, Tensor]) -> Surrogate:
        """The inverse of `state`."""
        epochs = tensors["epochs"].tolist()
        rates, mean, std = (tuple(tensors[name].tolist()) for name in ("rates", "mean", "std"))
        return cls(
            model,
            tuple(within(tensors, f"checkpoint.{number}.") for number in range(len(epochs))),
            tuple(tensors[f"gradients.{number}"] for number in range(len(epochs))),
            tuple(epochs),
            rates,
            mean,
            std,
            within(tensors, TRAINED) or None,
        )

    def save(self, folder: str | Path, card: Json | None = None) -> None:
        """Write it into `folder/surrogate`, the card last; `card`: further facts."""
        place = Path(folder) / self.kind
        place.mkdir(parents=True, exist_ok=True)
        write_tensors(place / WEIGHTS, self.state())
        said = f"{len(self)} checkpoints of {self.model.label}, after epochs {', '.join(map(str, self.epochs))}"
        write_text(place / README, f"# A surrogate\n\n{said}, with class-mean gradients. Made with Refluence {__version__}.\n")
        write_json(place / CARD, {**(card or {}), "model": self.model.to_json(), "epochs": list(self.epochs)})


def within(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What stands in a state under a prefix, by the names without it."""
    return {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
