"""What a sampling needs beforehand: a denoiser that is trained first or there already, and the surrogate of its guidance."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from refluence.compute import Compute
from refluence.data import Dataset
from refluence.errors import InputError, called, option, stated
from refluence.files import Json
from refluence.generate.autoencoder import AUTO, AutoencoderConfig, lacks_latents
from refluence.generate.autoencoder_work import AutoencoderSettings, autoencoder_defaults
from refluence.generate.codec import Shape
from refluence.generate.denoiser import Denoiser, digest, fitted
from refluence.generate.denoiser_config import DenoiserConfig
from refluence.generate.denoiser_folder import load_denoiser
from refluence.generate.extra import need_diffusers
from refluence.generate.latent_work import LatentWork
from refluence.generate.surrogate import SurrogateSettings, surrogate_defaults
from refluence.generate.training import DenoiserSettings, DenoiserWork, denoising_defaults
from refluence.models import ModelSpec, network, read_spec
from refluence.options import WIDTHS, SamplingOptions
from refluence.seeds import Rng

TRAINED = ("dit", "unet")  # the denoisers that are trained first
OF_TRAINED = ("prediction", "denoiser_iterations", "space", "autoencoder_iterations")  # options of theirs
SEED = 0  # of what is trained beforehand: all seeds share it


@dataclass(frozen=True)
class Trained:
    """A denoiser that is trained first."""

    config: DenoiserConfig
    settings: DenoiserSettings
    autoencoder: AutoencoderSettings | None = None  # of its training, where the configuration has one

    def to_json(self) -> Json:
        """Plain values, as config.json keeps them."""
        first = {} if self.autoencoder is None else {"autoencoder": asdict(self.autoencoder)}
        return {"config": self.config.to_json(), "settings": asdict(self.settings), **first}

    def shortened(self, steps: int, batch: int) -> Trained:
        """The same with that many steps of each training, of at most `batch` images."""
        settings, first = replace(self.settings, iterations=steps, batch=min(self.settings.batch, batch)), self.autoencoder
        if first is not None:
            first = replace(first, iterations=steps, batch=min(first.batch, batch))
        return replace(self, settings=settings, autoencoder=first)

    def open(self, dataset: Dataset, rng: Rng, compute: Compute) -> DenoiserWork | LatentWork:
        """Its training at the first step."""
        if self.autoencoder is None:
            return DenoiserWork(self.config, self.settings, dataset, rng, compute)
        return LatentWork(self.config, self.settings, self.autoencoder, dataset, rng, compute)


@dataclass(frozen=True)
class Loaded:
    """A denoiser that is there: its digest, how it came about, and what JSON does not keep of it."""

    sha256: str
    where: str
    method: str = "dit"
    denoiser: Denoiser | None = field(default=None, compare=False, repr=False)

    def __reduce__(self) -> tuple[type[Loaded], tuple[str, str, str]]:
        """Another process reads it again from `where`."""
        return Loaded, (self.sha256, self.where, self.method)

    def to_json(self) -> Json:
        """Plain values, as config.json keeps them."""
        return {"sha256": self.sha256, "where": self.where, "method": self.method}

    def again(self, dataset: Dataset) -> Loaded:
        """With the denoiser itself, read again where it is not there.

        Raises:
            InputError: another one than before, or one that was given in Python.
        """
        if self.denoiser is not None:
            return self
        if self.where.endswith("()"):
            raise InputError("the denoiser was given in Python: hand it over again, with denoiser=, in one process")
        found = load_denoiser(self.where, dataset.classes, dataset.shape)
        if digest(found) != self.sha256:
            raise InputError(f"{stated('denoiser', self.where)}: it has changed since the run began")
        return replace(self, denoiser=found)


@dataclass(frozen=True)
class Guide:
    """The surrogate of influence guidance."""

    model: ModelSpec
    settings: SurrogateSettings

    def to_json(self) -> Json:
        """Plain values, as config.json keeps them."""
        return {"model": self.model.to_json(), "settings": self.settings.to_json()}

    def shortened(self, real: int) -> Guide:
        """The same of one epoch, and at most `real` images of a class in its mean gradient."""
        settings = replace(self.settings, epochs=1, real=min(self.settings.real or real, real))
        return replace(self, settings=settings)


def denoiser_of(asked: SamplingOptions, dataset: Dataset, size: str) -> Trained | Loaded:
    """The denoiser that is asked for."""
    if asked.denoiser not in TRAINED:
        if idle := next((name for name in OF_TRAINED if getattr(asked, name) != getattr(SamplingOptions, name)), None):
            raise InputError(
                f"{option(idle)} is for a denoiser that is trained first, {called_by(asked.denoiser)} is there: leave it out"
            )
        found, where = read_denoiser(asked.denoiser, dataset), called_by(asked.denoiser)
        return Loaded(digest(found), where, found.method, found)
    if asked.denoiser == "unet":
        need_diffusers(f"the denoiser {asked.denoiser}")
    autoencoder, first = autoencoder_of(asked, dataset.shape, size)
    config, settings = denoising_defaults(dataset.shape, dataset.classes, size, asked.denoiser, autoencoder)
    if asked.prediction is not None:
        config = replace(config, prediction=asked.prediction)
    if asked.denoiser_iterations is not None:
        settings = replace(settings, iterations=asked.denoiser_iterations)
    return Trained(config, settings, first)


def autoencoder_of(
    asked: SamplingOptions, shape: Shape, size: str
) -> tuple[AutoencoderConfig, AutoencoderSettings] | tuple[None, None]:
    """The autoencoder of a denoiser that is trained first on images `(C, H, W)`, and its training; None: it works on pixels.

    Raises:
        InputError: latents of images that have none, diffusers is not installed, or a training of an autoencoder without one.
    """
    space, why = asked.space, lacks_latents(shape)
    if space == "auto":
        space = "latents" if min(shape[1:]) >= AUTO and not why else "pixels"
    if space == "pixels":
        if asked.autoencoder_iterations is not None:
            raise InputError(
                f"{option('autoencoder_iterations')} is for a denoiser of latents, this one works on pixels: leave it out"
                + ("" if why else f", or say {option('space', 'latents')}")
            )
        return None, None
    if why:
        raise InputError(f"{option('space', 'latents')}: {why}")
    need_diffusers(f"a denoiser of latents ({option('space', 'pixels')} does without)")
    config, settings = autoencoder_defaults(shape, size)
    if asked.autoencoder_iterations is not None:
        settings = replace(settings, iterations=asked.autoencoder_iterations)
    return config, settings


def read_denoiser(given: object, dataset: Dataset) -> Denoiser:
    """The denoiser for the data: of a folder or a name, or itself.

    Raises:
        InputError: no denoiser, or one of other classes or images of another size.
    """
    if isinstance(given, Denoiser):
        return fitted(given, called_by(given), dataset.classes, dataset.shape)
    if not isinstance(given, str):
        raise InputError(f"{stated('denoiser', given)}: it must be {', '.join(TRAINED)}, a folder, hf:NAME or a Denoiser")
    return load_denoiser(given, dataset.classes, dataset.shape)


def called_by(given: object) -> str:
    """A denoiser in a word: its folder or name; one that was given in Python has none."""
    return given if isinstance(given, str) else f"{type(given).__name__}()"


def guide_of(asked: SamplingOptions, dataset: Dataset, size: str) -> Guide:
    """The surrogate that is asked for."""
    with called(model="surrogate"):
        model = network(asked.surrogate, dataset.shape, len(dataset.classes), convnet=WIDTHS[size])
    settings = surrogate_defaults(dataset, size)
    chosen = {name: getattr(asked, name) for name in ("threshold", "similarity", "regular", "evenly")}
    settings = replace(settings, **chosen)
    return Guide(model, settings if asked.surrogate_epochs is None else replace(settings, epochs=asked.surrogate_epochs))


def denoiser_from(stored: Json) -> Trained | Loaded:
    """What `to_json` of either wrote."""
    if "sha256" in stored:
        return Loaded(stored["sha256"], stored["where"], stored["method"])
    first = AutoencoderSettings(**stored["autoencoder"]) if "autoencoder" in stored else None
    return Trained(DenoiserConfig.from_json(stored["config"]), DenoiserSettings(**stored["settings"]), first)


def guide_from(stored: Json) -> Guide:
    """What `Guide.to_json` wrote."""
    return Guide(read_spec(stored["model"]), SurrogateSettings(**stored["settings"]))
