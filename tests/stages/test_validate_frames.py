"""Stage 2 of drives: what cannot be used is named with line, scene and frame and goes to quarantine, what is odd is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_drives import change, save_drives

from audiokd.cli import main
from audiokd.data.frames3d import Frames3d
from audiokd.errors import AudiokdError, ConfigError
from audiokd.stages.validate import validate


@pytest.fixture
def drives(tmp_path: Path) -> Path:
    return save_drives(tmp_path / "train", 10, marks=True)


def spoil(drives: Path) -> None:
    change(drives, 1, lambda row: row["cameras"][0].update(intrinsics=[[1]]))
    change(drives, 4, lambda row: row["objects"][0]["box"].__setitem__(3, 0))
    (drives / json.loads((drives / "items.jsonl").read_text().splitlines()[7])["sweeps"][0]["path"]).unlink()


@pytest.mark.parametrize("nj", [1, 2])
def test_the_report(drives: Path, capsys: pytest.CaptureFixture[str], nj: int) -> None:
    good = validate(str(drives), nj=nj)
    assert (good["frames"], good["scenes"], good["frames_with_boxes"], good["bad"], good["warnings"]) == (
        10,
        5,
        10,
        0,
        [],
    )
    assert sum(good["boxes"].values()) == 50
    assert good["cameras"] == {"2": 10}
    spoil(drives)
    capsys.readouterr()
    with pytest.raises(AudiokdError, match=r"3 of 10 frames cannot be used \(30\.00%\)(.|\n)*--max_error_rate 0\.3"):
        validate(str(drives), nj=nj)
    said = capsys.readouterr().err
    for line, who, what in (
        (2, "s0-0-1 of scene-0-0", "intrinsics of AHEAD is of shape (1, 1)"),
        (5, "s0-2-0 of scene-0-2", "has no extent"),
        (8, "s0-3-1 of scene-0-3", "no such file"),
    ):
        assert any(x.startswith(f"{drives}/items.jsonl:{line}: {who}: ") and what in x for x in said.splitlines())
    found = validate(str(drives), max_error_rate=0.3, nj=nj)
    assert json.loads((drives / "validate.json").read_text()) == json.loads(json.dumps(found))
    assert [b["id"] for b in found["bad_frames"]] == ["s0-0-1", "s0-2-0", "s0-3-1"]
    assert Frames3d(drives).ids == tuple(f"s0-{k // 2}-{k % 2}" for k in (0, 2, 3, 5, 6, 8, 9))
    assert len([f.id for f in Frames3d(drives)]) == 7  # the run goes on without them


def test_what_is_odd(drives: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(drives, 0, lambda row: row["objects"][0].update(mark=[0, 0, 40]))
    change(drives, 1, lambda row: row["objects"][1]["box"].__setitem__(0, 300))
    change(drives, 2, lambda row: [o.update(box=None) for o in row["objects"]])
    (drives / "classes.txt").write_text("car\ntraffic_cone\nbus\n")
    found = validate(str(drives))
    assert sorted({w["what"] for w in found["warnings"]}) == [
        "1 marks lie outside their boxes",
        "1 objects are over 60 m away",
        "no object of bus",
    ]
    assert found["frames_with_boxes"] == 9
    assert sum(found["marks_alone"].values()) == 5
    assert "(warning)" in capsys.readouterr().err


def test_what_stops_the_set(drives: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="lists of sound"):
        validate(str(drives), fix=True)
    with open(drives / "items.jsonl", "a") as f:
        f.write("{}\n")
    with pytest.raises(SystemExit) as e:
        main(["validate", str(drives)])
    assert e.value.code == 1
    assert "items.jsonl:11: no frame of a drive: KeyError 'id'" in capsys.readouterr().err
    assert json.loads((drives / "validate.json").read_text())["ok"] is False
    (drives / "classes.txt").unlink()
    with pytest.raises(AudiokdError, match="no frame of a drive"):
        validate(str(drives))
