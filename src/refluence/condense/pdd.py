"""PDD: progressive dataset distillation (Chen et al. 2024, arXiv 2310.06982, alg. 1), here with IDC as its base.

    stage i = 1 ... P:  theta_0 first trains on S_1, on S_1 + S_2, ... (200 epochs each), then
                        min_{S_i} of the base's objective with S_1 + ... + S_i in the place of S, S_1 ... S_{i-1} fixed

P = 5 stages (as many as there are images per class, if fewer), the base's number of steps in each (half as many in the
published CIFAR-100: give `iterations=500000`). Their code never stores a stage's last 50 networks' work; here a stage ends at
its last step. Evaluated stage after stage by the protocol `pdd`.

Any other base: its own arm with the same setting, `dm:stages=5`. It keeps the base's numbers for all images, and its steps are
shared out among the stages: for as many in each, as here, P times `iterations`. Where a base has another network for every
image step (`dm`, `idm`, `ncfm`), each of them trains on the earlier stages first: at the published 200 epochs that is most of
the run, and `stage_epochs=5` a way out.
"""

from __future__ import annotations

from dataclasses import replace

from refluence.condense import idc
from refluence.condense.method import Settings

STAGES = 5
SHORT_EPOCHS = 5  # on each earlier stage, at size `cpu` (ours)


def settings(ipc: int, size: str, shape: tuple[int, int, int] = (3, 32, 32)) -> Settings:
    """IDC's numbers for the images of a stage; at size `cpu` (ours) 200 sweeps in all, short training on earlier stages."""
    stages = min(STAGES, ipc)
    base = idc.settings(max(1, ipc // stages), size, shape)
    chosen = base.with_(ipc=ipc, stages=stages)
    return chosen.with_(iterations=stages * base.iterations) if size == "paper" else chosen.with_(stage_epochs=SHORT_EPOCHS)


METHOD = replace(
    idc.METHOD,
    name="pdd",
    summary="idc in stages: a few images at a time, beside those learned before",
    source="arXiv 2310.06982",
    settings=settings,
)
