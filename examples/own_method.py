"""A distillation method of your own: a declaration, here distribution matching under another distance, and the loop by hand."""

import refluence as rf
from refluence.condense.dm import METHOD as DM
from refluence.matching.discrepancies import BY_NAME

MINE = rf.Method(
    name="dm-cosine",
    summary="mean embeddings, compared by their angle",
    source="ours",
    discrepancy=BY_NAME["flat-cosine"],  # any frozen dataclass with value(a, b) and uses(tensor)
    settings=DM.settings,
    statistic=DM.statistic,
)


def main() -> None:
    data = rf.load("digits")
    losses = []
    work = rf.start(data, MINE, ipc=1, iterations=10, width=8)
    for event in work.steps():  # state() and restore() stop and resume it between two steps
        losses.append(event.loss)
    print(f"loss {losses[0]:.3f} at the first image step, {losses[-1]:.3f} at the last")
    small = work.result().artifact
    print(f"{rf.evaluate(small, data, nets=1, epochs=30, width=8).accuracy:.1f} % test accuracy")


if __name__ == "__main__":
    main()
