"""What Pillow modes, EXIF and sizes become."""

import errno
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from refluence.data import SourceOptions, load
from refluence.data.decode import decode
from refluence.errors import InputError, RunError
from support.pictures import array, class_folders, encoded, parquet, picture, png, write


def test_rgb_and_grey_are_exact():
    assert np.array_equal(decode(png(0), None), array(0).transpose(2, 0, 1))
    assert np.array_equal(decode(png(0, grey=True), None), array(0, grey=True)[None])


def test_exif_rotation():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    stored = encoded(picture(0, size=(4, 8)), exif=exif)
    assert np.array_equal(decode(stored, None), np.rot90(array(0, size=(4, 8)), -1).transpose(2, 0, 1))


def test_exif_rotation_of_a_jpeg_file(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    image = picture(0).resize((16, 16))
    upright = decode(write(tmp_path / "a.jpg", image, quality=95), None)
    turned = decode(write(tmp_path / "b.jpg", image, quality=95, exif=exif), None)
    assert np.array_equal(turned, upright[:, ::-1, ::-1])


def test_broken_exif_is_no_corrupt_image():
    jpeg = encoded(picture(0), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert np.array_equal(decode(jpeg, None), decode(encoded(picture(0), "JPEG"), None))


def test_rgba_loses_its_alpha():
    rgba = np.dstack([array(0), array(1, grey=True)])
    assert np.array_equal(decode(encoded(Image.fromarray(rgba)), None), array(0).transpose(2, 0, 1))


def test_grey_with_alpha_is_grey():
    la = Image.merge("LA", [picture(0, grey=True), picture(1, grey=True)])
    assert np.array_equal(decode(encoded(la), None), array(0, grey=True)[None])


def test_cmyk():
    jpeg = encoded(Image.new("RGB", (8, 8), (200, 30, 60)).convert("CMYK"), "JPEG", quality=100)
    assert decode(jpeg, None).shape == (3, 8, 8)
    assert np.abs(decode(jpeg, None).mean((1, 2)) - (200, 30, 60)).max() < 4


def test_sixteen_bit_grey_is_scaled_not_clipped():
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    assert decode(encoded(Image.fromarray(values)), None).tolist() == [[[0, 1, 128, 255]]]


def test_palette_and_one_bit():
    image = picture(0).quantize(256)
    assert np.array_equal(decode(encoded(image), None), np.asarray(image.convert("RGB")).transpose(2, 0, 1))
    see_through = encoded(image, transparency=0)
    assert decode(see_through, None).shape == (3, 8, 8)
    assert set(decode(encoded(picture(0).convert("1")), None).ravel().tolist()) == {0, 255}


def test_webp():
    lossless = encoded(picture(0), "WEBP", lossless=True)
    assert np.array_equal(decode(lossless, None), array(0).transpose(2, 0, 1))


def test_resize_short_side_and_centre_crop():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20, 0] = 255  # only the centre is red
    pixels = decode(encoded(Image.fromarray(wide)), 10)
    assert pixels.shape == (3, 10, 10)
    assert (pixels[0] == 255).all()
    assert decode(encoded(Image.fromarray(wide)), 5).shape == (3, 5, 5)
    assert decode(encoded(Image.fromarray(wide.transpose(1, 0, 2))), 7).shape == (3, 7, 7)
    assert decode(encoded(picture(0, size=(3, 5))), 16).shape == (3, 16, 16)


def test_resize_is_antialiased():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    small = decode(encoded(Image.fromarray(stripes)), 16)
    assert np.abs(small.astype(int) - 127).max() < 40  # plain sampling would give 0 or 255


def test_resized_load(tmp_path):
    for i in range(12):
        write(tmp_path / "set" / "ab"[i % 2] / f"{i}.png", picture(i, size=(20 + i, 33)))
    assert load(str(tmp_path / "set"), SourceOptions(image_size=16)).shape == (3, 16, 16)


def test_mixed_sizes_propose_one(tmp_path):
    for i in range(12):
        write(tmp_path / "set" / "ab"[i % 2] / f"{i}.png", picture(i, size=(60 + i, 90)))
    with pytest.raises(InputError, match=r"short sides 60 to 71 px.*image_size=64"):
        load(str(tmp_path / "set"))


def test_train_and_test_of_different_sizes(tmp_path):
    class_folders(tmp_path / "train", {"a": 4, "b": 4}, size=(16, 16))
    class_folders(tmp_path / "test", {"a": 1, "b": 1}, size=(24, 24))
    with pytest.raises(InputError, match=r"short sides 16 to 24 px.*image_size=16"):
        load(str(tmp_path))
    with pytest.raises(InputError, match=r"image_size=16"):  # also when train comes from the cache
        load(str(tmp_path))


def test_corrupt_image_is_named(tmp_path):
    class_folders(tmp_path / "set", {"a": 10, "b": 10})
    good = (tmp_path / "set" / "b" / "003.png").read_bytes()
    (tmp_path / "set" / "b" / "003.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "set" / "a" / "001.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"a/001.png \(row 1 of .*not an image.*skip_corrupt"):
        load(str(tmp_path / "set"))
    data = load(str(tmp_path / "set"), SourceOptions(skip_corrupt=True))
    rows = torch_rows(data)
    assert rows == [row for row in range(20) if row not in (1, 13)]
    for split in (data.train, data.val, data.test):  # every image still lies beside its own row
        for image, row in zip(split.images, split.rows.tolist(), strict=True):
            assert np.array_equal(image.numpy(), array(row).transpose(2, 0, 1))
    note = next(note for note in data.notes if "skip_corrupt" in note)
    assert "skipped 2 of 20" in note
    assert "a/001.png" in note
    assert "b/003.png" in note
    with pytest.raises(InputError, match=r"a/001.png"):  # the cache remembers what it skipped
        load(str(tmp_path / "set"))


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    class_folders(tmp_path / "set", {"a": 10, "b": 10})
    (tmp_path / "set" / "b" / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(InputError, match=r"b/gone.png \(row 20 of .*a link to nowhere.png, where no file is.*skip_corrupt"):
        load(str(tmp_path / "set"))
    assert torch_rows(load(str(tmp_path / "set"), SourceOptions(skip_corrupt=True))) == list(range(20))
    write(tmp_path / "set" / "b" / "nowhere.png", picture(20))
    assert len(torch_rows(load(str(tmp_path / "set")))) == 22  # a link that leads somewhere again is read


def test_a_failure_of_the_machine_makes_no_picture_corrupt(tmp_path, monkeypatch):
    class_folders(tmp_path / "set", {"a": 10, "b": 10})
    real = Image.open

    def too_many(file):
        if str(file).endswith("b/003.png"):
            raise OSError(errno.EMFILE, "Too many open files", str(file))
        return real(file)

    monkeypatch.setattr(Image, "open", too_many)
    with pytest.raises(RunError, match=r"b/003.png cannot be read at present \(Too many open files\)"):
        load(str(tmp_path / "set"), SourceOptions(skip_corrupt=True))
    monkeypatch.setattr(Image, "open", real)
    assert len(torch_rows(load(str(tmp_path / "set"), SourceOptions(skip_corrupt=True)))) == 20


def test_a_picture_too_large_for_pillow_is_one_line(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match=r"^more than 20 pixels"):
        decode(png(0), None)


@pytest.mark.parametrize("turned", [False, True])
def test_the_centre_of_a_sliver_is_cut_out_before_it_is_enlarged(monkeypatch, turned):
    values = np.random.default_rng(0).integers(0, 256, (2, 400, 3), np.uint8)
    sliver = encoded(Image.fromarray(values.transpose(1, 0, 2) if turned else values))
    whole = decode(sliver, 32).astype(int)
    resize = Image.Image.resize

    def small(image, size, *rest, **more):
        assert size == (32, 32)
        return resize(image, size, *rest, **more)

    monkeypatch.setattr("refluence.data.decode.LARGEST_ENLARGED", 1000)
    monkeypatch.setattr(Image.Image, "resize", small)
    assert np.abs(decode(sliver, 32) - whole).max() <= 1


def test_few_levels_are_said(tmp_path):
    for i in range(12):
        deep = array(i, grey=True).astype(np.uint16) * 16
        deep[0, 0] = 4080
        write(tmp_path / "set" / "ab"[i % 2] / f"{i}.png", Image.fromarray(deep))
    for _ in range(2):  # from the cache too
        notes = load(str(tmp_path / "set")).notes
        said = next(note for note in notes if "12 pictures of 16 bits" in note)
        assert "17 of 256 levels" in said
        assert "12 bits, store their values times 16" in said
    write(tmp_path / "set" / "b" / "bright.png", Image.fromarray(np.full((8, 8), 65535, np.uint16)))
    assert not any("256 levels" in note for note in load(str(tmp_path / "set")).notes)


def test_values_that_are_clipped_are_said(tmp_path):
    images = [encoded(Image.fromarray(np.full((8, 8), value, np.int32)), "TIFF") for value in (-1024, 70_000)] * 6
    parquet(tmp_path / "train.parquet", [0, 1] * 6, images=images)
    data = load(str(tmp_path))
    assert set(data.train.images.unique().tolist()) == {0, 255}
    assert any("6 pictures hold values below 0 (down to -1024), which became black" in note for note in data.notes)
    assert any("6 pictures go up to 70000: what is above 65535 became white" in note for note in data.notes)


def test_low_bytes_of_colours_count_too():
    colours = np.broadcast_to(np.array([16, 2000, 4080], np.uint16), (2, 2, 3))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
    head = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)  # a PNG of 48 bits, which Pillow cannot write
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)
    remarks = []
    assert decode(b"\x89PNG\r\n\x1a\n" + body, None, remarks).tolist() == [[[v] * 2] * 2 for v in (0, 7, 15)]
    assert remarks == [("16 bits", 15 * 257)]


