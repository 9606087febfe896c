"""HuBERT and its kin, conformers of wav2vec 2.0, w2v-BERT 2.0 at toy size: transformers' numbers alone, the same in a batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile as sf
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    Data2VecAudioConfig,
    HubertConfig,
    SeamlessM4TFeatureExtractor,
    UniSpeechConfig,
    UniSpeechSatConfig,
    Wav2Vec2BertConfig,
    Wav2Vec2Config,
    Wav2Vec2ConformerConfig,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
)

from audiokd.errors import AudiokdError
from audiokd.teachers.auto import load_teacher
from audiokd.teachers.ssl import SSLTeacher
from audiokd.teachers.w2v2_conformer import Wav2Vec2ConformerTeacher
from audiokd.teachers.w2v_bert import W2VBertTeacher

TINY = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
CONV = {"conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
GROUP = {"feat_extract_norm": "group", "do_stable_layer_norm": False}
CONFORMER = {"feat_extract_norm": "layer", "conv_depthwise_kernel_size": 7}
LAYER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}

#: what the published models look like: base ones norm over time, large ones over channels
CONFIGS = {
    "hubert-base": HubertConfig(**TINY, **CONV, **GROUP),
    "hubert-large": HubertConfig(**TINY, **CONV, **LAYER),
    "hubert-batch-norm": HubertConfig(**TINY, **CONV, **GROUP, conv_pos_batch_norm=True),
    "wavlm-base": WavLMConfig(**TINY, **CONV, **GROUP),
    "wavlm-large": WavLMConfig(**TINY, **CONV, **LAYER),
    "wav2vec2-base": Wav2Vec2Config(**TINY, **CONV, **GROUP),
    "wav2vec2-large": Wav2Vec2Config(**TINY, **CONV, **LAYER),
    "data2vec": Data2VecAudioConfig(**TINY, **CONV | {"num_conv_pos_embeddings": 3}, conv_pos_kernel_size=7),
    "unispeech-base": UniSpeechConfig(**TINY, **CONV, **GROUP),
    "unispeech-large": UniSpeechConfig(**TINY, **CONV, **LAYER),
    "unispeech-sat-base": UniSpeechSatConfig(**TINY, **CONV, **GROUP),
    "unispeech-sat-large": UniSpeechSatConfig(**TINY, **CONV, **LAYER),
    "conformer-relative": Wav2Vec2ConformerConfig(**TINY, **CONV, **CONFORMER, position_embeddings_type="relative"),
    "conformer-rotary": Wav2Vec2ConformerConfig(**TINY, **CONV, **CONFORMER, position_embeddings_type="rotary"),
    "w2v-bert-2": Wav2Vec2BertConfig(**TINY, conv_depthwise_kernel_size=7),
}


W2V_BERT_ROTARY = Wav2Vec2BertConfig(**TINY, position_embeddings_type="rotary")


def tiny(config: object) -> torch.nn.Module:
    """Random weights of a size that a norm or a mask left out would show."""
    torch.manual_seed(0)
    model = AutoModel.from_config(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 1 or "embed" in name:
                p.add_(0.3 * torch.randn(p.shape, generator=generator))
        for name, b in model.named_buffers():
            if name.endswith("running_mean"):
                b.fill_(0.5)
    return model


def make(config: object, layer: object = None) -> SSLTeacher | W2VBertTeacher:
    model = tiny(config)
    if config.model_type == "wav2vec2-bert":
        return W2VBertTeacher(model, layer)
    family = Wav2Vec2ConformerTeacher if config.model_type == "wav2vec2-conformer" else SSLTeacher
    return family(model, True, layer)


@pytest.fixture(scope="module")
def speech(beckett: Path) -> Tensor:
    return torch.from_numpy(sf.read(beckett, dtype="float32")[0])


@pytest.fixture(params=CONFIGS, ids=list(CONFIGS))
def config(request: pytest.FixtureRequest) -> object:
    return CONFIGS[request.param]


def inputs_of(config: object) -> Callable[[Tensor], dict[str, Tensor]]:
    """The official front end of one waveform."""
    if config.model_type == "wav2vec2-bert":
        extractor = SeamlessM4TFeatureExtractor()
        return lambda wav: extractor(wav.numpy(), sampling_rate=16_000, return_tensors="pt")
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    return lambda wav: extractor(wav.numpy(), sampling_rate=16_000, return_tensors="pt")


@torch.no_grad()
@pytest.mark.parametrize("n", [16_000, 15_361, 7_777])
def test_alone_it_is_transformers_forward(config: object, n: int, speech: Tensor) -> None:
    wav = speech[20_000 : 20_000 + n]
    out = tiny(config)(**inputs_of(config)(wav), output_hidden_states=True)
    got, frames = make(config)(wav[None])
    assert frames.tolist() == [got.shape[1]]
    assert got.shape[1] in (out.last_hidden_state.shape[1], out.last_hidden_state.shape[1] - 1)  # w2v-BERT pads by one
    torch.testing.assert_close(got, out.last_hidden_state[:, : frames[0]], rtol=0, atol=2e-4)
    for k in range(4):
        got = make(config, k)(wav[None])[0]
        torch.testing.assert_close(got, out.hidden_states[k][:, : frames[0]], rtol=0, atol=2e-4)
    mean = torch.stack(out.hidden_states).mean(0)[:, : frames[0]]
    torch.testing.assert_close(make(config, "mean")(wav[None])[0], mean, rtol=0, atol=2e-4)
    teacher = make(config, "normed")
    norm = teacher.net.get_submodule(teacher.final_norm) if teacher.final_norm else torch.nn.Identity()
    torch.testing.assert_close(norm(out.hidden_states[3]), out.last_hidden_state, rtol=0, atol=0)
    states = torch.cat([norm(s) for s in out.hidden_states[1:]], -1)[:, : frames[0]]
    torch.testing.assert_close(teacher(wav[None])[0], states, rtol=0, atol=2e-4)


@torch.no_grad()
def test_in_a_batch_as_alone(config: object, speech: Tensor) -> None:
    teacher, lengths = make(config), [16_000, 5_001, 9_999, 300]
    batch = torch.stack([speech[s : s + 16_000] for s in (0, 20_000, 60_000, 80_000)])  # more speech follows each item
    got, frames = teacher(batch, torch.tensor(lengths))
    for i, n in enumerate(lengths):
        alone, t = teacher(batch[i : i + 1, :n])
        assert t[0] == frames[i]
        torch.testing.assert_close(got[i : i + 1, : t[0]], alone[:, : t[0]], rtol=0, atol=2e-5)
        assert not got[i, t[0] :].any()
    assert frames.tolist() == ([49, 14, 30, 0] if config.model_type == "wav2vec2-bert" else [49, 15, 30, 0])
    assert got.isfinite().all()
    assert (teacher(batch)[0][1, :14] - got[1, :14]).abs().max() > 1e-3  # the mask is not idle


@torch.no_grad()
def test_transformers_batch_leaks(speech: Tensor) -> None:
    """Why the forward is ours: HuBERT base's first norm sees the padding, and an attention mask does not change that."""
    config = CONFIGS["hubert-base"]
    model, teacher = tiny(config), make(config)
    batch = torch.nn.functional.pad(speech[None, :8_000], (0, 8_000))
    mask = (torch.arange(16_000) < 8_000).long()[None]
    alone = teacher.net(speech[None, :8_000]).last_hidden_state
    leak = (model(batch, attention_mask=mask).last_hidden_state[:, :24] - alone[:, :24]).abs().max()
    teacher.normalize = False
    ours = (teacher(batch, torch.tensor([8_000]))[0] - alone).abs().max()
    assert leak > 100 * ours


