"""The benchmark of the share of wrong labels: which source a case is, and its table."""

import wrong_share as benchmark


def test_a_case_is_a_source_and_its_wrong_labels():
    human = benchmark.options_of("cifar10-aggregate", "human.parquet", 500)
    assert (human.labels, human.noise, human.rows) == ("human.parquet:aggre_label", None, 500)
    planted = benchmark.options_of("digits-symmetric40", "human.parquet", 500)
    assert (planted.labels, planted.noise, planted.rows) == (None, "symmetric:0.4", None)
    assert benchmark.options_of("cifar10-symmetric20", "human.parquet", 500).noise == "symmetric:0.2"


def test_the_table_has_means_over_seeds_in_the_order_of_the_cases(capsys):
    numbers = dict.fromkeys((*benchmark.ESTIMATES, "held-out accuracy, true labels"), 0.25)
    rows = [
        {"case": "digits-symmetric40", "seed": 0, "rows": 1295, "truth": 0.4, **numbers, "ours": 0.3},
        {"case": "digits-symmetric40", "seed": 1, "rows": 1295, "truth": 0.4, **numbers, "ours": 0.5},
        {"case": "cifar10-random1", "seed": 0, "rows": 9000, "truth": 0.17, **numbers},
    ]
    benchmark.tables(rows)
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| cifar10-random1 | 9,000 | 1 | 17.0 | 25.0 | 25.0 | 25.0 | 25.0 | 25.0 |",
        "| digits-symmetric40 | 1,295 | 2 | 40.0 | 40.0 | 25.0 | 25.0 | 25.0 | 25.0 |",
    ]
