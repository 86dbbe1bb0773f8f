"""An arm as text: METHOD[+VARIANT][:key=value,…], one row of a comparison. Its method says what it means."""

from __future__ import annotations

import string
from collections.abc import Collection
from dataclasses import dataclass, replace
from urllib.parse import quote

from refluence.errors import InputError

PLAIN = frozenset(string.ascii_letters + string.digits + "+=,._-")  # characters that a folder's name may hold as they are
UNIFORM = "uniform"
"""The variant of an arm that names none: every instance weighs the same."""


@dataclass(frozen=True)
class Arm:
    """One row of a comparison. `options` are `key=value` pairs as written, each key once.

    Example:
        >>> arm = read_arm("dc+influence:tau=.1,image_lr=1")
        >>> arm.method, arm.kind, arm.option("tau")
        ('dc', 'influence', '.1')
        >>> arm.without({"tau"}).name
        'dc+influence:image_lr=1'
    """

    method: str
    kind: str = UNIFORM
    options: tuple[tuple[str, str], ...] = ()

    @property
    def head(self) -> str:
        """The arm without its options: METHOD[+VARIANT]."""
        return self.method + ("" if self.kind == UNIFORM else f"+{self.kind}")

    @property
    def name(self) -> str:
        """The arm as the user writes it, in one canonical form."""
        return _joined(self.head, self.options)

    @property
    def weights(self) -> str:
        """The arm but for its method, as `distill --weights` takes it."""
        return _joined(self.kind, self.options)

    @property
    def folder(self) -> str:
        """The name as one folder that every file system takes: `:` becomes `@`, other unusual characters `%XX`."""
        name = "".join("@" if c == ":" else c if c in PLAIN else quote(c, safe="").replace("~", "%7E") for c in self.name)
        return f"{name[:-1]}%2E" if name.endswith(".") else name  # Windows drops a dot at the end

    def option(self, key: str) -> str | None:
        """The text of one option, None where the arm does not have it."""
        return dict(self.options).get(key)

    def without(self, keys: Collection[str]) -> Arm:
        """The arm without some of its options."""
        return replace(self, options=tuple((k, v) for k, v in self.options if k not in keys))

    def plain(self, keys: Collection[str]) -> Arm:
        """The method alone, without a variant and without the options `keys` that belong to variants."""
        return replace(self.without(keys), kind=UNIFORM)

    def same(self, other: Arm) -> bool:
        """Whether both have the same method, variant and options, in any order."""
        return (self.head, dict(self.options)) == (other.head, dict(other.options))


def read_arm(text: str) -> Arm:
    """Read an arm as text.

    Args:
        text: `METHOD[+VARIANT][:key=value,…]`, for example `dc+influence:tau=.1`.

    Raises:
        InputError: an option without a value, a key twice, or characters that cannot name a folder.
    """
    if ".." in text:  # an arm names a folder
        raise InputError(f"arm '{text}': '..' may not stand in an arm")
    head, _, tail = text.partition(":")
    method, plus, kind = head.partition("+")
    pairs = [p.partition("=") for p in tail.split(",") if p]
    if any(not equals or not value for _, equals, value in pairs):
        raise InputError(f"arm '{text}': options are key=value, separated by commas, like dc+influence:tau=.1,sign=-1")
    options = tuple((k.strip(), v.strip()) for k, _, v in pairs)
    keys = [k for k, _ in options]
    if twice := [k for k in keys if keys.count(k) > 1]:
        raise InputError(f"arm '{text}': {twice[0]} is given twice")
    return Arm(method, kind if plus else UNIFORM, options)


def _joined(head: str, options: tuple[tuple[str, str], ...]) -> str:
    tail = ",".join(f"{k}={v}" for k, v in options)
    return head + (f":{tail}" if tail else "")
