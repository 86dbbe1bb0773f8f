"""Arms that scores clean or weigh beforehand: what each is compared with, and what the verdict says in every case."""

import pytest

from refluence.arm import read_arm
from refluence.evaluate import summarise, verdict
from refluence.evaluate.cleaning import by_another
from refluence.evaluate.references import CONTROL, RIVAL, UNIFORM, by_chance, kind, references

BASE = [50.0, 51.0, 52.0, 50.5, 51.5]
UP, FLAT, NONE = (2.0, 2.1, 1.9, 2.2, 1.8), (0.4, -1.0, 1.3, 0.6, 0.7), (0.1, -0.1, 0.0, 0.1, -0.1)


def shifted(by: tuple[float, ...], more: float = 0.0) -> list[float]:
    return [b + d + more for b, d in zip(BASE, by, strict=True)]


def say(arms: dict[str, list[float] | None]) -> str:
    rows = [{"arm": arm, "seed": s, "accuracy": a} for arm, values in arms.items() for s, a in enumerate(values or [])]
    return verdict(summarise(rows), rows)


BY = ("score", "random", "held-out-loss", "loss")
PRUNED = ["dm", *(f"dm+pruned:by={by},keep=.6" for by in BY), "dm+pruned:by=truth"]


@pytest.mark.parametrize("method", ["dm", "random", "herding:factor=2"])
@pytest.mark.parametrize(
    ("variant", "chance", "loss", "young"),
    [
        ("pruned:by=score,keep=.6", "pruned:by=random,keep=0.6", "pruned:by=held-out-loss,keep=.60", "pruned:by=loss,keep=.6"),
        ("pruned:by=score", "pruned:by=random,keep=auto", "pruned:by=held-out-loss", "pruned:by=loss,keep=auto"),
        ("selected:by=score,keep=.1", "selected:by=random", "selected:by=held-out-loss,keep=0.10", "selected:by=loss"),
        ("relabelled", "relabelled:by=random", "relabelled:by=held-out-loss,share=auto", None),
        ("relabelled:share=.4,terms=both", "relabelled:by=random,share=.4", "relabelled:by=held-out-loss,share=.4", None),
        ("scores", "scores:by=random", "scores:by=held-out-loss", None),
    ],
)
def test_an_arm_by_score_is_held_against_as_it_is_at_random_and_by_loss(method, variant, chance, loss, young):
    name, _, own = method.partition(":")
    arm, at_random, by_loss = (f"{name}+{text}{':' if own and ':' not in text else ',' if own else ''}{own}"
                               for text in (variant, chance, loss))  # fmt: skip
    other = [f"{name}+pruned:by=random,keep=.3", f"{name}+pruned:by=held-out-loss,keep=.3", "idc+scores:by=random"]
    assert references(arm, [arm, method, *other, by_loss, at_random]) == [method, at_random, by_loss]
    assert [kind(arm, each) for each in (method, at_random, by_loss)] == [UNIFORM, CONTROL, RIVAL]
    assert references(by_loss, [arm, method, *other, by_loss, at_random]) == [method, at_random]
    assert references(at_random, [arm, method, *other, by_loss, at_random]) == [method]
    if young and not own:
        rival = f"{name}+{young}"
        assert references(arm, [method, rival, at_random]) == [method, at_random, rival]
        assert references(arm, [method, rival, at_random, by_loss])[2:] == [by_loss], "the fair rival before the young networks"
        assert kind(arm, rival) == RIVAL


def test_the_truth_is_a_ceiling_and_no_competitor():
    assert references("dm+pruned:by=truth", PRUNED) == ["dm"]
    assert all("truth" not in other for arm in PRUNED for other in references(arm, PRUNED))
    assert references("dm+relabelled:by=truth", ["dm", "dm+relabelled:by=random"]) == ["dm"]
    assert say({"random": BASE, "random+pruned:by=truth": shifted(UP, 9)}).startswith("random, 51.0 %")
    line = say({"dm": BASE, "dm+pruned:by=truth": shifted(UP, 9), "dm+pruned:by=score": shifted(UP)})
    assert line.startswith("dm+pruned:by=score: +2.0 points over dm as it is [")
    assert say({"dm+pruned:by=truth": BASE}) == "nothing to compare: dm+pruned:by=truth is the ceiling, not a competitor"


def test_terms_and_sign_of_the_controls():
    arm = "dm+pruned:by=score,keep=.6,terms=implicit,sign=-1"
    loss = ["dm+pruned:by=held-out-loss,keep=.6", "dm+pruned:by=held-out-loss,keep=.6,sign=-1"]
    chance = "dm+pruned:by=random,keep=.6"
    assert references(arm, ["dm", chance, *loss]) == ["dm", chance, loss[1]], "the same end, by another"
    permuted = ["dm+scores:by=random,terms=both", "dm+scores:by=random", "dm+scores:by=random,terms=explicit"]
    assert references("dm+scores:terms=both", permuted) == permuted[:1]
    assert references("dm+scores", permuted) == permuted[1:2]
    assert references("dm+scores:terms=implicit", permuted) == permuted[:1], "another one's, where its own is missing"


