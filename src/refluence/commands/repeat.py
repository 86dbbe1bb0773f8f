"""`refluence repeat DIR`: the same configuration again, and whether it came out the same."""

from __future__ import annotations

from refluence import report
from refluence.commands.flags import Repeat
from refluence.commands.session import relative
from refluence.jobs.repeat import repeat_run, repeat_scores
from refluence.report.words import counted
from refluence.results import score_page
from refluence.run import device


def run(flags: Repeat) -> None:
    """Make what DIR recorded again in another folder, and compare what came of it byte by byte."""
    here = flags.folder.absolute()
    device.prepare(0)
    if here.suffix == ".parquet":
        out = flags.out or flags.folder.with_name(f"{here.stem}-repeat.parquet")
        again = repeat_scores(flags.folder, out, resume=flags.resume, page=score_page)
    else:
        out = flags.out or flags.folder.parent / f"{here.name}-repeat"
        again = repeat_run(flags.folder, out, resume=flags.resume, page=report.write)
    if again.already:
        print(f"{relative(out)} is finished: nothing to do")
    what, where = counted(len(again.names), again.what), relative(flags.folder)
    if not again.differing:
        print(f"{what}: the same bit for bit as in {where}")
    else:
        listed = ", ".join(again.differing[:5]) + (", …" if len(again.differing) > 5 else "")
        print(f"{what}, {len(again.differing)} not the same bit for bit as in {where}: {listed}")
