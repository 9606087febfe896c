"""A diffusion pipeline for labels or texts: by DDIM step by step, by TiUE's one call (arXiv 2505.21960), or as a consistency model.

One class for teacher and student: a UNet, its schedule, what turns a prompt into its condition and an answer into a picture or a
sound. `save_pretrained` and `from_pretrained` are diffusers' own; the UNet, schedule, text encoder, autoencoder and vocoder of a
folder load without audiokd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from torch import Tensor
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.frontends.mel_picture import MelPicture
from audiokd.vision.consistency import consistent, sampling_timesteps
from audiokd.vision.ddim import closed_form, ddim_of, split
from audiokd.vision.shared_encoder_unet import SharedEncoderUNet
from audiokd.vision.two_texts import padded, two_texts

Sampler: TypeAlias = Literal["ddim", "tiue", "lcm"]
Conditions: TypeAlias = dict[str, Any]
SECOND_TEXT = ("text_encoder_2", "tokenizer_2", "projection_model", "language_model")


class TiUEPipeline(DiffusionPipeline):
    """Pictures or sounds of prompts.

    A model of labels takes a token [1, labels + 1] of a 1 and noughts, which its own `encoder_hid_proj` embeds; the last of them
    stands for no label. A model of texts has the text encoder's states (Stable Diffusion's way: CLIP padded to its full length; any
    other encoder with its mask), one whose class embedding takes the text's (AudioLDM, MusicLDM), or two texts' states (AudioLDM2).

    Args:
        unet: of a class that `SharedEncoderUNet` takes.
        scheduler: DDIM's.
        text_encoder, tokenizer: of texts.
        vae: of latents.
        vocoder: of log-mel spectrograms, SpeechT5HifiGan.
        text_encoder_2, tokenizer_2, projection_model, language_model: AudioLDM2's, beside CLAP.
        label2id: number by label, of a model of labels.
        mel: fields of `MelPicture` where the pictures are such.
        sampler: how it is sampled unless told otherwise.
        steps: how many steps, the same.
        guidance: classifier-free guidance w, the same; 1 is none.
        solver_steps: of the solver that a consistency model learnt from.
    """

    _optional_components: ClassVar[list[str]] = ["text_encoder", "tokenizer", "vae", "vocoder", *SECOND_TEXT]

    def __init__(
        self,
        unet: Any,
        scheduler: DDIMScheduler,
        text_encoder: Any = None,
        tokenizer: Any = None,
        vae: Any = None,
        vocoder: Any = None,
        text_encoder_2: Any = None,
        tokenizer_2: Any = None,
        projection_model: Any = None,
        language_model: Any = None,
        label2id: dict[str, int] | None = None,
        mel: dict[str, Any] | None = None,
        sampler: str = "ddim",  # a Sampler: diffusers reads plain types alone
        steps: int = 50,
        guidance: float = 1.0,
        solver_steps: int = 50,
    ):
        super().__init__()
        self.register_modules(
            unet=unet, scheduler=scheduler, text_encoder=text_encoder, tokenizer=tokenizer, vae=vae, vocoder=vocoder,
            text_encoder_2=text_encoder_2, tokenizer_2=tokenizer_2, projection_model=projection_model,
            language_model=language_model,
        )  # fmt: skip
        self.register_to_config(
            label2id=label2id, mel=mel, sampler=sampler, steps=steps, guidance=guidance, solver_steps=solver_steps
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of their numbers; none of a model of texts."""
        return tuple(sorted(self.config.label2id or {}, key=(self.config.label2id or {}).__getitem__))

    @property
    def mel(self) -> MelPicture | None:
        """Where the pictures are log-mel spectrograms."""
        return MelPicture(**self.config.mel) if self.config.mel else None

    @property
    def media(self) -> Literal["image", "audio"]:
        """What it makes."""
        return "audio" if self.config.mel or self.vocoder is not None else "image"

    @property
    def sample_rate(self) -> int:
        """Hz of its sounds."""
        return self.mel.sample_rate if self.mel else int(self.vocoder.config.sampling_rate)

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """[C, H, W] that the UNet was trained on."""
        return self.shape_of()

    def shape_of(self, size: int = 0) -> tuple[int, int, int]:
        """[C, H, W] of what the UNet is given; latents of sounds are as wide as the vocoder's bands make them, as diffusers has it.

        Args:
            size: H, of pictures W too, in the place of what the UNet was trained on.
        """
        c = self.unet.config
        given = c.sample_size
        height, width = given if isinstance(given, (tuple, list)) else (given, given)
        if self.vae is not None and self.vocoder is not None:
            width = self.vocoder.config.model_in_dim // 2 ** (len(self.vae.config.block_out_channels) - 1)
        if size:
            height, width = size, width if self.media == "audio" else size
        return (c.out_channels, height, width)

    def resize(self, size: int) -> None:
        """Let the UNet's configuration, and that of spectrograms, say `shape_of(size)`."""
        _, height, width = self.shape_of(size)
        # diffusers' pipelines of sound multiply by it: a height alone
        is_height = height == width or (self.vae is not None and self.vocoder is not None)
        self.unet.register_to_config(sample_size=height if is_height else [height, width])
        if self.config.mel:
            self.register_to_config(mel={**self.config.mel, "frames": height})

    @torch.no_grad()
    def conditions(self, prompts: Sequence[str | None]) -> Conditions:
        """What the UNet is told of each prompt, by the names of its forward; None is the empty condition.

        Raises:
            AudiokdError: a label that it does not know.
        """
        device, dtype = self.unet.device, self.unet.dtype
        if self.config.label2id:
            ids = torch.tensor([self.number(p) for p in prompts], device=device)
            return {"encoder_hidden_states": F.one_hot(ids, len(self.labels) + 1)[:, None].to(dtype)}
        if self.language_model is not None:
            return two_texts(self, ["" if p is None else p for p in prompts])
        tokens = self.tokenizer(
            ["" if p is None else p for p in prompts],
            padding="max_length", max_length=_longest(self), truncation=True, return_tensors="pt",
        ).to(device)  # fmt: skip
        kind = type(self.text_encoder).__name__
        given = {k: tokens[k] for k in ("input_ids", "attention_mask") if k in tokens}
        if kind in ("ClapTextModelWithProjection", "ClapModel"):
            clap = kind == "ClapModel"
            found = self.text_encoder.get_text_features(**given) if clap else self.text_encoder(**given).text_embeds
            found = getattr(found, "pooler_output", found)
            found = found if clap else F.normalize(found, dim=-1)  # get_text_features' are of length 1
            return {"encoder_hidden_states": None, "class_labels": found.to(dtype)}
        if kind == "CLIPTextModel" and not getattr(self.text_encoder.config, "use_attention_mask", False):
            return {"encoder_hidden_states": self.text_encoder(tokens["input_ids"])[0].to(dtype)}
        states = self.text_encoder(**given)[0].to(dtype)
        return {"encoder_hidden_states": states, "encoder_attention_mask": tokens["attention_mask"]}

    def number(self, label: str | None) -> int:
        """Of a label; the empty condition's is the last."""
        known = self.config.label2id
        if label is not None and label not in known:
            some = ", ".join(self.labels[:10]) + (", ..." if len(known) > 10 else "")
            raise AudiokdError(f"the model knows no label {label!r}", fix=f"its labels: {some}")
        return len(known) if label is None else known[label]

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[str | None],
        noise: Tensor,
        steps: int | None = None,
        guidance: float | None = None,
        sampler: Sampler | None = None,
        timestep_spacing: str | None = None,
        more_noise: Callable[[int], Tensor] | None = None,
    ) -> Tensor:
        """What the last step leaves, [B, C, H, W]: pictures, log-mel spectrograms or latents, for `decode`.

        Args:
            prompts: B labels or texts.
            noise: [B, C, H, W] that sampling begins with.
            steps, guidance, sampler: the pipeline's own unless given.
            timestep_spacing: leading or trailing; the schedule's own unless given.
            more_noise: of a consistency model's step k >= 1, [B, C, H, W].

        Raises:
            AudiokdError: as of `closed_form`, or of `sampling_timesteps`.
        """
        c = self.config
        steps, sampler = steps or c.steps, sampler or c.sampler
        w = c.guidance if guidance is None else guidance
        scheduler = ddim_of(self.scheduler, timestep_spacing=timestep_spacing or self.scheduler.config.timestep_spacing)
        told = self.conditions(prompts)
        if w != 1:
            told = joined(self.conditions([None] * len(prompts)), told)
        z = noise.to(self.unet.device, self.unet.dtype)

        def answer(x: Tensor, t: Any) -> Tensor:
            return guided(lambda x: self.unet(x, t, **{"encoder_hidden_states": None} | told).sample, x, w)

        if sampler == "lcm":
            times = sampling_timesteps(scheduler.config.num_train_timesteps, c.solver_steps, steps)
            for k, t in enumerate(times.tolist()):
                at = torch.full((len(z),), t, device=z.device)
                picture, _ = split(scheduler, answer(z, t), z, at)
                z = consistent(z, picture, at)
                if k + 1 < steps:
                    if more_noise is None:
                        raise AudiokdError("a consistency model of several steps needs noise between them")
                    z = scheduler.add_noise(z, more_noise(k + 1).to(z), at.new_full((len(z),), int(times[k + 1])))
            return z
        form = closed_form(scheduler, steps)
        if sampler == "tiue":
            halves, t = SharedEncoderUNet(self.unet), form.timesteps.to(z.device)
            return form.sample(z, guided(lambda x: halves(x, t, **told), z, w, dim=1))
        for t, (a, b) in zip(form.timesteps.tolist(), form.steps.tolist()):
            z = a * z + b * answer(z, t)
        return z

    def decode(self, found: Tensor) -> Tensor:
        """Pictures [B, C, H, W] in [-1, 1], or log-mel spectrograms [B, 1, frames, n_mels], of what `sample` gives."""
        if self.vae is None:
            return found
        c = self.vae.config
        return self.vae.decode(found / c.scaling_factor + (getattr(c, "shift_factor", None) or 0.0)).sample

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """[B, C, H, W] that the UNet learns, of pictures [B, C', H', W'] in [-1, 1]."""
        if self.vae is None:
            return pictures
        c = self.vae.config
        return (
            self.vae.encode(pictures).latent_dist.mode() - (getattr(c, "shift_factor", None) or 0.0)
        ) * c.scaling_factor

    @torch.no_grad()
    def sounds(self, spectrograms: Tensor) -> np.ndarray:
        """float32 [B, T] at `sample_rate` of log-mel spectrograms [B, 1, frames, n_mels], by vocoder or Griffin and Lim's way."""
        if self.vocoder is None:
            assert self.mel is not None
            return np.stack([self.mel.sound(x) for x in spectrograms.float().cpu().numpy()])
        if self.mel is not None:
            scaled = [self.mel.log_mel(x) for x in spectrograms.float().cpu().numpy()]
            spectrograms = torch.from_numpy(np.stack(scaled))[:, None]
        return self.vocoder(spectrograms[:, 0].to(self.vocoder.device, self.vocoder.dtype)).float().cpu().numpy()

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], seed: int = 0, **how: Any) -> np.ndarray:
        """Pictures uint8 [B, H, W, C], or sounds float32 [B, T], of labels or texts.

        Args:
            prompts: of each.
            seed: of the noise.
            how: as of `sample`.
        """
        generator = torch.Generator().manual_seed(seed)
        shape = (len(prompts), *self.sample_shape)
        noise = torch.randn(shape, generator=generator)
        more = [torch.randn(shape, generator=generator) for _ in range((how.get("steps") or self.config.steps) - 1)]
        found = self.decode(self.sample(prompts, noise, more_noise=lambda k: more[k - 1], **how))
        return self.sounds(found) if self.media == "audio" else pixels(found)


