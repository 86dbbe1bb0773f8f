"""NCFM: matching characteristic functions (Wang et al. 2025, arXiv 2502.20653, eq. 5-8).

    min_S  E_theta  sum_c  300 mean_t sqrt( (|b| - |a|)^2/2 + |a||b| - Re(b conj a) )  +  CE(theta_final; A_w(f(S_c)))

a(t) and b(t) are the empirical characteristic functions of unit features at 4096 Gaussian frequencies, fresh for every class
and step (their min-max over frequencies is off in the shipped configurations). theta lies between the first and the last
weights of one of 20 networks trained on D for 60 epochs; the cross-entropy is that of its last weights. AdamW .001 (their
lr_img .01 times lr_scale_adam .1) with decay .01, halved when the whole loss has not fallen for 500 steps; 20,000 steps, one
for each class; real batch 1024; factor 2; pixels in [0, 1]. Their code takes the step of the cross-entropy after that of the
matching, on another draw of the augmentation; here one step takes their sum on one draw, so that S takes half as many steps
of AdamW. The 60 epochs are 11,700 steps of 256 (CIFAR's size); SGD .01, momentum .9, decay .01 as in later
configurations (5e-4 in earlier ones).
"""

from __future__ import annotations

from refluence.condense.method import Method, Settings
from refluence.condense.pools import Interpolated
from refluence.condense.statistics import CharacteristicFunction
from refluence.matching.characteristic import Characteristic


def settings(ipc: int, size: str, shape: tuple[int, int, int] = (3, 32, 32)) -> Settings:
    """Published numbers (`paper`), or our short ones (`cpu`: 200 steps at .01, 3 networks x 100 steps, 512 frequencies)."""
    published = Settings(
        ipc=ipc,
        iterations=20_000,
        outer=1,
        inner=0,
        real_batch=1024,
        image_lr=0.001,
        image_optimiser="adamw",
        plateau=500,
        net_momentum=0.9,
        net_weight_decay=0.01,
        cutmix=0.5,
        pretrain=11_700,
        initial="real",
        augmentation="color_crop_cutout",
        augmentation_mode="I",
        net_augmentation="color_crop",
        factor=2,
        pool=20,
        calibration=1.0,
    )
    if size == "paper":
        return published
    return published.with_(iterations=200, image_lr=0.01, real_batch=64, net_batch=64, pretrain=100, pool=3, frequencies=512)


METHOD = Method(
    name="ncfm",
    summary="characteristic functions of unit features, networks between random and trained on the real set",
    source="arXiv 2502.20653",
    discrepancy=Characteristic(scale=300.0),
    settings=settings,
    statistic=CharacteristicFunction(),
    networks=Interpolated,
    unit_pixels=True,
    class_steps=True,
)
