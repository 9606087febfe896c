"""The pipeline of teacher and student: saved and loaded as diffusers does, equal to diffusers' own where it has one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMPipeline,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)
from tiny_diffusion import SCHEDULE, of_labels, save_audioldm, save_audioldm2, save_musicldm, stable_diffusion

from audiokd.errors import AudiokdError
from audiokd.vision.consistency import consistent, sampling_timesteps, training_timesteps
from audiokd.vision.load_pipeline import load_pipeline, pipeline_sha256
from audiokd.vision.tiue_pipeline import TiUEPipeline, pixels

PROMPTS = ["a photo of a dog", "rain"]


def noise(pipeline: Any, batch: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, *pipeline.sample_shape, generator=torch.Generator().manual_seed(seed))


def test_a_folder_of_it(tmp_path: Path) -> None:
    pipeline = of_labels(sampler="tiue", steps=4, guidance=1.5)
    pipeline.save_pretrained(tmp_path)
    again = load_pipeline(str(tmp_path))
    assert isinstance(again, TiUEPipeline)
    assert again.labels == ("cat", "dog")
    assert (again.config.sampler, again.config.steps, again.config.guidance) == ("tiue", 4, 1.5)
    assert pipeline_sha256(again) == pipeline_sha256(pipeline)
    for sampler in ("ddim", "tiue", "lcm"):
        x, y = (p(["cat", "dog"], seed=3, sampler=sampler) for p in (pipeline, again))
        assert (x.shape, x.dtype) == ((2, 8, 8, 1), np.uint8)
        assert np.array_equal(x, y)
    # the parts are diffusers' own, for who has no audiokd
    assert isinstance(UNet2DConditionModel.from_pretrained(tmp_path, subfolder="unet"), UNet2DConditionModel)
    assert DDIMScheduler.from_pretrained(tmp_path, subfolder="scheduler").config.timestep_spacing == "trailing"
    for part in (again.unet,):
        assert not part.training
        assert not any(p.requires_grad for p in part.parameters())


@torch.no_grad()
def test_conditions_of_labels() -> None:
    pipeline = of_labels()
    told = pipeline.conditions(["dog", None, "cat"])["encoder_hidden_states"]
    assert told[:, 0].tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    x = noise(pipeline).expand(2, -1, -1, -1)[:1].repeat(2, 1, 1, 1)
    found = pipeline.sample(["dog", "cat"], x, steps=2)
    assert float((found[0] - found[1]).abs().max()) > 1e-4  # the label counts
    with pytest.raises(AudiokdError, match=r"knows no label 'fox'(.|\n)*cat, dog"):
        pipeline.conditions(["fox"])


@torch.no_grad()
def test_tiue_is_ddim_where_there_is_one_step() -> None:
    pipeline = of_labels()
    x = noise(pipeline)
    for w in (1.0, 3.0):
        ddim, tiue = (pipeline.sample(["cat", "dog"], x, 1, w, s) for s in ("ddim", "tiue"))
        torch.testing.assert_close(ddim, tiue, rtol=1e-4, atol=1e-4)
    four = [pipeline.sample(["cat", "dog"], x, 4, 1.0, s) for s in ("ddim", "tiue")]
    assert float((four[0] - four[1]).abs().max()) > 1e-4
    with pytest.raises(AudiokdError, match="one step under leading"):
        pipeline.sample(["cat", "dog"], x, 1, timestep_spacing="leading")


@torch.no_grad()
@pytest.mark.parametrize("sampler", ["ddim", "tiue", "lcm"])
def test_a_batch_changes_nothing(sampler: Any) -> None:
    pipeline = of_labels()
    x, more = noise(pipeline, 3), noise(pipeline, 3, 1)
    labels = ["cat", "dog", "cat"]
    whole = pipeline.sample(labels, x, 2, 2.0, sampler, more_noise=lambda k: more)
    for i, label in enumerate(labels):
        one = pipeline.sample([label], x[i : i + 1], 2, 2.0, sampler, more_noise=lambda k, i=i: more[i : i + 1])
        torch.testing.assert_close(one[0], whole[i], rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_stable_diffusion_by_its_own_pipeline(tmp_path: Path, prediction: str) -> None:
    """A folder of Stable Diffusion's layout, its PNDM schedule run as DDIM: the same pictures as diffusers' pipeline with DDIM."""
    how = {"skip_prk_steps": True, "set_alpha_to_one": False, "prediction_type": prediction}
    theirs = stable_diffusion(scheduler=PNDMScheduler(**SCHEDULE, **how))
    theirs.save_pretrained(tmp_path)
    ours = load_pipeline(str(tmp_path))
    theirs.scheduler = DDIMScheduler.from_config(theirs.scheduler.config, clip_sample=False)
    x = noise(ours)
    found = theirs(PROMPTS, latents=x, num_inference_steps=4, guidance_scale=3.0, output_type="latent").images
    torch.testing.assert_close(ours.sample(PROMPTS, x, 4, 3.0), found, rtol=1e-3, atol=1e-3)
    pictures = theirs(PROMPTS, latents=x, num_inference_steps=4, guidance_scale=3.0, output_type="np").images
    mine = pixels(ours.decode(ours.sample(PROMPTS, x, 4, 3.0)))
    assert mine.shape == (2, 16, 16, 3)
    assert np.abs(mine - (pictures * 255).round()).max() <= 1
    latents = ours.encode(torch.rand(2, 3, 16, 16) * 2 - 1)
    assert latents.shape == (2, 4, 8, 8)


def latents_of(theirs: Any, prompts: Any, how: dict[str, Any]) -> tuple[int, ...]:
    """[C, H, W] that diffusers' pipeline begins with of its own accord."""
    seen, make = [], theirs.prepare_latents
    theirs.prepare_latents = lambda *args, **more: seen.append(make(*args, **more)) or seen[-1]
    theirs(prompts, **{k: v for k, v in how.items() if k != "latents"} | {"num_inference_steps": 1})
    theirs.prepare_latents = make
    return tuple(seen[0].shape[1:])


