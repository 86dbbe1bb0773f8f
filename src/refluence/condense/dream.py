"""DREAM: representative matching (Liu et al. 2023, arXiv 2302.14416, sec. 3.3) on IDC.

    the real batch of a class = its images nearest to the centres of a k-means of their embeddings, k = `real_batch`

clustered anew every 10 sweeps under the network of the moment, and with every new network; images start from such
representatives as well (of the first network, untrained, as in the authors' code). All else is IDC's. With influence weights
the representatives of a class compete; a cluster's size does not enter (the published batch counts them alike).
"""

from __future__ import annotations

from dataclasses import replace

from refluence.condense import idc
from refluence.condense.method import Settings


def settings(ipc: int, size: str, shape: tuple[int, int, int] = (3, 32, 32)) -> Settings:
    """IDC's numbers; at size `cpu` (ours) clusters are those of 512 random images of a class."""
    chosen = idc.settings(ipc, size, shape).with_(initial="cluster", cluster_every=10)
    return chosen if size == "paper" else chosen.with_(candidates=512)


METHOD = replace(
    idc.METHOD,
    name="dream",
    summary="idc against representatives: real images nearest to k-means centres",
    source="arXiv 2302.14416",
    settings=settings,
)
