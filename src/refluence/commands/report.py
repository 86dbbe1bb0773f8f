"""`refluence report DIR`: the page again."""

from __future__ import annotations

from typing import Any

from refluence import report
from refluence.commands.finished import require_finished
from refluence.commands.session import relative
from refluence.run.folder import configuration


def run(flags: Any) -> None:
    """Write DIR/report.html from what the folder holds."""
    require_finished(flags.folder, configuration(flags.folder))
    print(f"report: {relative(report.write(flags.folder))}")
