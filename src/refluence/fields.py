"""A setting is declared once: type, default, range or choices and help stand in the field of a dataclass.

Keyword arguments, `key=value` in an arm, flags and `config.json` all read that declaration. The help is text in the field, not
a docstring below it: `refluence ls` and messages need it too, and such a docstring is lost where there is no source file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import lru_cache
from numbers import Integral, Real
from operator import ge, gt, le, lt
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from refluence.errors import InputError, did_you_mean, stated

LARGEST = 2**31 - 1  # of every whole number: larger ones fit into no size that PyTorch and the image libraries take
KEY = "setting"  # in the metadata of a field
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the field of a setting says of its values.

    `least` and `most` are allowed themselves, `above` and `below` are not. `also`: words beside numbers, as `auto`. `infinite`:
    infinity is a value. `by_size`: what None stands for at each size. `metavar`, `positional` and `pair` (a switch with its
    opposite) are for the command line alone. `of`: the part of a method that reads it, where not every method does.
    """

    help: str
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] = ()
    also: tuple[str, ...] = ()
    infinite: bool = False
    by_size: Mapping[str, Any] | None = None
    metavar: str | None = None
    positional: bool = False
    pair: bool = False
    of: str = ""
    kinds: tuple[Any, ...] = ()  # of the field's annotation: (int, NoneType), (str, ...)
    default: Any = None  # of the field, where it is not `required`
    required: bool = False

    @property
    def text(self) -> str:
        """The help, with what None stands for in the place of `{sizes}`."""
        sizes = ", ".join(f"{value} at size {size}" for size, value in (self.by_size or {}).items())
        return self.help.replace("{sizes}", sizes)

    @property
    def optional(self) -> bool:
        """Whether None is a value."""
        return NoneType in self.kinds

    @property
    def number(self) -> type[int] | type[float] | None:
        """int or float, where the setting is a number."""
        return float if float in self.kinds else int if int in self.kinds else None

    def plain(self, value: object) -> object:
        """A number of another library, such as `numpy.int64`, as Python's own; all else as it is."""
        if self.number is None or isinstance(value, (bool, int)) or type(value) is float:
            return value
        if isinstance(value, Integral):
            return int(value)
        return float(value) if self.number is float and isinstance(value, Real) else value

    def wrong(self, value: object) -> str:
        """What would be right where this value is not, else nothing."""
        if (value is None and self.optional) or (isinstance(value, str) and value in self.also):
            return ""
        if self.choices:
            named = [str(choice) for choice in self.choices if choice != ""]
            return "" if value in self.choices else did_you_mean(str(value), named)
        if bool in self.kinds:
            return "" if isinstance(value, bool) else "it must be True or False"
        if self.number is not None:
            return self._out_of_range(value)
        if Ellipsis in self.kinds:
            several = isinstance(value, tuple | list) and all(isinstance(each, str) for each in value)
            return "" if several else "it must be a tuple of strings"
        return "it must be a string" if {str} == {*self.kinds} - {NoneType} and not isinstance(value, str) else ""

    def read(self, text: str) -> Any:
        """The value that a text says; `ValueError`, with what would be right, where it is none of this type."""
        if bool in self.kinds:
            if text not in ("0", "1"):
                raise ValueError("it must be 1 (yes) or 0 (no)")
            return text == "1"
        if self.number is None or text in self.also:
            return text
        try:
            return self.number(text)
        except ValueError:
            raise ValueError(self.wrong(text)) from None

    def _out_of_range(self, value: object) -> str:
        whole = self.number is int
        usual = LARGEST if whole else math.inf
        most = usual if self.most is None else self.most
        limits = (("at least", self.least, ge), ("above", self.above, gt), ("at most", most, le), ("below", self.below, lt))
        bounds = [(words, bound, holds) for words, bound, holds in limits if bound not in (None, math.inf)]
        large = False
        if isinstance(value, int if whole else (int, float)) and not isinstance(value, bool):
            if (self.infinite or -math.inf < value < math.inf) and all(holds(value, bound) for _, bound, holds in bounds):
                return ""
            large = value > usual
        what = "a whole number" if whole else "a number" if self.infinite else "a finite number"
        said = " and ".join(f"{words} {bound}" for words, bound, _ in bounds if bound != LARGEST or large)
        return f"it must be {', '.join(part for part in (what, said) if part)}" + "".join(f", or {word}" for word in self.also)


