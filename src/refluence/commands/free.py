"""The folder of a run looked at before the libraries that make it are loaded, which takes seconds."""

from __future__ import annotations

from refluence.commands.flags import Compare, Distill, GenerateFinetune, GenerateSample, GenerateTrain, Transfer
from refluence.run.folder import check_free

RUNS = (Compare, Distill, Transfer, GenerateTrain, GenerateFinetune, GenerateSample)


def check_out(command: str, flags: object) -> None:
    """`InputError` for an --out that cannot become, or with --resume is not, a run of this command.

    An estimate writes nothing. Recipes and scores look at their own folder and file.
    """
    if isinstance(flags, RUNS) and command != "estimate":
        compared = isinstance(flags, Transfer) and flags.seeds is not None
        check_free(flags.out, "compare" if compared else command.replace("_", " "), flags.resume)
