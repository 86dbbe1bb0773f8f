"""The benchmark of a transfer's step on a few images: every arm steps, and ratios are those of a round."""

import pytest
import transfer_step


def test_every_arm_steps_and_the_first_is_its_own_measure():
    dataset = transfer_step.images(None, 200)
    works = {arm: transfer_step.work_of(arm, dataset, 4, 2) for arm in transfer_step.ARMS}
    assert [work.plan.weighs_student for work in works.values()] == [False, True, True, True]
    assert all(next(work.steps()).loss > 0 for work in works.values())
    rows = transfer_step.rows_of_epochs({"kd": [1.0, 2.0, 4.0], "student": [2.0, 3.0, 4.0]})
    assert [row["ratio"] for row in rows] == [1.0, 1.5]


def test_one_direction_serves_all_validation_images():
    found = {"per-sample backward": [4.0], "ours": [2.0], "forward": [1.0]}
    found |= {"validation gradient": [3.0], "one validation gradient": [1.0]}
    ratios = [row["ratio"] for row in transfer_step.rows_of_direction(found, 10)]
    assert ratios == pytest.approx([0.5, 2.0, 4.0, 10.0])
