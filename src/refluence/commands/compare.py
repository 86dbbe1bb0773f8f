"""`refluence compare`: arms x seeds, paired, with controls, intervals and one sentence at the end."""

from __future__ import annotations

from refluence import report
from refluence.commands.flags import Compare, Transfer
from refluence.commands.session import open_session, relative
from refluence.commands.table import show
from refluence.fields import subset
from refluence.jobs.comparing import Comparing, executor_name
from refluence.jobs.comparison import compare
from refluence.options import SetOptions, TransferOptions
from refluence.run.folder import recorded_threads


def run(flags: Compare) -> None:
    """Run every unit that is not finished, seeds in order, and write results.json and report.html."""
    make(comparing(flags), flags)


def make(asked: Comparing, flags: Compare | Transfer) -> None:
    """The comparison of the flags: `compare`, or `transfer --seeds N`."""
    asked.arms()
    session = open_session(flags, asked.per_class, threads=recorded_threads(flags.out), students=asked.of_students)
    jobs = asked.jobs(session.dataset)
    found = compare(asked, jobs, session, flags.out, resume=flags.resume, page=report.write)
    show(found.to_json(), flags.out)
    if found.already:
        print(f"{relative(flags.out)} is finished: nothing to do")


def comparing(flags: Compare) -> Comparing:
    """What the flags ask for."""
    return Comparing(
        methods=flags.methods,
        options=subset(SetOptions, flags),
        transfer=subset(TransferOptions, flags),
        seeds=flags.seeds,
        seed=flags.seed,
        controls=flags.controls,
        equal_seconds=flags.equal_seconds,
        executor=executor_name(flags.executor, flags.workers),
    )
