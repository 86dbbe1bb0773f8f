"""The modes of a class: k-means centres of its real images, encoded. Samples are led to them, or begin at them.

    MGD3 (arXiv 2505.18963)    z_{t-1} = s(z_t, t, eps) - lambda sigma_t (z0_hat - m_i),    lambda = .1
    D4M (arXiv 2407.15138)     z_t = sqrt(abar_t) m_i + sqrt(1 - abar_t) eps at t = strength of the steps, then as usual

m_i is the centre of image i: there are as many as images of the class, or as its real images where these are fewer, and then
they take turns. sigma_t is the deviation of ddpm's noise at the step, whatever the solver (ours). Guidance stops after half of
the steps, as the published scripts have it; another range is another stop.

The strength of D4M's scripts is .7 on Stable Diffusion's schedule, log-SNR -2.4: the noise of .5 on DiT's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from refluence.data.dataset import Dataset, unit
from refluence.generate.denoiser import Denoiser
from refluence.seeds import Rng

ROUNDS = 100  # of k-means, at most
CHUNK = 256  # images that are encoded at a time


def modes_of(denoiser: Denoiser, dataset: Dataset, counts: tuple[int, ...], rng: Rng, device: torch.device) -> list[Tensor]:
    """The centres of each class `(k, *denoiser.shape)` on the CPU; `rng("modes", class)` draws where k-means begins."""
    found = []
    for label, count in enumerate(counts):
        members = dataset.train.members(label)
        with torch.no_grad():
            parts = [denoiser.encode(unit(dataset.train.images[rows].to(device))).cpu() for rows in members.split(CHUNK)]
        flat = torch.cat(parts).flatten(1)
        seed = int(torch.randint(2**31, (), generator=rng("modes", label)))
        found.append(centres(flat, min(count, len(flat)), seed).view(-1, *denoiser.shape))
    return found


def centres(points: Tensor, count: int, seed: int) -> Tensor:
    """k-means centres `(count, F)` of points `(N, F)`, computed in float64.

    Example:
        >>> centres(torch.tensor([[0.0], [2.0], [10.0], [12.0]]), 2, 0).flatten().sort().values.tolist()
        [1.0, 11.0]
    """
    from sklearn.cluster import KMeans

    if count == 0:
        return points[:0]
    found = KMeans(count, n_init=1, max_iter=ROUNDS, random_state=seed).fit(points.double().numpy())
    return torch.from_numpy(found.cluster_centers_).to(points)


def mode_push(z0: Tensor, modes: Tensor, scale: float, sigma: float) -> tuple[Tensor, Tensor]:
    """lambda sigma (z0 - m), shaped like `z0`, and |z0 - m|^2 / d of each image `(B,)`."""
    away = z0 - modes
    return scale * sigma * away, away.square().flatten(1).mean(1)
