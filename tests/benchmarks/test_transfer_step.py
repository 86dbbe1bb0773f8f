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


def test_texts_are_scored_along_adapters_alone(monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setattr(transfer_step, "VOCABULARY", 1010)
    net = transfer_step.adapted(transfer_step.classifier(1), 2)
    learning = [name for name, p in net.named_parameters() if p.requires_grad]
    assert len(learning) == 4
    assert all("lora_" in name for name in learning)
    rows = transfer_step.rows_of_text(transfer_step.text(5, 3, 1, 2, 1), 5)
    along = [row["what"].partition("along ")[2] for row in rows]
    known = ["all parameters", "all parameters, forward mode", "last block", "head", "adapters of rank 2"]
    assert along == [f"{way} / forward" for way in known]
    made = {"forward": [1.0], "forward with adapters": [2.0], "head": [3.0], "adapters of rank 2": [3.0]}
    assert [row["ratio"] for row in transfer_step.rows_of_text(made, 5)] == [3.0, 1.5]
