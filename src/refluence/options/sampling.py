"""What is asked of a set that is sampled, and of the denoiser that it is sampled from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from refluence.fields import same, setting
from refluence.options.base import Options
from refluence.options.ranges import read_range
from refluence.options.sets import EvaluationOptions, JobOptions, NetworkOptions, SizeOptions


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(Options):
    """How a generated set is sampled: the denoiser, the surrogate of its guidance, and numbers that an arm may say too."""

    group: ClassVar[str] = "sampling"

    denoiser: str | object = setting(  # from Python a `Denoiser` too
        "dit",
        "dit or unet, trained first on the data, or one that is there: the folder of `generate train` or `generate finetune`, "
        "a folder of diffusers, or hf:NAME, such as hf:facebook/DiT-XL-2-256.",
        metavar="dit|unet|FOLDER|hf:NAME",
    )
    prediction: str | None = setting(
        None,
        "What a denoiser that is trained first predicts: flow (flow matching), epsilon or v (default: flow).",
        choices=("flow", "epsilon", "v"),
    )
    space: str = setting(
        "auto",
        "What a denoiser that is trained first noises: pixels, or the latents of a small autoencoder that is trained before it "
        "(auto: latents from 96 pixels a side up).",
        choices=("auto", "pixels", "latents"),
    )
    denoiser_iterations: int | None = setting(
        None,
        "Steps of training of such a denoiser (default: 600 up to 12 pixels or latents a side, 400 of a unet; 4,000 above; "
        "100,000 at size paper).",
        least=1,
    )
    autoencoder_iterations: int | None = setting(
        None, "Steps of training of the autoencoder of such a denoiser (default: 2,000; 100,000 at size paper).", least=1
    )
    minimax_iterations: int | None = setting(
        None, "Steps of Minimax fine-tuning (default: 8 epochs; at size cpu at most 1,000 steps).", least=1
    )
    surrogate: str = setting(
        "convnet",
        "The network whose gradients guide, trained on the data first: convnet (depth by image size), resnetap10, resnet18 …, "
        "with width and norm as --model has them.",
    )
    surrogate_epochs: int | None = setting(
        None, "Epochs of the surrogate (default: 5 to 20, the fewer the more images; 50 at size paper).", least=1
    )
    threshold: float = setting(
        0.7,
        "A checkpoint of the surrogate is retained where its mean gradient has a lower cosine with the last retained one.",
        least=-1,
        most=1,
    )
    regular: int | None = setting(None, "As many checkpoints at regular epochs, in the place of those by --threshold.", least=1)
    similarity: str = setting(
        "mean-gradient",
        "Of two checkpoints, for --threshold: the cosine of their mean gradients, or the mean cosine of those of each class.",
        choices=("mean-gradient", "per-class"),
    )
    evenly: bool = setting(False, "As many checkpoints as --threshold retains, but at regular epochs.")
    cfg: float = setting(
        2.0, "Scale of classifier-free guidance; 1: none. More makes images easier to recognise and less diverse.", least=0
    )
    solver: str = setting(
        "ddim",
        "ddim, ddpm (what the released code of IGD runs) or dpm (second order: 20 steps are enough).",
        choices=("ddim", "ddpm", "dpm"),
    )
    steps: int = setting(50, "Steps from noise to image.", least=1, most=1000)
    k: float = setting(5.0, "Strength of the influence guidance; the published range is 1 to 50.", least=0)
    gamma: float = setting(
        50.0, "Strength of the deviation guidance, stated for images of 4,096 numbers; published 10 to 200.", least=0
    )
    kappa: float = setting(
        0.002, "Scale of k: at .002 a guided step with k = 5 moves an image by about 1 % (1: eq. 9 of IGD literally).", least=0
    )
    range: str | None = setting(
        None,
        "Which steps are guided: by log-SNR, or as shares of the steps left, as in 62%:92% (default: -8.22:-3.6, which is that "
        "share of 50 steps on DiT's noise schedule; of entropy -6.42:10, of modes 50%:100%).",
        metavar="LOW:HIGH|P%:Q%",
    )
    memory: int | str = setting(
        "all",
        "Earlier images of a class that the deviation looks at: all (the paper), or the last so many (released code: 64).",
        least=0,
        also=("all",),
    )
    through: str = setting(
        "full",
        "full: the gradient goes back through the denoiser (the paper). stop: it stops there, which is cheaper.",
        choices=("full", "stop"),
    )
    averaging: str = setting(
        "trained",
        "Checkpoints weigh by their learning rates (trained: the paper) or alike (equal: its released code). A surrogate "
        "that is trained here has one rate throughout (the paper names .01 alone), so both give the same.",
        choices=("trained", "equal"),
    )
    raw_gamma: bool = setting(False, "gamma as it is, not in proportion to the numbers of an image.")
    entropy_scale: float = setting(
        10.0, "Of the guidance by entropy: its strength; negative makes the classifier surer of the images."
    )
    mode_scale: float = setting(0.1, "Of the guidance by modes: its strength.", least=0)
    learnability_scale: float = setting(
        0.2, "Of the guidance by learnability: its strength, the share of the noise that it may change.", least=0
    )
    omega: float = setting(1.0, "Of learnability: how much of the surrogate's loss is subtracted.", least=0)
    stages: int = setting(
        5, "Of learnability: parts of the set, each sampled for a network that was trained on those before.", least=2
    )
    candidates: int = setting(
        2, "Of learnability: images that are sampled for each one that is kept, after the first stage.", least=1
    )
    strength: float = setting(
        0.5, "Of d4m: the share of the steps, and so of the noise, that a centre of real images goes through.", above=0, most=1
    )
    sample_batch: int = setting(
        50, "Images that are sampled side by side, classes in turn; the deviation sees those of its class.", least=1
    )
    factor: float | None = setting(
        None,
        "Of X+pool: times as many images as are kept (default: as many as fit the seconds of guidance, 3 without any).",
        least=1,
    )
    by: str = setting("herding", "What selects from the pool of X+pool.", choices=("herding", "influence"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.range is not None:
            read_range(self.range)


OF_INFLUENCE = ("k", "kappa", "averaging")
OF_SURROGATE = ("surrogate", "surrogate_epochs", "threshold", "similarity", "regular", "evenly")
OF_DEVIATION = ("gamma", "memory", "raw_gamma")
OF_POOL = ("factor", "by")
OF_LEARNABILITY = ("learnability_scale", "omega", "stages", "candidates")
"""Which of them mean something for guidance by influence, where there is a surrogate, for guidance by deviation, for a pool,
and for guidance by learnability."""


@dataclass(frozen=True, kw_only=True)
class DenoiserOptions(Options):
    """The denoiser that is trained: small by default. None leaves a number to the size."""

    group: ClassVar[str] = "denoiser"

    size: str = same(SizeOptions, "size", help="cpu: small and short. paper: as large as for the published numbers.")
    network: str = setting(
        "dit",
        "dit: a small transformer. unet: diffusers' UNet, better for each second at 32 pixels (pip install "
        "refluence[generate]).",
        choices=("dit", "unet"),
    )
    prediction: str | None = same(
        SamplingOptions,
        "prediction",
        help="What it predicts: flow (flow matching), epsilon, the noise, or v, a velocity between both (default: flow).",
    )
    space: str = same(
        SamplingOptions,
        "space",
        help="What it noises: pixels, or the latents of a small autoencoder that is trained before it (auto: latents from 96 "
        "pixels a side up).",
    )
    iterations: int | None = setting(
        None,
        "Steps of training (default: 600 up to 12 pixels, 400 of a unet; 4,000 above; 100,000 at size paper).",
        least=1,
    )
    autoencoder_iterations: int | None = same(
        SamplingOptions,
        "autoencoder_iterations",
        help="Steps of training of the autoencoder (default: 2,000; 100,000 at size paper).",
    )


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions(Options):
    """How a denoiser is fine-tuned. None leaves a number to the size."""

    group: ClassVar[str] = "finetuning"

    size: str = same(SizeOptions, "size")
    method: str = setting(
        "minimax", "minimax: samples that represent the real images and differ (arXiv 2311.15529).", choices=("minimax",)
    )
    iterations: int | None = same(
        SamplingOptions,
        "minimax_iterations",
        help="Steps of fine-tuning (default: as many as 8 epochs at size paper, fewer at size cpu).",
    )


@dataclass(frozen=True, kw_only=True)
class SampleOptions(SamplingOptions, NetworkOptions, EvaluationOptions):
    """How many images, and at which size the numbers are that are left open."""

    group: ClassVar[str] = "size"

    size: str = same(SizeOptions, "size")
    ipc: int = same(JobOptions, "ipc")
    allocation: str = same(SizeOptions, "allocation")
    scores: str | None = same(
        JobOptions,
        "scores",
        help="The table of `refluence score` by which real images weigh in guidance, with weights=influence (default: one is "
        "made).",
    )


@dataclass(frozen=True, kw_only=True)
class SetOptions(JobOptions, SamplingOptions):
    """What is asked of a job that makes a small set, sampled ones among them."""
