"""Decoded pixels on disk: one folder an entry, raw uint8 beside small tables. Safe to delete at any time.

Under `$REFLUENCE_CACHE`, else `~/.cache/refluence`. Nothing is evicted. Where that cannot be written, pixels are kept
in memory and decoded again next time.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from refluence.errors import InputError
from refluence.files import Json, read_json, write_json, write_tensors

MAP_ABOVE = 256 * 2**20
"""Bytes from which pixels are memory-mapped rather than loaded."""


@dataclass(frozen=True)
class Entry:
    """Pixels `(N, C, H, W)` uint8, small tables, and JSON facts. `key` is None where nothing is on disk."""

    pixels: Tensor
    tables: dict[str, Tensor] = field(default_factory=dict)
    facts: Json = field(default_factory=dict)
    key: str | None = None


def folder() -> Path:
    """Where entries live."""
    return Path(os.environ.get("REFLUENCE_CACHE") or Path.home() / ".cache" / "refluence").expanduser()


def key(*parts: object) -> str:
    """A name for what the parts describe (JSON values)."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def stamps(files: Iterable[Path]) -> list[object]:
    """What changes when a file does, one JSON value a file: place, size, and the times of its last change (ns).

    Links are followed. The time of the last change of the inode is there because archives bring their own times along. A
    file that cannot be reached is keyed by its place only.
    """
    found: list[object] = []
    for file in files:
        place = os.path.abspath(file)
        try:
            status = os.stat(place)
        except (OSError, ValueError):
            found.append(place)
        else:
            found.append([place, status.st_size, status.st_mtime_ns, status.st_ctime_ns])
    return found


def read(key: str) -> Entry | None:
    """The entry of that name, or None if there is none, or none that is whole."""
    place = folder() / key
    try:
        facts = read_json(place / "entry.json")
        shape = tuple(facts["shape"])
        if (place / "pixels.u8").stat().st_size != int(np.prod(shape)):
            return None
        pixels = _tensor(place / "pixels.u8", shape)
        tables = load_file(place / "tables.safetensors") if facts["tables"] else {}
        return Entry(pixels, tables, facts, key)
    except (InputError, OSError, KeyError, TypeError, SafetensorError):
        return None


def _tensor(path: Path, shape: tuple[int, ...]) -> Tensor:
    """A file of raw uint8 as a tensor: mapped copy-on-write when large, else loaded."""
    count = int(np.prod(shape))
    flat = np.memmap(path, np.uint8, "c") if count > MAP_ABOVE else np.fromfile(path, np.uint8)
    return torch.from_numpy(flat.reshape(shape))


class Sink:
    """Takes pixels chunk by chunk and makes an entry of them; a context manager that leaves no half entry behind.

    Chunks of one channel are spread to three as soon as a chunk has three.
    """

    def __init__(self, key: str | None):
        self.key, self.count = key, 0
        self.shape: tuple[int, ...] | None = None
        self.place: Path | None = None
        self.stream: BinaryIO = io.BytesIO()
        if key is not None:
            try:
                self.place = folder() / f".{key}.{uuid.uuid4().hex}.part"
                self.place.mkdir(parents=True, exist_ok=True)
                self.stream = open(self.place / "pixels.u8", "w+b")  # noqa: SIM115 (closed in __exit__)
            except OSError:
                self.place = None

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        if not isinstance(self.stream, io.BytesIO):  # a buffer in memory may live on in the entry
            self.stream.close()
        if self.place:
            shutil.rmtree(self.place, ignore_errors=True)

    def append(self, chunk: np.ndarray) -> None:
        """Pixels `(n, C, H, W)` uint8, C 1 or 3, with H and W as before."""
        if self.shape is None:
            self.shape = chunk.shape[1:]
        elif chunk.shape[1] > self.shape[0]:
            self._widen()
        elif chunk.shape[1] < self.shape[0]:
            chunk = np.repeat(chunk, self.shape[0], axis=1)
        self._write(np.ascontiguousarray(chunk).data.cast("B"))
        self.count += len(chunk)

    def finish(self, tables: dict[str, Tensor], facts: Json) -> Entry:
        """The entry, put in its place in one step where the disk allows it."""
        assert self.shape is not None
        shape = (self.count, *self.shape)
        facts = {**facts, "shape": list(shape), "tables": sorted(tables)}
        if self.place and self.key:
            try:
                self.stream.flush()
                if tables:  # an empty safetensors file cannot be read back
                    write_tensors(self.place / "tables.safetensors", tables)
                write_json(self.place / "entry.json", facts)
                target = folder() / self.key
                shutil.rmtree(target, ignore_errors=True)  # an entry that could not be read
                os.replace(self.place, target)
                return Entry(_tensor(target / "pixels.u8", shape), tables, facts, self.key)
            except (OSError, InputError):
                if (entry := read(self.key)) is not None:  # another process was faster
                    return entry
                self._to_memory()
        assert isinstance(self.stream, io.BytesIO), "what has no place on disk is in memory"
        pixels = np.frombuffer(self.stream.getbuffer(), np.uint8)
        return Entry(torch.from_numpy(pixels.reshape(shape)), tables, facts)

    def _write(self, data: memoryview | bytes) -> None:
        at = self.stream.tell()
        try:
            self.stream.write(data)
            self.stream.flush()
        except OSError:  # the disk is full
            self._to_memory(at)
            self.stream.write(data)

    def _to_memory(self, length: int | None = None) -> None:
        """Go on in memory with the first `length` bytes (all) of what is on disk."""
        if not isinstance(self.stream, io.BytesIO):
            self.stream.seek(0)
            memory = io.BytesIO(self.stream.read() if length is None else self.stream.read(length))
            memory.seek(0, io.SEEK_END)
            with contextlib.suppress(OSError):  # what is still buffered may not fit either
                self.stream.close()
            self.stream = memory
        if self.place:
            shutil.rmtree(self.place, ignore_errors=True)
            self.place = None

    def _widen(self) -> None:
        """What was grey so far becomes three equal channels."""
        assert self.shape is not None
        _, height, width = self.shape
        old, size = self.stream, 512 * height * width
        if self.place is None or isinstance(old, io.BytesIO):
            self.stream = io.BytesIO()
        else:
            self.stream = open(self.place / "wide.u8", "w+b")  # noqa: SIM115
        old.seek(0)
        while data := old.read(size):
            grey = np.frombuffer(data, np.uint8).reshape(-1, 1, height, width)
            self._write(np.repeat(grey, 3, axis=1).data.cast("B"))
        old.close()
        if self.place is not None and not isinstance(self.stream, io.BytesIO):
            os.replace(self.place / "wide.u8", self.place / "pixels.u8")
        self.shape = (3, height, width)
