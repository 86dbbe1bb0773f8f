"""The decoded cache: it is used, it notices changes, it maps what is large, and it may be missing or broken."""

import errno
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from refluence.data import SourceOptions, cache, load, pixels
from support.pictures import array, class_folders, parquet, picture, write


@pytest.fixture
def source(tmp_path):
    return str(class_folders(tmp_path / "set", {"a": 20, "b": 20}))


@pytest.fixture
def decoded(monkeypatch):
    """How many images were decoded so far."""
    count = [0]
    true = pixels.decode

    def counting(*arguments):
        count[0] += 1
        return true(*arguments)

    monkeypatch.setattr(pixels, "decode", counting)
    return count


def content(data, grey_until=0):
    for split in (data.train, data.val, data.test):
        for image, row in zip(split.images, split.rows.tolist(), strict=True):
            if row < grey_until:
                assert all(np.array_equal(channel, array(row, grey=True)) for channel in image.numpy())
            else:
                assert np.array_equal(image.numpy(), array(row).transpose(2, 0, 1))


def test_decodes_once(source, decoded):
    load(source)
    assert decoded[0] == 40
    load(source)
    load(source, SourceOptions(val_fraction=0.3))  # other splits, same pixels
    assert decoded[0] == 40
    load(source, SourceOptions(image_size=4))
    assert decoded[0] == 80


def test_a_changed_file_is_noticed(source, decoded, tmp_path):
    load(source)
    write(tmp_path / "set" / "a" / "000.png", picture(999))
    os.utime(tmp_path / "set" / "a" / "000.png", ns=(1, 1))
    data = load(source)
    assert decoded[0] == 80
    assert any((s.images == torch.from_numpy(array(999)).permute(2, 0, 1)).all((1, 2, 3)).any() for s in splits(data))


def test_changed_files_behind_a_table_of_paths_are_noticed(tmp_path, decoded):
    """Behind paths, behind links, and with the old size and time of change, as archives bring them along."""
    class_folders(tmp_path / "set" / "img", {"": 20})
    paths = [f"img/{i:03d}.png" for i in range(20)]
    (tmp_path / "set" / paths[3]).rename(tmp_path / "elsewhere.png")
    (tmp_path / "set" / paths[3]).symlink_to(tmp_path / "elsewhere.png")
    source = str(parquet(tmp_path / "set" / "train.parquet", [0, 1] * 10, [{"bytes": None, "path": p} for p in paths]).parent)
    content(load(source))
    content(load(source))
    assert decoded[0] == 20
    for place in (tmp_path / "set" / paths[5], tmp_path / "elsewhere.png"):
        before = place.stat()
        place.write_bytes(place.read_bytes()[:-20] + bytes(20))
        os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
        load(source)
    assert decoded[0] == 60
    pq.write_table(pa.table({"image": paths, "label": [0, 1] * 10}), tmp_path / "set" / "train.parquet")
    load(source, SourceOptions(image_column="image"))  # paths as plain text
    write(tmp_path / "set" / paths[7], picture(999))
    data = load(source, SourceOptions(image_column="image"))
    assert decoded[0] == 100
    assert data.train.paths[0].startswith("img/")


def test_bytes_in_the_table_need_no_look_at_files(tmp_path, monkeypatch):
    source = str(parquet(tmp_path / "set" / "train.parquet", [0, 1] * 10).parent)  # with paths, which lead nowhere
    seen = []
    monkeypatch.setattr(cache, "stamps", lambda files: seen.extend(files) or [])
    load(source)
    assert seen == [tmp_path / "set" / "train.parquet"]


def splits(data):
    return data.train, data.val, data.test


def test_a_broken_entry_is_made_again(source, decoded, cache_folder):
    load(source)
    entry = next(path for path in cache_folder.iterdir() if path.is_dir())
    (entry / "pixels.u8").write_bytes(b"short")
    content(load(source))
    assert decoded[0] == 80
    (entry / "entry.json").write_text("{")
    content(load(source))
    assert decoded[0] == 120
    content(load(source))
    assert decoded[0] == 120
    save_file({"digests": torch.zeros(3).long(), "sums": torch.zeros(3, 3, 2).long()}, entry / "tables.safetensors")
    content(load(source))
    assert decoded[0] == 160


def test_nothing_half_written_stays(tmp_path, source, cache_folder):
    (tmp_path / "set" / "b" / "019.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match="019"):
        load(source)
    assert not list(cache_folder.iterdir())


def test_without_a_cache_folder(source, tmp_path, monkeypatch, decoded):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("REFLUENCE_CACHE", str(tmp_path / "file" / "below"))
    content(load(source))
    monkeypatch.setattr(cache, "MAP_ABOVE", 100)
    content(load(source))
    assert decoded[0] == 80


def test_disk_full_goes_on_in_memory(source, tmp_path, cache_folder, monkeypatch):
    class Full:
        """A file that takes 3,000 bytes, in part."""

        def __init__(self, stream):
            self.stream = stream

        def __getattr__(self, name):
            return getattr(self.stream, name)

        def write(self, data):
            room = 3000 - self.stream.tell()
            self.stream.write(bytes(data)[:room])
            if len(data) > room:
                raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "open", lambda *a: Full(open(*a)), raising=False)  # noqa: SIM115
    monkeypatch.setattr(pixels, "CHUNK", 7)
    content(load(source))
    assert not list(cache_folder.iterdir())
    content(load(str(mixed(tmp_path))), grey_until=20)  # grey at first, spread to three channels when it is full


def mixed(tmp_path):
    class_folders(tmp_path / "mixed", {"a": 20}, grey=True)
    return class_folders(tmp_path / "mixed", {"b": 20}, start=20)


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="looks into Linux' list of mapped files")
def test_large_sets_are_mapped(source, decoded, monkeypatch):
    small = load(source)
    monkeypatch.setattr(cache, "MAP_ABOVE", 100)
    for _ in range(2):
        data = load(source)
        content(data)
        assert torch.equal(data.train.rows, small.train.rows)
        assert all(mapped(split.images) for split in splits(data))
        monkeypatch.setattr(cache, "Sink", None)  # the second time nothing is written
    assert decoded[0] == 40


def mapped(images):
    with open("/proc/self/maps") as maps:
        address = images.data_ptr()
        for line in maps:
            low, high = (int(x, 16) for x in line.split()[0].split("-"))
            if low <= address < high:
                return "pixels.u8" in line
    return False


def test_large_grey_train_beside_coloured_test(tmp_path, monkeypatch):
    class_folders(tmp_path / "train", {"a": 20, "b": 20}, grey=True)
    class_folders(tmp_path / "test", {"a": 1, "b": 1}, start=90)
    monkeypatch.setattr(cache, "MAP_ABOVE", 100)
    for _ in range(2):
        data = load(str(tmp_path))
        for image, row in zip(data.train.images, data.train.rows.tolist(), strict=True):
            assert image.shape[0] == 3
            assert all(np.array_equal(channel, array(row, grey=True)) for channel in image.numpy())


def test_writing_to_a_mapped_image_leaves_the_cache_alone(source, monkeypatch):
    monkeypatch.setattr(cache, "MAP_ABOVE", 100)
    load(source).train.images.zero_()
    content(load(source))
