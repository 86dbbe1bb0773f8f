"""What arms did to training images before the run: how many were left out, relabelled or weighed, by what, and some of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from refluence.files import Json
from refluence.report.gallery import Tile, class_name
from refluence.report.pictures import data_uri
from refluence.report.reading import Unit
from refluence.report.words import DASH, counted, finite, fixed, mean

DID = {"pruned": "left out", "selected": "left out", "relabelled": "given the suggested class", "chosen": "chosen"}
REMOVES = ("pruned", "selected", "relabelled")
BY = {
    "score": "by score",
    "held-out-loss": "by held-out loss",
    "loss": "by loss",
    "random": "at random",
    "influence": "by influence on the method's distance",
    "truth": "by the truth",
}
MEANINGS = {
    "score": "how much an image harms on validation images, as refluence score estimates it",
    "held-out-loss": "the loss at the same networks, which were not trained on the image: the rival of the score",
    "loss": "the loss at young networks that were trained on all images",
    "random": "the control: as many of each class, drawn at random",
    "truth": "the ceiling: exactly those that are known to be wrong, which no method can know",
}


@dataclass(frozen=True)
class Pictures:
    """A few of the images that an arm left out or relabelled; `source` says of which arm and seed."""

    source: str
    words: str
    tiles: list[Tile]


@dataclass(frozen=True)
class CleanedSection:
    """A row for each arm, cells by column, the explanation of its words, and pictures."""

    lines: list[dict[str, str]]
    words: list[tuple[str, str]]
    pictures: list[Pictures]


def section(units: list[Unit]) -> CleanedSection | None:
    """What the units' cards say of it, arm by arm over their seeds; None where nothing was done beforehand."""
    arms: dict[str, list[Unit]] = {}
    for unit in units:
        if isinstance(unit.card.get("cleaned"), dict):
            arms.setdefault(unit.arm, []).append(unit)
    if not arms:
        return None
    by = list(dict.fromkeys(str(own[0].card["cleaned"].get("by")) for own in arms.values()))
    words = [(BY[name], MEANINGS[name]) for name in MEANINGS if name in by]
    lines = [_line(arm, [unit.card["cleaned"] for unit in own]) for arm, own in arms.items()]
    return CleanedSection(lines, words, _pictures([own[0] for own in arms.values()]))


def sentence(card: Json) -> str:
    """What the card of one run says of it, in a line."""
    line = _line("", [card])
    auc = "" if line["AUC"] == DASH else f"; those known to be wrong are found with an AUC of {line['AUC']}"
    whose = "" if line["Whose images decided"] == DASH else f"; {line['Whose images decided']} decided"
    return f"training images: {line['Training images']}, {line['Chosen']}{auc}{whose}"


def _line(arm: str, cards: list[Json]) -> dict[str, str]:
    kind, by = str(cards[0].get("kind")), str(cards[0].get("by"))
    rows, of, auc = (mean([finite(card.get(name)) for card in cards]) for name in ("rows", "of", "auc"))
    changed = mean([finite(card.get("changed")) for card in cards])
    if rows is None or not of:
        did = DASH
    elif kind == "scores":
        did = f"{fixed(of, 0)} weighed"
    else:
        did = f"{fixed(rows, 0)} of {fixed(of, 0)} {DID.get(kind, kind)} ({fixed(100 * rows / of, 0)}\u202f%)"
        did += "" if changed is None else f", {fixed(changed, 0)} of them another label than before"
    chosen = {"Arm": arm, "Training images": did, "Chosen": BY.get(by, by)}
    return {**chosen, "AUC": fixed(auc, 2), "Whose images decided": _whose(cards[0])}


def _whose(card: Json) -> str:
    """Whose validation images decided, and by which table that was given; a dash where none did."""
    where = card.get("decided")
    images = f"validation images {'' if where == 'cut from train' else 'of '}{where}" if where else ""
    if card.get("table"):
        return f"the table {PurePath(str(card['table'])).name}" + (f", by {images}" if images else "")
    return images or DASH


def _pictures(units: list[Unit]) -> list[Pictures]:
    """Those that the folders hold, each set of images once; chance chooses none that are worth a look."""
    shared: dict[tuple[int, ...], list[Unit]] = {}
    for unit in units:
        found = None if unit.card["cleaned"].get("by") == "random" else unit.cleaned_images()
        if found is not None and len(found["rows"]):
            shared.setdefault((*map(int, found["rows"]), *map(int, found["to"])), []).append(unit)
    return [_shown(own) for own in shared.values()]


def _shown(units: list[Unit]) -> Pictures:
    """The images that the first of these left out or relabelled; the others did the same to them."""
    first = units[0]
    found, card = first.cleaned_images() or {}, first.card["cleaned"]
    columns = (found[name] for name in ("images", "rows", "labels", "to", "stored"))
    tiles = [_tile(first.classes, *each) for each in zip(*columns, strict=True)]
    did = f"{DID.get(str(card.get('kind')), '')} {BY.get(str(card.get('by')), '')}".strip()
    words = f"{counted(len(tiles), 'image')} of those {did}, the worst of each class, with the label that each had"
    words += " and the one that it got" if any(tile.suggested for tile in tiles) else ""
    words += ". Stored is the label of the source, where that is another one." if any(tile.stored for tile in tiles) else "."
    return Pictures(f"{', '.join(unit.arm for unit in units)}; seed {first.seed}", words, tiles)


def _tile(classes: list[str], image: np.ndarray, row: int, label: int, to: int, stored: int) -> Tile:
    name, got, own = class_name(classes, int(label)), "", ""
    words = f"{name}, row {int(row)}"
    if to != label:
        got = f"→ {class_name(classes, int(to))}"
        words = f"{words}, now {got[2:]}"
    if stored != label and stored >= 0:
        own = f"stored: {class_name(classes, int(stored))}"
        words = f"{words}, {own}"
    return Tile(data_uri(np.asarray(image, np.uint8)), name, words, f"row {int(row)}", suggested=got, stored=own)
