"""Equal time is that of processors where these compute: a machine that was busy during one arm gives no other arm more."""

import torch

from refluence.jobs.timed import by_processors, timed

CPU, GPU = torch.device("cpu"), torch.device("cuda")
QUIET = {"arm": "dit", "seed": 0, "seconds": 1.0, "cpu_seconds": 0.9}
BUSY = {"arm": "dit+igd", "seed": 0, "seconds": 9.0, "cpu_seconds": 1.8, "teacher_seconds": 4.0, "teacher_cpu_seconds": 0.5}
EARLIER = {"arm": "dit", "seed": 1, "seconds": 1.0}


def test_processors_decide_where_they_compute_and_every_row_says_their_seconds():
    assert by_processors([QUIET, BUSY], CPU)
    assert not by_processors([QUIET, BUSY], GPU)
    assert not by_processors([QUIET, BUSY, EARLIER], CPU)


def test_rows_have_the_seconds_that_decide():
    plain, guided = timed([QUIET, BUSY], processors=True)
    assert (plain["seconds"], guided["seconds"], guided["teacher_seconds"]) == (0.9, 1.8, 0.5)
    assert "teacher_seconds" not in plain
    assert timed([QUIET, EARLIER], processors=False) == [QUIET, EARLIER]
    assert QUIET["seconds"] == 1.0, "the rows that are given stay"
