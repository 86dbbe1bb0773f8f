"""A dataset of the Hugging Face Hub (`owner/name`, `name`, `owner/name:CONFIG`), through `datasets.load_dataset`."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pyarrow as pa

from refluence.data import columns, tokens
from refluence.data.parquet import BATCH, image_value
from refluence.data.stored import Encoded, RawSplit, Splits, split_names
from refluence.errors import InputError
from refluence.options import SourceOptions

PROBE_SECONDS = 5


class NotOnHubError(Exception):
    """No such dataset, or the Hub cannot be reached and holds no local copy; the message is one line."""


def splits(name: str, config: str | None, options: SourceOptions) -> Splits:
    """What each split of a Hub dataset is read by. `NotOnHubError` where it cannot be found."""
    loaded = _load(name, config)
    return readers(loaded if isinstance(loaded, datasets.DatasetDict) else {}, name, f"the Hub dataset {name}", options)


def readers(loaded: Mapping[str, datasets.Dataset], name: str, where: str, options: SourceOptions) -> Splits:
    """What each split of a loaded `DatasetDict` is read by. `InputError` where it has no train split."""
    trains, tests = split_names(loaded, where)
    if not trains:
        raise InputError(f"{where} has no train split; it has {', '.join(loaded) or 'no named splits'}")
    return Splits(
        {split: functools.partial(read, loaded[split], f"{name}/{split}", options) for split in (*trains, *tests)},
        passed=tuple(f"split {split} ({len(loaded[split])} images)" for split in loaded if split not in (*trains, *tests)),
    )


def _load(name: str, config: str | None) -> datasets.Dataset | datasets.DatasetDict:
    with _offline_if_unreachable(name):
        try:
            return datasets.load_dataset(name, config)
        except ValueError as error:  # a wrong or missing configuration; the library's message lists them
            raise InputError(f"the Hub dataset {name} cannot be loaded: {_line(error)}") from error
        except (OSError, RuntimeError) as error:
            raise NotOnHubError(_line(error)) from error


@contextlib.contextmanager
def _offline_if_unreachable(name: str) -> Iterator[None]:
    """One short request decides: without it, `load_dataset` retries for some 20 s before it looks at its local copy."""
    switches: tuple[Any, ...] = (datasets.config, huggingface_hub.constants)  # modules, with a switch each
    before = [switch.HF_HUB_OFFLINE for switch in switches]
    try:
        if not any(before):
            huggingface_hub.HfApi().dataset_info(name, timeout=PROBE_SECONDS)
    except huggingface_hub.errors.RepositoryNotFoundError as error:
        raise NotOnHubError(f"the Hub has no dataset '{name}' (or it is private)") from error
    except huggingface_hub.errors.HFValidationError:
        pass  # a local path that `load_dataset` understands
    except Exception:
        for switch in switches:
            switch.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.HF_HUB_OFFLINE = value


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def read(split: datasets.Dataset, where: str, options: SourceOptions) -> RawSplit:
    """One loaded split. Images are read from its Arrow files when they are asked for."""
    chosen = columns.text_columns(split.features, options, where)
    image = chosen[0] if chosen else columns.image_column(split.features, options.image_column, where)
    label = columns.label_column(split.features, options.label_column, where)
    groups = None
    if options.group_column is not None:
        groups = list(split[columns.require(split.features, options.group_column, "group_column", where)])
    if chosen:
        names = columns.class_names(split.features, label)
        return tokens.stored(where, [list(split[name]) for name in chosen], list(split[label]), names, groups)
    raw = split.select_columns([image])
    if isinstance(split.features[image], datasets.Image):
        raw = raw.cast_column(image, datasets.Image(decode=False))
    return RawSplit(
        where=where,
        labels=list(split[label]),
        names=columns.class_names(split.features, label),
        encoded=functools.partial(_images, raw, image),
        identity=["hub", split._fingerprint, image],
        files=_behind(raw, image),
        groups=groups,
    )


def _behind(raw: datasets.Dataset, image: str) -> list[Path]:
    """The files that rows name in place of holding the bytes themselves."""
    found: list[Path] = []
    for chunk in raw.data.column(image).chunks:
        kind = chunk.type
        if pa.types.is_struct(kind) and min(map(kind.get_field_index, ("bytes", "path"))) >= 0:
            chunk = chunk.field("path").filter(chunk.field("bytes").is_null())
        elif not columns.is_text(kind):
            continue
        found += [Path(value) for value in chunk.to_pylist() if value]
    return found


def _images(raw: datasets.Dataset, image: str) -> Iterator[Encoded]:
    for start in range(0, len(raw), BATCH):
        for value in raw[start : start + BATCH][image]:
            yield image_value(value, None)