def test_gradient_reaches_the_waveform_only(config: object, speech: Tensor) -> None:
    teacher = make(config)
    wav = torch.stack([speech[20_000:28_000], speech[28_000:36_000]]).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        features, frames = teacher(wav, torch.tensor([8_000, 4_000]))
    assert features.dtype == torch.float32
    assert features.shape == (2, int(frames.max()), teacher.dim)
    features.square().mul(torch.linspace(0, 1, 16)).sum().backward()
    assert wav.grad.isfinite().all()
    assert (wav.grad[0, 400:7_000] != 0).all()
    assert not wav.grad[1, 4_000:].any()
    assert all(p.grad is None and not p.requires_grad for p in teacher.net.parameters())
    assert not list(teacher.parameters())
    targets = teacher.targets({"wav": wav, "lengths": torch.tensor([8_000, 4_000])})
    torch.testing.assert_close(targets["features"], features.detach())
    assert not targets["features"].requires_grad


@torch.no_grad()
def test_silence_and_a_click_too_short_for_a_frame(config: object) -> None:
    features, frames = make(config)(torch.zeros(1, 8_000))
    assert features.isfinite().all()
    features, frames = make(config)(torch.ones(1, 10))
    assert (features.shape[0], frames.tolist()) == (1, [0])
    assert features.isfinite().all()


@pytest.mark.parametrize("config", [CONFIGS["conformer-relative"], CONFIGS["conformer-rotary"], W2V_BERT_ROTARY])
def test_positions_of_inference_serve_training(config: object, speech: Tensor) -> None:
    """Transformers keeps a conformer's positions for the next clip of their length, which may come in training."""
    teacher, wav = make(config), speech[None, :8_000].clone()
    with torch.inference_mode():
        teacher(wav)
    teacher(wav.requires_grad_())[0].square().sum().backward()
    assert wav.grad.isfinite().all()


def test_load_teacher(config: object, tmp_path: Path, speech: Tensor) -> None:
    model = tiny(config)
    model.save_pretrained(tmp_path)
    if config.model_type != "wav2vec2-bert":
        with pytest.raises(AudiokdError, match=r"cannot load preprocessor_config\.json"):
            load_teacher(str(tmp_path))
        Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path)
    teacher = load_teacher(str(tmp_path), layer=1)
    assert (teacher.layer, teacher.dim, teacher.window, teacher.frame_rate) == (1, 16, "crop", 50)
    assert getattr(teacher, "normalize", False) is False
    direct = make(config, 1)
    direct.normalize = False
    torch.testing.assert_close(teacher(speech[None, :8_000])[0], direct(speech[None, :8_000])[0])
    for options in ({"window": "full"}, {"floor": "batch"}):
        (name, value) = next(iter(options.items()))
        with pytest.raises(
            AudiokdError, match=rf"{name} {value} is Whisper's, and this is a {config.model_type} teacher"
        ):
            load_teacher(str(tmp_path), **options)
    with pytest.raises(AudiokdError, match="no layer 4: this teacher has 3 layers"):
        load_teacher(str(tmp_path), layer=4)


@torch.no_grad()
def test_w2v_bert_front_end_is_the_extractors(speech: Tensor) -> None:
    teacher = make(CONFIGS["w2v-bert-2"])
    for n in (16_000, 15_361, 560):
        want = SeamlessM4TFeatureExtractor()(speech[:n].numpy(), sampling_rate=16_000, return_tensors="pt")
        got, frames = teacher.front_end(speech[None, :n], torch.tensor([n]))
        assert frames.tolist() == want["attention_mask"].sum(-1).tolist()
        torch.testing.assert_close(got[0], want["input_features"][0, : frames[0]], rtol=0, atol=1e-3)
