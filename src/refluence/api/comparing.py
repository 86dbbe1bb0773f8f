"""Methods compared over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from refluence import keywords, report
from refluence.api.sources import Data, session_for, student_session
from refluence.errors import InputError, stated
from refluence.jobs.catalogue import Declaration
from refluence.jobs.comparing import Comparing
from refluence.jobs.comparison import compare as compare_jobs
from refluence.jobs.session import Machine
from refluence.options import (
    SeedOptions,
    SetOptions,
    TransferOptions,
)
from refluence.results import Comparison
from refluence.run import device
from refluence.run.folder import recorded_threads


def compare(
    data: Data,
    methods: Sequence[str | Declaration],
    *,
    seeds: int = 3,
    seed: int = 0,
    controls: bool = True,
    equal_seconds: bool = False,
    out: str | Path | None = None,
    executor: str = "serial",
    **options: Any,
) -> Comparison:
    """Several arms with the same seeds, each made and judged.

    Args:
        data: as in `distill`.
        methods: arms, such as `["random", "dc", "dc+influence"]`. A method of your own may be among them, and its name in
            others: `["dm", mine, "mine+influence"]`.
        seeds: how many paired seeds, from `seed` on; 5 or more give useful intervals.
        seed: the first one.
        controls: `X+influence` brings `X` and `X+shuffled` along, `X+pruned:by=score` (`X+relabelled`, `X+scores`) `X`, the
            same at random and by held-out loss, `dit+igd` `dit` and `dit+pool`.
        equal_seconds: `X` without weights for as many seconds as `X+influence` took is an arm too.
        out: a folder, as `refluence compare` writes it. The same call continues what was stopped, one with more methods or
            seeds adds these. None: nothing is written.
        executor: "serial", or "processes:4" for four processes, which a script starts below `if __name__ == "__main__":`.
        options: as in `distill`, of sampled sets as in `generate`, `denoiser` among them; of mechanisms as in `transfer`,
            `teacher` and `student` among them.

    Returns:
        `rows`, `summary`, the `verdict` as a sentence, and the `folder`.

    Raises:
        InputError: an arm that cannot run or is given twice, an unknown option or value, before any work.
        RunError: a job that had to stop; with `out` the same call makes what is missing.

    Example:
        >>> import refluence as rf
        >>> rf.compare("digits", ["random", "full"], ipc=1, seeds=1, nets=1, epochs=1, width=4).summary[0]["arm"]
        'random'
    """
    known = keywords.names(SetOptions) | keywords.names(TransferOptions) | keywords.names(Machine)
    keywords.check(options, known, compare)
    given = tuple(methods) if isinstance(methods, Iterable) and not isinstance(methods, str) else ()
    if not given:
        raise InputError(f"{stated('methods', methods)}: give a list of arms, such as ['random', 'dc', 'dc+influence']")
    drawn = SeedOptions(seed=seed, seeds=seeds)
    asked = Comparing(
        methods=given,
        options=keywords.asked(options),
        transfer=keywords.transfer(options),
        seeds=drawn.seeds,
        seed=drawn.seed,
        controls=controls,
        equal_seconds=equal_seconds,
        executor=executor,
    )
    asked.arms()
    folder = keywords.folder(out)
    sized = {**options, "ipc": asked.per_class}
    session = student_session(data, sized, asked.transfer) if asked.of_students else session_for(data, sized)
    if folder is not None:  # workers get them too
        recorded = session.machine.threads or recorded_threads(folder)
        session = replace(session, machine=replace(session.machine, threads=recorded))
    with device.threads(keywords.threads(session)):
        found = compare_jobs(asked, asked.jobs(session.dataset), session, folder, page=report.write)
    return Comparison(found.rows, found.summary, found.verdict, folder)