def pixels(pictures: Tensor) -> np.ndarray:
    """uint8 [B, H, W, C] of pictures [B, C, H, W] in [-1, 1]."""
    scaled = ((pictures.float().clamp(-1, 1) + 1) * 127.5).round()
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def guided(network: Callable[[Tensor], Tensor], sample: Tensor, w: float, dim: int = 0) -> Tensor:
    """Classifier-free guidance (arXiv 2207.12598): o(null) + w (o(condition) - o(null)).

    Args:
        network: told of B times the condition; where `w` is not 1, of B times the empty one before.
        sample: [B, C, H, W].
        w: guidance.
        dim: where the batch stands in its answer.
    """
    if w == 1:
        return network(sample)
    null, told = network(torch.cat([sample, sample])).chunk(2, dim)
    return null + w * (told - null)


def joined(first: Conditions, second: Conditions) -> Conditions:
    """Two batches' conditions as one batch's."""
    if "encoder_hidden_states_1" in first:  # their texts may be of other lengths
        longest = max(c["encoder_attention_mask_1"].shape[1] for c in (first, second))
        first, second = padded(first, longest), padded(second, longest)
    return {k: None if v is None else torch.cat([v, second[k]]) for k, v in first.items()}


def _longest(pipeline: TiUEPipeline) -> int:
    """Tokens that a text is padded to."""
    most = getattr(pipeline.text_encoder.config, "max_position_embeddings", 512)
    return min(pipeline.tokenizer.model_max_length, most)
