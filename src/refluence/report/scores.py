"""The influence of the real instances: its histogram, and the instances at its two ends. Also as a page of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike

from refluence.errors import InputError
from refluence.files import Json
from refluence.report import charts
from refluence.report.boxed import boxed
from refluence.report.gallery import Gallery, Tile, class_name, first_tiles, real_gallery
from refluence.report.reading import Scores, read_scores
from refluence.report.template import write_page
from refluence.report.words import common_unit, compact, counted, finite, fixed, pretty, signed

BINS = 45


@dataclass(frozen=True)
class Words:
    """How the page speaks of scores, which depends on what M is."""

    title: str
    lead: str
    axis: str
    raises: str
    lowers: str
    ends: str
    ends_lead: str
    highest: str
    lowest: str
    by_class: str
    by_class_lead: str


DISTILLED = Words(
    title="Influence of the real instances",
    lead="The influence of a real instance is dM/dw: how the discrepancy M between the distilled and the real set changes when "
    "this instance gets more weight. Positive means that weight on it raises the discrepancy, negative that it lowers it. "
    "Neither end says that an instance helps or harms a classifier; refluence score says that.",
    axis="influence dM/dw",
    raises="raises the discrepancy",
    lowers="lowers it",
    ends="The most and the least influential instances",
    ends_lead="For each class, the real instances with the highest and with the lowest influence, each with its score{unit}. "
    "Odd or wrongly labelled pictures may stand at either end, or between: they lie apart from the others of their class, in "
    "any direction.",
    highest="Highest: weight on them raises the discrepancy most",
    lowest="Lowest: it raises it least, or lowers it",
    by_class="Influence per class",
    by_class_lead="Right of the zero line, weight raises the discrepancy. A wide class has instances that stand out; "
    "where instances compete inside their class alone, it gets no more weight for it. A score is the mean over an instance's "
    "visits, which fell on different steps and networks.",
)
VALIDATION = Words(
    title="How the scores are spread",
    lead="The score of a training instance is dM/dw, to first order: what more weight on it does to M. {terms}",
    axis="score",
    raises="above: more harmful",
    lowers="below: more helpful",
    ends="Most harmful and most helpful of each class",
    ends_lead="For each class as it is labelled, the two ends of the scores. Below each picture: its score{unit}, "
    "the loss under the given label, after an arrow the class that the network would rather give, and its file.",
    highest="Most harmful: the highest scores",
    lowest="Most helpful: the lowest scores",
    by_class="Scores per class",
    by_class_lead="Classes are those of the labels. Further to the right is more harmful. A class that lies to the right as a "
    "whole is one that the network finds hard, or one whose label is often wrong; the chart does not say which.",
)
STUDENT = replace(
    VALIDATION,
    title="How the scores are spread",
    lead="{score}",
    ends_lead="For each class as it is labelled, the two ends of the scores. Below each picture: its score{unit} and, after an "
    "arrow, the class that the source stores, where the label was another one.",
    by_class_lead="Classes are those of the labels. Further to the right is more harmful.",
)
SCORED = {
    "loss": "The score of a training instance is the student's loss on it. The higher, the less it weighs.",
    "small-loss": "The score of a training instance is the student's loss on it. Those with the highest are left out.",
    "adapt": "The score of a training instance says how unlike the validation instances its features are. The higher, the less "
    "it weighs.",
    "": "The score of a training instance is dM/dw, to first order: what more weight on it does to M, the risk on the half of "
    "the validation instances that makes the weights. Positive harms the student, negative helps it. These are the scores of "
    "the run's last scoring.",
}
RISKS = {"error": "expected error", "cross-entropy": "loss"}
TERMS = {
    "explicit": "M is the {risk} on the training instances, so the score is the {risk} on the instance itself, less the "
    "mean. The higher, the worse its label agrees with the others.",
    "implicit": "M is the {risk} on the validation instances, and weight is weight in training. Positive is harmful, "
    "negative is helpful.",
    "both": "M is the {risk} on the validation instances plus that on the training instances, so a score is the {risk} on the "
    "instance itself, less the mean, plus what training on it does to the {risk} on validation. The higher, the "
    "more harmful.",
}


@dataclass(frozen=True)
class ScoreSection:
    """What the page says about the influence of the real instances."""

    source: str
    facts: list[tuple[str, str]]
    notes: list[str]
    histogram: Markup
    gallery: Gallery
    words: Words
    ends_lead: str
    unit: str
    by_class: Markup | None = None
    by_class_words: str = ""
    first: list[Tile] = field(default_factory=list)
    compared: bool = False


def of_student(facts: Json) -> Words | None:
    """How to speak of the scores that weighed the instances of a student, by what their file says of the weights."""
    weights = facts.get("weights")
    if not isinstance(weights, dict):
        return None
    return replace(STUDENT, lead=SCORED.get(str(weights.get("kind")), SCORED[""]))


def section(scores: Scores | None, classes: list[str], source: str) -> ScoreSection | None:
    """The section, or None if no instance was scored."""
    gallery = None if scores is None else real_gallery(scores, classes, source)
    if scores is None or gallery is None:
        return None
    validation = scores.facts.get("kind") == "validation"
    words = VALIDATION if validation else of_student(scores.facts) or DISTILLED
    unit, name, digits = common_unit(scores.spread)
    score = scores.score / unit
    terms = scores.facts.get("terms", "implicit")
    centre = 0.0 if terms == "implicit" else float(score.mean())
    bins, beyond = histogram_bins(score - centre)
    facts = [
        ("Scored", counted(len(score), "instance")),
        ("Above zero" if centre == 0 else "Above the mean", f"{100 * float((score > centre).mean()):.0f} %"),
        *([("Mean", signed(centre, digits))] if centre else []),
        ("Median", signed(np.median(score), digits)),
        ("Lowest, highest", f"{signed(score.min(), digits)}, {signed(score.max(), digits)}"),
    ]
    if scores.suggested is not None:
        other = scores.suggested != scores.label
        facts.append(("Network says another class", f"{int(other.sum())} ({100 * float(other.mean()):.1f} %)"))
    if (share := sayable(scores.facts, scores.label, scores.suggested)) is not None:
        facts.append(("Labels that look wrong (estimate)", f"about {100 * share:.0f} %"))
    facts += against_truth(scores)
    notes = [f"Scores on this page are in units of {name}."] if name else []
    if beyond:
        notes.append(f"The outermost bars also hold {counted(beyond, 'instance')} further out.")
    axis = words.axis + (" less its mean" if centre else "") + (f", in {name}" if name else "")
    chart = charts.histogram(bins, axis, "Histogram of the influence of the real instances")
    key = charts.legend({words.raises: charts.RAISES, words.lowers: charts.LOWERS})
    lead = words.ends_lead.format(unit=f" in units of {name}" if name else "")
    first = [] if words is DISTILLED else first_tiles(scores, classes)
    if validation:
        risk = RISKS[scores.facts["risk"]]
        words = replace(words, lead=words.lead.format(risk=risk, terms=TERMS[terms].format(risk=risk)))
    groups = {class_name(classes, int(c)): (score - centre)[scores.label == c] for c in np.unique(scores.label)}
    by_class = boxed(groups, 0.0, axis, f"{words.by_class}: percentiles")
    boxes = None if by_class is None else by_class.chart
    told = "" if by_class is None else f"{by_class.reading} {words.by_class_lead} {by_class.left_out}".strip()
    compared = scores.stored is not None
    return ScoreSection(source, facts, notes, key + chart, gallery, words, lead, name, boxes, told, first, compared)


def against_truth(scores: Scores) -> list[tuple[str, str]]:
    """How many labels the source stores otherwise, how many images are shifted, and how well score and loss find them."""
    by = {"score": scores.score, "loss": scores.loss}
    finders = {name: each for name, each in by.items() if each is not None and np.isfinite(each).all()}
    mislabelled = None if scores.stored is None else scores.stored != scores.label
    facts = []
    for words, wrong in (("Label differs from the stored one", mislabelled), ("Image from another domain", scores.shifted)):
        if wrong is None:
            continue
        facts.append((words, f"{int(wrong.sum())} ({100 * float(wrong.mean()):.1f} %)"))
        if 0 < wrong.sum() < len(wrong):
            areas = ", ".join(fixed(auc(each, wrong), 3) for each in finders.values())
            facts.append((f"These found by {', by '.join(finders)} (AUC)", areas))
    return facts


def auc(score: np.ndarray, wrong: np.ndarray) -> float:
    """How often one of `wrong (N,)` has a higher score `(N,)` than one of the others; a tie counts half."""
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (counts.cumsum() - (counts - 1) / 2)[place]
    ours, theirs = int(wrong.sum()), int((~wrong).sum())
    return float((rank[wrong].sum() - ours * (ours + 1) / 2) / (ours * theirs))


def histogram_bins(score: np.ndarray) -> tuple[list[tuple[float, float, int]], int]:
    """Bins (from, to, count) with an edge at zero, and how many scores beyond the range the end bins took in.

    The range leaves out the outermost 0.1 % at each end where they would squeeze the rest into a few bars.
    """
    low, high = float(score.min()), float(score.max())
    near, far = np.quantile(score, [0.001, 0.999])
    if far > near and high - low > 2 * (far - near):
        low, high = float(near), float(far)
    width = (high - low) / BINS or abs(high) / 4 or 1.0
    first, last = np.floor(low / width), np.floor(high / width) + 1
    edges = np.arange(first, last + 1) * width
    beyond = int(((score < edges[0]) | (score > edges[-1])).sum())
    counts, _ = np.histogram(np.clip(score, edges[0], edges[-1]), edges)
    return [(float(a), float(b), int(n)) for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True) if n], beyond


def measured(facts: Json) -> str:
    """In a sentence or two, what `refluence score` measured against validation data."""
    validation = facts["validation"]
    what = f"{counted(facts['train'], 'training instance')} of {facts['source']}"
    if facts["folds"] is None:
        how = f"Each of {what} was scored by one network that had been trained before ({facts['load']})"
    else:
        nets = f"a network that was not trained on it ({facts['folds']} folds)"
        if facts["nets"] > 1:
            nets = f"{facts['nets']} networks that were not trained on it ({facts['folds']} folds)"
        if facts["networks"] == "all":
            nets = f"{facts['nets'] * facts['folds']} networks, all but {facts['nets']} of which were trained on it"
        how = f"Each of {what} was scored by {nets}"
    labels = f" Labels are those of {facts['labels']}." if facts.get("labels") else ""
    labels += f" Some labels are wrong on purpose ({facts['noise']})." if facts.get("noise") else ""
    labels += f" Some were replaced by what networks suggest ({facts['relabel']})." if facts.get("relabel") else ""
    labels += f" Some images are from another domain on purpose ({facts['shift']})." if facts.get("shift") else ""
    where = f" ({validation['source']})" if validation.get("source") else ""  # earlier tables do not say it
    decided = "" if facts["terms"] == "explicit" else " decided what harms, and"
    images = f"{counted(validation['images'], 'validation image')}{where}{decided}"
    return f"{how}. The {images} were held out of all training.{labels}"


def about(facts: Json) -> list[tuple[str, str]]:
    """The model, its accuracy, the curvature and the damping of scores against validation data, in a few words each."""
    validation = facts["validation"]
    each = [a for a in map(finite, validation["accuracies"]) if a is not None]
    spread = f" ({fixed(min(each))} to {fixed(max(each))} over {len(each)} networks)" if len(each) > 1 else ""
    count = counted(validation["images"], "image")
    found = [
        ("Model", facts["model"]),
        ("Validation accuracy", f"{fixed(validation['accuracy'])} % on {count}{spread}"),
        ("Terms, risk", f"{facts['terms']}, {RISKS[facts['risk']]}"),
    ]
    if pixels := facts.get("pixels"):
        numbers = (", ".join(compact(value) for value in pixels[name]) for name in ("mean", "std"))
        found.append(("Pixels", "less {}, divided by {}".format(*numbers)))
    if facts["terms"] != "explicit":
        damping = [compact(value) for value in (min(facts["damping"]), max(facts["damping"]))]
        found += [
            ("Curvature", facts["curvature"]),
            ("Damping", damping[0] if damping[0] == damping[1] else f"{damping[0]} to {damping[1]}"),
        ]
        if max(facts["iterations"]):
            stop = "" if facts["converged"] else ", stopped early"
            found.append(("Solve", f"{max(facts['iterations'])} iterations, residual {compact(max(facts['residual']))}{stop}"))
    return [*found, ("Seed", str(facts["seed"]))]


def near_chance(facts: Json) -> bool:
    """Whether the model is hardly better than guessing, so that its scores say little."""
    return facts["validation"]["accuracy"] < 150 / max(len(facts["classes"]), 1)


def sayable(facts: Json, label: np.ndarray, suggested: np.ndarray | None) -> float | None:
    """The estimated share of wrong labels, None where it is not known or too uncertain to be said.

    That is where networks are hardly better than guessing, or suggest another class than `label (N,)` for most rows: with 40 %
    of CIFAR-10's labels wrong another tool was then nearer the truth (docs/results/clean.md).
    """
    share = facts.get("wrong_share")
    if share is None or suggested is None or near_chance(facts) or (suggested != label).mean() > 0.5:
        return None
    return float(share)


def write_scores(
    parquet: Path,
    images: Mapping[int, ArrayLike],
    classes: Sequence[str],
    title: str,
    texts: Mapping[int, str] | None = None,
) -> Path:
    """Write the page beside the Parquet file, under its name (`scores.html` for `scores.parquet`), and return its path.

    `images` maps rows of the dataset to uint8 pictures (C, H, W), arrays or tensors; `picture_rows` says which rows
    are of use. `texts` are those of rows, where instances are texts. Errors: `InputError` if the file is missing or has no
    scores.
    """
    parquet = Path(parquet)
    pictures = {int(row): np.asarray(image) for row, image in images.items()}
    scores = read_scores(parquet, pictures)
    if scores is not None and texts:
        scores = replace(scores, texts=dict(texts))
    facts = {} if scores is None else scores.facts
    validation = facts.get("kind") == "validation"
    found = section(scores, [str(name) for name in classes], "" if validation else title)
    if found is None:
        raise InputError(f"{parquet} holds no finite score; write it with `refluence score` first")
    target = parquet.with_suffix(".html")
    told = {"measured": measured(facts), "about": about(facts), "near_chance": near_chance(facts)} if validation else {}
    shown = {
        "title": title,
        "scores": found,
        "told": told,
        "facts": facts,
        "file": parquet.name,
        "table": parquet.with_suffix(".csv").name,
        "share": 0.0 if scores is None else round(sayable(facts, scores.label, scores.suggested) or 0.0, 2),
    }
    write_page(target, "scores.html.j2", **shown, settings=pretty(facts.get("resolved", {})))
    return target
