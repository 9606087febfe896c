"""Reading pictures: every kind comes out as the same RGB, and what cannot be read is named and left behind."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image, ImageCms

from audiokd.data.error_log import ErrorLog, count_errors
from audiokd.data.images import load_image
from audiokd.data.items import Item
from audiokd.errors import ImageError

ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def hopper() -> Image.Image:
    """A photograph of Grace Hopper, 192 x 225, RGB."""
    with cbook.get_sample_data("grace_hopper.jpg") as f:
        return Image.open(f).convert("RGB").resize((192, 225))


def load(path: Path, first_frame: bool = False) -> np.ndarray:
    """[H, W, 3]"""
    image = load_image(Item("u", str(path)), first_frame)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def far(a: np.ndarray, b: object) -> float:
    """Mean absolute difference in grey levels."""
    return float(np.abs(a - np.asarray(b).astype(int)).mean())


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.png", {}, 0),
        ("a.bmp", {}, 0),
        ("a.tif", {"compression": "tiff_lzw"}, 0),
        ("a.ppm", {}, 0),
        ("a.jpg", {"quality": 95}, 4),
        ("a.webp", {"lossless": True}, 0),
        ("a.jp2", {}, 0),
        ("a.avif", {"quality": 95}, 4),
        ("a.jpg", {"quality": 95, "progressive": True}, 4),
    ],
)
def test_formats(hopper: Image.Image, tmp_path: Path, name: str, options: dict[str, object], tolerance: float) -> None:
    hopper.save(tmp_path / name, **options)
    assert far(load(tmp_path / name), hopper) <= tolerance
    (tmp_path / name).rename(tmp_path / "named.txt")  # the bytes count, not the name
    assert far(load(tmp_path / "named.txt"), hopper) <= tolerance


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_grey_and_palette(hopper: Image.Image, tmp_path: Path, mode: str) -> None:
    picture = hopper.convert(mode)
    picture.save(tmp_path / "a.png")
    assert far(load(tmp_path / "a.png"), picture.convert("RGB")) == 0


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_over_white(hopper: Image.Image, tmp_path: Path, mode: str) -> None:
    """Left half clear (with its colours still in the file), right half opaque; RGBA and LA half clear below."""
    alpha = np.full((225, 192), 255, np.uint8)
    alpha[:, :96] = 0
    solid = hopper.convert("L") if mode == "LA" else hopper
    expected = np.asarray(solid.convert("RGB")).astype(int)
    if mode == "P":
        paletted = hopper.quantize(255)
        x = np.asarray(paletted).copy()
        x[:, :96] = 255
        picture = Image.fromarray(x, "P")
        picture.putpalette([*(paletted.getpalette() or [])[: 255 * 3], 1, 2, 3])
        picture.save(tmp_path / "a.png", transparency=255)
        expected = np.asarray(paletted.convert("RGB")).astype(int)
    else:
        alpha[113:] //= 2
        picture = solid.convert(mode)
        picture.putalpha(Image.fromarray(alpha))
        picture.save(tmp_path / "a.png")
    x = load(tmp_path / "a.png")
    assert (x[:113, :96] == 255).all()
    assert far(x[:113, 96:], expected[:113, 96:]) == 0
    if mode != "P":
        half = 255 + (expected - 255) * (127 / 255)
        assert np.abs(x[113:, 96:] - half[113:, 96:]).max() <= 1


def test_a_real_picture_with_alpha() -> None:
    with cbook.get_sample_data("Minduka_Present_Blue_Pack.png") as f:
        path = Path(f.name)
    picture = Image.open(path)
    alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    assert (alpha == 0).any()
    assert (load(path)[alpha == 0] == 255).all()


def test_colour_key_of_an_rgb_png(hopper: Image.Image, tmp_path: Path) -> None:
    picture = hopper.copy()
    picture.paste((1, 2, 3), (0, 0, 50, 50))
    picture.save(tmp_path / "a.png", transparency=(1, 2, 3))
    x = load(tmp_path / "a.png")
    assert (x[:50, :50] == 255).all()
    assert far(x[50:], np.asarray(hopper)[50:]) == 0


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_without_a_profile(hopper: Image.Image, tmp_path: Path, name: str) -> None:
    """Photoshop's JPEGs hold CMYK inverted, and say so: a reader that misses it gives a negative."""
    hopper.convert("CMYK").save(tmp_path / name, **({"quality": 95} if name == "a.jpg" else {}))
    with Image.open(tmp_path / name) as picture:
        assert picture.mode == "CMYK"
    assert far(load(tmp_path / name), hopper) < 4


