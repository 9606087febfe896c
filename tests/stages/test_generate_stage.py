"""`audiokd generate`: items from prompts, the same after a kill and in any batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from PIL import Image
from tiny_diffusion import of_labels

from audiokd.data.item_inputs import holds_items
from audiokd.data.items import Item, read_items, write_items
from audiokd.data.media import open_media
from audiokd.errors import AudiokdError, ConfigError
from audiokd.stages.generate import generate
from audiokd.vision import tiue_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    of_labels(sampler="tiue", steps=2).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def items(tmp_path: Path) -> str:
    found = [Item(f"set/{k}", "none.png", label=("cat", "dog")[k % 2], domain="x") for k in range(5)]
    write_items(tmp_path / "items", found)
    (tmp_path / "items" / "classes.txt").write_text("cat\ta cat\ndog\ta dog\n")
    return str(tmp_path / "items")


def pictures(folder: Path) -> dict[str, np.ndarray]:
    return {i.id: np.asarray(Image.open(i.path)).astype(int) for i in read_items(folder)}


def test_items_of_items(model: str, items: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert generate(model, items, str(out)) == 5
    found = read_items(out)
    assert [(i.id, i.label) for i in found] == [(f"set/{k}", ("cat", "dog")[k % 2]) for k in range(5)]
    assert all(Image.open(i.path).size == (8, 8) for i in found)
    assert holds_items(out)
    assert open_media(out).classes == {"cat": "a cat", "dog": "a dog"}
    about = json.loads((out / "generation.json").read_text())
    assert about.keys() == {
        "model_sha256", "sampler", "steps", "guidance", "timestep_spacing", "seed", "num_per_prompt", "prompts_sha256", "items",
    }  # fmt: skip
    assert (about["sampler"], about["steps"], about["items"]) == ("tiue", 2, 5)
    # one by one, and with others: but for rounding the same
    generate(model, items, str(tmp_path / "one"), batch_size=1)
    alone = pictures(tmp_path / "one")
    for name, x in pictures(out).items():
        assert np.abs(x - alone[name]).max() <= 1
    generate(model, items, str(tmp_path / "other"), seed=1)
    assert all(np.abs(x - alone[name]).max() > 1 for name, x in pictures(tmp_path / "other").items())


def test_killed_and_started_again(model: str, items: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how: dict[str, Any] = {"num_per_prompt": 2, "batch_size": 3, "sampler": "lcm"}
    assert generate(model, items, str(tmp_path / "whole"), **how) == 10
    made, decode = [], tiue_pipeline.TiUEPipeline.decode

    def stop(self: Any, found: Any) -> Any:
        made.append(len(found))
        if len(made) == 3:
            raise RuntimeError("killed")
        return decode(self, found)

    with monkeypatch.context() as m:
        m.setattr(tiue_pipeline.TiUEPipeline, "decode", stop)
        with pytest.raises(RuntimeError, match="killed"):
            generate(model, items, str(tmp_path / "killed"), **how)
        assert not (tmp_path / "killed" / "items.jsonl").exists()
        made.append(0)  # it is not stopped again
        generate(model, items, str(tmp_path / "killed"), **how)
    assert made == [3, 3, 3, 0, 3, 1]  # what stands is not made again
    files = {p.relative_to(tmp_path / "whole"): p for p in (tmp_path / "whole").rglob("*") if p.is_file()}
    assert files.keys() == {p.relative_to(tmp_path / "killed") for p in (tmp_path / "killed").rglob("*") if p.is_file()}
    assert all((tmp_path / "killed" / name).read_bytes() == path.read_bytes() for name, path in files.items())
    with pytest.raises(ConfigError, match=r"made another way(.|\n)*seed: 0 there, 5 now"):
        generate(model, items, str(tmp_path / "killed"), seed=5, **how)


def test_prompts_of_a_file(model: str, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(b"cat\n\ndog\n\xff\n")
    assert generate(model, str(tmp_path / "p.txt"), str(tmp_path / "out"), steps=1, sampler="ddim", guidance=2.0) == 2
    assert [(i.id, i.label, i.caption) for i in read_items(tmp_path / "out")] == [
        ("0000001", "cat", None), ("0000003", "dog", None),
    ]  # fmt: skip
    (tmp_path / "p.txt").write_text("cat\nfox\n")
    with pytest.raises(AudiokdError, match="knows no label 'fox'"):
        generate(model, str(tmp_path / "p.txt"), str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="makes pictures: there is no mel"):
        generate(model, str(tmp_path / "p.txt"), str(tmp_path / "none"), save_mel=True)
    for bad, said in (("../up", "leave the folder"), ("a" * 260, "too long")):
        write_items(tmp_path / "bad", [Item(bad, "none.png", label="cat")])
        with pytest.raises(AudiokdError, match=said):
            generate(model, str(tmp_path / "bad"), str(tmp_path / "none"))
    assert not (tmp_path / "none" / "items.jsonl").exists()


def test_sounds(tmp_path: Path) -> None:
    mel = {"frames": 8, "n_mels": 8, "iterations": 2, "sample_rate": 8000}
    of_labels(mel=mel).save_pretrained(tmp_path / "model")
    (tmp_path / "p.txt").write_text("cat\ndog\n")
    assert (
        generate(str(tmp_path / "model"), str(tmp_path / "p.txt"), str(tmp_path / "out"), steps=1, save_mel=True) == 2
    )
    media = open_media(tmp_path / "out")  # a data dir of sound
    assert (media.kind, [i.label for i in media.items]) == ("audio", ["cat", "dog"])
    wav, rate = sf.read(tmp_path / "out" / "wav" / "0000001.wav")
    assert (len(wav), rate) == (8 * 256, 8000)
    assert np.load(tmp_path / "out" / "mel" / "0000002.npy").shape == (8, 8)
    # asked for later, of sounds that stand
    files = (tmp_path / "model", tmp_path / "p.txt", tmp_path / "later")
    generate(*map(str, files), steps=1)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "later" / "wav").iterdir()}
    assert not (tmp_path / "later" / "mel").exists()
    generate(*map(str, files), steps=1, save_mel=True)
    for name in ("0000001", "0000002"):
        mels = [np.load(tmp_path / of / "mel" / f"{name}.npy") for of in ("out", "later")]
        assert np.array_equal(*mels)
    assert {p: p.stat().st_mtime_ns for p in before} == before
