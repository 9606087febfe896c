"""INPUT of pictures or videos: a folder with items.jsonl, or that file, in shards as `audiokd.data.inputs` cuts a corpus of
sound."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from audiokd.data.inputs import QUARANTINE, Input, cut, quarantined
from audiokd.data.items import ITEMS, read_items
from audiokd.data.video_sets import is_video
from audiokd.errors import AudiokdError
from audiokd.files import sha256_bytes


def holds_items(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is an items.jsonl, or a folder that has one and is no data dir of sound."""
    root = Path(path)
    if root.is_dir():
        return (root / ITEMS).is_file() and not (root / "wav.scp").exists()
    return root.name == ITEMS and root.is_file()


def media_of(path: str | os.PathLike[str]) -> Literal["audio", "image", "video"]:
    """What an INPUT is of: sound, where it `holds_items` not; else videos or pictures, as its items' files are named.

    Raises:
        AudiokdError: as `read_items`; or videos and other items in one list.
    """
    if not holds_items(path):
        return "audio"
    items = read_items(path)
    moving = [is_video(i) for i in items]
    if any(moving) and not all(moving):
        other = items[moving.index(not moving[0])]
        what = f"{other.id} is {'a video' if not moving[0] else 'no video'}, {items[0].id} is otherwise"
        raise AudiokdError(what, where=other.where, fix="list videos and pictures in folders of their own")
    return "video" if moving[0] else "image"


def open_items(path: str | os.PathLike[str], shard_size: int = 1000) -> Input:
    """Items, sorted by id and cut into shards; no picture is opened. What `audiokd validate` put in quarantine is left out.

    Args:
        path: a folder with items.jsonl, or that file; the quarantine list lies beside it.
        shard_size: items a shard.

    Returns:
        An input of the kind "items" whose shards load items in the place of utterances.

    Raises:
        AudiokdError: as `read_items`; or every item is in quarantine.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    left_out = quarantined(folder)
    items = [item for item in read_items(path) if item.id not in left_out]
    if not items:
        fix = f"look at {folder / QUARANTINE}, mend the pictures and run 'audiokd validate' again"
        raise AudiokdError("every item is in quarantine", where=str(folder), fix=fix)
    source = cut("items", str(path), items, shard_size)
    for shard in source.shards:
        shard.sha256 = _fingerprint(shard.load())
    return source


def _fingerprint(items: list[Any]) -> str:
    """Of ids and sizes of files, as of sound: a shard whose pictures have changed is made anew."""
    rows = (f"{i.id}\t{os.path.getsize(i.path) if os.path.exists(i.path) else -1}" for i in items)
    return sha256_bytes("\n".join(rows).encode())
