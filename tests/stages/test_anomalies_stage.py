"""From normal pictures to scores of defects: fit, export, maps in a store, metrics, heat maps, the page; other runtimes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_textures import write_mvtec

import audiokd
from audiokd.cli import main
from audiokd.data.anomaly_sets import mvtec_set
from audiokd.data.image_sets import write_image_set
from audiokd.data.images import load_image
from audiokd.data.items import read_items, write_items
from audiokd.data.tiles import write_tiles
from audiokd.errors import AudiokdError, ConfigError
from audiokd.report.heat_maps import heat_map
from audiokd.stages.anomalies import anomalies
from audiokd.stages.extract import extract
from audiokd.stages.report import report
from audiokd.tokens.store import StoreItem, StoreWriter, open_store
from audiokd.vision.transforms import plain_view

DEBUG = ["--config", "dbfad/debug", "--run.accelerator", "cpu"]


@pytest.fixture(scope="module")
def root(coffee: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/, exp/ with its model, and a store of maps."""
    folder = tmp_path_factory.mktemp("anomalies")
    write_mvtec(folder / "set", coffee)
    write_image_set(folder / "data", mvtec_set(folder / "set"))
    sets = ["--train", str(folder / "data" / "train"), "--dev", str(folder / "data" / "train")]
    main(["fit", "dbfad", *DEBUG, *sets, "--exp_dir", str(folder / "exp")])
    main(["export", str(folder / "exp"), str(folder / "model"), "--checkpoint", "last"])
    extract(str(folder / "model"), str(folder / "data" / "test"), str(folder / "maps"), layer="map", batch_size=3)
    return folder


def test_the_store_has_the_models_maps(root: Path) -> None:
    store, model = open_store(root / "maps"), audiokd.load_model(root / "model")
    assert store.meta["thresholds"] == model.thresholds
    for item in read_items(root / "data" / "test")[:3]:
        with torch.no_grad():
            score, maps = model(plain_view(load_image(item), model.preprocess)[None])
        found = store[item.id].array
        assert found.shape == (64, 64)
        np.testing.assert_allclose(found, maps[0].numpy(), rtol=1e-3, atol=1e-6)
        assert found.max() == pytest.approx(float(score), rel=1e-3)


