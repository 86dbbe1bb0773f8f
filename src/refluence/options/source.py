"""How a source is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from refluence.fields import setting
from refluence.options.base import Options


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
