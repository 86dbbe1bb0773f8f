"""A recipe from its parts to its table: what is missing is made, and the table grows sitting by sitting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from refluence.errors import InputError, option
from refluence.files import Json, write_json
from refluence.jobs.comparison import RESULTS
from refluence.recipes.base import LABELS, PACKAGED, Part, Recipe
from refluence.recipes.making import Making, Say, make_part, write_part
from refluence.recipes.rows import Row, data_name, own_rows
from refluence.recipes.table import tabulate
from refluence.run.folder import CONFIG, check_same, claimed, configuration
from refluence.run.rows import read_rows


def make(making: Making, parts: Sequence[Part], given: Mapping[str, str], arguments: Json, resume: bool) -> list[str]:
    """Make what is missing of the parts, and the table, figure and page.

    Args:
        making: how.
        parts: those that are wanted (`choose_parts`).
        given: the source of each set and file of labels (`sources`); parts that want others are left out.
        arguments: what was asked for, for config.json.
        resume: whether a folder that is there is continued.

    Returns:
        A line for each unit that failed.

    Raises:
        InputError: a folder that holds another run, or rows that were made with other numbers.
    """
    read_rows(making.rows)
    with claimed(making.out, "run", arguments, _own(making), resume):
        return _make(making, parts, given)


def tables(making: Making, parts: Sequence[Part], given: Mapping[str, str]) -> None:
    """The table of the rows that there are; nothing is made. `given` says which data where rows of several are there."""
    recipe, size = making.recipe, making.size
    if (making.out / CONFIG).exists():
        check_same(making.out, configuration(making.out)["resolved"], _own(making))
    rows = [row for row in _rows(making) if (row.get("recipe"), row.get("size")) == (recipe.name, size)]
    if not rows:
        since = f" from seed {making.seed} on" if making.seed else ""
        raise InputError(
            f"{making.rows} holds no rows of {recipe.name} at size {size}{since}: make some without {option('tables')}"
        )
    names = {data: data_name(source) for data, source in given.items()}
    for data in dict.fromkeys(row["set"] for row in rows):
        found = list(dict.fromkeys(row["data"] for row in rows if row["set"] == data))
        if data not in names and len(found) > 1:
            raise InputError(
                f"{making.rows} holds rows of {data} from {' and '.join(found)}: choose with {option('data')} {data}={found[0]}"
            )
        names.setdefault(data, found[0])
    _write(making, parts, names)


def choose_parts(recipe: Recipe, size: str, only: Sequence[str]) -> tuple[Part, ...]:
    """The parts that `only` names, in the recipe's order; a name may have wildcards."""
    parts = recipe.parts(size)
    for pattern in only:
        if not any(fnmatchcase(part.name, pattern) for part in parts):
            raise InputError(f"{option('only', pattern)}: {recipe.name} has the parts {', '.join(part.name for part in parts)}")
    return tuple(part for part in parts if not only or any(fnmatchcase(part.name, pattern) for pattern in only))


def planned(recipe: Recipe, parts: Sequence[Part], seeds: int | None) -> str:
    """How much a run is, before it begins: units (an arm with a seed) by part."""
    units = {part.name: len(part.arms) * (seeds or part.seeds) for part in parts}
    each = ", ".join(f"{name} {count}" for name, count in units.items())
    more = f" ({each}); {option('only')} takes some of them" if len(units) > 1 else ""
    return f"{recipe.name}: at most {sum(units.values())} sets to make and judge; those that have rows are not made again{more}"


def sources(recipe: Recipe, size: str, words: Sequence[str]) -> dict[str, str]:
    """`cifar10=SRC` or SRC alone, which stands for the recipe's main set, to {set: source}.

    Sets that come with the package need not be given, and a word that is the name of one stands for it.
    """
    sets = recipe.sets(size)
    packaged = [name for name in sets if name in PACKAGED]
    found: dict[str, str] = {}
    if not words and not packaged:
        raise InputError(f"{option('data')} is missing: SRC for {sets[0]}" + "".join(f", {name}=SRC" for name in sets[1:]))
    for word in words:
        name, equals, source = word.partition("=")
        if not (equals and name in sets):
            name, source = word if word in packaged else sets[0], word
        if not source:
            raise InputError(f"{option('data', word)}: expected {name}=SRC")
        if name in found:
            raise InputError(
                f"{option('data')} gives {name} twice ({found[name]}, {source}): name the others, {', '.join(sets)}, "
                "as NAME=SRC"
            )
        found[name] = source
    return {**{name: name for name in packaged}, **found}


def with_data(parts: Sequence[Part], given: Mapping[str, str], say: Say) -> list[Part]:
    """The parts whose set and labels are given; `say` gets what the others want."""
    if left_out := [part for part in parts if not given.keys() >= {*part.wants}]:
        missing = dict.fromkeys(name for part in left_out for name in part.wants if name not in given)
        forms = " ".join(f"{name}={'FILE' if name in LABELS else 'SRC'}" for name in missing)
        say(f"{len(left_out)} part{'s' * (len(left_out) != 1)} left out: no {option('data')} {forms}")
    return [part for part in parts if part not in left_out]


def _own(making: Making) -> Json:
    """What decides which recipe a folder holds."""
    return {"recipe": making.recipe.name, "size": making.size, "seed": making.seed}


def _make(making: Making, parts: Sequence[Part], given: Mapping[str, str]) -> list[str]:
    parts = with_data(parts, given, making.say)
    names = {data: data_name(text) for data, text in given.items()}
    if making.machine.progress:
        making.say(planned(making.recipe, parts, making.seeds))
    failed: list[str] = []
    for part in parts:
        made, why = make_part(making, part, given)
        failed += why
        if made or not (making.out / RESULTS).exists():
            write_part(making, part, own_rows(making.recipe, part, names[part.data], making.size, _rows(making)))
            _grown(making, parts, names)
    _grown(making, parts, names)
    return failed


def _rows(making: Making) -> list[Row]:
    """The rows of the seeds from the first one that was asked for on."""
    return [row for row in read_rows(making.rows) if row.get("seed", 0) >= making.seed]


def _grown(making: Making, chosen: Sequence[Part], names: Mapping[str, str]) -> None:
    """Table, figure and page of the chosen parts and of those that have rows from before."""
    recipe, rows = making.recipe, _rows(making)
    every = recipe.parts(making.size)
    made = [part for part in every if part.data in names and own_rows(recipe, part, names[part.data], making.size, rows)]
    _write(making, [part for part in every if part in made or part in chosen], names)


def _write(making: Making, parts: Sequence[Part], names: Mapping[str, str]) -> None:
    rows = _rows(making)
    own = [
        row
        for part in parts
        if part.data in names
        for row in own_rows(making.recipe, part, names[part.data], making.size, rows)
    ]
    write_json(making.out / RESULTS, tabulate(making.recipe, parts, making.size, own, making.seeds))
    making.page(making.out)
