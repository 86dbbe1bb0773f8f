"""Images as points of the plane: t-SNE (van der Maaten and Hinton 2008) of the features of a set and of real images together.

Neighbours among features are neighbours here; distances further apart, and the sizes of clouds, mean nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

PERPLEXITY = 30.0  # neighbours that an image has; at most a third of the others


def project(small: Tensor, real: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Coordinates `(m, 2)` and `(n, 2)` of features `(m, F)` and `(n, F)`, which are embedded together.

    Args:
        small: features of the set.
        real: features of real images; four or more of both in all.
        seed: of the embedding.

    Example:
        >>> import torch
        >>> a, b = project(torch.zeros(2, 3), torch.ones(4, 3))
        >>> tuple(a.shape), tuple(b.shape)
        ((2, 2), (4, 2))
    """
    from sklearn.manifold import TSNE

    rows = torch.cat([small, real]).double().cpu().numpy()
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(rows)
    found = torch.from_numpy(points)
    return found[: len(small)], found[len(small) :]
