"""From the text after `--data` to stored splits: which kind of source it is, which split is for validation, which for test."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from refluence.data import agreement, digits, layout, objects, parquet, walk
from refluence.data.dataset import Dataset
from refluence.data.distilled import DistilledSet, load_distilled
from refluence.data.objects import Single, Source
from refluence.data.options import NoColumnError
from refluence.data.stored import UNSPLIT, VALIDATION_NAMES, Moments, RawSplit, Splits, split_names
from refluence.errors import InputError, option
from refluence.options import SourceOptions

LISTED = 10  # classes in the line
CUT = "cut from train"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?(:[\w.-]+)?")


@dataclass(frozen=True)
class Found:
    """The stored train split, those held out, how they are called there, and what there is to say.

    `name` is the text of the source, or the kind and digest of an object.
    `held` has "val" and "test" where they are stored: what it lacks has to be cut from train. `elsewhere` is the source of the
    validation split where that is another one. `moments` are the mean and std to normalise by, where train's own are not.
    """

    name: str
    train: RawSplit
    held: dict[str, RawSplit]
    splits: dict[str, str]
    inside: str | None
    passed: tuple[str, ...]
    notes: tuple[str, ...]
    elsewhere: str | None = None
    moments: Moments | None = None

    @property
    def validation(self) -> str:
        """Where the validation split comes from."""
        if self.elsewhere:
            return self.elsewhere
        return f"split '{self.splits['val']}'" if "val" in self.held else CUT

    @property
    def own(self) -> dict[str, RawSplit]:
        """Those of `held` that belong to the source itself."""
        return {name: split for name, split in self.held.items() if name != "val" or not self.elsewhere}

    def line(self, classes: tuple[str, ...]) -> str:
        """One line: how many images in which classes, from which splits, and what was passed over."""
        count = len(self.train) + sum(map(len, self.own.values()))
        listed = ", ".join(classes[:LISTED]) + (", …" if len(classes) > LISTED else "")
        parts = [f"{count} {self.train.what} in {len(classes)} classes: {listed}"]
        if self.inside:
            parts.append(f"read from {self.inside}")
        stored, spelled = {"train": self.train, **self.own}, {"train": "train", "val": "validation", "test": "test"}
        named = [f"{word} from {self.splits[s]} ({len(stored[s])})" for s, word in spelled.items() if s in self.splits]
        if named:
            parts.append(", ".join(named))
        if self.elsewhere:
            parts.append(f"validation from {self.elsewhere} ({len(self.held['val'])})")
        elif "val" not in self.held:
            parts.append(f"validation {CUT}")
        if self.passed:
            parts.append(f"passed over: {', '.join(self.passed)}")
        return "; ".join(parts)


def find(
    source: Source, options: SourceOptions, test: Single | Dataset | None = None, validation: Source | None = None
) -> Found:
    """Find a source and read the labels of its splits. Images are not read yet.

    The test split is `test`, else `validation` or `val`, in any of their spellings; one without labels (all are -1 or None, as
    Hub sets with hidden test labels have; or pictures without class folders) is passed over, and said so. A `validation` or
    `val` beside `test` is the validation split, unless the training split is called `trainval`, or `validation` or
    `options.validation` is another source.
    """
    if validation is not None and options.validation is not None:
        raise InputError(f"the validation split is named twice, as {options.validation} in the options and beside them")
    validation = options.validation if validation is None else validation
    name, splits = _named(source, options, test)
    beside = None if validation is None else _elsewhere(validation, options)
    trains, tests = split_names(splits.readers, name)
    train = splits.readers[trains[0] if trains else UNSPLIT]()
    passed, notes = [*splits.passed, *train.passed], [*splits.notes, *train.notes]
    chosen, held = {"train": trains[0]} if trains else {}, dict[str, RawSplit]()
    for split in tests:
        for_validation = split.lower() in VALIDATION_NAMES and chosen.get("test", split).lower() not in VALIDATION_NAMES
        role = "test" if "test" not in held else "val" if for_validation and "val" not in held else None
        if role == "val" and beside is not None:
            role = None
        if role == "val" and chosen.get("train", "").lower() == "trainval":
            notes.append(f"validation is {CUT}: '{chosen['train']}' holds the stored split '{split}' already")
            role = None
        if role is None:
            passed.append(_counted(split, splits))
            continue
        candidate = splits.readers[split]()
        if why := agreement.has_labels(train, candidate):
            notes.append(f"the stored split '{split}' {why}: not used")
            continue
        unknown_ok = options.small_classes == "drop" or options.labels is not None
        held[role], more = agreement.agreed(train, candidate, split, unknown_ok)
        chosen[role] = split
        passed += held[role].passed
        notes += [note for note in (*held[role].notes, *more) if note not in notes]
        if role == "test" and split.lower() in VALIDATION_NAMES:
            where = CUT if beside is None else f"from {beside[0]}"
            notes.append(f"the stored split '{split}' is the test split; validation is {where}")
    passed += [_counted(split, splits) for split in trains[1:]]
    if beside is not None:
        held["val"] = beside[1]
        notes += [note for note in held["val"].notes if note not in notes]
    return Found(
        name, train, held, chosen, splits.inside, tuple(passed), tuple(notes), beside[0] if beside else None, splits.moments
    )


def _named(source: Source, options: SourceOptions, test: Single | Dataset | None = None) -> tuple[str, Splits]:
    """The name of a source, and what its splits are read by."""
    if isinstance(source, (str, Path)):
        place = Path(source).expanduser()
        if walk.holds_set_alone(place) if test is None else walk.holds_set(place):
            source = load_distilled(place)
    if isinstance(source, DistilledSet):
        from refluence.data import run_folder

        return run_folder.of_set(source, test if isinstance(test, Dataset) else None)
    if isinstance(test, Dataset):
        raise InputError("test= is a dataset, whose test split goes with a distilled set alone: give images and labels")
    if not isinstance(source, (str, Path)):
        return objects.splits(source, test, options)
    if test is not None:
        raise InputError(f"test= goes with data in Python; {source} has its own test split, or one is cut from it")
    return str(source), _splits(str(source), options)


def _elsewhere(source: Source, options: SourceOptions) -> tuple[str, RawSplit]:
    """The name of another source and all its rows, of its train split where it has several.

    Flags that name a column hold where it has such a column.
    """
    options = replace(options, group_column=None)
    while True:
        try:
            name, splits = _named(source, options)
            trains, _ = split_names(splits.readers, name)
            return name, replace(splits.readers[trains[0] if trains else UNSPLIT](), groups=None)
        except NoColumnError as error:
            options = error.without(options)
        except InputError as error:
            text = str(source) if isinstance(source, (str, Path)) else None
            said = str(error) if text is None else str(error).replace(option("data", text), text)
            raise InputError(f"{option('validation', text)}: {said}", error.lines) from error


def _counted(name: str, splits: Splits) -> str:
    """A split that is there and not used, with its number of images where that can be read."""
    try:
        split = splits.readers[name]()
        return f"split {name} ({len(split)} {split.what})"
    except InputError:
        return f"split {name}"


def _splits(source: str, options: SourceOptions) -> Splits:
    if objects.DIGEST.fullmatch(source):
        raise InputError(f"{source} is data that was given in Python and is recorded by its digest: give the same data again")
    if source == "digits":
        return digits.splits(options)
    path = Path(source).expanduser()
    if walk.is_run(path):
        from refluence.data import run_folder

        return run_folder.splits(path, options)
    if path.is_dir():
        return layout.look(path, options)
    if path.exists():
        return layout.look_at_file(path, options)
    base, colon, task = source.rpartition(":")
    if colon and (folder := Path(base).expanduser()).is_dir():
        inside = task not in parquet.files_by_task(folder) and (folder / task).is_dir()
        return layout.look(folder / task, options) if inside else parquet.splits(folder, task, options)
    close = _close(base or source)
    reason = f"close: {', '.join(close)}" if close else "there is no such folder"
    # A single word that is nearly the name of a folder here is a typo; anything else may be a Hub id.
    if _HUB_ID.fullmatch(source) and ("/" in source or not close):
        from refluence.data import hub

        try:
            return hub.splits(base or source, task if colon else None, options)
        except hub.NotOnHubError as error:
            reason += f", and as a Hub id: {error}"
    raise InputError(f"{option('data', source)} is not a data source ({reason}); expected {layout.FORMS}")


def _close(source: str) -> list[str]:
    """Existing folders (and `digits`) whose name is nearly that of `source`."""
    path = Path(source).expanduser()
    try:
        beside = [str(entry) for entry in path.parent.iterdir() if entry.is_dir()]
    except OSError:
        beside = []
    names = {Path(name).name: name for name in beside} | ({"digits": "digits"} if path.parent == Path() else {})
    return [names[name] for name in difflib.get_close_matches(path.name, names, n=3, cutoff=0.7)]
