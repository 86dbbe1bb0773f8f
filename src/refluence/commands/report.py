"""`refluence report DIR`: the page again."""

from __future__ import annotations

from typing import Any

from refluence import report
from refluence.commands.session import relative
from refluence.jobs.open_run import require_finished
from refluence.run.folder import configuration


def run(flags: Any) -> None:
    """Write DIR/report.html from what the folder holds."""
    config = configuration(flags.folder)
    require_finished(flags.folder, config)
    if config["command"] == "run":
        print(f"written: {', '.join(relative(path) for path in report.write_recipe(flags.folder))}")
        return
    print(f"report: {relative(report.write(flags.folder))}")
