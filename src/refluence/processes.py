"""A process as a file can name it, so that another one knows whether it is still there."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import socket
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

BOOT, NAMESPACE = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")


@dataclass(frozen=True)
class Process:
    """A process since a moment.

    `machine` and `born` tell apart what host name and number do not: containers and clones, and a number used again. `token` is
    drawn for each of these, so that no two are equal.
    """

    host: str
    pid: int
    born: str | None
    since: str
    machine: str | None = None
    token: str = ""

    @classmethod
    def this(cls) -> Process:
        """This process, from now on."""
        now, pid, stat = datetime.datetime.now(datetime.timezone.utc).isoformat(), os.getpid(), _stat(os.getpid())
        return cls(socket.gethostname(), pid, stat[1] if stat else None, now, machine(), uuid.uuid4().hex)

    @property
    def here(self) -> bool:
        """Whether it is known to be of this machine."""
        return self.machine is not None and self.machine == machine()

    @property
    def alive(self) -> bool:
        """Whether it has not ended, for a process of this machine."""
        if sys.platform == "win32":
            return _alive_on_windows(self.pid)
        if (stat := _stat(self.pid)) is not None:
            return stat[0] not in "ZX" and self.born in (None, stat[1])
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:  # another user's
            return True
        return True

    @property
    def who(self) -> str:
        """The process as messages call it."""
        place = "of this machine" if self.here else f"of another machine ({self.host})"
        return f"process {self.pid} {place} since {self.since[:19].replace('T', ' ')} UTC"


@functools.cache
def machine() -> str | None:
    """What only processes that see each other's numbers have in common; None where the system does not say it.

    On Linux the start of the kernel and the namespace of process numbers: host names repeat among containers and cloned
    machines. Elsewhere the host name and the hardware address.
    """
    if sys.platform != "linux":
        return f"{platform.system()} {socket.gethostname()} {uuid.getnode():x}"
    try:
        return f"{BOOT.read_text(encoding='ascii').strip()} {os.readlink(NAMESPACE)}"
    except OSError:
        return None


def _alive_on_windows(pid: int) -> bool:
    import ctypes

    if sys.platform != "win32":
        raise OSError("only Windows is asked so")
    query, active, kernel = 0x1000, 259, ctypes.WinDLL("kernel32")
    if not (handle := kernel.OpenProcess(query, False, pid)):
        return False
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return code.value == active


def _stat(pid: int) -> tuple[str, str] | None:
    """State and start time, in ticks since the machine started (Linux); None where /proc does not say."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return (words[0], words[19]) if len(words) > 19 else None
