"""`refluence report DIR`: the page again."""

from __future__ import annotations

from refluence import report
from refluence.commands.flags import Report
from refluence.commands.session import relative
from refluence.jobs.open_run import require_finished
from refluence.run.folder import configuration


def run(flags: Report) -> None:
    """Write the page of DIR, and what goes with it, from what the folder holds."""
    require_finished(flags.folder, configuration(flags.folder))
    written = [relative(path) for path in report.write_folder(flags.folder)]
    print(f"report: {written[0]}" if len(written) == 1 else f"written: {', '.join(written)}")
