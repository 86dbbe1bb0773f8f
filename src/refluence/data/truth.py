"""Which instances of a split are known to be wrong: by their label, or because they are images from another domain."""

from __future__ import annotations

from torch import Tensor

from refluence.data.dataset import Split


def wrong(split: Split) -> Tensor | None:
    """A mask `(N,)`, None where nothing is known.

    True where the label is not that of the source, which stands beside it (`Split.stored`: with `labels` and `noise`, before
    and after `relabel`), or where the image is shifted (`Split.shifted`). A row whose own class was left out is wrong, and one
    whose label the source lacks, beside others that it has, is not known to be.
    """
    mislabelled = None if split.stored is None else split.labels != split.stored
    if mislabelled is None or split.shifted is None:
        return split.shifted if mislabelled is None else mislabelled
    return mislabelled | split.shifted
