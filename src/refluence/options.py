"""What may be asked for beside an arm: the one declaration for keyword arguments, the command line and `config.json`.

The groups are those in which `--help` shows them, under the name in `group`. Every value can be written as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from refluence.fields import check, same, setting

WIDTHS = {"cpu": 32, "paper": 128}  # of a ConvNet where its name says none; of other networks in proportion
NORMS = ("instance", "group", "batch", "layer", "none")


class Options:
    """A dataclass that checks its own values."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class SizeOptions(Options):
    """How much work: the size sets all of these at once, each of the others overrides it."""

    group: ClassVar[str] = "size"

    size: str = setting("cpu", "cpu: short and small, named as such. paper: the published numbers.", choices=("cpu", "paper"))
    iterations: int | None = setting(None, "Steps of the image optimiser (default: 200 at size cpu).", least=1)
    real_batch: int | None = setting(
        None, "Real images per class and step (default: 64 at size cpu; at size paper the method's own, 256 for dc).", least=1
    )
    inner: int | None = setting(
        None,
        "Training between two image steps: epochs on the synthetic set (dc, dsa) or steps on the real one (idc, idm).",
        least=0,
    )
    initial: str | None = setting(
        None,
        "Where the synthetic images start (default: real at size cpu, the published start at size paper).",
        choices=("noise", "real", "cluster"),
    )
    allocation: str = setting(
        "equal", "Images per class: the same for each, or by class size.", choices=("equal", "proportional")
    )


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(Options):
    """The network that makes the images, where one does, and judges them."""

    group: ClassVar[str] = "network"

    model: str | Callable[..., Any] = setting(
        "convnet",
        "convnet (depth by image size), convnet1 … convnet6, resnet10, resnet18, resnetap10, resnet8x4, wrn-16-2 and more "
        "(see `refluence ls`), with width and norm as in convnet3:32:group; torchvision:NAME, timm:NAME, or FILE.py:FUNCTION "
        "with your function (shape, classes) -> nn.Module.",
    )
    width: int | None = setting(
        None,
        "Channels per layer, of a resnet in its first stage (default: {sizes}; for resnet10, resnet18, resnetap10 half of it, "
        "for networks whose names say how large they are the published one).",
        least=1,
        by_size=WIDTHS,
    )
    norm: str | None = setting(
        None,
        "Normalisation layer (default: the published one of the model). It moves accuracy by points, so it is always named.",
        choices=NORMS,
    )


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(Options):
    """How a small set is judged: networks trained on it from scratch."""

    group: ClassVar[str] = "evaluation"

    protocol: tuple[str, ...] = setting(
        (), "Named protocols (see `refluence ls`), the first is the primary one (default: dc-cpu, or dc at size paper)."
    )
    nets: int | None = setting(None, "Networks per set (default: {sizes}).", least=1, by_size={"cpu": 3, "paper": 5})
    epochs: int | None = setting(None, "Epochs of each network, instead of the protocol's.", least=1)
    batch: int | None = setting(None, "Batch size, instead of the protocol's.", least=1)
    split: str = setting(
        "test",
        "test for the final number; val (held out of train) for every choice you make on the way.",
        choices=("test", "val"),
    )
    quality: bool = setting(
        False,
        "Also measure the set beside real images of train, to quality.json: Fréchet and Wasserstein distance, coverage, mean "
        "influence (at a surrogate of its own, trained as one that guides is but with another seed), redundancy.",
    )
    feature_network: str | None = setting(
        None,
        "The network whose features --quality compares: one of `refluence ls`, trained on the data first (default: resnet10), "
        "or pretrained:NAME with the weights of torchvision or timm, such as pretrained:torchvision:inception_v3.",
        metavar="NAME|pretrained:NAME",
    )
    coverage_threshold: float | None = setting(
        None,
        "The distance of features within which --quality counts a real image as covered, 300 in the source, which measures by "
        "Inception (default: the median distance of a real image to its nearest other one).",
        above=0,
    )


