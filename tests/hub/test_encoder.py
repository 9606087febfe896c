"""Encoders of transformers with our face: their hidden states, alone and in a batch, and a store made with one."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile as sf
import torch
from torch import Tensor
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor, WhisperModel

import audiokd
from audiokd.errors import AudiokdError
from audiokd.frontends.atst_mel import ATSTLogMel
from audiokd.hub import hear
from audiokd.stages.extract import extract


@pytest.fixture(scope="module")
def hubert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HuBERT of the base's form, small, with random weights."""
    out = tmp_path_factory.mktemp("hubert") / "model"
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    HubertModel(HubertConfig(**shape, conv_dim=[16] * 7, num_conv_pos_embedding_groups=4)).save_pretrained(out)
    Wav2Vec2FeatureExtractor().save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def clips(two_cities: Path) -> tuple[Tensor, Tensor]:
    x, _ = sf.read(two_cities, dtype="float32", frames=10 * 48_000)
    return torch.from_numpy(x[::3].copy())[: 2 * 48_000].view(2, -1), torch.tensor([48_000, 20_003])


def test_hubert(hubert: Path, clips: tuple[Tensor, Tensor]) -> None:
    model, (wav, lengths) = audiokd.load_model(hubert), clips
    f = model.extract_features(wav, lengths)
    assert len(f.hidden_states) == 3
    theirs = HubertModel.from_pretrained(hubert).eval()
    for i, n in enumerate(lengths.tolist()):
        inputs = Wav2Vec2FeatureExtractor()(wav[i, :n].numpy(), sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            states = theirs(**inputs, output_hidden_states=True).hidden_states[1:]
        frames = int(f.lengths[i])
        assert frames == states[0].shape[1]
        for ours, expected in zip(f.hidden_states, states):
            torch.testing.assert_close(ours[i, :frames], expected[0], atol=2e-5, rtol=1e-4)
            assert not ours[i, frames:].any()
        torch.testing.assert_close(f.clip[i], torch.cat([s[0].mean(0) for s in states]), atol=2e-5, rtol=1e-4)
    last = model.extract_features(wav, lengths, clip_blocks=1).clip
    assert last.shape == (2, 32)
    torch.testing.assert_close(model.extract(wav, lengths, "clip1")[0][:, 0], last)
    assert not any(p.requires_grad for p in model.parameters())


def test_whisper(whisper_dir: Path, clips: tuple[Tensor, Tensor]) -> None:
    """30 s of one clip: what transformers gives for its padded window; shorter ones are cut to their length."""
    model = audiokd.load_model(whisper_dir)
    wav = clips[0].flatten().repeat(5)[None, : 30 * 16_000].clone()
    wav[:, -8000:] = 0  # past the end ours has zeros, theirs a mirror image
    f = model.extract_features(wav)
    inputs = WhisperFeatureExtractor()(wav[0].numpy(), sampling_rate=16_000, return_tensors="pt")
    encoder = WhisperModel.from_pretrained(whisper_dir).encoder.eval()
    with torch.no_grad():
        states = encoder(inputs.input_features, output_hidden_states=True).hidden_states[1:]
    for ours, expected in zip(f.hidden_states, states):
        torch.testing.assert_close(ours, expected, atol=2e-3, rtol=2e-3)
    with pytest.raises(AudiokdError, match="30 s window"):
        model.extract_features(torch.cat([wav, wav], 1))


def test_a_store_and_hear(hubert: Path, beckett: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wav.scp").write_text(f"beckett {beckett}\n")
    done = extract(str(hubert), str(tmp_path / "data"), str(tmp_path / "store"), layer="clip")
    assert (done["utterances"], done["frames"]) == (1, 1)
    store = audiokd.open_store(tmp_path / "store")
    assert store.meta["model_type"] == "hubert"
    assert store["beckett"].array.shape == (1, 96)
    model = hear.load_model(str(hubert))
    assert (model.scene_embedding_size, model.timestamp_embedding_size) == (96, 96)


def test_what_it_refuses(hubert: Path) -> None:
    model = audiokd.load_model(hubert)
    with pytest.raises(AudiokdError, match="item 1 is too short for a frame"):
        model.extract_features(torch.zeros(2, 8000), torch.tensor([8000, 300]))
    with pytest.raises(AudiokdError, match="clip_blocks 4"):
        model.extract_features(torch.zeros(1, 8000), clip_blocks=4)
    with pytest.raises(AudiokdError, match="layer9"):
        model.extract(torch.zeros(1, 8000), None, "layer9")


def test_log_mel_is_an_encoder_too(clips: tuple[Tensor, Tensor]) -> None:
    model, (wav, lengths) = audiokd.load_model("log_mel"), clips
    f = model.extract_features(wav, lengths)
    for i, n in enumerate(lengths.tolist()):
        mel, _ = ATSTLogMel()(wav[i : i + 1, :n])
        tokens = mel.shape[-1] // 4
        assert int(f.lengths[i]) == tokens
        expected = torch.cat([mel[0].mean(-1), mel[0].std(-1, correction=0)])
        torch.testing.assert_close(f.clip[i], expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(f.hidden_states[0][i, 3].view(64, 4), mel[0, :, 12:16], atol=1e-6, rtol=0)
        assert not f.hidden_states[0][i, tokens:].any()


@pytest.mark.parametrize("name", ["hubert", "whisper", "log_mel"])
def test_a_clip_that_cannot_be_stops_no_corpus(
    name: str, hubert: Path, whisper_dir: Path, two_cities: Path, tmp_path: Path
) -> None:
    """Too short for a frame, or too long for the model: an error row each, and the others are written."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"r {two_cities}\n")
    (data / "segments").write_text("good r 1 3\nlong r 2 40\nshort r 1 1.01\n")
    model = {"hubert": str(hubert), "whisper": str(whisper_dir), "log_mel": "log_mel"}[name]
    extract(model, str(data), str(tmp_path / "store"), max_error_rate=1.0)
    store = audiokd.open_store(tmp_path / "store")
    bad = {"hubert": {"short"}, "whisper": {"long"}, "log_mel": {"short"}}[name]
    assert {e["id"] for e in store.errors()} == bad
    assert set(store) == {"good", "long", "short"} - bad
