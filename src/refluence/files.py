"""Writing files so that a reader never sees half of one: to a temporary name beside the target, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from refluence.errors import InputError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`, on failure it is removed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; choose a folder you may write to") from error
    finally:
        with contextlib.suppress(OSError):  # it is gone, or its folder never was one
            temporary.unlink()


def check_writable(path: Path) -> None:
    """`InputError` where a file could not be written at `path`, found out before the work. Makes nothing."""
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        reason = "may not be written to" if parent.is_dir() else "is a file"
        raise InputError(f"cannot write {path}: {parent} {reason}; choose a folder you may write to")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically. NaN and infinities are refused: JSON has no word for them."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; a missing or broken file is an `InputError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}): it is not whole, or was changed by hand") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors (and a string-to-string header) as safetensors, atomically. No pickle."""
    with replacing(path) as temporary:
        save_file({k: t.detach().cpu().contiguous() for k, t in tensors.items()}, temporary, metadata=dict(metadata or {}))
