"""Clips of videos as a run reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_videos import video_dir

from audiokd.data.items import read_items
from audiokd.errors import VideoError
from audiokd.training.clips import ClipDataset, ClipShape


def test_videos_that_are_kept_give_the_same_clips_and_are_read_once(carphone: Path, tmp_path: Path) -> None:
    items = read_items(video_dir(tmp_path / "set", carphone, 0, 3))
    shape = {"frames": 4, "fps": 0.0, "size": 32, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    read = ClipDataset(items, ClipShape(**shape), (0.5, 1.0), 0)  # type: ignore[arg-type]
    kept = ClipDataset(items, ClipShape(**shape, keep=True), (0.5, 1.0), 0)  # type: ignore[arg-type]
    clips = [[of.read(item, step)["clip"] for step in (0, 1) for item in items] for of in (read, kept)]
    assert all(torch.equal(a, b) for a, b in zip(*clips))
    assert not torch.equal(clips[0][0], clips[0][3])  # another step's clip begins elsewhere
    for item in items:
        Path(item.path).unlink()
    assert torch.equal(kept.read(items[0], 0)["clip"], clips[0][0])
    with pytest.raises(VideoError, match="no such file"):
        read.read(items[0], 0)
