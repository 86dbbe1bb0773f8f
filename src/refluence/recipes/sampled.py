"""What recipes of sampled sets share: the denoiser of a size, the numbers of IGD's Table 12, and parts whose arms sample.

Size `paper`: the published DiT at 256 pixels for photographs, and a denoiser of our own at 32 pixels; `igd` is the protocol of
the released code. Size `cpu`, ours: digits at 8 pixels and MNIST at 28, a small DiT trained first, the protocol `dsa-cpu`.
"""

from __future__ import annotations

from collections.abc import Mapping

from refluence.recipes.base import Part, Published

LARGE = ("imagenette", "imagewoof", "imagenet", "food101")
SIZE = 256
DIT = "hf:facebook/DiT-XL-2-256"
NETWORKS = {"convnet6": "ConvNet-6", "resnetap10": "ResNetAP-10", "resnet18": "ResNet-18"}
"""The networks that the paper judges by."""
IPCS = (10, 50, 100)
SCALES: Mapping[tuple[str, int, str], tuple[float, float]] = {
    **{(data, ipc, "dit"): (5, 50 if ipc == 10 else 120) for data in ("imagenette", "imagewoof") for ipc in IPCS},
    **{("imagenet", ipc, "dit"): (5, 120) for ipc in IPCS},
    **{("imagenette", ipc, "minimax"): (15, 10) for ipc in IPCS},
    **{("imagewoof", ipc, "minimax"): (10, 50 if ipc == 10 else 100) for ipc in IPCS},
    **{("imagenet", ipc, "minimax"): (10, 100) for ipc in IPCS},
}
"""k and gamma by set, images per class and method: Table 12."""


def scaled(arm: str, data: str, ipc: int) -> str:
    """An arm with the k and gamma of Table 12; of sets that it does not have, those of ImageNette."""
    method, _, variant = arm.partition("+")
    if not variant or variant == "pool":
        return arm
    k, gamma = SCALES.get((data, ipc, method)) or SCALES["imagenette", min(IPCS, key=lambda n: abs(n - ipc)), method]
    said = {"influence": {"k": k}, "deviation": {"gamma": gamma}, "igd": {"k": k, "gamma": gamma}}.get(variant, {})
    return arm + (":" + ",".join(f"{name}={value:g}" for name, value in said.items()) if said else "")


def saying(arm: str, said: str) -> str:
    """The arm with one more thing said: `saying("dit+igd:k=5", "cfg=1")` is `dit+igd:k=5,cfg=1`; "" leaves it as it is."""
    return f"{arm}{',' if ':' in arm else ':'}{said}" if said else arm


def part(
    name: str,
    data: str,
    ipc: int,
    arms: tuple[str, ...],
    size: str,
    *,
    model: str = "resnet18",
    protocols: tuple[str, ...] = ("igd",),
    options: Mapping[str, object] | None = None,
    pairs: tuple[tuple[str, str], ...] = (),
    primary: str | None = None,
) -> Part:
    """A comparison of sampled sets. At size cpu the network is a ConvNet, the protocol `dsa-cpu`."""
    if size == "cpu":
        return Part(name, data, ipc, arms, ("dsa-cpu",), 3, options=dict(options or {}), pairs=pairs, primary=primary)
    large = data in LARGE
    own = {"denoiser": DIT, "width": None} if large else {}
    source = {"image_size": SIZE} if large else {}
    return Part(
        name, data, ipc, arms, protocols, 3, model, {**own, **(options or {})}, pairs=pairs, primary=primary, source=source
    )


def cells(text: str) -> tuple[Published, ...]:
    """Numbers as printed, `56.2±1.3 74.1±0.6`."""
    parted = (cell.partition("±") for cell in text.split())
    return tuple(Published(float(mean), float(sd)) for mean, _, sd in parted)
