"""The folder of a denoiser, written, looked for and read: `model.safetensors`, `config.json`, `card.json`, `README.md`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from refluence.errors import InputError
from refluence.files import Json, read_json, write_json, write_tensors, write_text
from refluence.generate.codec import Codec, Shape
from refluence.generate.denoiser import Denoiser, build_denoiser, digest, fitted
from refluence.generate.denoiser_config import DenoiserConfig
from refluence.generate.latent import SCALE, Latents
from refluence.generate.unet import INDEX, config_of, index
from refluence.version import __version__

WEIGHTS, AUTOENCODER = Denoiser.files
CONFIG, CARD, README = "config.json", "card.json", "README.md"


def save_denoiser(place: Path, denoiser: Denoiser, card: Json) -> None:
    """Weights, configuration, README and card of a denoiser in the folder `place`.

    diffusers itself loads that of a `unet`, and of a denoiser of latents the folder `autoencoder` in it.
    """
    place.mkdir(parents=True, exist_ok=True)
    state, theirs = denoiser.state(), {}
    write_tensors(place / WEIGHTS, state)
    if denoiser.config.kind == "unet":
        theirs = config_of(denoiser.net)
        write_json(place / INDEX, index(state, WEIGHTS))
    if denoiser.config.autoencoder is not None:
        _save_autoencoder(place, denoiser.codec)
    write_json(place / CONFIG, {**theirs, **denoiser.config.to_json(), "method": denoiser.method, "version": __version__})
    write_text(place / README, readme(denoiser))
    own = {"method": denoiser.method, "parameters": denoiser.parameters, "sha256": digest(denoiser), "version": __version__}
    write_json(place / CARD, {**denoiser.card, **card, **own})


def load_denoiser(where: str | Path, classes: Sequence[str], shape: Shape | None = None) -> Denoiser:
    """The denoiser in a folder, or by a name of the Hub, for data of these classes.

    Args:
        where: a folder that `Denoiser.save` wrote, that of a run of `generate train` or `generate finetune`, or what
            `load_pretrained` reads: a folder of diffusers, or a name of the Hub such as `facebook/DiT-XL-2-256`.
        classes: of the data, in the order of their labels. The denoiser may know more, in another order.
        shape: `(C, H, W)` of the images; none: not checked.

    Raises:
        InputError: a folder that is no denoiser, or one of other classes or another size of image.
    """
    from refluence.generate.pretrained import is_pretrained, load_pretrained

    if is_pretrained(where):
        return load_pretrained(where, classes, shape)
    place = holds_denoiser(Path(where))
    if place is None:
        if not Path(where).exists():
            raise InputError(f"there is no folder {where}; `refluence generate train` makes one there")
        if inside := [each for each in sorted(Path(where).glob("shared/*")) if holds_denoiser(each)]:
            listed = " or ".join(str(each) for each in inside)
            raise InputError(f"{where} is no denoiser but a run that trained one: give {listed}")
        raise InputError(
            f"{where} is no denoiser: it has no {WEIGHTS} with its {CONFIG}; `refluence generate train` makes such a folder"
        )
    said = read_json(place / CONFIG)
    try:
        config, method = DenoiserConfig.from_json(said), str(said["method"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{place / CONFIG} is not that of a denoiser of this version ({error})") from error
    denoiser = fitted(build_denoiser(config, torch.Generator().manual_seed(0)), where, classes, shape)
    denoiser.method = method
    denoiser.card = read_json(place / CARD) if (place / CARD).is_file() else {}
    denoiser.load_state(_tensors(place / WEIGHTS))
    if config.autoencoder is not None:
        denoiser.codec.load_state(_autoencoder(place))
    denoiser.net.eval()
    return denoiser


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}): it is not whole") from error


def _save_autoencoder(place: Path, codec: Codec) -> None:
    """Its weights and its configuration, as diffusers saves both; the scale of the latents is the `scaling_factor`."""
    assert isinstance(codec, Latents), "of a denoiser of latents"
    weights, config = place / AUTOENCODER, config_of(codec.vae, "AutoencoderKL")
    weights.parent.mkdir(exist_ok=True)
    write_tensors(weights, {name: tensor for name, tensor in codec.state().items() if name != SCALE})
    write_json(weights.with_name(CONFIG), {**config, "scaling_factor": codec.scale})


def _autoencoder(place: Path) -> dict[str, Tensor]:
    """The state of a codec that was saved so."""
    weights = place / AUTOENCODER
    try:
        scale = float(read_json(weights.with_name(CONFIG))["scaling_factor"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{weights.with_name(CONFIG)} says no scaling_factor ({error}): it is not whole") from error
    return {**_tensors(weights), SCALE: torch.tensor(scale, dtype=torch.float64)}


def holds_denoiser(folder: Path) -> Path | None:
    """The place of a denoiser: `folder/denoiser`, or `folder` itself; None where neither is one."""
    for place in (folder / Denoiser.kind, folder):
        if (place / WEIGHTS).is_file() and (place / CONFIG).is_file():
            return place
    return None


def readme(denoiser: Denoiser) -> str:
    """How to load it, and what it is."""
    config, sides = denoiser.config, " x ".join(map(str, denoiser.config.shape))
    latent = (
        ""
        if config.autoencoder is None
        else f"""
It noises latents of {" x ".join(map(str, denoiser.shape))}: an autoencoder makes them of images and decodes them.
`diffusers.AutoencoderKL.from_pretrained("{Path(AUTOENCODER).parent}")` loads it.
"""
    )
    return f"""# A denoiser

A diffusion model of {len(config.classes)} classes for images of {sides}: {denoiser.parameters:,} parameters, kind
`{config.kind}`, prediction `{config.prediction}`. Made with Refluence {__version__}; `{CARD}` says how, `{CONFIG}` what builds
the network, and the names of the classes. The `sha256` of the card is that of configuration, classes, schedule and weights, not
of a file.

```python
import refluence as rf
import torch

denoiser = rf.Denoiser.load(".")  # this folder
noise = torch.randn(2, {", ".join(map(str, denoiser.shape))})
clean, eps = denoiser.predict(noise, 999, torch.tensor([0, 0]), cfg=2.0)  # of {config.classes[0]!r}
pixels = denoiser.decode(clean)  # about 0 to 1
```
{latent}
`refluence generate sample` samples with it. Without Refluence, `safetensors.torch.load_file("{WEIGHTS}")`
reads its tensors by name.
"""
