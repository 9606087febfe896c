"""Files of found boxes: what is written is read, of this teacher and this set alone, and only where it is finished."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from audiokd.data.pseudo_boxes import Found, PseudoBoxWriter, read_about, read_pseudo_boxes
from audiokd.errors import AudiokdError, ConfigError, FrameError

NAMES = ("car", "cone")
IDS = ("a", "b", "c", "d", "e")


def found_of(rng: np.random.Generator, count: int) -> Found:
    boxes = np.concatenate(
        [rng.normal(0, 9, (count, 3)), rng.uniform(0.5, 4, (count, 3)), rng.normal(0, 1, (count, 3))], 1
    )
    boxes[::2, 7:] = np.nan
    return Found(boxes.astype(np.float32), rng.integers(0, 2, count), rng.random(count).astype(np.float32))


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, dict[str, Found]]:
    rng = np.random.default_rng(0)
    found = {i: found_of(rng, n) for n, i in enumerate(IDS) if i != "d"}
    error = FrameError("cut off", where="/home/me/set/items.jsonl:4: frame d of s")
    writer = PseudoBoxWriter(tmp_path / "out", "m" * 64, "d" * 64, NAMES, IDS, 2)
    for shard in writer.shards:
        ids = writer.ids_of(shard)
        writer.write(shard, {i: found[i] for i in ids if i in found}, {"d": error} if "d" in ids else {})
    writer.finish()
    return tmp_path / "out", found


def test_what_is_written_is_read(made: tuple[Path, dict[str, Found]]) -> None:
    folder, found = made
    again = read_pseudo_boxes(folder, "m" * 64, "d" * 64, NAMES)
    assert again.keys() == found.keys()  # the bad frame is not there
    for i, of in found.items():
        assert np.allclose(again[i].boxes, of.boxes, atol=1e-4, equal_nan=True)
        assert np.array_equal(again[i].labels, of.labels)
        assert np.allclose(again[i].scores, of.scores, rtol=1e-5)
        assert (again[i].boxes.dtype, again[i].labels.dtype) == (np.float32, np.int64)
    assert again["a"].boxes.shape == (0, 9)  # nothing was found there
    assert sorted(p.name for p in folder.iterdir()) == [
        "boxes-00000.jsonl",
        "boxes-00001.jsonl",
        "boxes-00002.jsonl",
        "boxes.json",
        "errors.jsonl",
    ]
    (row,) = map(json.loads, (folder / "errors.jsonl").read_text().splitlines())
    assert row == {"id": "d", "where": "items.jsonl:4: frame d of s", "error": "cut off"}
    assert "/home" not in "".join(p.read_text() for p in folder.iterdir())
    assert "NaN" not in (folder / "boxes-00001.jsonl").read_text()


def test_another_order_of_classes(made: tuple[Path, dict[str, Found]]) -> None:
    folder, found = made
    again = read_pseudo_boxes(folder, classes=NAMES[::-1])
    assert all(np.array_equal(1 - again[i].labels, of.labels) for i, of in found.items())
    with pytest.raises(AudiokdError, match="not in tuple"):
        read_pseudo_boxes(folder, classes=("car",))


def test_of_another_teacher_or_set(made: tuple[Path, dict[str, Found]]) -> None:
    folder, _ = made
    with pytest.raises(AudiokdError, match=r"boxes of another teacher: model_sha256 mmmmmmmmmmmm\.\.\., wanted xxx"):
        read_pseudo_boxes(folder, "x" * 64)
    with pytest.raises(AudiokdError, match="boxes of another set, or other annotations of it"):
        read_pseudo_boxes(folder, "m" * 64, "x" * 64)
    with pytest.raises(ConfigError, match=r"made another way:\n  model_sha256: mmm.* there, xxx.* now"):
        PseudoBoxWriter(folder, "x" * 64, "d" * 64, NAMES, IDS, 2)
    with pytest.raises(ConfigError, match="shard_size: 2 there, 3 now"):
        PseudoBoxWriter(folder, "m" * 64, "d" * 64, NAMES, IDS, 3)


def test_a_run_that_was_killed(made: tuple[Path, dict[str, Found]], tmp_path: Path) -> None:
    folder, _ = made
    (folder / "boxes-00001.jsonl").unlink()
    with pytest.raises(AudiokdError, match="1 of 3 shards are not there"):
        read_pseudo_boxes(folder)
    writer = PseudoBoxWriter(folder, "m" * 64, "d" * 64, NAMES, IDS, 2)
    assert [writer.done(k) for k in writer.shards] == [True, False, True]
    with pytest.raises(AudiokdError, match="no boxes here"):
        read_pseudo_boxes(tmp_path)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": "a", "boxes": [{"label": "car", "box": [0, 0, 0, 1, 1, 0, 0, 0, 0], "score": 1}]}, "is no box"),
        ({"id": "a", "boxes": [{"label": "car", "box": [None, 0, 0, 1, 1, 1, 0, 0, 0], "score": 1}]}, "TypeError"),
        ({"id": "a", "boxes": [{"label": "tram", "box": [0, 0, 0, 1, 1, 1, 0, 0, 0], "score": 1}]}, "not in tuple"),
        ({"id": "a"}, "KeyError 'boxes'"),
    ],
)
def test_rows_that_are_none(made: tuple[Path, dict[str, Found]], row: dict[str, object], said: str) -> None:
    folder, _ = made
    (folder / "boxes-00000.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(AudiokdError, match=said) as e:
        read_pseudo_boxes(folder)
    assert "boxes-00000.jsonl:1" in str(e.value)


def test_what_is_no_json(made: tuple[Path, dict[str, Found]]) -> None:
    folder, _ = made
    (folder / "boxes-00000.jsonl").write_text("{")
    with pytest.raises(AudiokdError, match="not JSON"):
        read_pseudo_boxes(folder)
    (folder / "boxes.json").write_text("[]")
    with pytest.raises(AudiokdError, match="not about boxes"):
        read_about(folder)