@pytest.mark.parametrize(
    ("arm", "chance", "loss"),
    [
        ("dm+pruned:by=score", "dm+pruned:by=random,keep=auto", "dm+pruned:by=held-out-loss"),
        ("dm+pruned:by=score,keep=.6,image_lr=1", "dm+pruned:by=random,keep=.6,image_lr=1",
         "dm+pruned:by=held-out-loss,keep=.6,image_lr=1"),
        ("dm+selected:by=score,keep=.2,sign=-1", "dm+selected:by=random,keep=.2",
         "dm+selected:by=held-out-loss,keep=.2,sign=-1"),
        ("random+relabelled:terms=both", "random+relabelled:by=random", "random+relabelled:by=held-out-loss"),
        ("dm+scores:terms=both", "dm+scores:by=random,terms=both", "dm+scores:by=held-out-loss"),
    ],
)  # fmt: skip
def test_the_same_arm_by_another(arm, chance, loss):
    assert by_another(read_arm(arm), "random").name == chance
    assert by_another(read_arm(arm), "held-out-loss").name == loss
    assert by_chance(chance)
    assert not by_chance(loss)


def test_the_first_arm_by_score_is_primary_unless_there_are_influence_weights():
    arms = {"dm": BASE, "dm+pruned:by=random,keep=auto": shifted(NONE), "dm+pruned:by=held-out-loss": shifted(UP)}
    arms |= {"dm+relabelled": shifted(UP), "dm+scores": shifted(UP)}

    def primary(arms):
        rows = [{"arm": arm, "seed": s, "accuracy": a} for arm, values in arms.items() for s, a in enumerate(values)]
        return [(row["arm"], row["against"]) for row in summarise(rows) if row["primary"]]

    assert primary(arms) == [("dm+relabelled", "dm")]
    assert primary({**arms, "dm+influence": BASE}) == [("dm+influence", "dm")]
    assert say(arms).startswith("dm+relabelled (one of 2 arms by score): ")
    assert say({**arms, "dm+influence": shifted(UP)}).startswith("influence weights: ")
    assert say({**arms, "dm+loss": shifted(UP)}).startswith("dm+relabelled (one of 2 arms by score): ")


ARM, CHANCE, LOSS = "dm+pruned:by=score,keep=.6", "dm+pruned:by=random,keep=.6", "dm+pruned:by=held-out-loss,keep=.6"


@pytest.mark.parametrize(
    ("arm", "chance", "loss", "ending"),
    [
        (shifted(UP), shifted(NONE), shifted(UP[::-1]), "pays; by held-out loss as well"),
        (shifted(UP), shifted(NONE), shifted(NONE[::-1]), "helped, more than by held-out loss"),
        (shifted(UP), shifted(NONE), shifted(UP[::-1], 2), "pays, but less than by held-out loss"),
        (shifted(UP), shifted(NONE), [50, 56, 50, 53, 53], "pays, but not shown to be more than by held-out loss"),
        (shifted(UP), shifted(NONE), shifted(UP),
         "pays; against the same by held-out loss no interval (all differences are equal)"),
        (shifted(UP), shifted(NONE), [51.0], "pays; against the same by held-out loss no interval"),
        (shifted(UP), shifted(NONE), None, "pays, but not compared with the same by loss"),
        (shifted(UP), shifted(UP[::-1]), shifted(NONE),
         "better than dm as it is, but not shown to be better than the same at random"),
        (shifted(UP), None, shifted(NONE), "better than dm as it is, but not compared with the same at random"),
        (shifted(UP), shifted(UP, -1), shifted(NONE),
         "better than dm as it is, but against the same at random no interval (all differences are equal)"),
        (shifted(FLAT), shifted(NONE), shifted(NONE), "n = 5: no difference shown; n = 5 could show 1.1"),
        (shifted(UP, -4), shifted(NONE), shifted(NONE), "n = 5: hurt"),
        ([51.0], [50.0], [51.0], "n = 1: no interval"),
        (shifted(NONE, 1)[:2], BASE, BASE, "n = 2: no difference shown; n = 2 could show 1.3"),
        ([b + 1 for b in BASE], shifted(NONE), BASE, "no interval (all differences are equal)"),
    ],
)  # fmt: skip
def test_the_verdict_on_an_arm_by_score(arm, chance, loss, ending):
    line = say({"dm": BASE, ARM: arm, CHANCE: chance, LOSS: loss})
    assert line.endswith(ending), line
    assert line.startswith(f"{ARM}: +") or "hurt" in ending
    assert ("helped" in line) == ending.startswith("helped")


def test_the_wording_in_full():
    arms = {"random": BASE, "random+relabelled": shifted(UP), "random+relabelled:by=random": shifted(NONE)}
    assert say({**arms, "random+relabelled:by=held-out-loss": shifted(UP[::-1])}) == (
        "random+relabelled: +2.0 points over random as it is [1.8, 2.2], over the same at random +2.0 [1.8, 2.2], "
        "over the same by held-out loss +0.0 [-0.2, 0.2], n = 5: pays; by held-out loss as well"
    )
    loss = {"dm": BASE, ARM: shifted(UP), CHANCE: shifted(NONE), "dm+pruned:by=loss,keep=.6": shifted(UP[::-1])}
    assert ", over the same by loss +0.0 [" in say(loss)
    assert say(loss).endswith("pays; by loss as well")
    assert say({"dm+relabelled": BASE}) == "dm+relabelled: not compared with dm as it is: dm is not among the arms"
    alone = {"dm": BASE, "dm+pruned:by=held-out-loss": shifted(UP), "dm+pruned:by=random,keep=auto": shifted(NONE)}
    assert say(alone).startswith("dm+pruned:by=held-out-loss: +2.0 points over dm as it is [")
    assert say(alone).endswith("n = 5: pays"), "loss is no rival of itself"
