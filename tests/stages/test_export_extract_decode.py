"""A run's checkpoints as model folders; tokens back to sound, every sample of them; and features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from safetensors.torch import load_file
from tokenized import tree

import audiokd
from audiokd.data.audio import load_at
from audiokd.data.inputs import open_input
from audiokd.errors import AudiokdError
from audiokd.stages.decode import decode
from audiokd.stages.export import export
from audiokd.stages.extract import extract
from audiokd.tokens.store import StoreItem, StoreWriter, open_store


def test_init_is_the_model_before_training(exp: Path) -> None:
    from audiokd.stages.fit import build_module, read_settings

    generator = build_module(*read_settings(str(exp / "exp"))).generator.state_dict()
    first, last, best = (load_file(exp / n / "model.safetensors") for n in ("untrained", "last", "best"))
    assert first.keys() == last.keys() == generator.keys()
    assert all(torch.equal(first[k], generator[k]) for k in first)
    assert sum(not torch.equal(first[k], last[k]) for k in first) > 0.9 * len(first)
    assert all(torch.equal(best[k], last[k]) for k in last)  # one validation after training: it is the best
    kept = torch.load(exp / "exp" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(last[k], kept[f"generator.{k}"]) for k in last)


def test_an_export_that_fails_half_way_leaves_the_old_folder(
    exp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("half-way")

    monkeypatch.setattr("transformers.EncodecFeatureExtractor.save_pretrained", fail)  # when the weights are there
    before = tree(exp / "untrained")
    for folder in (tmp_path / "new", exp / "untrained"):
        with pytest.raises(RuntimeError, match="half-way"):
            export(str(exp / "exp"), str(folder), "last")
    assert not (tmp_path / "new").exists()
    assert tree(exp / "untrained") == before


def test_decode_gives_every_sample_back(model: Any, model_dir: str, store: Path, tmp_path: Path) -> None:
    assert decode(model_dir, str(store), str(tmp_path / "wav")) == 15
    assert decode(model_dir, str(store), str(tmp_path / "semantic"), semantic_only=True, limit=4) == 4
    tokens = open_store(str(store))
    for k, item in enumerate(tokens.items()):
        info = sf.info(tmp_path / "wav" / f"{item.id}.wav")
        assert (info.frames, info.samplerate, info.subtype) == (item.num_samples, 24000, "PCM_16")
        if k < 4:
            small = sf.info(tmp_path / "semantic" / f"{item.id}.wav")
            assert (small.frames, small.samplerate) == (-(-item.num_samples * 2 // 3), 16000)
    assert len(list((tmp_path / "semantic").iterdir())) == 4
    item = tokens["a16-1"]
    wav = model.decode(torch.from_numpy(item.array.astype(np.int64))[None])[0][0, : item.num_samples].numpy()
    back = sf.read(tmp_path / "wav" / "a16-1.wav", dtype="float32")[0]
    assert np.abs(np.clip(wav, -1, 1) - back).max() < 1e-4
    assert back.any()

    keep = tmp_path / "wav" / "b24-0.wav"
    keep.unlink()
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "wav").iterdir()}
    assert decode(model_dir, str(store), str(tmp_path / "wav")) == 1  # what stands is left
    assert {p: p.stat().st_mtime_ns for p in times} == times
    assert keep.exists()


def test_decode_of_an_utterance_without_frames(model_dir: str, store: Path, tmp_path: Path) -> None:
    tokens = open_store(str(store))
    writer = StoreWriter(tmp_path / "tokens", "codes", tokens.meta)
    none = StoreItem("a-none", np.zeros((8, 0), dtype=np.int64), 0, 24000)  # as a language model may give
    one = StoreItem("b-one", tokens["a16-1"].array, tokens["a16-1"].num_samples, 24000)
    writer.write_shard("00000", [none, one])
    assert decode(model_dir, str(tmp_path / "tokens"), str(tmp_path / "wav")) == 2
    frames = [sf.info(tmp_path / "wav" / f"{i}.wav").frames for i in ("a-none", "b-one")]
    assert frames == [0, one.num_samples]


@pytest.mark.parametrize("layer", ["", "semantic_latent"])
def test_extract_is_the_models_extract(model: Any, model_dir: str, corpus: Path, tmp_path: Path, layer: str) -> None:
    audiokd.extract_features(
        model_dir, str(corpus / "data"), str(tmp_path / "features"), layer=layer, shard_size=4, threads=1
    )
    found = open_store(str(tmp_path / "features"))
    assert found.kind == "features"
    assert found.meta["layer"] == (layer or "quantized")
    items = {item.id: item.array for item in found.items()}
    for utt in open_input(corpus / "data").utterances():
        wav = torch.from_numpy(load_at(utt, 24000))[None]
        features, frames = model.extract(wav, layer=layer or "quantized")
        assert items[utt.id].shape == (int(frames[0]), 64)
        assert items[utt.id].dtype == np.float32
        assert np.array_equal(items[utt.id], features[0].numpy())
    with pytest.raises(AudiokdError, match="cannot be decoded"):
        decode(model_dir, str(tmp_path / "features"), str(tmp_path / "wav"))
    with pytest.raises(AudiokdError, match="layers: quantized, semantic"):
        extract(model_dir, str(corpus / "data"), str(tmp_path / "other"), layer="seventh")
