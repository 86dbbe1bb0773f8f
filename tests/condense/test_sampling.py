"""Representatives against a search by hand."""

import torch
from sklearn.cluster import KMeans

from refluence.condense import sampling
from refluence.condense.sampling import ROUNDS, representatives
from refluence.matching.features import embedding
from support.small_methods import start


def test_representatives_are_nearest_to_the_centres_and_differ():
    features = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    chosen = representatives(features, 5, seed=3).tolist()
    centres = KMeans(5, n_init=1, max_iter=ROUNDS, random_state=3).fit(features.numpy()).cluster_centers_
    expected = []
    for centre in centres:
        distances = [(float(((row - torch.tensor(centre)) ** 2).sum()), i) for i, row in enumerate(features)]
        expected.append(min(d for d in distances if d[1] not in expected)[1])
    assert chosen == expected
    assert len(set(chosen)) == 5


def test_two_centres_do_not_share_an_image():
    features = torch.tensor([[0.0], [0.1], [10.0]])
    assert sorted(representatives(features, 3, seed=0).tolist()) == [0, 1, 2]


def test_batches_are_representatives_until_the_next_clustering():
    work = start("dream", iterations=5, real_batch=6, cluster_every=2, outer=5)
    seen = []
    for _ in work.steps():
        seen.append([positions.tolist() for positions in work.batches.chosen.values()])
    assert [len(batch) for batch in seen[0]] == [6, 6]
    assert seen[0] == seen[1]
    assert seen[2] == seen[3]
    assert seen[1] != seen[2]
    members = [set(m.tolist()) for m in work.members]
    assert all(set(batch) <= m for batch, m in zip(seen[-1], members, strict=True))


def test_images_of_dream_start_as_representatives_under_the_first_network(monkeypatch):
    seen = []

    def spy(features, count, seed):
        chosen = representatives(features, count, seed)
        seen.append((features, chosen))
        return chosen

    monkeypatch.setattr(sampling, "representatives", spy)
    work = start("dream", factor=1)
    assert len(seen) == 2, "a clustering for each class"
    for c, (features, chosen) in enumerate(seen):
        assert len(features) == len(work.members[c]) > len(chosen) == 3
        with torch.no_grad():
            own = embedding(work.net, work.images[work.labels == c])["features"]
        assert torch.cdist(own, features[chosen]).argmin(1).sort().values.tolist() == [0, 1, 2]
        assert torch.cdist(own, features[chosen]).min(1).values.max() < 1e-4


def test_few_candidates_bound_the_clustering():
    work = start("dream", real_batch=4, candidates=5)
    work.networks.ready(0, work.synthetic)
    work.batches.refresh(work.net, 0, True, work.rng("clusters", 0), work.device)
    assert [len(p) for p in work.batches.chosen.values()] == [4, 4]
