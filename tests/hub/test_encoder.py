"""Encoders of transformers with our face: their hidden states, alone and in a batch, and a store made with one."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile as sf
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
    WhisperModel,
)

import audiokd
from audiokd.errors import AudiokdError
from audiokd.frontends.atst_mel import ATSTLogMel
from audiokd.hub import hear
from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.methods.lm_spt.model import LMSPTModel
from audiokd.stages.extract import extract
from audiokd.teachers.auto import load_teacher
from audiokd.teachers.trainable import load_trainable

#: what the published models look like: in the base ones each layer ends in its norm, the large ones have one after the last layer
FORMS = {
    "base": {},
    "large": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
}


def hubert_of(form: str, out: Path) -> Path:
    """A HuBERT, small, with random weights; norms too, so that one left out or run twice would show."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    model = HubertModel(HubertConfig(**shape, **FORMS[form], conv_dim=[16] * 7, num_conv_pos_embedding_groups=4))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "layer_norm" in name:
                p.add_(0.3 * torch.randn_like(p))
    model.save_pretrained(out)
    Wav2Vec2FeatureExtractor().save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def hubert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hubert_of("base", tmp_path_factory.mktemp("hubert") / "model")


@pytest.fixture(scope="module")
def hubert_large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hubert_of("large", tmp_path_factory.mktemp("hubert_large") / "model")


@pytest.fixture(scope="module")
def clips(two_cities: Path) -> tuple[Tensor, Tensor]:
    x, _ = sf.read(two_cities, dtype="float32", frames=10 * 48_000)
    return torch.from_numpy(x[::3].copy())[: 2 * 48_000].view(2, -1), torch.tensor([48_000, 20_003])


@pytest.mark.parametrize("form", FORMS)
def test_hubert(form: str, request: pytest.FixtureRequest, clips: tuple[Tensor, Tensor]) -> None:
    """In a padded batch as transformers alone: each layer's state, the large form's through the norm after its last layer."""
    folder = request.getfixturevalue({"base": "hubert", "large": "hubert_large"}[form])
    model, (wav, lengths) = audiokd.load_model(folder), clips
    f = model.extract_features(wav, lengths)
    assert len(f.hidden_states) == 3
    theirs = HubertModel.from_pretrained(folder).eval()
    for i, n in enumerate(lengths.tolist()):
        inputs = Wav2Vec2FeatureExtractor()(wav[i, :n].numpy(), sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            out = theirs(**inputs, output_hidden_states=True)
            states = out.hidden_states[1:]
            if form == "large":
                assert not torch.allclose(states[-1], out.last_hidden_state, atol=0.1)
                states = [theirs.encoder.layer_norm(s) for s in states]
        torch.testing.assert_close(states[-1], out.last_hidden_state, atol=0, rtol=0)
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


def test_what_is_trained_on_is_what_is_extracted(
    hubert_large: Path, whisper_dir: Path, clips: tuple[Tensor, Tensor]
) -> None:
    """Fine-tuning, extraction and HEAR see the same states; the norm that all go through is trained; a teacher's have none."""
    wav, lengths = clips
    for folder in (hubert_large, whisper_dir):
        extracted, trained = audiokd.load_model(folder), load_trainable(str(folder)).eval()
        f, g = extracted.extract_features(wav, lengths), trained.extract_features(wav, lengths)
        for a, b in zip([*f.hidden_states, f.clip], [*g.hidden_states, g.clip]):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)
        for k, state in enumerate(f.hidden_states, 1):
            assert torch.equal(extracted.extract(wav, lengths, f"layer{k}")[0], state)
        norm = trained.get_submodule(trained.last_norm)
        g.hidden_states[0].square().sum().backward()
        assert norm.weight.grad.abs().max() > 0
        first = load_teacher(str(folder), layer=1)(wav, lengths)[0]
        inside = torch.arange(first.shape[1]) < f.lengths[:, None]
        torch.testing.assert_close(norm(first)[inside], f.hidden_states[0][inside], atol=1e-5, rtol=1e-4)
        assert not torch.allclose(first[inside], f.hidden_states[0][inside], atol=0.1)
    frames, _ = hear.get_timestamp_embeddings(wav, hear.load_model(str(hubert_large)))
    f = audiokd.load_model(hubert_large).extract_features(wav)
    torch.testing.assert_close(frames, torch.cat(f.hidden_states, -1))


def test_whisper(whisper_dir: Path, clips: tuple[Tensor, Tensor]) -> None:
    """30 s of one clip: what transformers gives for its padded window; shorter ones are cut to their length."""
    model = audiokd.load_model(whisper_dir)
    wav = clips[0].flatten().repeat(5)[None, : 30 * 16_000].clone()
    wav[:, -8000:] = 0  # past the end ours has zeros, theirs a mirror image
    f = model.extract_features(wav)
    inputs = WhisperFeatureExtractor()(wav[0].numpy(), sampling_rate=16_000, return_tensors="pt")
    encoder = WhisperModel.from_pretrained(whisper_dir).encoder.eval()
    with torch.no_grad():
        out = encoder(inputs.input_features, output_hidden_states=True)
        states = [*map(encoder.layer_norm, out.hidden_states[1:-1]), out.last_hidden_state]
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


def test_models_of_other_kinds(tmp_path: Path) -> None:
    """Neither a model of text nor one that transformers does not know comes back as it is; a tokenizer is no encoder."""
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(**shape)).save_pretrained(tmp_path / "bert")
    families = r"\n  .*audio-spectrogram-transformer, .*hubert, .*wavlm, whisper"
    for load in (audiokd.load_model, audiokd.load_tokenizer, lambda d: extract(d, "", ""), hear.load_model):
        with pytest.raises(AudiokdError, match=f"bert: a bert model is none that audiokd knows{families}"):
            load(str(tmp_path / "bert"))
    config = tmp_path / "bert" / "config.json"
    config.write_text(config.read_text().replace('"bert"', '"unheard_of"'))
    with pytest.raises(AudiokdError, match=f"a unheard_of model is none that audiokd knows{families}"):
        audiokd.load_model(tmp_path / "bert")
    shape = {"encoder_dim": 4, "latent_dim": 32, "decoder_dim": 64, "aux_dim": 32}
    LMSPTModel(LMSPTConfig(**shape)).save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(AudiokdError, match=f"a LMSPTModel is no encoder{families}"):
        hear.load_model(str(tmp_path / "tokenizer"))


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
    """Too short for a frame: an error row, and the others are written, in windows what is longer than the model takes."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"r {two_cities}\n")
    (data / "segments").write_text("good r 1 3\nlong r 2 40\nshort r 1 1.01\n")
    model = {"hubert": str(hubert), "whisper": str(whisper_dir), "log_mel": "log_mel"}[name]
    extract(model, str(data), str(tmp_path / "store"), max_error_rate=1.0)
    store = audiokd.open_store(tmp_path / "store")
    bad = {"hubert": {"short"}, "whisper": set(), "log_mel": {"short"}}[name]
    assert {e["id"] for e in store.errors()} == bad
    assert set(store) == {"good", "long", "short"} - bad
    assert len(store["long"].array) in (19 * len(store["good"].array), 1899)  # 38 s and 2 s