@dataclass(frozen=True, kw_only=True)
class JobOptions(SizeOptions, NetworkOptions, EvaluationOptions):
    """How much work, which network, and how the result is judged. None leaves a number to the method and the size."""

    ipc: int = setting(10, "Images per class to keep.", least=1)
    scores: str | None = setting(
        None,
        "The table of `refluence score` by which arms drop (X+pruned:by=score), relabel (X+relabelled) or weigh (X+scores) "
        "(default: they make one, once a seed).",
        metavar="SCORES",
    )


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
    denoiser_iterations: int | None = setting(
        None,
        "Steps of training of such a denoiser (default: 600 up to 12 pixels, 400 of a unet; 4,000 above; 100,000 at size "
        "paper).",
        least=1,
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
    memory: int | None = setting(
        None, "The deviation looks at the last so many images of a class (default: all; the released code: 64).", least=0
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


OF_INFLUENCE = ("k", "kappa", "averaging")
OF_SURROGATE = ("surrogate", "surrogate_epochs", "threshold", "regular")
OF_DEVIATION = ("gamma", "memory", "raw_gamma")
OF_POOL = ("factor", "by")
"""Which of them mean something for guidance by influence, where there is a surrogate, for guidance by deviation, for a pool."""


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
    iterations: int | None = setting(
        None,
        "Steps of training (default: 600 up to 12 pixels, 400 of a unet; 4,000 above; 100,000 at size paper).",
        least=1,
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


@dataclass(frozen=True, kw_only=True)
class TransferOptions(Options):
    """Knowledge distillation: the two networks, and how the student learns. None leaves a number to the size."""

    group: ClassVar[str] = "transfer"

    size: str = same(
        SizeOptions, "size", help="cpu: short and small, at most 10,000 training rows. paper: the published numbers."
    )
    teacher: str | Callable[..., Any] | None = setting(
        None,
        "The large network, named as --model is: convnet3:128, timm:NAME, FILE.py:FUNCTION; for text minilm, "
        "the pretrained encoder with a new head. Without --load-teacher it is trained first, minilm fine-tuned.",
    )
    student: str | Callable[..., Any] | None = setting(
        None, "The small network, named alike (default: convnet3:32, as deep as fits; minilm-2 for text)."
    )
    load_teacher: str | None = setting(
        None,
        "A teacher that is trained already: its model.safetensors, the folder of a `transfer` run or a Hub model, or "
        "pretrained for the library's own weights (default: it is trained first, once a seed).",
        metavar="FILE|pretrained|hf:NAME",
    )
    teacher_pixels: str | None = setting(
        None,
        "How pixels of 0 to 1 were normalised for a teacher that is trained already, where its file does not say it: unit, "
        "signed, imagenet, data, or numbers, one or one a channel, as in 0.5:0.25 (default: data, by the training split).",
        metavar="NAME|MEAN:STD",
    )
    teacher_epochs: int | None = setting(
        None, "Epochs in which a teacher is trained first (default: those of the student).", least=1
    )
    epochs: int | None = same(
        EvaluationOptions, "epochs", help="Epochs of the student (default: 15; of text 3; at size paper 240)."
    )
    batch: int | None = same(EvaluationOptions, "batch", help="Batch size of training (default: 32, at size paper 64).")
    lr: float | None = setting(
        None, "Highest learning rate (default: 0.2, of a student by dkd 0.02, ours; at size paper 0.05; of text 5e-5).", above=0
    )
    weight_decay: float | None = setting(None, "Weight decay (default: 0.0005; of text 0.01).", least=0)
    loss: str | None = setting(
        None,
        "How the student imitates: kd, dkd (arXiv 2203.08679), or mse on logits (default: kd).",
        choices=("kd", "dkd", "mse"),
    )
    alpha: float | None = setting(
        None, "Share of the cross-entropy with the labels in the student's loss (default: 0.1).", least=0, most=1
    )
    temperature: float | None = setting(None, "Temperature of both networks in kd and dkd (default: 4).", above=0)
    curvature: str | None = setting(
        None, "identity, ggn, ekfac, lbfgs …, of the influence that weighs instances (default: identity)."
    )
    refresh: int | None = setting(
        None, "Steps of the student's optimiser from one scoring to the next (default: an epoch).", least=1
    )
    teacher_gradient: str | None = setting(
        None,
        "How a teacher that learns too sees its student: detached, influence (LGTM's finite difference), or unrolled, exact "
        "and for tiny networks (default: detached).",
        choices=("detached", "influence", "unrolled"),
    )
    teacher_lr: float | None = setting(
        None, "Learning rate of a teacher that learns too (default: 0.001; of text 1e-5).", above=0
    )
    teacher_every: int | None = setting(None, "Steps of the student between two of such a teacher (default: 1).", least=1)
    split: str = same(EvaluationOptions, "split")


@dataclass(frozen=True, kw_only=True)
class SeedOptions(Options):
    """What is drawn at random, and how often."""

    seed: int = setting(0, "Everything random follows from it.", least=0, most=math.inf)
    seeds: int = setting(3, "How many paired seeds; 5 or more give useful intervals.", least=1)


@dataclass(frozen=True, kw_only=True)
class SourceOptions(Options):
    """How the source is read. Most sources need none of these."""

    group: ClassVar[str] = "data"

    image_size: int | None = setting(None, "Resize and crop every image to N x N pixels; needed when sizes differ.", least=1)
    image_column: str | None = setting(None, "Column of the images (default: found by its type).")
    text_columns: str | None = setting(
        None,
        "Column of the texts, or two columns of pairs of texts (default: sentence, text, sentence1 and sentence2, … where "
        "there is no image).",
        metavar="NAME[,NAME]",
    )
    tokenizer: str | None = setting(
        None,
        "What makes token ids of texts; it has to be the one of the networks that read them (default: minilm).",
        metavar="minilm|hf:NAME|FOLDER",
    )
    max_length: int | None = setting(None, "Tokens of a text at most; longer ones are cut (default: 128).", least=4)
    label_column: str | None = setting(None, "Column of the labels (default: label, labels, class, …).")
    labels: str | None = setting(
        None, "Other training labels, row by row, for example human annotations.", metavar="FILE:COLUMN"
    )
    noise: str | None = setting(
        None,
        "Wrong labels on purpose, any other class or the next one, on a share P of each class of train and of the validation "
        "images cut from it.",
        metavar="symmetric:P|asymmetric:P",
    )
    shift: str | None = setting(
        None,
        "Images from another domain on purpose (invert, mirror, colours, turn), on a share P of each class of train, on no "
        "validation or test image.",
        metavar="KIND[+KIND]:P",
    )
    rows: int | None = setting(
        None,
        "Only so many training rows, those of the validation split that is cut from them included; class by class in "
        "proportion, the same ones for every seed.",
        least=1,
    )
    imbalance: float | None = setting(
        None,
        "A long tail on purpose: of the classes of train, in their order, ever fewer rows, of the last one 1/RATIO of the "
        "first; on the validation split that is cut from it too (before --rows).",
        least=1,
        metavar="RATIO",
    )
    labelled: int | None = setting(
        None,
        "Labels of only so many training rows are known, of each class as many; a mechanism may learn from the others too.",
        least=1,
    )
    group_column: str | None = setting(None, "Rows of one group (a patient, a scene) never straddle a split.")
    small_classes: str = setting(
        "refuse",
        "What to do with a class that has fewer training images than are to be kept of it.",
        choices=("refuse", "cap", "drop"),
    )
    skip_corrupt: bool = setting(False, "Leave out images that cannot be decoded, counted and listed, instead of stopping.")
    validation: str | None = setting(
        None,
        "Validation images from another source, all of them, for example from where the model will be used (default: the split "
        "`val` beside `test`, else cut from train).",
        metavar="SRC",
    )
    val_fraction: float = setting(
        0.1, "Share of train that becomes the validation split where one is cut.", above=0, below=1, metavar="SHARE"
    )
    drop: str | None = setting(
        None,
        "Leave out the training instances with the highest score (dM/dw): scores.parquet:0.1 drops a tenth.",
        metavar="SCORES:SHARE",
    )
    relabel: str | None = setting(
        None,
        "Give the training instances with the highest score the class that held-out networks suggest (after --drop).",
        metavar="SCORES:SHARE",
    )


@dataclass(frozen=True, kw_only=True)
class MachineOptions(Options):
    """How the machine is used."""

    group: ClassVar[str] = "machine"

    device: str = setting("auto", "auto | cpu | cuda | cuda:1 | mps.")
    threads: int = setting(
        0, "Processor threads (0: automatic). Bit-identical results need the same number.", least=0, most=1024
    )
    precision: str = setting(
        "fp32",
        "bf16: distil with real gradients and networks in bfloat16; evaluation and scores stay in float32.",
        choices=("fp32", "bf16"),
    )
    compile: bool = setting(
        False,
        "Compile distillation and judging: about a minute first, then faster; pays on long runs.",
        pair=True,
    )


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(Options):
    """The classifier that the scores speak of. None of these goes with --distilled."""

    group: ClassVar[str] = "classifier"

    folds: int | None = setting(
        None, "Every instance is scored by a network that was not trained on it (default: 5 folds).", least=2
    )
    model: str | Callable[..., Any] | None = setting(
        None,
        "One of `refluence ls`, or FILE.py:FUNCTION with your function (shape, classes) -> nn.Module (default: convnet).",
    )
    width: int | None = setting(
        None, "Channels per layer of a convnet (default: 32), or of a resnet's first stage (default: 16).", least=1
    )
    norm: str | None = setting(None, "Normalisation layer of a convnet or resnet (default: the published one).", choices=NORMS)
    load: Path | None = setting(
        None,
        "Score with this trained model.safetensors (see `evaluate --save-model`) instead of training any.",
        metavar="FILE",
    )
    pixels: str | None = setting(
        None,
        "How pixels of 0 to 1 were normalised for --load: unit, signed, imagenet, data, or numbers, one or one a channel, as "
        "in 0.5:0.25 (default: as its file says, else data, by the training split).",
        metavar="NAME|MEAN:STD",
    )
    epochs: int | None = setting(None, "Epochs of training in each fold (default: 15).", least=1)
    batch: int | None = setting(None, "Batch size of training (default: 64).", least=1)
    lr: float | None = setting(None, "Highest learning rate of training (default: 0.05).", above=0)
    weight_decay: float | None = setting(None, "Weight decay of training (default: 0.0005).", least=0)
    terms: str | None = setting(
        None,
        "Its own held-out risk, what training on it does to the validation risk, or their sum (default: both; with "
        "--validation SRC implicit).",
        choices=("explicit", "implicit", "both"),
    )
    networks: str | None = setting(
        None,
        "Each instance is scored by the networks that held it out, or by those of all folds (default: held-out).",
        choices=("held-out", "all"),
    )
    risk: str | None = setting(
        None,
        "What is to be low: the expected error 1 - p, or cross-entropy (default: error).",
        choices=("error", "cross-entropy"),
    )
    curvature: str | None = setting(
        None, "identity, ggn, hessian, kfac, ekfac, lbfgs or lissa, for the implicit term (default: ggn)."
    )
    damping: str | None = setting(None, "Added to the curvature's diagonal (default: auto).", metavar="NUMBER|auto")
