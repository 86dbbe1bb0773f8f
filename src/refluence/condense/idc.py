"""IDC: efficient synthetic-data parameterisation (Kim et al. 2022, arXiv 2205.14959, eq. 3 and 6).

    min_S  E_theta0  sum_t  sum_c  D( grad_theta L(A_w(f(S_c)); theta_t), grad_theta L(A_w(D_c); theta_t) )
    theta_{t+1} = SGD on D from theta_t                                                             (S_inner = D)

f cuts a stored image in factor x factor tiles and enlarges each (multi-formation). D is the squared distance of the gradients
of convolution weights only; for grey images L1, with another learning rate. Numbers of the authors' code
(snu-mllab/Efficient-Dataset-Condensation): 2000 networks x 100 sweeps; after each sweep 32 SGD steps on D (grey: 8; for SVHN 8
too, give `inner=8`; .01, momentum .9, decay 5e-4, batch 64, CutMix with probability .5); pixels in [0, 1]; one image step for
each class, learning rate 5e-3 IPC/10 (L1: 1e-4 IPC/10), times the square of the side over 32 (grey: 28). From 64 pixels on
(ours) the numbers of their ImageNet-10: L1, 3e-3 IPC/10 times (side/224)^2, 500 networks, 10 epochs on D before a network is
used and 8 steps after each sweep, CutMix always, factor 3; those of their ImageNet-100 (1e-3, batch 128, ten stored networks,
classes in five phases) are not here. Grey images are matched and trained on without CutMix and cutout, as their MNIST is where
factor > 1. Networks train on D, so the influence has an implicit term: `terms=both`.
"""

from __future__ import annotations

from refluence.condense.method import Method, Settings
from refluence.condense.networks import OnReal
from refluence.matching.discrepancies import Squared

PRETRAIN = 2030  # steps of 64: 10 epochs of ImageNet-10's 13,000 images
LARGE = 64  # pixels from which images are treated as the authors treat ImageNet's


def cutmix(shape: tuple[int, int, int]) -> float:
    """The probability of CutMix in training on D, for images `(C, H, W)`."""
    return 1.0 if shape[1] >= LARGE else 0.5


def settings(ipc: int, size: str, shape: tuple[int, int, int] = (3, 32, 32)) -> Settings:
    """Published numbers (`paper`), or our short ones (`cpu`).

    `cpu`: 200 sweeps, 10 a network, 8 steps on D between them, factor 2. In a thousandth of the sweeps the published rates
    move nothing one could see, so the images' rate is .5 IPC/10 (the lowest matching loss of .0005 to .5 after 20 sweeps on
    CIFAR-10), with L1 .05 IPC/10 (the best of .001 to .1 at 2 images per class on the validation split of digits): one seed
    each, by trial code.
    """
    grey, large = shape[0] == 1, shape[1] >= LARGE
    rate, side = (3e-3, 224) if large else (1e-4, 28) if grey else (5e-3, 32)
    published = Settings(
        ipc=ipc,
        iterations=50_000 if large else 200_000,
        outer=100,
        inner=8 if large or grey else 32,
        pretrain=PRETRAIN if large else 0,
        real_batch=64,
        image_lr=rate * ipc / 10 * (shape[1] / side) ** 2,
        net_batch=64,
        net_momentum=0.9,
        net_weight_decay=5e-4,
        cutmix=cutmix(shape),
        initial="real",
        augmentation="color_crop_cutout",
        augmentation_mode="I",
        net_augmentation="color_crop",
        factor=3 if large else 2,
        synthetic_batch=128,
        distance="l1-conv" if grey or large else "",
    )
    if grey:  # factor above 1: neither CutMix nor cutout
        published = published.with_(cutmix=0.0, augmentation="color_crop")
    if size == "paper":
        return published
    rate = 0.05 if published.distance else 0.5
    return published.with_(iterations=200, outer=10, inner=8, pretrain=0, factor=2, image_lr=rate * ipc / 10)


METHOD = Method(
    name="idc",
    summary="gradient matching of multi-formed images, squared distance, networks trained on the real set",
    source="arXiv 2205.14959",
    discrepancy=Squared(least=4),
    settings=settings,
    networks=OnReal,
    unit_pixels=True,
    class_steps=True,
)
