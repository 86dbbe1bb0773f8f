"""`refluence export DIR`: the distilled set for other tools."""

from __future__ import annotations

from refluence.commands.flags import Export
from refluence.data import export
from refluence.data.distilled import locate
from refluence.errors import InputError
from refluence.run.folder import CONFIG, configuration


def run(flags: Export) -> None:
    """Write the set in another format and say what that costs."""
    if (flags.folder / CONFIG).exists() and configuration(flags.folder)["command"] == "compare":
        raise InputError(f"{flags.folder} holds a comparison: name one of its units, {flags.folder}/units/ARM/SEED")
    locate(flags.folder)
    out = flags.out if flags.out is not None else flags.folder / f"export-{flags.format}"
    print(export(flags.folder, flags.format, out))