@pytest.mark.parametrize(("name", "save"), [("AudioLDMPipeline", save_audioldm), ("MusicLDMPipeline", save_musicldm)])
@torch.no_grad()
def test_audioldm_and_musicldm_with_their_vocoder(tmp_path: Path, name: str, save: Callable[[Path], Path]) -> None:
    ours = load_pipeline(str(save(tmp_path / "model")))
    assert (ours.media, ours.sample_rate) == ("audio", 16000)
    theirs = getattr(diffusers, name).from_pretrained(tmp_path / "model")
    theirs.set_progress_bar_config(disable=True)
    told = ours.conditions(PROMPTS)["class_labels"]
    torch.testing.assert_close(told.norm(dim=-1), torch.ones(2))
    x = noise(ours)
    how = {"num_inference_steps": 4, "guidance_scale": 2.0, "latents": x}
    if name == "MusicLDMPipeline":  # the installed diffusers' cannot read what the installed transformers' CLAP answers
        with pytest.raises(AttributeError, match="BaseModelOutputWithPooling"):
            theirs(PROMPTS, **how)
        null = ours.conditions([None, None])["class_labels"]
        how |= {"prompt_embeds": told, "negative_prompt_embeds": null}
    # two frames of latents a 16-sample hop: 8 latents are 16 frames
    prompts = None if "prompt_embeds" in how else PROMPTS
    assert ours.sample_shape == latents_of(theirs, prompts, how) == (4, 8, 4)  # bands over 2, not as high
    wavs = theirs(prompts, audio_length_in_s=16 * 16 / 16000, **how).audios
    mine = ours.sounds(ours.decode(ours.sample(PROMPTS, x, 4, 2.0)))
    assert mine.shape[0] == 2
    np.testing.assert_allclose(mine[:, : wavs.shape[1]], wavs, atol=1e-3)
    tiue = ours(PROMPTS, steps=4, sampler="tiue")
    assert (tiue.shape, tiue.dtype) == (mine.shape, np.float32)


