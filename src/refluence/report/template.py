"""The templates beside this file, filled in with everything escaped."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup, escape


@cache
def _environment() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("refluence.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["wrappable"] = wrappable
    return found


def wrappable(arm: str) -> Markup:
    """The name of an arm, which may go on in a new line after `:` and `,`: `dc+influence:tau=auto,ess=.5`."""
    return Markup(re.sub("([:,])", r"\1<wbr>", str(escape(arm))))


def render(name: str, **values: Any) -> str:
    """One template as a page."""
    return _environment().get_template(name).render(**values)
