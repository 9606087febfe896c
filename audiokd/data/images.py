"""Reading the picture of an item by Pillow, always as 8-bit RGB and the right way up.

Grey and palette pictures become RGB; what is transparent is laid over white; CMYK goes through the picture's own colour profile
where it has one, else by R = (1 - C)(1 - K); 16-bit grey is scaled to 8 bits (Pillow's own `convert` clips it); the EXIF
orientation is applied. Published pipelines call `convert("RGB")` alone, so the few pictures that need more differ from theirs.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from audiokd import objects
from audiokd.data.items import Item
from audiokd.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif")
# what is read, whatever a file's name: Pillow would start Ghostscript on an EPS
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
_FEWER = "cut it into tiles; if you trust it, set PIL.Image.MAX_IMAGE_PIXELS higher"
_AGAIN = "copy it again from its source, or take it out of the list"


def load_image(item: Item, first_frame: bool = False) -> Image.Image:
    """Read the picture of an item.

    Args:
        item: the item.
        first_frame: of an animated file, or one of several pages, take the first.

    Returns:
        A picture in RGB.

    Raises:
        ImageError: missing, empty, truncated, damaged or no image; several frames where the first is not asked for; 32-bit or
            float samples, whose range is not known; more than `PIL.Image.MAX_IMAGE_PIXELS` pixels.
    """
    with open_picture(item) as file:
        return read_picture(file, item, first_frame)


def read_picture(file: BinaryIO, item: Item, first_frame: bool = False) -> Image.Image:
    """As `load_image`, of what `open_picture` opened."""
    from PIL import Image, ImageOps

    head = file.read(16)
    if not head:
        raise _error(item, "the file is empty (0 bytes)", _AGAIN)
    file.seek(0)
    try:
        with Image.open(file, formats=_FORMATS) as image:
            _check_size(item, image.width * image.height)
            _check_frames(item, image, first_frame)
            image.load()
            return _rgb(item, ImageOps.exif_transpose(image))
    except (ImageError, MemoryError):
        raise
    except Image.UnidentifiedImageError as e:
        fix = f"{', '.join(_FORMATS)} can be read; is it what it is named?"
        raise _error(item, f"not an image, or cut off in its header: it begins with {head!r}", fix) from e
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise _error(item, f"too large: {e}", _FEWER) from e
    # decoders meet damage with whatever they stumble over: OSError, SyntaxError, struct.error...
    except Exception as e:
        raise _error(item, f"truncated or damaged: {str(e) or type(e).__name__}", _AGAIN) from e


def _check_size(item: Item, pixels: int) -> None:
    from PIL import Image

    # Pillow itself only warns, up to twice as many
    if Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS:
        raise _error(item, f"too large: {pixels:,} pixels, at most {Image.MAX_IMAGE_PIXELS:,} are read", _FEWER)


def _check_frames(item: Item, image: Image.Image, first_frame: bool) -> None:
    # the first picture of an MPO is the photograph, the others are what a phone keeps beside it
    if first_frame or image.format == "MPO" or not getattr(image, "is_animated", False):
        return
    frames = getattr(image, "n_frames", 1)
    fix = "save the frame that is meant as a picture, or take it out of the list"
    raise _error(item, f"animated or of several pages: {frames} frames", fix)


def _rgb(item: Item, image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(item, image)
    if image.mode == "CMYK":
        image = _from_cmyk(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image.convert("RGB")


def _eight_bits(item: Item, image: Image.Image) -> Image.Image:
    from PIL import Image

    x = np.asarray(image)
    if image.mode == "F" or x.min() < 0 or x.max() > 65535:
        what = f"samples of mode {image.mode} from {x.min():g} to {x.max():g}: their range is not known"
        raise _error(item, what, "scale it to 8 or 16 bits and save it again")
    return Image.fromarray(((x.astype(np.uint32) + 128) // 257).astype(np.uint8))  # 65535 = 255 * 257


def _from_cmyk(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    if profile:
        try:
            of_file = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, of_file, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError):
            pass  # the profile is broken or of other channels; the pixels are not
    return image.convert("RGB")


@contextmanager
def open_picture(item: Item) -> Iterator[BinaryIO]:
    """The file of an item, here or in an object store.

    Raises:
        ImageError: it is missing, or cannot be opened.
    """
    try:
        f = objects.open_range(item.path) if objects.is_url(item.path) else open(item.path, "rb")  # noqa: SIM115 - below
    except OSError as e:
        what = "no such file" if isinstance(e, FileNotFoundError) else f"cannot be opened ({e.strerror or e})"
        raise _error(item, what, "correct its path, or take it out of the list") from e
    with f:
        yield f


def _error(item: Item, what: str, fix: str) -> ImageError:
    if item.where:  # `where` names the line that lists it: say which file it is, too
        what = f"{what} ({item.path})"
    return ImageError(what, where=f"{item.where or item.path}: item {item.id}", fix=fix)
