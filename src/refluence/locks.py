"""A lock that one process of all hosts holds: a file that only one of them can make, with who made it and since when.

The file is made with O_EXCL, which is atomic on network file systems too. A lock whose process has ended is taken over where
that can be known, on the same host; a lock of another host is refused, by name.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from refluence.errors import InputError, RunError

GRACE = 1.0  # seconds in which a process that is about to take a lock has written who it is
PAUSE = 0.01  # seconds between two looks


@dataclass(frozen=True)
class Holder:
    """Who holds a lock. `born` tells two processes with one number apart, where the system says it (Linux)."""

    host: str
    pid: int
    born: str | None
    since: str

    @classmethod
    def this(cls) -> Holder:
        """This process, from now on."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        stat = _stat(os.getpid())
        return cls(socket.gethostname(), os.getpid(), stat[1] if stat else None, now)

    @property
    def here(self) -> bool:
        """Whether it is a process of this host."""
        return self.host == socket.gethostname()

    @property
    def ended(self) -> bool:
        """Whether it is known to have ended."""
        return self.here and not _alive(self.pid, self.born)

    @property
    def who(self) -> str:
        """The process as messages call it."""
        place = "of this machine" if self.here else f"on {self.host}"
        return f"process {self.pid} {place} since {self.since[:19].replace('T', ' ')} UTC"


@contextlib.contextmanager
def held(path: Path, what: str, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock at `path` inside the block. `InputError` where another process holds it after `wait` seconds.

    `what` is what the lock is for, as the message calls it.
    """
    own = json.dumps(asdict(Holder.this()))
    _take(path, what, own, wait)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone, and the lock with it
            if _read(path) == own:
                path.unlink()


def refuse_held(path: Path, what: str) -> None:
    """`InputError` where another process holds the lock now; takes nothing."""
    holder = _parse(_read(path))
    if holder is not None and not holder.ended:
        raise _refusal(path, what, holder)


def _take(path: Path, what: str, own: str, wait: float) -> None:
    begin = time.monotonic()
    while not _make(path, own):
        text = _read(path)
        if text is None:  # released in between
            continue
        holder = _parse(text)
        if holder is not None and holder.ended and _take_over(path, text, own):
            return
        sure = holder is not None and not holder.ended
        if time.monotonic() - begin >= (wait if sure else max(wait, GRACE)):
            raise _refusal(path, what, holder)
        time.sleep(PAUSE)


def _make(path: Path, own: str) -> bool:
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; choose a folder you may write to") from None
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; choose a folder you may write to") from None
    try:
        os.write(file, own.encode())
    except OSError as error:  # a full disk
        path.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        os.close(file)
    return True


def _take_over(path: Path, dead: str, own: str) -> bool:
    """Put our lock in the place of a dead process's; False where another process does that just now, or has done it."""
    guard = _guard(path)
    if not _make(guard, own):
        return False
    try:
        if _read(path) != dead:
            return False
        fresh = path.with_name(f"{path.name}.{os.getpid()}.part")
        fresh.write_text(own, encoding="utf-8")
        os.replace(fresh, path)
        return True
    finally:
        guard.unlink(missing_ok=True)


def _guard(path: Path) -> Path:
    """What only one process can have while it takes over the lock at `path`."""
    return path.with_name(f"{path.name}.guard")


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None


def _parse(text: str | None) -> Holder | None:
    try:
        return Holder(**json.loads(text or ""))
    except (ValueError, TypeError):
        return None


def _refusal(path: Path, what: str, holder: Holder | None) -> InputError:
    if holder is None or holder.ended:  # killed in the moment in which it took the lock
        left = f"{path} or {_guard(path).name} beside it" if holder else str(path)
        return InputError(
            f"{what} has a lock that a killed process left unfinished: remove {left} if no run is under way there"
        )
    other = "if that is no run any more" if holder.here else "if that run has ended"
    return InputError(f"{what} is in use by {holder.who}: wait for its end; {other}, remove {path}")


def _alive(pid: int, born: str | None) -> bool:
    if sys.platform == "win32":
        return _alive_on_windows(pid)
    if (stat := _stat(pid)) is not None:
        return stat[0] not in "ZX" and born in (None, stat[1])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _alive_on_windows(pid: int) -> bool:
    import ctypes

    query, active, kernel = 0x1000, 259, ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
    if not (handle := kernel.OpenProcess(query, False, pid)):
        return False
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return code.value == active


def _stat(pid: int) -> tuple[str, str] | None:
    """State and start time of a process, in ticks since the machine started (Linux); None where /proc does not say."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return (words[0], words[19]) if len(words) > 19 else None
