"""A setting is declared once: what its field says is what every door checks, reads and shows."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from refluence.errors import InputError, in_flags
from refluence.fields import Setting, check, of_size, read, required, same, setting, settings_of, subset


@dataclass(frozen=True, kw_only=True)
class Numbers:
    __post_init__ = check

    size: str = setting("cpu", "How large.", choices=("cpu", "paper"))
    count: int = setting(3, "How many.", least=1)
    share: float = setting(0.5, "Which part.", above=0, most=1)
    tau: float | str = setting(1.0, "How sharp.", above=0, also=("auto",), infinite=True)
    nets: int | None = setting(None, "Networks (default: {sizes}).", least=1, by_size={"cpu": 3, "paper": 5})
    quick: bool = setting(False, "Whether to hurry.")
    names: tuple[str, ...] = setting((), "Which ones.")
    word: str | None = setting(None, "What to say.")


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("size", "big", "size is 'big': choose one of cpu, paper"),
        ("size", "papr", "size is 'papr': did you mean paper"),
        ("count", 0, "count is 0: it must be a whole number, at least 1"),
        ("count", 2.0, "count is 2.0: it must be a whole number, at least 1"),
        ("count", True, "count is True: it must be a whole number"),
        ("count", 2**31, "count is 2147483648: it must be a whole number, at least 1 and at most 2147483647"),
        ("count", 10**400, "count is 1000.*: it must be a whole number, at least 1 and at most 2147483647"),
        ("count", None, "count is None: it must be a whole number"),
        ("share", 0, "share is 0: it must be a finite number, above 0 and at most 1"),
        ("share", math.nan, "share is nan: it must be a finite number"),
        ("share", "0.5", "share is '0.5': it must be a finite number"),
        ("tau", "cold", "tau is 'cold': it must be a number, above 0, or auto"),
        ("tau", math.nan, "tau is nan: it must be a number, above 0, or auto"),
        ("nets", 0, "nets is 0: it must be a whole number, at least 1"),
        ("quick", 1, "quick is 1: it must be True or False"),
        ("names", "dc", "names is 'dc': it must be a tuple of strings"),
        ("word", 3, "word is 3: it must be a string"),
    ],
)
def test_a_value_that_its_field_does_not_declare_is_one_line(name, value, right):
    with pytest.raises(InputError, match="^" + right.replace("(", r"\(")):
        Numbers(**{name: value})
    with in_flags(), pytest.raises(InputError, match=rf"^--{name} {value}: "):
        Numbers(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("tau", math.inf), ("tau", "auto"), ("tau", 1), ("share", 1), ("nets", None), ("names", ["dc"]), ("word", "")],
)
def test_a_value_that_its_field_declares_is_kept(name, value):
    assert getattr(Numbers(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [("count", np.int64(4), 4), ("nets", np.uint8(2), 2), ("share", np.float32(0.5), 0.5), ("tau", np.float64(2), 2.0)],
)
def test_numbers_of_numpy_are_kept_as_pythons(name, given, kept):
    value = getattr(Numbers(**{name: given}), name)
    assert (value, type(value)) == (kept, type(kept))


@pytest.mark.parametrize("value", [np.float64(4), np.bool_(True), np.int64(0), np.zeros(1, np.int64)])
def test_other_numbers_of_numpy_are_refused(value):
    with pytest.raises(InputError, match="it must be a whole number, at least 1"):
        Numbers(count=value)


def test_a_long_value_is_cut_short():
    with pytest.raises(InputError) as caught:
        Numbers(word={"weights": list(range(99))})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [("count", "4", 4), ("tau", "auto", "auto"), ("tau", "inf", math.inf), ("share", ".1", 0.1), ("quick", "1", True)],
)
def test_text_is_read_by_the_declared_type(key, text, value):
    assert read(Numbers, key, text) == value


@pytest.mark.parametrize(
    ("key", "text", "right"),
    [
        ("count", "x", "count=x: it must be a whole number, at least 1"),
        ("count", "0", "count=0: it must be a whole number, at least 1"),
        ("share", "nan", "share=nan: it must be a finite number, above 0 and at most 1"),
        ("tau", "warm", "tau=warm: it must be a number, above 0, or auto"),
        ("quick", "yes", "quick=yes: it must be 1 "),
        ("size", "big", "size=big: choose one of cpu, paper"),
    ],
)
def test_text_that_cannot_be_read_names_key_value_and_what_is_right(key, text, right):
    with pytest.raises(InputError, match="^" + right):
        read(Numbers, key, text)


def test_a_declaration_can_be_taken_over_with_changes():
    @dataclass(frozen=True, kw_only=True)
    class Other:
        __post_init__ = check

        place: str = required("Where.")
        count: int = same(Numbers, "count", help="How many others.", default=7)

    assert Other(place="x").count == 7
    assert settings_of(Other)["count"] == Setting(help="How many others.", least=1, kinds=(int,), default=7)
    assert settings_of(Other)["place"].required
    assert subset(Numbers, Other(place="x", count=2)) == Numbers(count=2)
    with pytest.raises(InputError, match="count is 0"):
        Other(place="x", count=0)


def test_none_stands_for_the_number_of_the_size():
    assert settings_of(Numbers)["nets"].text == "Networks (default: 3 at size cpu, 5 at size paper)."
    assert [of_size(Numbers(size=size), "nets") for size in ("cpu", "paper")] == [3, 5]
    assert of_size(Numbers(nets=1), "nets") == 1
