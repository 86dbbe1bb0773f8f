"""What a work costs: seconds on the wall and of processors, over all its sittings."""

import time
from dataclasses import dataclass

import pytest
import torch

from refluence.clock import Time
from refluence.run import checkpoint
from refluence.run.drive import Driver, drive
from refluence.run.progress import Reporter
from refluence.work import Result

DRIVER = Driver(torch.device("cpu"), Reporter(quiet=True), 0.0)
EACH = 0.02  # seconds that a step computes, and sleeps


@dataclass(frozen=True)
class Step:
    step: int


class Busy:
    """A work of four steps, which is stopped before step `end`."""

    means, remedy, total = (), "", 4

    def __init__(self, end=4):
        self.step, self.end = 0, end

    def steps(self):
        for number in range(self.step, self.total):
            if number == self.end:
                raise KeyboardInterrupt
            begin = time.process_time()
            while time.process_time() < begin + EACH:
                pass
            time.sleep(EACH)
            self.step = number + 1
            yield Step(number)

    def state(self):
        return {"step": torch.tensor(self.step)}

    def restore(self, state):
        self.step = int(state["step"])

    def result(self):
        return Result(None, {})


def stopped(folder, *ends):
    """The folder of such a work that was stopped at these steps, one sitting each."""
    for end in ends:
        with pytest.raises(KeyboardInterrupt):
            drive(Busy(end), folder, "busy", DRIVER)


def test_seconds_of_processors_are_summed_over_sittings_as_those_on_the_wall_are(tmp_path):
    stopped(tmp_path, 1, 3)
    before = checkpoint.time_spent(tmp_path)
    _, costs = drive(Busy(), tmp_path, "busy", DRIVER, Time(1000.0, 100.0))
    assert 3 * EACH <= before.cpu < before.wall
    assert before.cpu + EACH <= costs["cpu_seconds"] + 0.001 < 50, "what was before is in the checkpoint already"
    assert costs["seconds"] > costs["cpu_seconds"], "sleep is no time of a processor"
    _, costs = drive(Busy(), None, "busy", DRIVER, Time(1000.0, 100.0))
    assert 100 + 4 * EACH <= costs["cpu_seconds"] + 0.001 < 900 < costs["seconds"]


def test_a_sum_that_began_with_an_earlier_version_is_not_told_in_part(tmp_path):
    stopped(tmp_path, 2)
    tensors, header = checkpoint.load(tmp_path)
    checkpoint.save(tmp_path, tensors, {name: value for name, value in header.items() if name != "cpu_seconds"})
    stopped(tmp_path, 3)
    _, costs = drive(Busy(), tmp_path, "busy", DRIVER)
    assert costs["seconds"] >= 8 * EACH
    assert "cpu_seconds" not in costs
