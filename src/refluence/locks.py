"""A lock that one process of all machines holds: a file that only one of them can make, with who made it and since when.

The file is made with O_EXCL, which is atomic on network file systems too. Its time of change is the holder's last sign of life.
A lock is taken over where its process has ended, as a process of the same machine knows, and where a process of another
machine has given no sign of life for `LEASE` seconds. A holder that wakes up after that stops with a `RunError`.
"""

from __future__ import annotations

import _thread
import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from refluence.errors import InputError, RunError
from refluence.processes import Process

GRACE = 1.0  # seconds in which a process that is about to take a lock has written who it is
PAUSE = 0.01  # seconds between two looks
BEAT = 20.0  # seconds between two signs of life
LEASE = 600.0  # seconds without one after which a holder on another machine counts as ended


@contextlib.contextmanager
def held(path: Path, what: str, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock at `path` inside the block.

    Args:
        path: the file of the lock.
        what: what the lock is for, as messages call it.
        wait: seconds to wait for another holder's end.

    Raises:
        InputError: another process holds it after `wait` seconds.
        RunError: another process has taken it over, since this one gave no sign of life for `LEASE` seconds.
    """
    own = json.dumps(asdict(Process.this()))
    _take(path, what, own, wait)
    lost, ended = threading.Event(), threading.Event()
    beat = threading.Thread(target=_beat, args=(path, own, lost, ended), daemon=True)
    beat.start()
    try:
        yield
    except KeyboardInterrupt:
        if not lost.is_set():
            raise
    finally:
        ended.set()
        with contextlib.suppress(OSError):  # the folder may be gone, and the lock with it
            if _read(path) == own:
                path.unlink()
    if lost.is_set():
        silent = f"gave no sign of life for {LEASE:.0f} seconds"
        raise RunError(f"{what} was taken over by another process, since this one {silent}: the run goes on there")


def _beat(path: Path, own: str, lost: threading.Event, ended: threading.Event) -> None:
    """Give signs of life; a lock that another process has now stops the thread that held it (the main one)."""
    while not ended.wait(BEAT):
        with contextlib.suppress(OSError, InputError):
            if (found := _read(path)) == own:
                os.utime(path)
            elif found is not None and not ended.is_set():
                lost.set()
                _thread.interrupt_main()
                return


def _ended(path: Path, holder: Process) -> bool:
    """Whether the lock at `path`, which it holds, may be taken over."""
    if holder.here:
        return not holder.alive
    return holder.machine is not None and _silence(path) > LEASE  # earlier versions gave no signs of life


def _silence(path: Path) -> float:
    """Seconds since the last sign of life, by the clock of the file system: machines need not agree on the time."""
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
    except OSError:  # a folder that may only be read
        now = time.time()
    try:
        return now - path.stat().st_mtime
    except OSError:  # released in between
        return 0.0


def refuse_held(path: Path, what: str) -> None:
    """`InputError` where another process holds the lock now; takes nothing."""
    holder = _parse(_read(path))
    if holder is not None and not _ended(path, holder):
        raise _refusal(path, what, holder)


def _take(path: Path, what: str, own: str, wait: float) -> None:
    begin = time.monotonic()
    while not _make(path, own):
        text = _read(path)
        if text is None:  # released in between
            continue
        holder = _parse(text)
        over = holder is not None and _ended(path, holder)
        if over and _take_over(path, text, own):
            return
        sure = holder is not None and not over
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
        holder = _parse(dead)
        if _read(path) != dead or holder is None or not _ended(path, holder):  # it may have woken up
            return False
        fresh = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
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


def _parse(text: str | None) -> Process | None:
    try:
        return Process(**json.loads(text or ""))
    except (ValueError, TypeError):
        return None


def _refusal(path: Path, what: str, holder: Process | None) -> InputError:
    if holder is None or _ended(path, holder):  # killed in the moment in which it took the lock
        left = f"{path} or {_guard(path).name} beside it" if holder else str(path)
        return InputError(
            f"{what} has a lock that a killed process left unfinished: remove {left} if no run is under way there"
        )
    if holder.here or holder.machine is None:
        other = "that is no run any more" if holder.here else "that run has ended"
        return InputError(f"{what} is in use by {holder.who}: wait for its end; if {other}, remove {path}")
    silence = _silence(path)
    return InputError(
        f"{what} is in use by {holder.who}, with its last sign of life {silence:.0f} seconds ago: wait for its end; if it has "
        f"ended, try again in {max(LEASE - silence, 1):.0f} seconds, or remove {path} now"
    )
