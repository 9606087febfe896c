"""audiokd fidelity: generated against real folders, of pictures and of sound; stores; and what it cannot score."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from PIL import Image
from tiny_pairs import save_pair
from tiny_pictures import NAMES, write_digits

from audiokd.cli import main
from audiokd.data.items import Item, read_items, write_items
from audiokd.data.kaldi import write_data_dir
from audiokd.data.labels import LABELS, write_labels
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError, ConfigError
from audiokd.methods.vl2v_adip.config import VL2VConfig
from audiokd.methods.vl2v_adip.model import VL2VModel
from audiokd.stages.extract import extract
from audiokd.stages.fidelity import fidelity
from audiokd.teachers.student_body import timm_body


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits of four classes in two halves, and a classifier with random weights."""
    folder = write_digits(tmp_path_factory.mktemp("fidelity"), {"made": 30, "real": 30})
    torch.manual_seed(0)
    body = timm_body("test_convnext", "", 32)  # 64 features
    VL2VModel(VL2VConfig(body.shape, labels=list(NAMES), head="linear"), body).save_pretrained(folder / "judge")
    return folder


def score(root: Path, generated: object, out: Path, real: object = None, **options: Any) -> dict[str, Any]:
    options = {"encoder": str(root / "judge"), "batch_size": 32} | options
    return fidelity(str(generated), str(real or root / "real"), str(out), **options)


