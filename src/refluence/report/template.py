"""The templates beside this file, filled in with everything escaped, and their charts drawn."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from refluence.files import write_text
from refluence.report.charts import drawn


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


def write_page(target: Path, name: str, **values: object) -> None:
    """Write one template as a page to `target`; charts that cannot be drawn are left out, with a warning."""
    write_text(target, drawn(_environment().get_template(name).render(**values), target))
