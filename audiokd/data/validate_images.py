"""Whether the picture of an item can be used, and a labelled one's mask: both are read in full, what is wrong or odd is said."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import PurePath

from audiokd.data.images import open_picture, read_picture
from audiokd.data.items import Item
from audiokd.data.masks import load_mask
from audiokd.errors import ImageError
from audiokd.files import sha256_bytes


@dataclass(frozen=True)
class ImageReport:
    """What one item's picture or video is. `error` is why it cannot be used, `warnings` what a person should look at.

    Attributes:
        sha256: of the file.
        format: Pillow's name and mode of what is in it, such as "JPEG RGB".
        size: width and height in pixels, the right way up.
        frames, duration_s: of a video.
    """

    item: Item
    where: str
    error: str | None = None
    warnings: tuple[str, ...] = ()
    sha256: str = ""
    format: str = ""
    size: tuple[int, int] = (0, 0)
    frames: int = 0
    duration_s: float = 0.0


def check_image(item: Item) -> ImageReport:
    """Read the picture of an item, and its mask where it has one."""
    from PIL import Image

    where = item.where or item.path
    try:
        with open_picture(item) as f:
            data = f.read()
        image = read_picture(io.BytesIO(data), item)
        if item.mask is not None:
            load_mask(item, (image.height, image.width))
    except (ImageError, OSError) as e:  # OSError: a folder, a disk that fails
        what = e.what if isinstance(e, ImageError) else f"cannot be read ({e.strerror or e})"
        of_mask = isinstance(e, ImageError) and e.where == item.mask and item.mask is not None
        return ImageReport(item, where, f"{what} ({item.mask})" if of_mask else what)
    with Image.open(io.BytesIO(data)) as raw:
        kind, mode = str(raw.format), raw.mode
        # Pillow itself brings the colours of 16 bits down to 8, and tells of it in the decoder's arguments alone
        deep = mode.startswith("I") or ";16" in str([tile[3] for tile in raw.tile])
        warnings = [
            mode == "CMYK"
            and f"CMYK, read as RGB {'by' if raw.info.get('icc_profile') else 'without'} a colour profile",
            deep and "16 bits a sample, read as 8",
            raw.has_transparency_data and "transparent, laid over white",
            _misnamed(item, kind),
        ]
    kept = tuple(w for w in warnings if w)
    return ImageReport(item, where, None, kept, sha256_bytes(data), f"{kind} {mode}", image.size)


def _misnamed(item: Item, kind: str) -> str:
    from PIL import Image

    suffix = PurePath(item.path).suffix.lower()
    named = Image.registered_extensions().get(suffix)
    alike = {"MPO": "JPEG"}.get(kind, kind)  # a phone's .jpg with more behind the photograph
    return f"named {suffix}, but it is {kind} (read as {kind})" if named not in (None, kind, alike) else ""