def test_the_command(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_pair("clip", tmp_path / "clip")
    (root / "made" / "generation.json").write_text('{"steps": 4}')
    out, judge = tmp_path / "x" / "digits.json", str(root / "judge")
    words = ["--encoder", judge, "--classifier", judge, "--pair", str(tmp_path / "clip"), "--batch_size", "32"]
    main(["fidelity", str(root / "made"), str(root / "real"), "--out", str(out), *words])
    found = json.loads(out.read_text())
    assert set(found["scores"]) == {
        "fid", "kid", "precision", "recall", "density", "coverage", "diversity", "diversity_real", "accuracy", "accuracy_real",
        "clip_score",
    }  # fmt: skip
    assert (found["system"], found["generated"], found["real"]) == ("digits", 120, 120)
    assert found["generation"] == {"steps": 4}
    assert found["features"]["dim"] == 64
    assert found["settings"]["layer"] == "embedding"
    scores = {k: v["mean"] for k, v in found["scores"].items()}
    assert scores["precision"] > 0.8
    assert scores["diversity"] == pytest.approx(scores["diversity_real"], rel=0.3)
    table = capsys.readouterr().out
    assert "| system | n | FID ↓ | KID x 1000 ↓ | precision ↑ |" in table
    assert "120 generated items against 120 real ones; 64 features" in table
    assert out.with_suffix(".md").read_text() in table
    assert {p.name for p in out.parent.iterdir()} == {"digits.json", "digits.md"}


def test_scores_fall_where_they_should(root: Path, tmp_path: Path) -> None:
    """Noise is no digit; one digit a class is right and nothing else; wrong labels are wrong."""
    same = score(root, root / "real", tmp_path / "same.json")["scores"]
    assert same["fid"]["mean"] == pytest.approx(0, abs=1e-8)
    assert same["recall"]["mean"] == same["precision"]["mean"] == 1
    rng = np.random.default_rng(0)
    noise = []
    for item in read_items(root / "real"):
        path = tmp_path / f"{item.id}.png"
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
        noise.append(item.with_(path=str(path)))
    write_items(tmp_path / "noise", noise)
    worse = score(root, tmp_path / "noise", tmp_path / "noise.json")["scores"]
    assert worse["fid"]["mean"] > 10 * score(root, root / "made", tmp_path / "m.json")["scores"]["fid"]["mean"]
    assert worse["precision"]["mean"] < 0.1
    first = {i.label: i for i in reversed(read_items(root / "real"))}
    one = [i.with_(path=first[i.label].path) for i in read_items(root / "real")]
    write_items(tmp_path / "one", one)
    collapsed = score(root, tmp_path / "one", tmp_path / "one.json")["scores"]
    assert (collapsed["diversity"]["mean"], collapsed["recall"]["mean"]) == (0, 0)
    assert collapsed["diversity_real"]["mean"] > 0


def test_stores_in_the_place_of_folders(root: Path, tmp_path: Path) -> None:
    for side in ("made", "real"):
        extract(str(root / "judge"), str(root / side), str(tmp_path / side), layer="embedding", batch_size=32)
    whole = score(root, root / "made", tmp_path / "a.json")
    stores = score(root, tmp_path / "made", tmp_path / "b.json", tmp_path / "real", encoder="")
    mixed = score(root, root / "made", tmp_path / "c.json", tmp_path / "real")
    assert stores["scores"] == {k: v for k, v in whole["scores"].items() if not k.startswith("diversity")}
    assert mixed["scores"] == {k: v for k, v in whole["scores"].items() if k != "diversity_real"}
    extract(str(root / "judge"), str(root / "real"), str(tmp_path / "logits"), layer="logits", batch_size=32)
    with pytest.raises(AudiokdError, match="stores of two encoders: layer"):
        score(root, tmp_path / "made", tmp_path / "d.json", tmp_path / "logits", encoder="")
    with pytest.raises(ConfigError, match="a store has no labels"):
        score(root, tmp_path / "made", tmp_path / "d.json", tmp_path / "real", classifier=str(root / "judge"))


def test_bad_pictures_are_counted(root: Path, tmp_path: Path) -> None:
    items = read_items(root / "made")
    for name, data in (("empty", b""), ("cut", Path(items[0].path).read_bytes()[:60])):
        (tmp_path / f"{name}.png").write_bytes(data)
    bad = [Item(n, str(tmp_path / f"{n}.png"), NAMES[0]) for n in ("cut", "empty")]
    write_items(tmp_path / "some", [*items, *bad])
    out = tmp_path / "out" / "x.json"
    with pytest.raises(AudiokdError, match="2 of 122 generated items cannot be read") as e:
        score(root, tmp_path / "some", out)
    assert "errors.jsonl" in str(e.value)
    found = score(root, tmp_path / "some", out, max_error_rate=0.02, classifier=str(root / "judge"))
    assert (found["generated"], found["unreadable"]) == (120, {"generated": 2, "real": 0})
    rows = [json.loads(line) for line in (out.parent / "errors.jsonl").read_text().splitlines()]
    assert [(r["set"], r["id"]) for r in rows] == [("generated", "cut"), ("generated", "empty")]
    assert "Items that cannot be read are left out: 2 generated, 0 real." in out.with_suffix(".md").read_text()
    assert found["scores"]["accuracy"]["n"] == 120


def test_what_cannot_be_scored(root: Path, tmp_path: Path) -> None:
    out, items = tmp_path / "x.json", read_items(root / "made")
    with pytest.raises(AudiokdError, match="no such folder"):
        score(root, tmp_path / "nowhere", out)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "items.jsonl").write_text("")
    with pytest.raises(AudiokdError, match="holds no item"):
        score(root, tmp_path / "empty", out)
    with pytest.raises(ConfigError, match="--encoder is needed"):
        score(root, root / "made", out, encoder="")
    write_items(tmp_path / "few", items[::3])
    with pytest.raises(AudiokdError, match="40 generated rows of 64 features: their covariance is singular"):
        score(root, tmp_path / "few", out)
    assert score(root, tmp_path / "few", out, allow_singular=True)["features"]["rank_generated"] == 39
    write_items(tmp_path / "bare", [i.with_(label=None) if i.id == items[5].id else i for i in items])
    with pytest.raises(AudiokdError, match=f"1 of 120 items have no label: {items[5].id}"):
        score(root, tmp_path / "bare", out)
    write_items(tmp_path / "unlabelled", [i.with_(label=None) for i in items])
    assert "diversity" not in score(root, tmp_path / "unlabelled", out)["scores"]
    with pytest.raises(AudiokdError, match="120 of 120 items have no label"):
        score(root, tmp_path / "unlabelled", out, classifier=str(root / "judge"))
    large = tmp_path / "large.png"
    Image.open(items[0].path).resize((64, 64)).save(large)
    write_items(tmp_path / "sizes", [items[0].with_(path=str(large)), *items[1:]])
    with pytest.raises(AudiokdError, match="generated pictures of 32 x 32, 64 x 64 pixels, real ones of 32 x 32"):
        score(root, tmp_path / "sizes", out)
    assert score(root, tmp_path / "sizes", out, any_size=True)["generated"] == 120
    write_items(tmp_path / "strange", [i.with_(label="fish") for i in items])
    with pytest.raises(AudiokdError, match="label fish, which the classifier does not know"):
        score(root, tmp_path / "strange", out, classifier=str(root / "judge"))
    with pytest.raises(ConfigError, match="the table is written beside it"):
        score(root, root / "made", tmp_path / "x.md")