def setting(default: T, help: str, **says: Any) -> T:
    """A field with its help; `says` are the other fields of `Setting`.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Options:
        ...     ipc: int = setting(10, "Images per class to keep.", least=1)
        ...     __post_init__ = check
        >>> Options().ipc
        10
        >>> Options(ipc=0)
        Traceback (most recent call last):
        refluence.errors.InputError: ipc is 0: it must be a whole number, at least 1
    """
    declared: Any = field(default=default, metadata={KEY: Setting(help=help, **says)})
    return declared


def required(help: str, **says: Any) -> Any:
    """A field without a default."""
    return field(metadata={KEY: Setting(help=help, **says)})


def same(kind: type, name: str, **changes: Any) -> Any:
    """The setting of another dataclass as a field of this one, but for `changes`."""
    there = next(f for f in fields(kind) if f.name == name)
    default = changes.pop("default", there.default)
    return field(default=default, metadata={KEY: replace(there.metadata[KEY], **changes)})


def described(kind: type[T]) -> type[T]:
    """The same class, whose docstring says under Args what the help of each of its settings says; a decorator."""
    of: type = kind
    args = "".join(f"\n        {name}: {declared.text}" for name, declared in settings_of(of).items())
    before, mark, after = re.split(r"(\n\n    (?:Raises|Example):|\Z)", kind.__doc__ or "", maxsplit=1)
    kind.__doc__ = f"{before.rstrip()}\n\n    Args:{args}{mark}{after}"
    return kind


@lru_cache
def settings_of(kind: type) -> dict[str, Setting]:
    """The settings of a dataclass by name, with the types of their annotations and their defaults."""
    hints = get_type_hints(kind)
    found = {}
    for f in fields(kind):
        if KEY in f.metadata:
            facts = {"required": True} if f.default is MISSING else {"default": f.default}
            found[f.name] = replace(f.metadata[KEY], kinds=get_args(hints[f.name]) or (hints[f.name],), **facts)
    return found


def check(values: object) -> None:
    """`InputError` for the first field of a dataclass whose value is not one that it declares. It serves as `__post_init__`.

    Numbers of other libraries are kept as Python's own.
    """
    kind: type = type(values)
    for name, declared in settings_of(kind).items():
        value = declared.plain(given := getattr(values, name))
        if right := declared.wrong(value):
            raise InputError(f"{stated(name, value)}: {right}")
        if value is not given:
            object.__setattr__(values, name, value)


def read(kind: type, key: str, text: str) -> Any:
    """The value of `key=text`; `InputError` for one that the field does not declare."""
    declared = settings_of(kind)[key]
    try:
        value = declared.read(text)
        right = declared.wrong(value)
    except ValueError as error:
        right = str(error)
    if right:
        raise InputError(f"{key}={text}: {right}")
    return value


def subset(kind: type[T], values: object, without: tuple[str, ...] = ()) -> T:
    """The fields of one dataclass among those of another: the options of a job among a command's flags.

    Those named in `without` mean something else there.
    """
    assert is_dataclass(kind), f"{kind.__name__} declares no fields"
    names = [f.name for f in fields(kind) if hasattr(values, f.name) and f.name not in without]
    return kind(**{name: getattr(values, name) for name in names})


def of_size(options: Any, name: str) -> Any:
    """The value that was asked for, else what None stands for at `options.size`."""
    kind: type = type(options)
    value, by_size = getattr(options, name), settings_of(kind)[name].by_size
    return by_size[options.size] if value is None and by_size else value
