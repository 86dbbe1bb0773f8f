"""`report.html`: everything about a run or a comparison on one page that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from refluence.arm import UNIFORM, read_arm
from refluence.errors import InputError
from refluence.files import Json
from refluence.report import charts, cleaned, curves, denoiser, generated, over_time, scores, student, students, verdict
from refluence.report.gallery import Gallery, distilled_gallery
from refluence.report.reading import Unit, read_results, read_unit, read_units
from refluence.report.template import write_page
from refluence.report.words import DASH, amount, compact, counted, finite, pretty

BASELINES = {  # for folders whose cards hold no summary
    "random": "real images drawn at random",
    "herding": "real images chosen so that their mean stays close to the mean of their class",
    "full": "training on the whole real set: the ceiling",
}
EQUAL_SECONDS = "a control: without weights, but with as many more steps as fit into the time that the weights took"

OPTIONS = {
    "equal_seconds": EQUAL_SECONDS,
    "also": "a control: kd learns from the labels of the validation instances too that make the weights of other arms, so that "
    "weights do not win by seeing more labels",
}


def write(folder: Path) -> Path:
    """Write `report.html` into the folder of a run, of a comparison or of a denoiser, and return its path.

    A comparison is a folder with `results.json`. Whatever else is missing is left out of the page, which says so.
    Errors: `InputError` if the folder does not exist, holds no run, or holds a file that cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder that a run or a comparison wrote")
    if denoiser.holds(folder):
        return denoiser.write(folder)
    results = read_results(folder)
    known = ("config.json", "metrics.jsonl", "evaluation.json", "scores.parquet", "distilled", "student", "units")
    if results is None and not any((folder / name).exists() for name in known):
        raise InputError(f"{folder} holds no run; expected results.json, or one of {', '.join(known)}")
    top = read_unit(folder)
    compare = results is not None or (folder / "units").is_dir()
    units = read_units(folder) if compare else [top]
    order = {arm: place for place, arm in enumerate(verdict.arms_of(results or {}))}
    units = sorted(units, key=lambda unit: order.get(unit.arm, len(order)))
    paint = verdict.colours(list(dict.fromkeys([*order, *(unit.arm for unit in units)])))
    if not compare:
        paint = {top.arm: charts.PALETTE[2]}
    of_students = any(unit.student for unit in [top, *units])
    values = dict(
        _content(results or {}, units, compare, of_students),
        meanings=_meanings({arm: next((u.card for u in units if u.arm == arm), {}) for arm in paint}),
        shuffled=any("+shuffled" in arm for arm in paint),
        notes=[str(note) for note in (results or top.card).get("notes") or []],
        config=pretty(top.config) if top.config is not None else None,
    )
    if of_students:
        values |= students.values(top, units, results, paint, compare)
    else:
        values |= _of_sets(folder, top, units, results, paint, compare)
    target = folder / "report.html"
    write_page(target, "student.html.j2" if of_students else "page.html.j2", **values)
    return target


def _of_sets(
    folder: Path, top: Unit, units: list[Unit], results: Json | None, paint: dict[str, str], compare: bool
) -> dict[str, object]:
    """What page.html.j2 shows of small sets beyond the words that every page has."""
    firsts = list({unit.arm: unit for unit in reversed(units)}.values())[::-1]
    small = [unit for unit in firsts if unit.card.get("method", unit.arm) != "full"]
    galleries = [gallery for gallery in map(distilled_gallery, small) if gallery]
    sampled = generated.section(units, results, paint, compare)
    return dict(
        generated=sampled,
        ess=bool(verdict.known(verdict.COSTS, results or {}).get("ESS")),
        facts=_facts(top, units, results),
        cleaned=cleaned.section(units),
        galleries=galleries,
        without=_without(firsts, galleries),
        scores=_scores(folder, top, units, results),
        score_words=scores.DISTILLED,
        over_time=over_time.figures(units, paint, compare),
        curves=[each for each in _curves(units, paint, compare) if each[2] or sampled is None or not sampled.alone],
    )


def _content(results: Json, units: list[Unit], compare: bool, of_students: bool) -> Json:
    """Title, verdict and tables."""
    if not compare:
        return _single(units[0])
    return {
        "kind": "Comparison",
        "title": "Comparison of " + ", ".join(verdict.arms_of(results) or sorted({u.arm for u in units})),
        "verdict": str(results.get("verdict") or "No verdict yet: this comparison is not finished."),
        "tables": students.tables(results) if of_students else verdict.comparison(results),
        "seeds": students.seeds(results) if of_students else verdict.seed_table(results),
        "level": compact(100 * (finite(results.get("level")) or 0.95)),
    }


def _single(unit: Unit) -> Json:
    sentence, table = student.single(unit) if unit.student else verdict.single(unit)
    return {
        "kind": "Run",
        "title": f"Run of {unit.arm}" + (f", seed {unit.seed}" if unit.seed else ""),
        "verdict": sentence,
        "tables": [table] if table else [],
        "seeds": [],
        "level": None,
    }


