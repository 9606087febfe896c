"""The released size with Whisper large-v3, built without memory, and every packaged config as a whole module."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from method_settings import settings_of
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

import audiokd.conf
from audiokd.losses.adversarial import discriminator_loss, generator_loss
from audiokd.losses.feature_matching import feature_matching_loss
from audiokd.methods.lm_spt.module import LMSPTModule
from audiokd.methods.lm_spt.settings import LMSPTSettings
from audiokd.teachers.whisper import WhisperTeacher

CONFIGS = sorted(p.stem for p in (Path(audiokd.conf.__file__).parent / "lm_spt").glob("*.yaml"))
LARGE_V3 = {"num_mel_bins": 128, "d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20}


def packaged(name: str) -> LMSPTSettings:
    """base_* change the frame rate of base."""
    return settings_of("lm_spt", *(["base"] if name.startswith("base_") else []), name)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_builds_whole_on_meta(name: str) -> None:
    settings = packaged(name)
    with torch.device("meta"):
        encoder = WhisperEncoder(WhisperConfig(encoder_ffn_dim=5120, decoder_layers=1, **LARGE_V3))
        module = LMSPTModule(settings, WhisperTeacher(encoder, settings.teacher.window))
    assert sum(p.numel() for p in encoder.parameters()) == pytest.approx(637e6, rel=0.01)
    assert not {id(p) for p in module.parameters()} & {id(p) for p in encoder.parameters()}
    expected = 1.0 if settings.teacher.window == "full" else settings.data.crop_s / 30
    assert module.distill_scale == pytest.approx(expected)
    optimised = [p for o in module.configure_optimizers() for g in o.param_groups for p in g["params"]]
    assert len(optimised) == len(list(module.generator.parameters())) + len(list(module.discriminator.parameters()))


@pytest.mark.parametrize("name", [n for n in CONFIGS if n.startswith(("base", "paper"))])
def test_every_full_size_config_takes_a_step_on_meta(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both losses, their gradients and both optimisers; small and debug train elsewhere."""
    monkeypatch.setattr(torch, "autocast", lambda *a, **k: contextlib.nullcontext())  # torch has none for meta
    settings = packaged(name)
    with torch.device("meta"):
        encoder = WhisperEncoder(WhisperConfig(encoder_ffn_dim=5120, decoder_layers=1, **LARGE_V3))
        module = LMSPTModule(settings, WhisperTeacher(encoder, settings.teacher.window))
        n = round(settings.data.crop_s * settings.model.sample_rate)
        wav = torch.empty(settings.data.batch_size, n)
        batch = {"wav": wav, "lengths": torch.full(wav.shape[:1], n)}
    opt_g, opt_d = module.configure_optimizers()
    out = module.rebuild(batch)
    assert out.wav.shape == wav.shape
    assert out.codes.shape[1] == settings.model.n_codebooks
    discriminator_loss(module.discriminator(out.wav.detach()), module.discriminator(wav)).backward()
    opt_d.step()
    fake, real = module.discriminator(out.wav), module.discriminator(wav)
    losses = {"mel": module.mel_loss(out.wav, wav), "adversarial": generator_loss(fake)}
    losses |= {"feature_matching": feature_matching_loss(fake, real), **out.losses}
    assert "distill" in losses
    module.total(losses).backward()
    assert not [k for k, p in module.generator.named_parameters() if p.grad is None]
    opt_g.step()