@torch.no_grad()
def test_audioldm2_and_its_two_texts(tmp_path: Path) -> None:
    """Each text is told what diffusers tells it by itself, whatever its batch mates are; a folder of it is read again."""
    from diffusers import AudioLDM2Pipeline

    ours = load_pipeline(str(save_audioldm2(tmp_path / "model")))
    assert (ours.media, ours.sample_rate, ours.config.guidance) == ("audio", 16000, 3.5)
    theirs = AudioLDM2Pipeline.from_pretrained(tmp_path / "model")
    theirs.set_progress_bar_config(disable=True)
    told = ours.conditions([*PROMPTS, None])
    assert told["encoder_hidden_states"].shape == (3, 3, 8)
    for k, prompt in enumerate([*PROMPTS, ""]):
        states, mask, said = theirs.encode_prompt(prompt, "cpu", 1, False)
        length = mask.shape[1]
        torch.testing.assert_close(told["encoder_hidden_states"][k : k + 1], said)
        torch.testing.assert_close(told["encoder_hidden_states_1"][k : k + 1, :length], states)
        assert told["encoder_attention_mask_1"][k].sum() == length
    assert (told["encoder_hidden_states"][0] - told["encoder_hidden_states"][1]).abs().max() > 0.01
    assert ours.sample_shape == latents_of(theirs, PROMPTS[0], {"guidance_scale": 1.0}) == (4, 8, 4)
    assert ours.shape_of(12) == (4, 12, 4)  # longer, of as many bands
    x = noise(ours, 1)
    for prompt in PROMPTS:
        how = {"audio_length_in_s": 16 * 16 / 16000, "num_inference_steps": 4, "guidance_scale": 1.0, "latents": x}
        wavs = theirs(prompt, **how).audios
        mine = ours.sounds(ours.decode(ours.sample([prompt], x, 4, 1.0)))
        np.testing.assert_allclose(mine[:, : wavs.shape[1]], wavs, atol=1e-3)
    both = torch.cat([x, x])
    together = ours.sample(PROMPTS, both, 4, 3.0, "tiue")
    for k, prompt in enumerate(PROMPTS):
        torch.testing.assert_close(together[k : k + 1], ours.sample([prompt], x, 4, 3.0, "tiue"), rtol=1e-4, atol=1e-5)
    ours.save_pretrained(tmp_path / "again")
    again = load_pipeline(str(tmp_path / "again"))
    assert pipeline_sha256(again) == pipeline_sha256(ours)
    assert torch.equal(again.sample(PROMPTS, both, 4), ours.sample(PROMPTS, both, 4))


def test_sound_without_a_vocoder() -> None:
    mel = {"frames": 8, "n_mels": 8, "hop_length": 256, "iterations": 4}
    pipeline = of_labels(mel=mel)
    wavs = pipeline(["cat", "dog"], steps=2)
    assert wavs.shape == (2, 8 * 256)
    assert np.isfinite(wavs).all()


def test_steps_of_a_consistency_model() -> None:
    """Those of diffusers' LCMScheduler, and its answer."""
    scheduler = LCMScheduler(**{k: v for k, v in SCHEDULE.items() if k != "steps_offset"})
    for steps in (1, 2, 4, 8):
        scheduler.set_timesteps(steps, original_inference_steps=50)
        assert sampling_timesteps(1000, 50, steps).tolist() == scheduler.timesteps.tolist()
    assert training_timesteps(1000, 50)[[0, -1]].tolist() == [19, 999]
    scheduler.set_timesteps(2, original_inference_steps=50)
    x, answer = torch.randn(2, 3, 1, 4, 4)
    t = scheduler.timesteps[0]
    found = scheduler.step(answer, t, x, generator=torch.Generator().manual_seed(0))
    a = scheduler.alphas_cumprod[t]
    picture = (x - (1 - a).sqrt() * answer) / a.sqrt()
    torch.testing.assert_close(consistent(x, picture, t.expand(3)), found.denoised)
    torch.testing.assert_close(consistent(x, picture, torch.zeros(3)), x)
    for bad in ((1000, 3, 1), (1000, 50, 51), (1000, 50, 0)):
        with pytest.raises(AudiokdError, match="steps"):
            sampling_timesteps(*bad)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match="no such folder"):
        load_pipeline(str(tmp_path / "none"))
    with pytest.raises(AudiokdError, match=r"no model_index.json(.|\n)*audiokd export"):
        load_pipeline(str(tmp_path))
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(AudiokdError, match="not what diffusers writes"):
        load_pipeline(str(tmp_path))
    plain = UNet2DModel(
        block_out_channels=(8,), norm_num_groups=4, down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",)
    )
    DDPMPipeline(plain, DDIMScheduler()).save_pretrained(tmp_path / "ddpm")
    with pytest.raises(AudiokdError, match=r"a DDPMPipeline has other parts(.|\n)*StableDiffusionPipeline"):
        load_pipeline(str(tmp_path / "ddpm"))
    flow = stable_diffusion(scheduler=DDIMScheduler(**SCHEDULE))
    flow.save_pretrained(tmp_path / "flow")
    FlowMatchEulerDiscreteScheduler().save_pretrained(tmp_path / "flow" / "scheduler")
    index = json.loads((tmp_path / "flow" / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "FlowMatchEulerDiscreteScheduler"]
    (tmp_path / "flow" / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(AudiokdError, match=r"FlowMatchEulerDiscreteScheduler"):
        load_pipeline(str(tmp_path / "flow"))