def _facts(top: Unit, units: list[Unit], results: Json | None) -> list[tuple[str, str]]:
    """What was done, in a few words each: only what the folder really says."""
    card = next((unit.card for unit in units if unit.card.get("classes")), top.card)
    rows = (results or {}).get("rows") or []
    seeds = sorted({str(r.get("seed")) for r in rows} or {u.seed for u in units if u.seed})
    facts = [
        ("Data", _look(top.config, "data", "source") or _look(card, "data", "source")),
        ("Images per class", _look(top.config, "ipc") or _look(card, "ipc")),
        ("Classes", len(card["classes"]) if card.get("classes") else None),
        (
            "Seeds" if len(seeds) > 1 else "Seed",
            f"{len(seeds)} ({', '.join(seeds[:8])})" if len(seeds) > 1 else "".join(seeds),
        ),
        ("Size", _look(top.config, "size")),
        ("Stored", amount(card["stored_bytes"]) if results is None and finite(card.get("stored_bytes")) else None),
        (
            "Test split used",
            counted(int(card["test_uses"]), "time") if results is None and finite(card.get("test_uses")) else None,
        ),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "", DASH)]


def _look(values: Json | None, *names: str) -> str | float | None:
    """The first plain value of that name, at the top or one level down."""
    levels = [values or {}, *(v for v in (values or {}).values() if isinstance(v, dict))]
    for name in names:
        for level in levels:
            value = level.get(name)
            if isinstance(value, (str, int, float)) and not isinstance(value, bool):
                return value
    return None


def _without(units: list[Unit], galleries: list[Gallery]) -> str | None:
    missing = [unit.arm for unit in units if unit.arm not in {gallery.title for gallery in galleries}]
    if not galleries:
        return "No distilled images are stored in this folder."
    return f"No distilled images to show for {', '.join(missing)}." if missing else None


def _scores(folder: Path, top: Unit, units: list[Unit], results: Json | None) -> scores.ScoreSection | None:
    """The scores of the folder itself, else of the primary arm, else of the first arm that has any."""
    primary = {str(r.get("arm")) for r in (results or {}).get("summary") or [] if r.get("primary")}
    for unit in [top, *sorted(units, key=lambda u: u.arm not in primary)]:
        source = "" if unit.folder == folder else f"{unit.arm}, seed {unit.seed}"
        names = unit.classes or next((u.classes for u in units if u.classes), [])
        found = scores.section(unit.scores(), names, source)
        if found:
            return found
    return None


def _curves(units: list[Unit], paint: dict[str, str], compare: bool) -> list[tuple[str, str, Markup | None]]:
    """(heading, text below it or why the curve is absent, chart or None) of each curve."""
    mean = " Mean of the seeds." if compare else ""
    loss = curves.per_arm(units, "loss", "matching loss", paint, "Matching loss per image step")
    weighted = any((finite(entry.get("ess")) or 1.0) < 1.0 for unit in units for entry in unit.metrics)
    ess = weighted and curves.per_arm(units, "ess", "effective sample size", paint, "Effective sample size per image step")
    still = "No image steps were recorded: the arms of this folder choose real images and learn none."
    alike = "No arm of this folder recorded unequal weights: every real instance counts alike."
    if loss is not None:
        still = f"How far the distilled set still is from the real one; lower is closer.{mean}{_heights(units)}"
    if ess:
        alike = f"The share of the instances that the weights really use: 1 where all of them count alike.{mean}"
    found = [("Matching loss", still, loss), ("Effective sample size", alike, ess or None)]
    if not compare:
        for heading, words, chart in (
            ("Matching loss per class", "Which classes are matched late; at most ten, those that end highest.",
             curves.per_class(units[0], "loss_by_class", "matching loss", "Matching loss per class and image step")),
            ("Training on the distilled set", "Loss of the evaluation networks while they train.",
             curves.evaluation_nets(units[0])),
        ):  # fmt: skip
            found += [(heading, words, chart)] if chart else []
    return found


def _heights(units: list[Unit]) -> str:
    """What the height of a curve of matching loss does not say, where an arm has weights."""
    weighted = list(dict.fromkeys(unit.arm for unit in units if read_arm(unit.arm).kind != UNIFORM))
    if not weighted:
        return ""
    words = " With weights the distance is to the weighted mean of the real instances"
    if all(read_arm(arm).kind in cleaned.REMOVES for arm in weighted):
        words = " Where images were left out or relabelled the distance is to the real instances as they are then"
    if any(read_arm(arm).option("where") == "outside" for arm in weighted):
        words += ", and with where=outside it is another distance"
    return f"{words}: curves of different arms cannot be compared by their height."


def _meanings(cards: dict[str, Json]) -> list[tuple[str, str]]:
    """The words of which the arms on this page are made, explained as their cards do; `cards` by arm."""
    methods: Json = {}
    weights: Json = {}
    for arm, card in cards.items():
        method, kind = read_arm(arm).method, read_arm(arm).kind
        methods[method] = methods.get(method) or card.get("summary")
        if kind != UNIFORM:
            weights[f"+{kind}"] = weights.get(f"+{kind}") or card.get("weights_summary")
    named = {name: words or BASELINES.get(name) for name, words in {**methods, **weights}.items()}
    found = [(name, str(words).replace("`", "")) for name, words in named.items() if words]
    said = {name for arm in cards for name, _ in read_arm(arm).options}
    return found + [(name, words) for name, words in OPTIONS.items() if name in said]
