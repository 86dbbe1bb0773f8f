"""Writing files so that a reader never sees half of one: to a temporary name beside the target, then renamed."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from refluence.errors import InputError, RunError, again

if TYPE_CHECKING:
    from torch import Tensor

Json = dict[str, Any]
"""An object of a JSON file. What its values are is known where it is written; readers look."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`, on failure it is removed."""
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:  # the second is what a full disk is for safetensors
        if not isinstance(error, OSError) or error.errno in FULL:
            why = getattr(error, "strerror", None) or error
            raise RunError(f"cannot write {path}: {why}; make room, and {again()} continues") from error
        raise InputError(f"cannot write {path}: {error.strerror or error}; choose a folder you may write to") from error
    finally:
        with contextlib.suppress(OSError):  # it is gone, or its folder never was one
            temporary.unlink()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def check_writable(path: Path) -> None:
    """`InputError` where a file could not be written at `path`, found out before the work. Makes nothing."""
    try:
        str(path).encode()
        os.lstat(_temporary(path))
    except UnicodeEncodeError:  # safetensors and Arrow take no other paths
        raise InputError(f"cannot write {path}: its name is no UTF-8; choose another name") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(f"cannot write {path}: {error.strerror}; choose a shorter one") from None
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        reason = "may not be written to" if parent.is_dir() else "is a file"
        raise InputError(f"cannot write {path}: {parent} {reason}; choose a folder you may write to")


@contextlib.contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A folder to write into that becomes `out`, which is new or empty, in one step: half of it is never seen there.

    Raises:
        InputError: an `out` that holds something, or that cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not empty: choose a new folder to export to")
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        yield part
        if out.exists():  # an empty folder: Windows renames onto none
            out.rmdir()
        os.replace(part, out)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}; choose a folder you may write to") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; a file name that is no UTF-8 becomes backslash sequences in it."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically. NaN and infinities are refused: JSON has no word for them."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def spelled(value: object) -> Any:
    """The same with infinities as words, "inf" and "-inf": JSON has none."""
    if isinstance(value, dict):
        return {k: spelled(v) for k, v in value.items()}
    return str(value) if value in (math.inf, -math.inf) else value


READ: dict[Path, None] = {}  # the JSON files that were read in this process, the latest last


def read_json(path: Path) -> Any:
    """Read JSON; a missing or broken file is an `InputError` that names it."""
    READ.pop(path, None)
    READ[path] = None
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}): it is not whole, or was changed by hand") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors (and a string-to-string header) as safetensors, atomically. No pickle."""
    from safetensors.torch import save_file  # it loads torch, which takes seconds: most of this module needs none

    with replacing(path) as temporary:
        temporary.touch()
        usual = temporary.stat().st_mode
        save_file({k: t.detach().cpu().contiguous() for k, t in tensors.items()}, temporary, metadata=dict(metadata or {}))
        temporary.chmod(usual)  # safetensors makes files that their owner alone may read
