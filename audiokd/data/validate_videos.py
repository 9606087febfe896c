"""Whether the video of an item can be used: every frame is decoded, what is wrong or odd is said."""

from __future__ import annotations

from audiokd.data.items import Item
from audiokd.data.validate_images import ImageReport
from audiokd.data.video import decode_whole, read_times
from audiokd.errors import VideoError
from audiokd.files import sha256_file


def check_video(item: Item) -> ImageReport:
    """Decode the video of an item from its first frame to its last."""
    where = item.where or item.path
    try:
        times = read_times(item)
        kind = decode_whole(item, times)
    except VideoError as e:
        return ImageReport(item, where, e.what)
    except OSError as e:  # a folder, a disk that fails
        return ImageReport(item, where, f"cannot be read ({e.strerror or e})")
    width, height = times.size
    warnings = [
        not times.steady and f"variable frame rate, about {1 / times.interval_s:.4g} a second: clips go by time",
        (width % 2 or height % 2) and f"odd size {width} x {height}: colours of a border are shared by fewer pixels",
    ]
    kept = tuple(w for w in warnings if w)
    counts = (len(times.start_s), times.duration_s)
    return ImageReport(item, where, None, kept, sha256_file(item.path), kind, times.size, *counts)
