"""The decoded images of one stored split, with what later steps need to know of each: its sums and its fingerprint."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor

from refluence.data import cache
from refluence.data.decode import VERSION, Remark, decode, short_side
from refluence.data.remarks import notes, summary
from refluence.data.stored import Encoded, RawSplit
from refluence.errors import InputError, option

CHUNK, TASK = 512, 64  # images decoded between two writes; images a thread takes at once
LOOKED_AT = 20_000  # headers read before a size is proposed


class MixedSizesError(Exception):
    """An image has another size than the ones before it. Caught in `loading`, which knows every split."""


@dataclass(frozen=True)
class Pixels:
    """`images (G, C, H, W)`, uint8 or float32, of the G readable rows of a stored split.

    `digests (G,)` int64 are equal for equal pixels (grey or spread to three channels alike). `sums (G, C, 2)` int64
    (float64 for float images) hold each image's sum of pixels and of their squares, so that mean and std of any subset are
    exact and cheap.
    `corrupt` maps a stored row to the reason why it cannot be read. `notes` say what decoding did that is no matter of course.
    """

    images: Tensor
    digests: Tensor
    sums: Tensor
    corrupt: dict[int, str]
    key: str | None = None
    notes: tuple[str, ...] = ()

    def coloured(self) -> Pixels:
        """The same with three channels (a view: nothing is copied)."""
        if self.images.shape[1] == 3:
            return self
        return replace(self, images=self.images.expand(-1, 3, -1, -1), sums=self.sums.expand(-1, 3, -1))

    def positions(self, rows: np.ndarray) -> Tensor:
        """Where stored rows `(N,)` lie in `images`. Only readable rows may be asked for."""
        skipped = np.array(sorted(self.corrupt), np.int64)
        return torch.from_numpy(rows - np.searchsorted(skipped, rows))

    def digests_of(self, rows: np.ndarray) -> Tensor:
        """The fingerprints `(N,)` of stored rows."""
        return self.digests[self.positions(rows)]

    def take(self, rows: np.ndarray) -> Tensor:
        """Images `(N, C, H, W)` of ascending stored rows. A large part is written to the cache once and mapped."""
        at = self.positions(rows)
        size = len(at) * self.images[0].numel()
        if len(at) == len(self.images) and (size <= cache.MAP_ABOVE or self.images.is_contiguous()):
            return self.images.contiguous()
        if size <= cache.MAP_ABOVE or self.key is None:
            return self.images[at]
        digest = hashlib.blake2b(rows.tobytes(), digest_size=16).hexdigest()
        name = cache.key("part", self.key, self.images.shape[1], digest)
        if (entry := cache.read(name)) is not None:
            return entry.pixels
        with cache.Sink(name) as sink:
            for part in at.split(CHUNK):
                sink.append(self.images[part].numpy())
            return sink.finish({}, {}).pixels

    def moments(self, rows: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and (population) std per channel, of 8 bits on [0, 1] pixels. A constant channel gets std 1."""
        scale = 255 if self.images.dtype == torch.uint8 else 1
        total = self.sums[self.positions(rows)].sum(0).double()  # integers until here: exact
        count = len(rows) * self.images.shape[2] * self.images.shape[3]
        mean = total[:, 0] / count
        variance = (total[:, 1] / count - mean.square()).clamp(min=0)
        std = variance.sqrt() / scale
        std[std < 1e-9] = 1
        return tuple((mean / scale).tolist()), tuple(std.tolist())


def read(stored: RawSplit, size: int | None, skip_corrupt: bool, expected: tuple[int, int] | None = None) -> Pixels:
    """Decode a stored split, or take it from the cache.

    `expected` is the height and width that the images must have (None: those of the first one). Errors: `InputError`
    for an unreadable image unless `skip_corrupt`, `MixedSizesError` for one of another size.
    """
    key = None
    if stored.identity is not None:
        key = cache.key("pixels", VERSION, PIL.__version__, stored.identity, size, cache.stamps(stored.files))
    entry = cache.read(key) if key else None
    if entry is None or not _whole(entry, len(stored)):
        entry = _decode(stored, size, skip_corrupt, expected, key)
    corrupt = {int(row): reason for row, reason in entry.facts["corrupt"].items()}
    if corrupt and not skip_corrupt:
        _refuse(stored, *next(iter(corrupt.items())))
    if expected is not None and tuple(entry.pixels.shape[2:]) != expected:
        raise MixedSizesError
    said = tuple(notes(stored.where, entry.facts["remarks"]))
    return Pixels(entry.pixels, entry.tables["digests"], entry.tables["sums"], corrupt, entry.key, said)


