"""What is asked of a transfer: the two networks, and how the student learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from refluence.fields import same, setting
from refluence.options.base import Options
from refluence.options.sets import EvaluationOptions, SizeOptions


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
