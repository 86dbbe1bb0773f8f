"""`refluence ls`: what this installation has, found by looking at the package."""

from __future__ import annotations

from refluence.commands.flags import Ls
from refluence.condense.settings import Settings
from refluence.evaluate.protocols import protocols
from refluence.fields import settings_of
from refluence.generate.arms import VARIANTS, WEIGHTS
from refluence.influence.curvature import CURVATURES
from refluence.influence.links import LINKS
from refluence.influence.weighting import KINDS, Weighting
from refluence.jobs.catalogue import methods
from refluence.models.families import MODELS
from refluence.options import NORMS, SamplingOptions
from refluence.recipes.find import recipes
from refluence.select.selection import SelectionOptions
from refluence.transfer import settings as transfer
from refluence.transfer.semi_settings import UNREAD, SemiSettings

OF_CLASSES = {
    "weights": f"Real images weigh in the mean gradient of their class by influence: {', '.join(WEIGHTS)} (a control)."
}


def run(flags: Ls) -> None:
    """Print the lists."""
    _list(
        "methods",
        {m.name: f"{m.summary}{f' ({m.source})' if m.source else ''}" for m in methods().values()},
    )
    _list("weights (METHOD+WEIGHTS)", KINDS)
    _list("options of weights (METHOD+WEIGHTS:key=value,…)", _helps(Weighting, "kind", defaults=True))
    _list("links (METHOD+WEIGHTS:link=LINK)", LINKS)
    _list("settings of methods that learn images (METHOD[+WEIGHTS]:key=value,…)", _helps(Settings, "ipc"))
    _list("options of methods that keep real images (METHOD:key=value,…)", _helps(SelectionOptions))
    _list("settings of mechanisms (MECHANISM[+WEIGHTS]:key=value,…)", _helps(transfer.Settings, defaults=True))
    _list("settings of semi (semi[+WEIGHTS]:key=value,…)", _helps(SemiSettings, *UNREAD, defaults=True))
    _list("guidance of sampled sets (dit+GUIDANCE, minimax+GUIDANCE, d4m+GUIDANCE)", VARIANTS)
    _list("options of sampled sets (METHOD[+GUIDANCE]:key=value,…)", {**_helps(SamplingOptions, defaults=True), **OF_CLASSES})
    _list("curvatures (score --curvature)", CURVATURES)
    _list("protocols", {p.name: p.note for p in protocols().values()})
    _list("models", {**MODELS, "norms": f"{', '.join(NORMS)} (--norm)"})
    _list("recipes (run RECIPE)", {r.name: f"{r.summary} ({r.source})" for r in recipes().values()})


def _helps(kind: type, *without: str, defaults: bool = False) -> dict[str, str]:
    said = {name: declared for name, declared in settings_of(kind).items() if name not in without}
    shown = {name: f" [{d.default}]" if defaults and d.default is not None else "" for name, d in said.items()}
    return {name: declared.text + shown[name] for name, declared in said.items()}


def _list(title: str, entries: dict[str, str]) -> None:
    width = max(map(len, entries))
    print(title)
    for name, summary in entries.items():
        print(f"  {name:<{width}}  {summary}")
    print()
