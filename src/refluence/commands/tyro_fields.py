"""What tyro reads of a command: a nested dataclass for each group of settings, with their metavars, choices and help."""

from __future__ import annotations

from dataclasses import field, make_dataclass
from inspect import get_annotations
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from refluence.fields import Setting, settings_of

METAVARS: dict[type, str] = {int: "N", float: "NUMBER", str: "NAME", Path: "DIR"}


def for_tyro(kind: type) -> type:
    """The flags of a command for tyro, which only reads them: `kind` itself checks the values.

    A group of the help is a nested dataclass. Settings of a class without `group` stand beside the groups.
    """
    left = dict(settings_of(kind))
    groups: dict[str, list[tuple[str, Any, Any]]] = {}
    docs: dict[str, str | None] = {}
    for part in kind.__mro__:
        own = [name for name in get_annotations(part) if name in left]
        if own:
            title = getattr(part, "group", "")
            groups[title] = [_field(name, left.pop(name)) for name in own] + groups.get(title, [])
            docs.setdefault(title, part.__doc__)
    nested = []
    for title, settings in groups.items():
        if title:
            group = make_dataclass(title, settings, kw_only=True)
            group.__doc__ = docs[title]
            nested.append((title, _marked(group, OmitArgPrefixes)))
    whole = make_dataclass(kind.__name__, [*nested, *groups.get("", [])], kw_only=True)
    whole.__doc__ = kind.__doc__
    return whole


def _field(name: str, setting: Setting) -> tuple[str, Any, Any]:
    """One field of a group; what its absence means stands in the help, so None is not printed as a default."""
    hint: Any = Literal[setting.choices] if setting.choices else _type(setting)
    if setting.also:
        hint = hint | Literal[setting.also]
    if setting.positional:
        hint = _marked(hint, Positional)
    if bool in setting.kinds and not setting.pair:
        hint = _marked(hint, FlagCreatePairsOff)
    if setting.optional:
        choices = (*setting.choices, None)
        hint = Literal[choices] if setting.choices else hint | None
    silent = (not setting.required and setting.default in (None, ())) or (bool in setting.kinds and not setting.pair)
    shown = arg(help=setting.text, metavar=_metavar(setting), help_behavior_hint="" if silent else None)
    return name, _marked(hint, shown), field() if setting.required else field(default=setting.default)


def _marked(hint: Any, mark: object) -> Any:
    """A type with a mark for tyro, made while the program runs."""
    return Annotated[(hint, mark)]


def _type(setting: Setting) -> Any:
    kinds = [kind for kind in setting.kinds if kind is not type(None)]
    return tuple[str, ...] if Ellipsis in kinds else kinds[0]


def _metavar(setting: Setting) -> str | None:
    if setting.metavar or bool in setting.kinds:
        return setting.metavar
    if setting.choices:
        return "{" + ",".join(map(str, setting.choices)) + "}"
    if Ellipsis in setting.kinds:
        return "[NAME …]"
    return "|".join((METAVARS[_type(setting)], *setting.also))
