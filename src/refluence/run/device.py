"""The machine: which device, how many threads, how much memory a piece of work took at its peak."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from refluence.errors import InputError, option


def choose(name: str) -> torch.device:
    """`auto` takes CUDA (or ROCm), then MPS, then the CPU; a device that is not there is an error."""
    available = [d for d, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())) if there]
    if name == "auto":
        return torch.device(available[0] if available else "cpu")
    if name.split(":")[0] not in [*available, "cpu"]:
        raise InputError(f"{option('device', name)} is not available here: choose auto, {', '.join([*available, 'cpu'])}")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"{option('device', name)} is not a device: choose auto, cpu, cuda, cuda:1, mps") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"{option('device', name)} is not available here: cuda:0 to cuda:{torch.cuda.device_count() - 1} are")
    return device


def prepare(threads: int) -> None:
    """Set the number of threads (0: PyTorch's choice), and keep freed memory in the process (glibc only).

    Activations of some hundred MB are otherwise returned to the system and faulted in again at every pass.
    """
    if threads:
        set_threads(threads)
    if sys.platform == "linux":
        try:
            mallopt = ctypes.CDLL("libc.so.6").mallopt
        except (OSError, AttributeError):
            return
        m_trim_threshold, m_mmap_max = -1, -4
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 1 << 30)


def set_threads(number: int) -> None:
    """Let this process compute with `number` threads from now on: bits depend on it, so it is part of a job."""
    torch.set_num_threads(number)


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute with `number` threads inside the block, whatever the process has outside."""
    before = torch.get_num_threads()
    set_threads(number)
    try:
        yield
    finally:
        set_threads(before)


class PeakMemory:
    """Peak bytes of the work since it was made: of the device on an accelerator, of the process on the CPU.

    On Linux the kernel's high-water mark is reset first, so that units of one process do not inherit each other's peak.
    """

    def __init__(self, device: torch.device):
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with contextlib.suppress(OSError, AttributeError):  # what was kept for reuse is no one's peak
                ctypes.CDLL("libc.so.6").malloc_trim(0)
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def bytes(self) -> int:
        """The peak so far; 0 where the system does not tell (Windows)."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        try:
            match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
            if match:
                return int(match[1]) * 1024
        except OSError:
            pass
        try:
            import resource
        except ImportError:  # Windows
            return 0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def processors() -> int:
    """Processors that this process may use: a container or a batch system often allows fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe() -> dict[str, str | int]:
    """What a reader needs to judge seconds and bit-identity: versions, processor threads, platform."""
    return {
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "cpus": processors(),
        "platform": sys.platform,
    }
