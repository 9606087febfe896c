"""A page's sections on what is generated: grids of pictures, spectrograms and players of sound, scores, a trajectory."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import yaml
from PIL import Image

from audiokd.cli import main
from audiokd.data.images import load_image
from audiokd.data.items import Item, read_items, write_items
from audiokd.data.kaldi import write_data_dir
from audiokd.data.labels import LABELS, write_labels
from audiokd.data.media import open_media
from audiokd.data.utterance import Utterance
from audiokd.errors import ConfigError
from audiokd.methods.tiue.networks import new_pipeline
from audiokd.methods.tiue.settings import TiUESettings, UNetShape
from audiokd.report.generated import TEXT, picture_grid, samples_by_class
from audiokd.report.page import read_metrics
from audiokd.stages.report import report
from audiokd.stages.trajectory import trajectory

GENERATION = {"sampler": "tiue", "steps": 4, "guidance": 1.0, "seed": 3}


def shades(folder: Path, classes: str = "ab", each: int = 3) -> Path:
    """Pictures 8 x 8 of one grey each: another for every class and number."""
    folder.mkdir(parents=True)
    items = []
    for k, label in enumerate(classes):
        for n in range(each):
            path = folder / f"{label}{n}.png"
            Image.new("L", (8, 8), 20 + 60 * k + 10 * n).save(path)
            items.append(Item(path.stem, str(path), label))
    write_items(folder, items)
    (folder / "generation.json").write_text(json.dumps(GENERATION))
    return folder


def run_folder(folder: Path, **changes: object) -> Path:
    """As `audiokd fit tiue` leaves it, as far as the page reads it."""
    distill = {"kind": "tiue", "steps": 4, "teacher": "exp/teacher/export"}
    config = {"method": "tiue", "step": "distill", "distill": distill, "run": {"max_steps": 9, "seed": 0}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"inputs": {"train": {"items": 12}}} | changes))
    return folder


def test_a_row_a_class(tmp_path: Path) -> None:
    media = open_media(shades(tmp_path / "made"))
    rows = samples_by_class(media, columns=2)
    assert {k: len(v) for k, v in rows.items()} == {"a": 2, "b": 2}
    grid = np.asarray(picture_grid(rows, columns=3))
    assert grid.shape == (2 * 66, TEXT + 3 * 66, 3)  # 8 pixels are shown as 64
    for y, k in ((30, 0), (96, 1)):
        shown = [int(grid[y, TEXT + 30 + 66 * n, 0]) for n in range(3)]
        assert shown == [20 + 60 * k, 30 + 60 * k, 255]  # there is no third
    assert (grid[:, :TEXT] < 128).any()  # a name stands before each
    (tmp_path / "made" / "a0.png").write_bytes(b"")
    assert load_image(read_items(tmp_path / "made")[1]).size == (8, 8)
    assert len(samples_by_class(media)["a"]) == 2  # the damaged one is passed over
    assert list(samples_by_class(media, rows=1)) == ["a"]


def pictures_of(page: str) -> list[Image.Image]:
    return [
        Image.open(io.BytesIO(base64.b64decode(x)))
        for x in re.findall(r'class="picture"[^>]*src="data:image/png;base64,([^"]+)"', page)
    ]


def test_the_page_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exp = run_folder(tmp_path / "exp")
    shades(exp / "generated" / "test", "abc")
    score = {"mean": 1.5, "low": 1.0, "high": 2.0, "n": 9, "none": 0}
    result = {"system": "tiue", "generated": 9, "scores": {"fid": score, "kid": score}}
    (exp / "fidelity").mkdir()
    (exp / "fidelity" / "test.json").write_text(json.dumps(result))
    (exp / "trajectory.csv").write_text("step,split,name,value\n500,encoder,cosine,0.9\n250,encoder,cosine,0.8\n")
    page = Path(report(str(exp))).read_text()
    assert "tiue: a student of 4 steps of teacher, from 12 items; 9 steps, seed 0." in page
    assert "The first pictures of each class: tiue, 4 steps, guidance 1.0, seed 3." in page
    assert pictures_of(page)[0].size == (TEXT + 10 * 66, 3 * 66)
    assert "How the teacher&#x27;s features change" in page
    assert "1500.00" in page  # KID is shown in thousandths
    assert "FID ↓" in capsys.readouterr().out
    run_folder(exp, step="pretrain")
    assert "A diffusion model of 12 items; 9 steps, seed 0." in Path(report(str(exp))).read_text()


def test_sound_is_seen_and_heard(tmp_path: Path) -> None:
    exp = run_folder(tmp_path / "exp")
    made = exp / "generated" / "test"
    made.mkdir(parents=True)
    t = np.arange(8000) / 16_000
    for name, hz in (("low", 300), ("high", 4000)):
        sf.write(made / f"{name}.wav", 0.5 * np.sin(2 * np.pi * hz * t), 16_000)
    write_data_dir(made, [Utterance(n, str(made / f"{n}.wav")) for n in ("low", "high")])
    write_labels(made / LABELS, {n: (n,) for n in ("low", "high")})
    (made / "generation.json").write_text(json.dumps(GENERATION))
    page = Path(report(str(exp))).read_text()
    assert page.count("<audio") == 2
    assert "The first log-mel spectrograms, low bands at the bottom of each class" in page
    rows = samples_by_class(open_media(made))
    bright = {n: np.asarray(of[0].convert("L")).mean(1).argmax() for n, of in rows.items()}
    assert bright["low"] > bright["high"] + 20  # a row further down is a lower band


def test_trajectory(tmp_path: Path) -> None:
    """A random teacher's, as a CSV that the page draws."""
    shape = UNetShape(size=8, widths=(8, 16), attention=(False, True), heads=8, norm_groups=4, text_dim=8)
    new_pipeline(TiUESettings(step="pretrain", model=shape), ["a", "b"], False).save_pretrained(tmp_path / "teacher")
    shades(tmp_path / "data")
    words = [str(tmp_path / "teacher"), str(tmp_path / "data"), str(tmp_path / "t.csv")]
    main(["trajectory", *words, "--steps", "5", "--items", "4"])
    found = read_metrics(tmp_path / "t.csv")
    assert {k: set(v) for k, v in found.items()} == {
        "relative change": {"encoder", "decoder"},
        "cosine": {"encoder", "decoder"},
        "relative change by block": {"down0", "down1", "mid", "up0", "up1"},
    }
    steps, values = found["relative change"]["encoder"]
    assert len(steps) == 4
    assert (values > 0).all()
    by_block = found["relative change by block"]
    np.testing.assert_allclose(values, np.mean([by_block[b][1] for b in ("down0", "down1", "mid")], 0), rtol=1e-4)
    before = (tmp_path / "t.csv").read_bytes()
    trajectory(*words, steps=5, items=4)
    assert (tmp_path / "t.csv").read_bytes() == before
    with pytest.raises(ConfigError, match="1 steps of 4 items"):
        trajectory(*words, steps=1, items=4)
