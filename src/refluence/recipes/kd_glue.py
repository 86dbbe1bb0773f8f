"""Texts: tasks of GLUE, a MiniLM teacher of six layers fine-tuned first, and a student of two of its layers.

The paper has BERT-base and a student of six layers, most likely as LGTM (arXiv 2305.09651). GLUE's test labels are not public:
its validation rows are the test split, and those that weigh and watch are cut from train.
"""

from __future__ import annotations

from refluence.recipes.base import Part, Recipe
from refluence.recipes.students import CONTROLS, TEXT, part

ARMS = (*CONTROLS, "student", "joint", "joint+shuffled", "kd+loss")
TASKS = ("sst2", "mrpc", "rte", "qnli")


def parts(size: str) -> tuple[Part, ...]:
    """A task each."""
    return tuple(part(task, task, size, ARMS, networks=TEXT, primary="student") for task in TASKS)


RECIPE = Recipe(
    name="kd-glue",
    summary="texts of GLUE: a two-layer student of a MiniLM teacher, without weights, by influence and by loss",
    source="KD-AIF (arXiv 2501.02705), its GLUE table; networks ours",
    parts=parts,
    claims=("KD-AIF is better than other ways to distil on tasks of GLUE.",),
    picture="gains",
)
