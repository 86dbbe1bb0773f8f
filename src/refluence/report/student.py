"""The page of one student: what was made of which teacher, how accurate both are, and on which classes the student is weak."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from refluence.arm import UNIFORM, read_arm
from refluence.files import Json
from refluence.report import bars, charts
from refluence.report.reading import Unit
from refluence.report.verdict import BALANCED, Line, Table
from refluence.report.words import DASH, amount, compact, counted, finite, fixed

MOST = 20  # classes that get a bar
SEMI = "semi"
MECHANISMS = {
    "scratch": "The student was trained on the labels alone, without a teacher.",
    "kd": "The student imitates the outputs of a fixed teacher, beside the labels.",
    "student": "The student imitates a fixed teacher, and training instances are weighted by their influence: those that raise "
    "the risk on held-out instances weigh less.",
    "teacher": "The teacher goes on learning while the student imitates it. It learns from instances weighted by their "
    "influence on the student; the student learns from all alike.",
    "joint": "Teacher and student learn side by side. For both, training instances that raise the student's risk on held-out "
    "instances weigh less.",
    SEMI: "Labels of a few instances are known. A teacher learns from them and from its own pseudo-labels of the others, and "
    "the student from these.",
    "staged": "First the teacher goes on learning, from instances weighted by their influence on a student. Then it is fixed, "
    "and the student imitates it, from instances weighted by their influence too.",
}
BLUE, VIOLET = charts.PALETTE[2], charts.PALETTE[4]


@dataclass(frozen=True)
class Classes:
    """A bar of accuracy per class, in words what it shows."""

    finding: str
    words: str
    chart: Markup


def single(unit: Unit) -> tuple[str, Table | None]:
    """The sentence and the table of one run; the table is None if the student was not evaluated."""
    if not unit.evaluations:
        return f"{unit.arm}: the student is not evaluated yet.", None
    first = unit.evaluations[0]
    split, worst, teacher = first.get("split") or "evaluated", worst_of(first), finite(unit.card.get("teacher_accuracy"))
    sentence = f"{unit.arm}: the student is right on {fixed(first['accuracy'])} % of the {split} split"
    sentence += f", in its worst class ({worst[0]}) on {fixed(worst[1])} %" if worst else ""
    is_right = "was right on {} % before it learned on" if part(part(unit.card, "teacher"), "learned") else "is right on {} %"
    sentence += f"; its teacher {is_right.format(fixed(teacher))}." if teacher is not None else "."
    lines = [_line(unit, entry, again=place > 0) for place, entry in enumerate(unit.evaluations)]
    return sentence, Table("", [*lines, *_teacher_line(unit, teacher)], [])


def worst_of(entry: Json) -> tuple[str, float] | None:
    """The worst class of an evaluation and its accuracy."""
    worst = part(entry, "worst_class")
    accuracy = finite(worst.get("accuracy"))
    return None if accuracy is None else (str(worst.get("class", DASH)), accuracy)


def classes(unit: Unit) -> Classes | None:
    """The accuracy on each class beside the mean; of many classes the worst."""
    entry = unit.evaluations[0] if unit.evaluations else {}
    each = [finite(value) for value in entry.get("per_class") or []]
    names = unit.classes or [f"class {place}" for place in range(len(each))]
    known = [(name, value) for name, value in zip(names, each, strict=False) if value is not None]
    centre = finite(entry.get("accuracy"))
    if not known or centre is None:
        return None
    shown = known if len(known) <= MOST else sorted(known, key=lambda one: one[1])[:MOST]
    rows: list[charts.Row] = [
        {"name": f"{place} {name}", "label": f"{name}: {fixed(value)} %", "value": value, "colour": BLUE}
        for place, (name, value) in enumerate(shown)
    ]
    worst, best = (pick(known, key=lambda one: one[1]) for pick in (min, max))
    finding = f"Worst: {worst[0]}, {fixed(worst[1])} %. Best: {best[0]}, {fixed(best[1])} %. All instances: {fixed(centre)} %."
    words = "Percent of the instances of each class that the student is right on; the dashed line is that of all instances."
    words += f" Shown are the {MOST} worst of {len(known)} classes." if len(known) > MOST else ""
    title = "Accuracy of the student on each class in percent, beside that on all instances"
    return Classes(finding, words, bars.bars(rows, centre, "accuracy, %", title))


def made(unit: Unit) -> list[tuple[str, str]]:
    """What was made, in a few words each: only what the folder really says."""
    card = unit.card
    if not card:
        return []
    teacher = part(card, "teacher")
    small, large = finite(card.get("parameters")), finite(teacher.get("parameters"))
    ratio = f"{compact(large / small)} times fewer parameters than the teacher" if small and large and large > small else ""
    found = [
        ("Teacher", network(teacher.get("model"), large)),
        ("Student", network(card.get("model"), small)),
        ("Made smaller", ratio),
        ("How", how(unit)),
        ("Trained on", f"{rows} instances" if (rows := rows_of(card)) else ""),
        ("Labels", _labels(unit.config)),
        ("Without labels", _pseudo(card)),
        ("Teacher learned", _learned(part(teacher, "learned"))),
        ("Epochs", compact(card["epochs"]) if finite(card.get("epochs")) else ""),
        ("Teacher's weights", f"SHA-256 {digest[:12]}…" if (digest := _digest(card, teacher)) else ""),
    ]
    return [(name, words) for name, words in found if words]


def _digest(card: Json, teacher: Json) -> str:
    """The digest of the teacher's file; of one that learned on, of the file that it became."""
    return str((not teacher.get("learned") and card.get("teacher_sha256")) or teacher.get("sha256") or "")