def _whole(entry: cache.Entry, rows: int) -> bool:
    """Whether an entry has what `_decode` gives, for so many rows."""
    try:
        tables, readable = entry.tables, rows - len(entry.facts["corrupt"])
        return len(entry.pixels) == len(tables["digests"]) == len(tables["sums"]) == readable and "remarks" in entry.facts
    except (KeyError, TypeError):
        return False


def _decode(
    stored: RawSplit, size: int | None, skip_corrupt: bool, expected: tuple[int, int] | None, key: str | None
) -> cache.Entry:
    corrupt: dict[str, str] = {}
    digests: list[bytes] = []
    sums: list[np.ndarray] = []
    remarks: list[Remark] = []
    with cache.Sink(key) as sink, ThreadPoolExecutor(torch.get_num_threads()) as pool, _large_ones():
        row = 0
        for chunk in _batches(stored.encoded(), CHUNK):
            tasks = pool.map(lambda part: [_one(encoded, size, remarks) for encoded in part], _batches(iter(chunk), TASK))
            good = []
            for result in itertools.chain.from_iterable(tasks):
                if isinstance(result, str):
                    if not skip_corrupt:
                        _refuse(stored, row, result)
                    corrupt[str(row)] = result
                else:
                    image, digest, total = result
                    expected = expected or image.shape[1:]
                    if image.shape[1:] != expected:
                        raise MixedSizesError
                    good.append(image)
                    digests.append(digest)
                    sums.append(total)
                row += 1
            if good and expected is not None:
                channels = max(image.shape[0] for image in good)
                sink.append(np.stack([np.broadcast_to(image, (channels, *expected)) for image in good]))
        if row != len(stored):
            raise InputError(f"{stored.where} has {len(stored)} labels but {row} images")
        if not digests:
            raise InputError(f"{stored.where}: none of its {row} images can be read ({next(iter(corrupt.values()), '')})")
        assert sink.shape is not None
        channels = sink.shape[0]
        tables = {
            "digests": torch.from_numpy(np.frombuffer(b"".join(digests), "<i8").astype(np.int64)),
            "sums": torch.from_numpy(np.stack([np.broadcast_to(total, (channels, 2)) for total in sums])),
        }
        return sink.finish(tables, {"corrupt": corrupt, "where": stored.where, "remarks": summary(remarks)})


@contextlib.contextmanager
def _large_ones() -> Iterator[None]:
    """Large pictures are opened without a warning: they are the user's own, and Pillow refuses twice as large ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _one(encoded: Encoded, size: int | None, remarks: list[Remark]) -> tuple[np.ndarray, bytes, np.ndarray] | str:
    """Pixels, fingerprint and sums of one image, or the reason why it cannot be read."""
    try:
        image = decode(encoded, size, remarks)
    except ValueError as error:
        return str(error)
    flat = image.reshape(len(image), -1)
    wide = flat.astype(np.int64)
    sums = np.stack([wide.sum(1), np.einsum("cn,cn->c", wide, wide)], axis=1)
    return image, hashlib.blake2b(image.data, digest_size=8).digest(), sums


def _refuse(stored: RawSplit, row: int, reason: str) -> None:
    raise InputError(
        f"{stored.describe(row)} cannot be read as an image ({reason}); repair or remove it, or pass {option('skip_corrupt')}"
    )


def _batches(items: Iterator[Encoded], size: int) -> Iterator[list[Encoded]]:
    while batch := list(itertools.islice(items, size)):
        yield batch


def mixed_sizes(splits: list[RawSplit], holding: str | None = None) -> InputError:
    """The one error for images of several sizes. It names `--image-size` and proposes one. `holding`: "X holds"."""
    sides: list[int | None] = [min(stored.pixels.shape[2:]) for stored in splits if stored.pixels is not None]
    for stored in splits:
        with _large_ones():
            sides += [short_side(encoded) for encoded in itertools.islice(stored.encoded(), LOOKED_AT)]
    read = sorted(side for side in sides if side is not None)
    proposal = max(8, round(read[len(read) // 2] / 8) * 8)
    return InputError(
        f"{holding or f'{splits[0].where} holds'} images of several sizes (short sides {read[0]} to {read[-1]} px): pass "
        f"{option('image_size')} to resize and crop them to one; {option('image_size', proposal)} is near the median"
    )
