"""`refluence export DIR`: the distilled set, or the student, for other tools."""

from __future__ import annotations

from refluence.commands.flags import Export
from refluence.data import export
from refluence.data.distilled import locate
from refluence.errors import InputError
from refluence.jobs.open_run import refuse_denoiser
from refluence.run.folder import CONFIG, configuration
from refluence.transfer.export import export_network, holds_network, usual_format


def run(flags: Export) -> None:
    """Write the set in another format and say what that costs; or the network."""
    if (flags.folder / CONFIG).exists() and configuration(flags.folder)["command"] == "compare":
        raise InputError(f"{flags.folder} holds a comparison: name one of its units, {flags.folder}/units/ARM/SEED")
    refuse_denoiser(flags.folder)
    place = None if (flags.folder / "distilled").exists() else holds_network(flags.folder)
    format = flags.format or ("imagefolder" if place is None else usual_format(place))
    out = flags.out if flags.out is not None else flags.folder / f"export-{format}"
    if place is not None:
        return print(export_network(place, format, out))
    locate(flags.folder)
    print(export(flags.folder, format, out))