def how(unit: Unit) -> str:
    """The mechanism and the weights in a sentence each."""
    arm, words = read_arm(unit.arm), str(unit.card.get("weights_summary") or "")
    method = MECHANISMS.get(arm.method) or str(unit.card.get("summary") or "")
    return f"{method} Weights: {words}." if arm.kind != UNIFORM and words else method


def network(model: object, parameters: float | None) -> str:
    """A network in words: its name, width and norm, and how many parameters it has."""
    named = dict(model) if isinstance(model, dict) else {"name": model} if model else {}
    if not named:
        return ""
    beside = [f"width {named['width']}"] if finite(named.get("width")) is not None else []
    beside += [f"{named['norm']} norm"] if named.get("norm") else []
    size = f": {counted(int(parameters), 'parameter')}" if parameters else ""
    return ", ".join([str(named["name"]), *beside]) + size


def rows_of(card: Json) -> str:
    """How many training instances there were."""
    rows = finite(card.get("train")) or finite(card.get("rows"))
    return f"{int(rows):,}".replace(",", "\u202f") if rows else ""


def _pseudo(card: Json) -> str:
    """How many instances have no label, and how good the pseudo-labels are that count."""
    rows, pseudo = finite(card.get("unlabelled")), part(card, "pseudo")
    if not rows:
        return ""
    share, right = finite(pseudo.get("share")), finite(pseudo.get("accuracy"))
    words = counted(int(rows), "instance")
    words += f"; the teacher is sure enough of {fixed(100 * share)} %" if share is not None else ""
    return words + (f", and right on {fixed(right)} % of these" if share is not None and right is not None else "")


def _learned(facts: Json) -> str:
    """How accurate a teacher became that learned on, on validation instances that make no weights."""
    before, after = finite(facts.get("accuracy_before")), finite(facts.get("accuracy"))
    if before is None or after is None:
        return ""
    words = f"from {fixed(before)} to {fixed(after)} % of the validation instances that make no weights"
    return f"{words}; it got worse, went back to where it was best, and learned no more" if facts.get("stopped") else words


def _labels(config: Json | None) -> str:
    noise, labels = option(config, "noise"), option(config, "labels")
    return ", ".join([f"made wrong on purpose ({noise})"] * bool(noise) + [f"those of {labels}"] * bool(labels))


def part(card: Json, name: str) -> Json:
    """What a card holds under a name, `{}` where that is nothing."""
    found = card.get(name)
    return found if isinstance(found, dict) else {}


def option(config: Json | None, name: str) -> str:
    """What the run was asked for under that name, "" where it was not."""
    value = ((config or {}).get("arguments") or {}).get(name)
    return "" if value is None else str(value)


def _line(unit: Unit, entry: Json, again: bool = False) -> Line:
    """One evaluation. `again`: one that came later, of the same network."""
    worst = worst_of(entry)
    source = {"Data": str(entry.get("source") or unit.card.get("source") or DASH)} if len(unit.evaluations) > 1 else {}
    cells = {
        "Split": str(entry.get("split") or DASH),
        "Accuracy, %": fixed(entry["accuracy"]),
        **source,
        "Worst class, %": f"{fixed(worst[1])} ({worst[0]})" if worst else DASH,
        **{words: fixed(entry[key]) for words, key in BALANCED.items()},
        "Parameters": whole(unit.card.get("parameters")),
        "Stored": amount(unit.card.get("stored_bytes")),
    }
    return Line("student, the same network evaluated again" if again else "student", BLUE, cells)


def _teacher_line(unit: Unit, accuracy: float | None) -> list[Line]:
    teacher = part(unit.card, "teacher")
    if not teacher or accuracy is None:
        return []
    cells = dict.fromkeys(_line(unit, unit.evaluations[0]).cells, DASH)
    cells |= {"Split": str(unit.evaluations[0].get("split") or DASH), "Accuracy, %": fixed(accuracy)}
    name = "teacher, before it learned on" if part(teacher, "learned") else "teacher"
    return [Line(name, VIOLET, {**cells, "Parameters": whole(teacher.get("parameters"))})]


def whole(value: object) -> str:
    """A whole number with its thousands apart."""
    number = finite(value)
    return DASH if number is None else f"{int(number):,}".replace(",", "\u202f")
