"""Marks: drawn as published, the same again by seed, boxes of the first frames alone, bound in the set's regime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from tiny_drives import save_drives

from audiokd.data.frames3d import Frames3d
from audiokd.data.items3d import Object3d, read_frames
from audiokd.data.point_marks import RHO, main, mark_of, marked, weaken
from audiokd.errors import AudiokdError


def test_the_published_distribution() -> None:
    """(p - c) / (d / 2) / rho is 2u - 1 of the truncated normal: scipy's own has these quantiles; dimensions are not turned."""
    rng = np.random.default_rng(0)
    box = (10.0, -5.0, 1.0, 4.0, 2.0, 1.5, 0.7, 0, 0)
    p = np.array([mark_of(box, rng) for _ in range(6000)])
    u = ((p - box[:3]) / (np.array(box[3:6]) / 2) / RHO + 1) / 2
    assert u.min() >= 0
    assert u.max() <= 1
    truth = stats.truncnorm(-0.5 / 0.3, 0.5 / 0.3, loc=0.5, scale=0.3)
    for axis in range(3):
        assert stats.kstest(u[:, axis], truth.cdf).pvalue > 1e-3
    assert np.abs(np.corrcoef(u.T) - np.eye(3)).max() < 0.05


def test_by_seed_frame_and_object_alone(tmp_path: Path) -> None:
    frames = read_frames(save_drives(tmp_path, 4))
    first = [marked(f, 3, True) for f in frames]
    assert [marked(f, 3, False) for f in frames[::-1]][::-1] == [marked(f, 3, False) for f in frames]
    assert [[o.mark for o in f.objects] for f in first] == [[o.mark for o in f.objects] for f in weaken(frames, 0.5, 3)]
    assert first[0].objects[0].mark != marked(frames[0], 4, True).objects[0].mark
    marks = [o.mark for f in first for o in f.objects]
    assert len(set(marks)) == len(marks)


@pytest.mark.parametrize(("rate", "boxed"), [(0.05, 1), (0.1, 2), (0.19, 3), (1, 20)])
def test_the_first_frames_in_time_have_boxes(rate: float, boxed: int, tmp_path: Path) -> None:
    data = save_drives(tmp_path / "train", 20)
    main([str(data), str(tmp_path / "weak"), "--rate", str(rate), "--seed", "7"])
    weak = Frames3d(tmp_path / "weak")
    assert [bool(f.boxed.all()) for f in weak] == [True] * boxed + [False] * (20 - boxed)
    assert not any(f.boxed.any() for f in weak[boxed:])
    assert all(np.isfinite(f.marks).all() for f in weak)
    assert [f.id for f in weak.items] == [f.id for f in Frames3d(data).items]
    about = json.loads((tmp_path / "weak" / "regime.json").read_text())
    assert about["annotation"] == {
        "rate": rate, "seed": 7, "rho": RHO, "mean": 0.5, "std": 0.3, "boxed_frames": boxed, "frames": 20,
    }  # fmt: skip
    (step,) = about["steps"]
    assert (step["labelled"]["count"], step["pointed"]["count"]) == (boxed, 20)
    assert about["sha256"] == weak.sha256


def test_the_whole_rate_is_met(tmp_path: Path) -> None:
    """int() of a product that floats make a little less than it is: 0.29 of 100 is 29, not 28."""
    frames = read_frames(save_drives(tmp_path, 1)) * 100
    assert sum(f.objects[0].box is not None for f in weaken(frames, 0.29, 0)) == 29


def test_what_is_refused(tmp_path: Path) -> None:
    frames = read_frames(save_drives(tmp_path, 4))
    for rate, said in ((0.0, "a rate of 0"), (1.5, "a rate of 1.5"), (0.2, "0.2 of 4 frames leaves none with boxes")):
        with pytest.raises(AudiokdError, match=said):
            weaken(frames, rate, 0)
    from dataclasses import replace

    bare = replace(frames[0], objects=(Object3d("car", None, (0, 0, 0)),))
    with pytest.raises(AudiokdError, match=r"object 0 \(car\) of frame s0-0-0 of scene-0-0 has no box to mark"):
        marked(bare, 0, True)
