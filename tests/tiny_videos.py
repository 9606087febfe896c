"""Small videos cut out of a real one, as data dirs of items."""

from __future__ import annotations

from pathlib import Path

from audiokd.data.items import Item, write_items
from audiokd.data.video import read_frames, read_times, write_video


def video_dir(folder: Path, video: Path, first: int, count: int, frames: int = 6, size: int = 40) -> Path:
    """A data dir of `count` windows of a video, `frames` long and `size` pixels a side, from number `first` on; labels tell left
    from right."""
    item = Item("all", str(video))
    times = read_times(item)
    shown = read_frames(item, range(0, 120), times)
    items = []
    for k in range(first, first + count):
        start, left = 5 * (k // 2), 80 * (k % 2)
        path = folder / "videos" / f"w{k:02d}.mkv"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, shown[start : start + frames, 40 : 40 + size, left : left + size])
        items.append(Item(f"w{k:02d}", str(path), label=("left", "right")[k % 2]))
    write_items(folder, items)
    return folder