def test_what_a_killed_run_left_is_used_and_removed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a run with its encoder; one with another makes its own."""
    out = tmp_path / "x.json"
    write_items(tmp_path / "few", read_items(root / "made")[::3])
    torch.manual_seed(1)
    body = timm_body("test_convnext", "", 32)
    VL2VModel(VL2VConfig(body.shape, labels=list(NAMES), head="linear"), body).save_pretrained(tmp_path / "other")
    with pytest.raises(AudiokdError, match="their covariance is singular"):
        score(root, tmp_path / "few", out, encoder=str(tmp_path / "other"))
    with pytest.raises(AudiokdError, match="their covariance is singular"):
        score(root, tmp_path / "few", out)
    left = {p: p.stat().st_mtime_ns for p in (tmp_path / ".x.features").glob("*/*") if p.is_file()}
    assert len({p.parent for p in left}) == 4
    with monkeypatch.context() as m:
        m.setattr("audiokd.stages.fidelity.shutil.rmtree", lambda *a, **k: None)
        again = score(root, tmp_path / "few", out, allow_singular=True, draws=0)
    assert left.items() <= {p: p.stat().st_mtime_ns for p in (tmp_path / ".x.features").glob("*/*")}.items()
    assert (again["scores"]["fid"]["low"], again["settings"]["draws"]) == (None, 0)
    assert again["scores"]["kid"]["low"] is not None
    assert "of the Fréchet distance none" in out.with_suffix(".md").read_text()
    assert again["scores"] == score(root, tmp_path / "few", out, allow_singular=True, draws=0)["scores"]
    assert not (tmp_path / ".x.features").exists()
    with pytest.raises(ConfigError, match="-1 draws"):
        score(root, root / "made", out, draws=-1)


def tones(folder: Path, pitches: dict[str, float], count: int, seed: int) -> Path:
    """Data dir of half-second tones in noise: what is a class differs in pitch."""
    rng, utterances, labels = np.random.default_rng(seed), [], {}
    folder.mkdir(parents=True)
    for label, hz in pitches.items():
        for n in range(count):
            t = np.arange(8000) / 16_000
            x = np.sin(2 * np.pi * hz * (1 + 0.05 * rng.normal()) * t) * np.exp(-t * rng.uniform(2, 9))
            sf.write(folder / f"{label}{n}.wav", 0.3 * x + 0.01 * rng.normal(size=8000), 16_000)
            utterances.append(Utterance(f"{label}{n}", str(folder / f"{label}{n}.wav")))
            labels[f"{label}{n}"] = (label,)
    write_data_dir(folder, utterances)
    write_labels(folder / LABELS, labels)
    return folder


def test_sound(tmp_path: Path) -> None:
    """FAD on a log-mel, over clips and over frames; a shifted pitch is far."""
    both = {"low": 300.0, "high": 2000.0}
    real, near = tones(tmp_path / "real", both, 80, 0), tones(tmp_path / "near", both, 80, 1)
    far = tones(tmp_path / "far", {"low": 1000.0, "high": 5000.0}, 80, 2)
    for rows in ("mean", "frames"):
        found = []
        for name, data in (("near", near), ("far", far)):
            out = tmp_path / f"{name}-{rows}.json"
            found.append(fidelity(str(data), str(real), str(out), encoder="log_mel", rows=rows))
        assert found[0]["features"]["dim"] == (128 if rows == "mean" else 256)
        assert 3 * found[0]["scores"]["fad"]["mean"] < found[1]["scores"]["fad"]["mean"]
        assert found[0]["scores"]["diversity"]["n"] == 2
        assert "fid" not in found[0]["scores"]
    assert "| FAD ↓ |" in (tmp_path / "near-mean.md").read_text()
    write_digits(tmp_path, {"digits": 3})
    with pytest.raises(AudiokdError, match="pictures on one side, sound on the other"):
        fidelity(str(tmp_path / "digits"), str(real), str(tmp_path / "x.json"), encoder="log_mel")
    shutil.rmtree(tmp_path / "near")
