from engine_proof import measured


def test_both_times_are_measured_each_round():
    found = measured(rounds=2, width=4, size=8, count=70)
    assert len(found) == 2
    assert all(comparison > 0 and scoring > 0 for comparison, scoring in found)