def test_further_frames_are_said(tmp_path):
    class_folders(tmp_path / "set", {"a": 10, "b": 10})
    frames = {"lossless": True, "save_all": True, "append_images": [picture(50), picture(51)]}
    write(tmp_path / "set" / "a" / "moves.webp", picture(20), **frames)
    data = load(str(tmp_path / "set"))
    assert any("1 pictures have several frames (up to 3)" in note for note in data.notes)
    assert any((s.images == torch.from_numpy(array(20).transpose(2, 0, 1))).all((1, 2, 3)).any() for s in splits(data))


def splits(data):
    return data.train, data.val, data.test


def test_missing_and_corrupt_rows_of_parquet(tmp_path):
    images = [{"bytes": png(i), "path": None} for i in range(12)]
    images[5] = None
    parquet(tmp_path / "train.parquet", [0, 1] * 6, images=images)
    with pytest.raises(InputError, match=r"row 5 of .*train.parquet.*no image"):
        load(str(tmp_path))
    assert torch_rows(load(str(tmp_path), SourceOptions(skip_corrupt=True))) == [*range(5), *range(6, 12)]


def test_nothing_readable(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1] * 5, images=[{"bytes": b"x", "path": None}] * 10)
    with pytest.raises(InputError, match=r"none of its 10 images can be read"):
        load(str(tmp_path), SourceOptions(skip_corrupt=True))


def torch_rows(data):
    return sorted(row for split in (data.train, data.val, data.test) for row in split.rows.tolist())
