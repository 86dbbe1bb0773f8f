"""The speed benchmark: its table, and that a peer that needs no package scores the same."""

import torch
from influence_peers import LINEAR_ALONE, PEERS, Task, names_of
from influence_scores import OURS, table

from refluence.influence import Scorer, scores
from support.cases import make


def test_the_table_compares_round_by_round():
    own = {"pass": [2.0, 3.0, 8.0], "forward": [1.0, 1.0, 2.0], "all": [2.0, 3.0, 8.0], "peak": [2**20, 2**21]}
    peer = {"pass": [], "forward": [], "all": [20.0], "peak": [2**22, None]}
    rest = {"correlation": 0.99995, "warm_up": 1.5, "parameters": "all"}
    rows = table({"ghost": own | rest, "captum TracInCP": peer | rest | {"parameters": "of Conv2d and Linear"}}).splitlines()
    assert rows[2] == "| ghost | 3.00 | 3.00 [2.00, 4.00] | 1.0 [1.0, 1.0] | 0.999950 | 1, 2 | 1.5 |"
    assert rows[3] == "| captum TracInCP (Conv2d and Linear) | 20.00 | – | 10.0 [10.0, 10.0] | 0.999950 | 4, – | 1.5 |"


def test_per_sample_gradients_and_the_names_that_peers_cover():
    case = make("group")
    task = Task(case.model, case.x[:5], case.y[:5], 4)
    want = scores(case.model, case.x, case.y, task.gradient())
    torch.testing.assert_close(PEERS["torch.func vmap(grad)"][2](task)(case.x, case.y), want, rtol=1e-10, atol=1e-10)
    assert list(names_of(task, "dattri TracIn")) == list(case.named())
    covered = {name for name, p in case.named().items() if p.dim() > 1}
    for peer in LINEAR_ALONE:
        assert covered < set(names_of(task, peer)) < set(case.named())


def test_every_variant_of_ours_can_be_made():
    for options in OURS.values():
        assert Scorer(make("mlp").model, **options).engine == options["engine"]
