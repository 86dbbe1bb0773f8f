"""Which of the 1000 classes of ImageNet the classes of a dataset are: by wnid, `n01440764`, or by name, `tench`.

Names are those of a denoiser's folder where it has them, else torchvision's, and the further ones of timm where that is
installed (`tench, Tinca tinca`). Capitals and underscores make no difference. Wnids are timm's.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib import import_module

from refluence.errors import InputError, did_you_mean

COUNT = 1000
WNID = re.compile(r"n\d{8}")


def class_ids(names: Sequence[str], known: Mapping[int, str], where: str) -> tuple[int, ...]:
    """The label that a denoiser has for each class.

    Args:
        names: the classes of a dataset, of which each is a wnid or a name.
        known: names by label, several of them with commas between, as in a folder of diffusers.
        where: the denoiser, for messages.

    Raises:
        InputError: a class that it does not know, or whose name several of its classes have.

    Example:
        >>> class_ids(["n01440764", "Golden_Retriever"], imagenet_names(), "the denoiser")
        (0, 207)
    """
    own, further, wnids = defaultdict[str, set[int]](set), defaultdict[str, set[int]](set), _wnids(names)
    for label, several in known.items():
        first, *others = several.split(",")
        own[_plain(first)].add(label)
        for name in (several, *others):
            further[_plain(name)].add(label)
    found = []
    for name in names:
        labels = {wnids[name]} if name in wnids else own.get(_plain(name)) or further.get(_plain(name)) or set()
        if not labels:
            near = did_you_mean(_plain(name), sorted(own)).partition("? ")
            hint = f"{near[0]}? " if near[1] else ""
            raise InputError(
                f"class {name!r} is none of the {len(known)} that {where} knows: {hint}name its folder or label by a wnid, as "
                "n01440764, or by its name in ImageNet, as tench"
            )
        if len(labels) > 1:
            which = ", ".join(f"{known[label]} ({label})" for label in sorted(labels))
            raise InputError(f"class {name!r} may be {which} of {where}: give its wnid, as n01440764, in its place")
        found.append(labels.pop())
    return tuple(found)


def imagenet_names() -> dict[int, str]:
    """Names of the 1000 classes by label: torchvision's first, then those that timm adds where it is installed."""
    from torchvision.models._meta import _IMAGENET_CATEGORIES as FIRST

    try:
        more = import_module("timm.data").ImageNetInfo("imagenet-1k").label_descriptions()
    except ImportError:
        more = [""] * COUNT
    return {i: ",".join(filter(None, (first, others))) for i, (first, others) in enumerate(zip(FIRST, more, strict=True))}


def _wnids(names: Sequence[str]) -> dict[str, int]:
    """The label of each name that is a wnid."""
    asked = [name for name in names if WNID.fullmatch(name)]
    if not asked:
        return {}
    try:
        all_of_them = import_module("timm.data").ImageNetInfo("imagenet-1k").label_names()
    except ImportError:
        raise InputError(
            f"class {asked[0]!r}: wnids are read by timm, which is not installed: pip install refluence[timm]"
        ) from None
    by_wnid = {wnid: i for i, wnid in enumerate(all_of_them)}
    return {name: by_wnid[name] for name in asked if name in by_wnid}


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").lower().split())
