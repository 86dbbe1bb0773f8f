"""Evaluation protocols by name: how the networks are trained that say what a small set is worth.

Each is a row of numbers; what they mean is in `protocol`, `schedules`, `augment`, `mixing`, `objectives` and `sizes`, and what
is taken over from which source and where we depart is in docs/protocols.md. Numbers are those of the authors' code where
paper and code differ. Everywhere: the stated number of epochs, fresh networks, and the last iterate, whatever the source
reports (the note says which, where it is another).

Ours in `dc`, `dsa`: every grey source counts as MNIST-like. Ours in `iwd`: IWD (arXiv 2510.27253) does not state its epochs,
they are those of the base method. Ours in `sre2l`, `rded`: the soft labels of a set, where it has some, take the place of a
teacher's. The `-cpu` protocols are short sizes that compare with no published number.
"""

from __future__ import annotations

from dataclasses import replace

from refluence.evaluate.protocol import Protocol
from refluence.matching.augment import DSA

NO_FLIP = DSA.replace("flip_", "")
NO_CUTOUT = DSA.replace("cutout_", "")  # IDC drops cutout where it has CutMix
NEITHER = NO_CUTOUT.replace("flip_", "")

dc = Protocol(
    "dc",
    epochs=300,
    augmentation_grey="dc_grey",
    augmentation_batch_norm="crop_noise",
    note="DC (Zhao et al. 2020): 300 epochs, SGD .01, times .1 at half way, no augmentation but crop/scale/rotate for grey and "
    "crop or noise for ConvNets with batch norm",
)
dsa = Protocol(
    "dsa",
    epochs=1000,
    augmentation=DSA,
    augmentation_grey=NO_FLIP,
    note="DSA (Zhao and Bilen 2021): 1000 epochs, SGD .01, times .1 at half way, DSA augmentation, no flip for grey",
)
dm = replace(dsa, name="dm", note="DM (arXiv 2110.04181): the same as dsa")
idc = Protocol(
    "idc",
    epochs=1000,
    batch=64,
    milestones=(2 / 3, 5 / 6),
    factor=0.2,
    rebuild=False,
    augmentation=NO_CUTOUT,
    augmentation_grey=NEITHER,
    mode="I",
    mix="cutmix",
    mix_p=0.5,
    note="IDC (arXiv 2205.14959): 1000 epochs, SGD .01, times .2 at 2/3 and 5/6, batch 64, DSA (flip, colour and one more), "
    "CutMix with p .5; the source reports the best of about 100 test evaluations, and the last",
)
idc_imagenet = replace(
    idc,
    name="idc-imagenet",
    epochs=3000,
    augmentation="imagenet",
    augmentation_grey="imagenet",
    mode="S",
    mix_p=1.0,
    rule="idc-imagenet",
    note="IDC for ImageNet: as idc, epochs by decoded images per class, crop/flip/jitter/lighting, CutMix always; best of "
    "about 100 test evaluations in the source",
)
mtt = replace(
    dsa,
    name="mtt",
    learned_lr=True,
    zca="mtt",
    note="MTT (arXiv 2203.11932): as dsa at the learning rate that comes with the set (.01 without), small colour images "
    "whitened (ZCA); the source reports the best over iterations",
)
datm = replace(
    mtt,
    name="datm",
    soft=True,
    note="DATM (arXiv 2310.05773): as mtt on the set's soft labels; the source reports the best over iterations",
)
frepo = Protocol(
    "frepo",
    epochs=1000,
    lr=3e-4,
    batch=500,
    weight_decay=0.0,
    optimiser="adam",
    schedule="warmup-cosine",
    augmentation="frepo",
    augmentation_grey="frepo_grey",
    loss="mse",
    soft=True,
    ema=0.995,
    one_batch=True,
    zca="frepo",
    rule="frepo",
    note="FRePo (arXiv 2206.00719): 1000 updates (more for 100 classes), Adam 3e-4, warm-up and cosine, squared loss on "
    "centred labels, average of weights .995, small colour images whitened (ZCA); the source picks the set on test",
)
sre2l = Protocol(
    "sre2l",
    epochs=300,
    lr=1e-3,
    batch=1024,
    weight_decay=0.01,
    optimiser="adamw",
    decay_all=False,
    schedule="cosine",
    augmentation="sre2l",
    augmentation_grey="sre2l",
    mix="cutmix",
    loss="kl",
    temperature=20.0,
    soft=True,
    note="SRe2L (arXiv 2306.13092): 300 epochs, AdamW .001, cosine, batch 1024, crop and flip, CutMix, teacher's labels at "
    "T = 20; best of evaluations every 10 epochs in the source",
)
sre2l_cifar = replace(
    sre2l,
    name="sre2l-cifar",
    epochs=400,
    batch=128,
    decay_all=True,
    augmentation="cifar",
    augmentation_grey="cifar",
    mix="mixup",
    mix_alpha=0.8,
    temperature=30.0,
    note="SRe2L for CIFAR: 400 epochs, AdamW .001, cosine, batch 128, pad-crop and flip, MixUp .8, teacher's labels at T = 30",
)
sre2l_tiny = replace(sre2l, name="sre2l-tiny", epochs=100, note="SRe2L for Tiny ImageNet: as sre2l, 100 epochs (second-hand)")
rded = replace(
    sre2l,
    name="rded",
    batch=100,
    schedule="half-cosine",
    augmentation="rded",
    augmentation_grey="rded",
    rule="rded",
    note="RDED (arXiv 2312.03526): 300 epochs, AdamW .001, half a cosine to lr/2, batch by images per class, shuffled patches, "
    "crop, flip, CutMix, teacher's labels at T = 20; best test evaluation of the last fifth in the source",
)
minimax = replace(
    idc_imagenet,
    name="minimax",
    note="Minimax diffusion (arXiv 2311.15529): the same as idc-imagenet; best of about 100 test evaluations in the source",
)
igd = replace(
    idc_imagenet,
    name="igd",
    lr=1e-3,
    weight_decay=0.01,
    optimiser="adamw",
    note="IGD (ICLR 2025): as idc-imagenet with AdamW .001, decay .01; best test evaluation in the source",
)
ncfm = replace(
    idc,
    name="ncfm",
    epochs=2000,
    lr=1e-3,
    batch=128,
    weight_decay=0.01,
    optimiser="adamw",
    milestones=(0.2, 0.4, 0.6, 0.8),
    factor=0.5,
    soft=True,
    note="NCFM (arXiv 2502.20653): 2000 epochs, AdamW .001, half at each fifth, augmentation and CutMix of idc, soft labels "
    "where there are some; best of evaluations every 100 epochs in the source",
)
iwd = replace(dc, name="iwd", lr=0.1, note="IWD with DC (arXiv 2510.27253): as dc, but SGD .1; its epochs are not stated")
iwd_idc = replace(idc, name="iwd-idc", note="IWD with IDC (arXiv 2510.27253): SGD .01, the rest as idc; epochs not stated")
pdd = replace(
    idc,
    name="pdd",
    epochs=500,
    staged=True,
    note="PDD (arXiv 2310.06982): as idc, 500 epochs a stage on the union of the stages so far, momentum carried on, half the "
    "rate from the sixth stage on; best of 50 test evaluations a stage in the source",
)
iwd_pdd = replace(pdd, name="iwd-pdd", note="IWD with PDD (arXiv 2510.27253): SGD .01, the rest as pdd; epochs not stated")

dc_cpu = replace(dc, name="dc-cpu", epochs=100, note="short, ours: dc with 100 epochs")
dsa_cpu = replace(dsa, name="dsa-cpu", epochs=200, note="short, ours: dsa with 200 epochs")
iwd_cpu = replace(iwd, name="iwd-cpu", epochs=100, note="short, ours: iwd with 100 epochs")
idc_cpu = replace(idc, name="idc-cpu", epochs=200, note="short, ours: idc with 200 epochs")
rded_cpu = replace(
    rded,
    name="rded-cpu",
    epochs=100,
    lr=0.01,
    note="short, ours: rded with 100 epochs at rate .01 (at .001 so few updates leave networks untrained)",
)


def protocols() -> dict[str, Protocol]:
    """Every named protocol: how networks are trained on a set that is judged.

    Returns:
        Name -> `Protocol`.

    Example:
        >>> import refluence as rf
        >>> rf.protocols()["dc-cpu"].epochs
        100
    """
    return {value.name: value for value in globals().values() if isinstance(value, Protocol)}
