"""The estimated share of wrong labels: a literal double loop, cleanlab, planted noise, and the networks that held rows out."""

import pytest
import torch

from refluence.errors import InputError
from refluence.score.wrong_share import SLACK, SUREST, confident_joint, confident_share, surest_share, wrong_share


def drawn(seed, rows=60, classes=4, noise=0.3):
    """Labels and noisy float64 probabilities; every class has rows."""
    g = torch.Generator().manual_seed(seed)
    truth = torch.arange(rows) % classes
    moved = torch.rand(rows, generator=g) < noise
    labels = torch.where(moved, (truth + torch.randint(1, classes, (rows,), generator=g)) % classes, truth)
    z = torch.randn(rows, classes, generator=g, dtype=torch.float64) + 2 * torch.eye(classes, dtype=torch.float64)[truth]
    return labels, z.softmax(1)


def literally(labels, p):
    """The equations, one row and one class after the other."""
    labels, p = labels.tolist(), p.tolist()
    count = len(p[0])
    joint = [[0] * count for _ in range(count)]
    means = [[row[j] for row, label in zip(p, labels, strict=True) if label == j] for j in range(count)]
    threshold = [sum(own) / len(own) - SLACK if own else float("inf") for own in means]
    for row, label in zip(p, labels, strict=True):
        passing = [j for j in range(count) if row[j] >= threshold[j]]
        if passing:
            joint[label][max(passing, key=lambda j: row[j])] += 1
    right = 0.0
    for i in range(count):
        joint[i][i] = max(1, joint[i][i])
        right += labels.count(i) * joint[i][i] / sum(joint[i])
    return joint, 1 - right / len(labels)


@pytest.mark.parametrize("seed", range(4))
def test_confident_learning_is_the_equations_taken_literally(seed):
    labels, p = drawn(seed, rows=23, classes=5)
    joint, share = literally(labels, p)
    assert confident_joint(labels, p).tolist() == joint
    assert confident_share(labels, p) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_surest_rows_taken_literally(seed):
    labels, p = drawn(seed, rows=200)
    share, guesses = 0.0, p.argmax(1).tolist()
    for j in set(guesses):
        rows = sorted((n for n, guess in enumerate(guesses) if guess == j), key=lambda n: -p[n, j])
        anchors = rows[: -(-len(rows) // 20)]
        share += len(rows) / 200 * sum(int(labels[n]) != j for n in anchors) / len(anchors)
    assert SUREST == 1 / 20
    found, highest = surest_share(labels, p)
    assert found == pytest.approx(share, abs=1e-12)
    assert found < highest < 1


def test_rows_that_are_as_sure_as_the_last_count_too_in_any_order():
    labels, p = torch.tensor([0] * 60 + [1] * 40), torch.tensor([[0.75, 0.25]]).expand(100, 2)
    assert surest_share(labels, p)[0] == surest_share(labels.flip(0), p)[0] == pytest.approx(0.4)


def test_the_surest_rows_decide_where_confident_learning_takes_the_networks_mistakes_for_wrong_labels():
    g = torch.Generator().manual_seed(0)
    truth = torch.arange(4000) % 4
    z = torch.randn(4000, 4, generator=g) + torch.eye(4)[truth] * 3 * torch.rand(4000, 1, generator=g)
    labels = torch.where(torch.rand(4000, generator=g) < 0.2, (truth + 1) % 4, truth)
    p = (2 * z).softmax(1)
    assert confident_share(labels, p) > surest_share(labels, p)[1]
    assert wrong_share(labels, p) == surest_share(labels, p)[0] < confident_share(labels, p) - 0.1
    assert wrong_share(labels, p) > 0.2
    sure = torch.eye(4)[truth]
    assert wrong_share(labels, sure) == confident_share(labels, sure) == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_confident_learning_is_cleanlabs_but_for_whole_rows(seed):
    count = pytest.importorskip("cleanlab.count")
    labels, p = drawn(seed, rows=400)
    theirs = count.compute_confident_joint(labels.numpy(), p.numpy(), calibrate=False)
    passing = p >= torch.from_numpy(count.get_confident_thresholds(labels.numpy(), p.numpy())) - SLACK
    assert bool(passing.gather(1, p.argmax(1)[:, None])[:, 0][passing.sum(1) > 1].all()), "where the two rules part"
    assert confident_joint(labels, p).tolist() == theirs.tolist()
    joint = count.estimate_joint(labels.numpy(), p.numpy())
    assert confident_share(labels, p) == pytest.approx(1 - joint.trace(), abs=p.shape[1] / len(labels))


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5])
def test_a_perfect_classifier_gives_the_planted_share(share):
    truth = torch.arange(400) % 4
    place = torch.arange(400) // 4
    wrong = place < 100 * share
    labels = torch.where(wrong, (truth + 1 + place % 3) % 4, truth)
    assert wrong_share(labels, torch.eye(4)[truth]) == pytest.approx(share, abs=1e-12)


def test_a_class_that_no_row_has_or_is_sure_of_counts_as_right():
    labels = torch.tensor([0, 0, 0, 1])
    p = torch.tensor([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.8, 0.2, 0.0]])
    assert confident_joint(labels, p).tolist() == [[3, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert wrong_share(labels, p) == 0.0


@pytest.mark.parametrize(
    ("labels", "p", "says"),
    [
        (torch.tensor([0, 1]), torch.eye(3), r"labels \(2,\) and probabilities \(3, 3\): give \(N,\) and \(N, K\)"),
        (torch.tensor([], dtype=torch.int64), torch.zeros(0, 2), "give"),
        (torch.tensor([0, 3]), torch.eye(2), "labels are 0 to 3: there are probabilities of 2 classes"),
    ],
)
def test_what_does_not_fit_is_refused(labels, p, says):
    with pytest.raises(InputError, match=says):
        wrong_share(labels, p)
