"""The machine: devices that are not there, threads, peak memory."""

import runpy
import sys

import pytest
import torch

from refluence.errors import InputError
from refluence.run import device


def test_a_device_that_is_there():
    assert device.choose("cpu") == torch.device("cpu")
    assert device.choose("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x", "", "tpu"])
def test_a_device_that_is_not(name):
    with pytest.raises(InputError, match="device="):
        device.choose(name)


def test_threads():
    before = torch.get_num_threads()
    try:
        device.prepare(3)
        assert torch.get_num_threads() == device.describe()["threads"] == 3
        device.prepare(0)
        assert torch.get_num_threads() == 3, "0 leaves the number alone"
        with device.threads(2):  # a job has its own
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_system_without_resource_or_proc_still_runs(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    fresh = runpy.run_module("refluence.run.device")

    def nothing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr("pathlib.Path.read_text", nothing)
    assert fresh["PeakMemory"](torch.device("cpu")).bytes() == 0


def test_peak_memory_sees_what_was_freed():
    memory = device.PeakMemory(torch.device("cpu"))
    before = memory.bytes()
    big = torch.ones(64 * 2**20 // 4)
    del big
    assert memory.bytes() - before > 32 * 2**20