def test_cmyk_through_its_profile(hopper: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile is used where it fits; one that does not (broken, or of RGB) leaves the formula."""
    cmyk = hopper.convert("CMYK")
    plain = np.asarray(cmyk.convert("RGB")).astype(int)
    for profile in (b"no profile", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
        cmyk.save(tmp_path / "a.tif", icc_profile=profile)
        assert far(load(tmp_path / "a.tif"), plain) == 0
    cmyk.save(tmp_path / "a.tif", icc_profile=cmyk_profile())
    x = load(tmp_path / "a.tif")
    ink = np.asarray(cmyk)
    assert (x[(ink == 0).all(axis=2)] >= 254).all()  # bare paper stays white
    # the profile below puts every ink at a third of its darkness: paler than the formula everywhere
    assert x.mean() > plain.mean() + 40


def cmyk_profile() -> bytes:
    """A CMYK profile of 2 x 2 x 2 x 2 points to Lab: L = 100 - sum of the inks * 100 / 12, a = b = 0 (ICC.1:2001, lut8Type)."""
    clut = bytearray()
    for c in (0, 1):
        for m in (0, 1):
            for y in (0, 1):
                for k in (0, 1):
                    clut += bytes([round(255 * (1 - (c + m + y + k) / 12)), 128, 128])
    ramp = bytes(range(256))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + bytes(clut) + ramp * 3
    text = b"text" + bytes(4) + b"x\0"
    description = b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags = {b"desc": description, b"cprt": text, b"wtpt": white, b"A2B0": lut}
    body, table, at = b"", struct.pack(">I", len(tags)), 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = at + len(body)
    head = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab ")
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


@pytest.mark.parametrize("name", ["a.png", "a.tif", "big.tif", "a.pgm"])
def test_16_bits_are_scaled_and_not_clipped(hopper: Image.Image, tmp_path: Path, name: str) -> None:
    grey = np.asarray(hopper.convert("L"))
    deep = grey.astype(np.uint16) * 257
    if name == "a.pgm":
        (tmp_path / name).write_bytes(b"P5 192 225 65535\n" + deep.astype(">u2").tobytes())
    elif name == "big.tif":
        Image.frombytes("I;16B", (192, 225), deep.astype(">u2").tobytes()).save(tmp_path / name)
    else:
        Image.fromarray(deep).save(tmp_path / name)
    x = load(tmp_path / name)
    assert far(x, np.stack([grey] * 3, axis=2)) == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(hopper: Image.Image, tmp_path: Path, orientation: int) -> None:
    """Each of EXIF's eight: what is stored is turned back."""
    x = np.asarray(hopper)
    stored = {
        1: x,
        2: x[:, ::-1],
        3: x[::-1, ::-1],
        4: x[::-1],
        5: x.transpose(1, 0, 2),
        6: np.rot90(x),
        7: x[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(x, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    for name in ("a.png", "a.tif"):
        Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / name, exif=exif)
        assert far(load(tmp_path / name), hopper) == 0
    deep = np.ascontiguousarray(stored[..., 0].astype(np.uint16) * 257)
    Image.fromarray(deep).save(tmp_path / "deep.png", exif=exif)
    assert far(load(tmp_path / "deep.png")[..., 0], x[..., 0]) == 0


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif", "a.avif"])
def test_animated_files_and_pages(hopper: Image.Image, tmp_path: Path, name: str) -> None:
    """Refused with their number of frames, but for one who asks for the first."""
    frames = [hopper.rotate(angle) for angle in (0, 90, 180)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"3 frames") as e:
        load(tmp_path / name)
    assert str(tmp_path / name) in str(e.value)
    assert far(load(tmp_path / name, first_frame=True), hopper) < 20  # a gif has 256 colours
    frames[0].save(tmp_path / name)
    assert far(load(tmp_path / name), hopper) < 20


def test_a_phone_s_picture_with_another_beside_it(hopper: Image.Image, tmp_path: Path) -> None:
    hopper.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[hopper.rotate(90)], quality=95)
    assert far(load(tmp_path / "a.jpg"), hopper) < 4


def test_from_an_object_store(hopper: Image.Image) -> None:
    import fsspec

    out = io.BytesIO()
    hopper.save(out, "PNG")
    fsspec.filesystem("memory").pipe("/pictures/a.png", out.getvalue())
    assert far(np.asarray(load_image(Item("a", "memory://pictures/a.png"))).astype(int), hopper) == 0
    with pytest.raises(ImageError, match=r"b\.png: item b: no such file"):
        load_image(Item("b", "memory://pictures/b.png"))


def bad_files(hopper: Image.Image, folder: Path) -> dict[str, str]:
    """Pictures that cannot be read, by name, and what must be said of each."""
    said = {"zero.jpg": "empty \\(0 bytes\\)", "gone.jpg": "no such file", "folder.jpg": "cannot be opened"}
    (folder / "zero.jpg").write_bytes(b"")
    (folder / "folder.jpg").mkdir()
    for text, name in (("<!DOCTYPE html>", "page.jpg"), ("version https://git-lfs", "pointer.png"), ("a", "short.gif")):
        (folder / name).write_text(text)
        said[name] = f"not an image.*begins with b'{text[:16]}"
    for suffix in ("jpg", "png", "gif", "webp", "tif", "bmp", "jp2", "avif", "ppm"):
        out = io.BytesIO()
        hopper.save(out, {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}.get(suffix, suffix.upper()))
        for share in (0.02, 0.5, 0.9):
            name = f"cut{share}.{suffix}"
            (folder / name).write_bytes(out.getvalue()[: int(len(out.getvalue()) * share)])
            said[name] = "truncated or damaged|cut off in its header"
    whole = io.BytesIO()
    hopper.save(whole, "PNG")
    wrong = bytearray(whole.getvalue())
    wrong[len(wrong) // 2] ^= 0xFF
    (folder / "flipped.png").write_bytes(wrong)
    said["flipped.png"] = "truncated or damaged"
    (folder / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    said["a.eps"] = "not an image"
    for name, value in (("float.tif", np.float32(0.5)), ("deep.tif", np.int32(70000)), ("signed.tif", np.int32(-1))):
        Image.fromarray(np.full((4, 4), value)).save(folder / name)
        said[name] = "their range is not known"
    return said


def test_what_cannot_be_read_is_named_and_the_run_goes_on(hopper: Image.Image, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    said = bad_files(hopper, pictures)
    hopper.save(pictures / "good.png")
    log, read, new = ErrorLog(tmp_path, "train"), [], 0
    errors: dict[str, ImageError] = {}
    for number, name in enumerate([*said, "good.png"], 1):
        item = Item(name, str(pictures / name), where=f"items.jsonl:{number}")
        try:
            load_image(item)
            read.append(name)
        except ImageError as e:
            errors[name] = e
            new += log.add(item, e) + log.add(item, e)
    assert read == ["good.png"]
    assert new == len(said)
    for name, e in errors.items():
        assert e.where is not None
        assert e.where.endswith(f": item {name}")
        assert str(pictures / name) in e.what
        assert e.fix
        with pytest.raises(ImageError, match=said[name]):
            raise e
    assert count_errors(tmp_path) == {"train": len(said)}
    row = json.loads((tmp_path / "errors.jsonl").read_text().splitlines()[0])
    assert (row["id"], row["where"]) == ("zero.jpg", "items.jsonl:1")


def png(width: int, height: int, rows: bytes) -> bytes:
    """A grey PNG whose header says `width` x `height`."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (30_000, 30_000)])
def test_decompression_bombs(tmp_path: Path, width: int, height: int) -> None:
    """From where Pillow only warns, and from where it refuses."""
    (tmp_path / "a.png").write_bytes(png(width, height, zlib.compress(bytes(1000))))
    with pytest.raises(ImageError, match=r"too large") as e:
        load(tmp_path / "a.png")
    assert "MAX_IMAGE_PIXELS" in str(e.value)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_user_s_limit_is_heeded(hopper: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hopper.save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 192 * 225 - 1)
    with pytest.raises(ImageError, match="43,200 pixels, at most 43,199"):
        load(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert far(load(tmp_path / "a.png"), hopper) == 0


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_any_damage_is_an_image_error_or_a_picture(hopper: Image.Image, tmp_path: Path) -> None:
    """Bytes changed at random in every format: never another exception, which would stop a run."""
    rng = random.Random(0)
    small = hopper.resize((48, 56))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    refused = 0
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF"):
        out = io.BytesIO()
        small.save(out, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP") else {}))
        for _ in range(60):
            data = bytearray(out.getvalue())
            for _ in range(4):
                data[rng.randrange(min(len(data), 400))] = rng.randrange(256)
            (tmp_path / "a").write_bytes(data)
            try:
                load(tmp_path / "a")
            except ImageError:
                refused += 1
    assert refused > 100