def test_scores_heat_maps_and_the_page(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, pngs = root / "exp" / "anomalies" / "test.json", root / "exp" / "anomalies" / "test"
    words = ["--data", str(root / "data" / "test"), "--out", str(out), "--heat_maps", str(pngs), "--system", "tiny"]
    main(["anomalies", str(root / "maps"), *words])
    found = json.loads(out.read_text())
    assert (found["normal"], found["defects"], found["masks"]) == (4, 4, True)
    assert set(found["scores"]) == {"auroc", "f1", "f1_oracle", "pixel_auroc", "aupro"}
    assert all(0 <= s["mean"] <= 1 for s in found["scores"].values())
    assert found["by_label"]["spot"]["pictures"] == 4
    store = open_store(root / "maps")
    assert {p["id"]: p["score"] for p in found["pictures"]} == {
        i.id: pytest.approx(float(i.array.max()), rel=1e-6) for i in store.items()
    }
    table = capsys.readouterr().out
    assert "| tiny | 4 | 4 |" in table
    assert "0.99 quantile of 2 held-out normal pictures" in table  # 0.3 of 8
    assert len(list(pngs.glob("*.png"))) == 9
    with Image.open(pngs / "sheet.png") as sheet:
        assert sheet.width > 3 * 3 * 100
    page = Path(report(str(root / "exp"))).read_text()
    assert "image AUROC" in page
    assert "data:image/png;base64," in page
    assert "dbfad with test_resnet at 64 pixels on 6 normal pictures of table; 4 steps, seed 0." in page


def test_speed_is_measured_in_turns(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Latency and frames per second of the store's own detector, and of another one beside it."""
    out, own = tmp_path / "x.json", str(root / "model")
    words = ["--data", str(root / "data" / "test"), "--out", str(out), "--system", "tiny", "--model", own]
    main(["anomalies", str(root / "maps"), *words, "--beside", f"[{own}]"])
    speed = json.loads(out.read_text())["speed"]
    assert set(speed) == {"tiny", own}
    for of in speed.values():
        assert 0 < of["low_ms"] <= of["median_ms"] <= of["high_ms"]
        assert of["per_second"] == pytest.approx(1000 / of["median_ms"], rel=1e-2)
        assert (of["threads"], of["clock"]) == (1, "processor")
    table = capsys.readouterr().out
    assert "| ms a picture ↓ | frames a second ↑ |" in table
    assert "One picture at a time, 1 thread, processor time" in table
    assert 0.3 < speed[own]["median_ms"] / speed["tiny"]["median_ms"] < 3  # the same network
    with pytest.raises(ConfigError, match="nothing to time other detectors beside"):
        anomalies(str(root / "maps"), str(root / "data" / "test"), str(out), beside=(own,))
    other = known(tmp_path / "s", root, {i.id: np.zeros((8, 8)) for i in read_items(root / "data" / "test")})
    with pytest.raises(AudiokdError, match="the store was made by model"):
        anomalies(other, str(root / "data" / "test"), str(out), model=own)


def known(folder: Path, data: Path, values: dict[str, np.ndarray], layer: str = "map") -> str:
    """A store of maps that are given."""
    thresholds = {"score": 0.5, "pixel": 0.4, "quantile": 0.99, "pictures": 9}
    about = {"layer": layer, "media": "image", "thresholds": thresholds, "model_sha256": "0" * 64}
    writer = StoreWriter(folder, "features", about)
    writer.write_shard("00000", [StoreItem(i, x.astype(np.float32), 0, 1) for i, x in sorted(values.items())])
    writer.finish(["00000"])
    return str(folder)


def test_known_maps(root: Path, tmp_path: Path) -> None:
    """A detector that says the masks themselves, at half the size."""
    items = read_items(root / "data" / "test")
    maps = {}
    for item in items:
        x = np.zeros((64, 64), bool) if item.mask is None else np.asarray(Image.open(item.mask)) > 0
        maps[item.id] = x[::2, ::2] * 0.9 + 0.05
    data, out = str(root / "data" / "test"), str(tmp_path / "x.json")
    scores = anomalies(known(tmp_path / "s", root, maps), data, out)["scores"]
    assert {k: v["mean"] for k, v in scores.items()} == dict.fromkeys(scores, pytest.approx(1.0))
    assert len(scores) == 5
    only = {i: np.array([[m.max()]]) for i, m in maps.items()}
    found = anomalies(known(tmp_path / "only", root, only, "score"), data, out)
    assert set(found["scores"]) == {"auroc", "f1", "f1_oracle"}
    bare = [i.with_(mask=None) for i in items]
    write_items(tmp_path / "bare", bare)
    found = anomalies(known(tmp_path / "s2", root, maps), str(tmp_path / "bare"), out)
    assert not found["masks"]
    assert "No masks, or no maps: pictures alone are scored." in (tmp_path / "x.md").read_text()
    some = [i.with_(mask=None) if i.id.endswith("003") else i for i in items]
    write_items(tmp_path / "some", some)
    with pytest.raises(AudiokdError, match="no mask of 1 of 4 pictures of defects: table/test/spot/003"):
        anomalies(known(tmp_path / "s3", root, maps), str(tmp_path / "some"), out)
    write_items(tmp_path / "normal", [i for i in items if i.label == "good"])
    with pytest.raises(AudiokdError, match="every picture is normal"):
        anomalies(known(tmp_path / "s4", root, maps), str(tmp_path / "normal"), out)
    with pytest.raises(AudiokdError, match="none of its 8 pictures is there"):
        anomalies(known(tmp_path / "s5", root, maps), str(root / "data" / "train"), out)
    with pytest.raises(ConfigError, match="scores have no maps"):
        anomalies(str(tmp_path / "only"), data, out, heat_maps=str(tmp_path / "h"))
    black = next(i for i in items if i.mask)
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "black.png")
    write_items(tmp_path / "empty", [i.with_(mask=str(tmp_path / "black.png")) if i == black else i for i in items])
    with pytest.raises(AudiokdError, match="masks without a defect: table/test/spot/000"):
        anomalies(known(tmp_path / "s6", root, maps), str(tmp_path / "empty"), out)


def test_tiles_are_stitched(root: Path, tmp_path: Path) -> None:
    items = read_items(root / "data" / "test")
    tiles = write_tiles(items, tmp_path / "tiles", 32, 16)
    maps = {t.id: np.zeros((32, 32)) if t.mask is None else np.asarray(Image.open(t.mask)) / 255 for t in tiles}
    store = known(tmp_path / "s", root, maps)
    found = anomalies(store, str(tmp_path / "tiles"), str(tmp_path / "x.json"), whole=str(root / "data" / "test"))
    assert (found["normal"], found["defects"]) == (4, 4)
    assert found["scores"]["aupro"]["mean"] == pytest.approx(1.0)
    by_tile = anomalies(store, str(tmp_path / "tiles"), str(tmp_path / "y.json"))
    assert by_tile["normal"] + by_tile["defects"] == len(tiles)


def test_a_heat_map_is_hot_where_the_map_is() -> None:
    picture = Image.new("RGB", (40, 40), (100, 100, 100))
    values = np.zeros((10, 10))
    values[2, 7] = 1.0
    x = np.asarray(heat_map(picture, values, 0.2, 0.8)).astype(int)
    assert np.array_equal(x[30:, :10], np.full((10, 10, 3), 100))
    assert np.abs(x[10, 30] - 100).max() > 60


@pytest.mark.parametrize("kind", ["dbfad", "rd4ad", "stfpm"])
def test_other_runtimes_say_the_same(root: Path, tmp_path: Path, kind: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    model_dir = str(root / "model")
    if kind != "dbfad":
        sets = [
            "--train",
            str(root / "data" / "train"),
            "--dev",
            str(root / "data" / "train"),
            "--exp_dir",
            str(tmp_path / "exp"),
        ]
        depths = "[1,1,1]" if kind == "rd4ad" else "[]"
        main(["fit", "dbfad", *DEBUG, "--model.kind", kind, "--model.depths", depths, *sets])
        main(["export", str(tmp_path / "exp"), str(tmp_path / "model"), "--checkpoint", "last"])
        model_dir = str(tmp_path / "model")
    model: Any = audiokd.load_model(model_dir)
    x = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        score, maps = model(x)
    main(["convert", "dbfad_onnx", model_dir, str(tmp_path / "m.onnx")])
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    for rows in (3, 1):  # of any batch
        found = session.run(None, {"pixel_values": x[:rows].numpy()})
        np.testing.assert_allclose(found[0], score[:rows].numpy(), rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(found[1], maps[:rows].numpy(), rtol=1e-3, atol=1e-6)
    main(["convert", "dbfad_pt2", model_dir, str(tmp_path / "m.pt2")])
    program = torch.export.load(str(tmp_path / "m.pt2")).module()
    for rows in (3, 1):
        with torch.no_grad():
            again = program(x[:rows])
        torch.testing.assert_close(again[0], score[:rows], rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(again[1], maps[:rows], rtol=1e-3, atol=1e-6)
    about = json.loads((tmp_path / "m.onnx.json").read_text())
    assert about["thresholds"] == model.thresholds
    assert about["preprocess"]["size"] == [64, 64]
