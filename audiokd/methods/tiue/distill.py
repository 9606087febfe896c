"""Distillation without data (TiUE, SwiftBrush): a frozen teacher and a model of the student's samples judge these samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audiokd.errors import ConfigError
from audiokd.losses.clip_hinge import clip_hinge
from audiokd.losses.denoising import weighted_noise_error
from audiokd.losses.noise_kl import noise_kl
from audiokd.losses.variational_score import variational_score
from audiokd.methods.tiue.module import DiffusionModule, adam, alphas
from audiokd.methods.tiue.settings import TiUESettings
from audiokd.training.schedules import linear
from audiokd.vision.ddim import closed_form, ddim_of, split
from audiokd.vision.lora import add_lora, lora_off
from audiokd.vision.shared_encoder_unet import SharedEncoderUNet
from audiokd.vision.tiue_pipeline import Conditions, TiUEPipeline, guided, joined


class DistillModule(DiffusionModule):
    """A student of T steps and one encoder pass. Steps take turns: the student by the difference of two noises, the fake score by
    the student's sample of the same step, as officially.

    The fake score is the teacher's UNet with adapters: off, it is the teacher to the bit. Nothing here says which student is best,
    for no loss measures that: best.ckpt is the last one that was validated. The logs show the teacher's error on the student's
    samples (`loss`: what the teacher finds odd) and `spread`, the mean distance between samples of a batch, which falls to 0 where
    they collapse.

    Args:
        settings: configuration.
        pipeline: the teacher's.
        student: what learns.
        scheduler: DDIM's, of the student.
        clip: of the CLIP term, with `pictures` and `texts` (`audiokd.teachers.clip_score.ClipScore`).

    Raises:
        AudiokdError: steps that the schedule does not have, or targets that the teacher does not.
        ConfigError: no time between `t_min` and `t_max`.
    """

    shown = ("loss", "spread")

    def __init__(
        self, settings: TiUESettings, pipeline: TiUEPipeline, student: nn.Module, scheduler: Any, clip: Any = None
    ):
        super().__init__(settings, pipeline, student)
        d, lora = settings.distill, settings.lora
        self.form, self.schedule = closed_form(scheduler, d.student_steps), ddim_of(pipeline.scheduler)
        found = add_lora(pipeline.unet, lora.rank, lora.alpha, lora.targets)
        pipeline.unet.eval()  # the adapters too
        self.lora = nn.ParameterDict({k.replace(".", "/"): p for k, p in found.items()})
        if d.checkpointing:
            pipeline.unet.enable_gradient_checkpointing()
        self.__dict__["clip"] = clip
        self.shape = pipeline.shape_of(d.size)
        self.total = self.schedule.config.num_train_timesteps
        self.window = (round(d.t_min * self.total), round(d.t_max * self.total))
        if self.window[0] >= self.window[1]:
            what = f"no time of {self.total} lies between {d.t_min} and {d.t_max} of the schedule"
            raise ConfigError(what, fix="--distill.t_min and --distill.t_max, further apart")

    def frozen(self) -> list[nn.Module]:
        found = super().frozen()
        return found if self.__dict__.get("clip") is None else [*found, self.clip.net]

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        o = self.settings.optim
        return [*super().configure_optimizers(), adam([*self.lora.values()], o, o.lora_lr)]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        of_student, of_fake = self.optimizers()  # type: ignore[misc]
        o, prompts = self.settings.optim, batch["prompts"]
        told = self.pipeline.conditions(prompts)
        noise = torch.randn(len(prompts), *self.shape, device=self.device)
        sample, parts = self.losses(noise, told, prompts)
        norm = self.update(self.student, of_student, o.lr, parts, batch)
        self.average()
        lora = [*self.lora.values()]
        sample = sample.detach()
        for _ in range(self.settings.distill.fake_steps):
            fake = self.fake_error(sample, self.dropped(prompts, self.settings.distill.drop_condition))
            fake_norm = self.update(lora, of_fake, o.lora_lr, {"fake": fake}, batch)
        loss = torch.stack([*parts.values()]).sum()
        about = {"loss": loss, **parts, "fake": fake, "grad_norm": norm, "fake_grad_norm": fake_norm}
        self.step_done(about | {"spread": spread(sample), "std": sample.std()})

    def sample(self, network: nn.Module, noise: Tensor, told: Conditions) -> tuple[Tensor, Tensor]:
        """What T steps of one encoder pass make of noise [B, ...], and the noise [T, B, ...] that each step predicts."""
        answers = SharedEncoderUNet(network)(noise, self.form.timesteps.to(noise.device), **told).float()
        return self.form.sample(noise, answers), self.form.noises(noise, answers)

    def made(self, noise: Tensor, told: Conditions) -> Tensor:
        """What the student's gradient passes that grows with noise [B, ...]: its sample, of the CLIP term decoded."""
        sample, _ = self.sample(self.student, noise, told)
        return sample if self.clip is None else self.pipeline.decode(sample)

    def judged(self) -> Tensor:
        """What it passes beside, of the CLIP term: CLIP, which sees all pictures at its own size."""
        side = self.clip.net.config.vision_config.image_size
        found: Tensor = self.clip.pictures(torch.zeros(1, 3, side, side, requires_grad=True))
        return found

    def losses(self, noise: Tensor, told: Conditions, prompts: list[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """The student's sample [B, ...] of `noise`, and its losses, weighted, by name: `vsd`, `kl`, `clip`."""
        loss = self.settings.loss
        sample, noises = self.sample(self.student, noise, told)
        t = torch.randint(*self.window, (len(noise),), device=noise.device)
        with torch.no_grad():
            x = self.schedule.add_noise(sample, torch.randn_like(sample), t)
            theirs, mine = self.noises(x, t, told)
        parts = {"vsd": variational_score(sample, theirs, mine, alphas(self.schedule, t))}
        if loss.kl and self.settings.distill.kind == "tiue":
            parts["kl"] = loss.kl * noise_kl(noises.flatten(0, 1))
        if self.clip is not None:
            weight = linear(self.iteration, first=loss.clip, last=0.0, ramp_steps=self.run.max_steps)
            pictures, texts = self.clip.pictures(self.pipeline.decode(sample)), self.clip.texts(prompts)
            parts["clip"] = weight * clip_hinge(pictures, texts, loss.clip_tau)
        return sample, parts

    def noises(self, x: Tensor, t: Tensor, told: Conditions) -> tuple[Tensor, Tensor]:
        """The guided noise [B, ...] in x [B, ...] at t [B] by the teacher, and by the fake score."""
        w = self.settings.distill.guidance
        both = told if w == 1 else joined(self.empty(len(x)), told)

        def noise() -> Tensor:
            return split(self.schedule, guided(lambda x: self.answer(x, t, both), x, w), x, t)[1]

        with lora_off(self.pipeline.unet):
            theirs = noise()
        return theirs, noise()

    def answer(self, x: Tensor, t: Tensor, told: Conditions) -> Tensor:
        """float32 [B, ...] of the teacher's UNet, as its adapters are; x may hold the batch twice, t does not."""
        times = t.repeat(len(x) // len(t))
        return self.pipeline.unet(x, times, **{"encoder_hidden_states": None} | told).sample.float()

    def fake_error(self, sample: Tensor, told: Conditions) -> Tensor:
        """The fake score's loss on samples [B, ...] that it learns to know.

        Of a teacher that predicts pictures it is their error: the noise's would count it 1 / (1 - a_t) times, without end at t = 0.
        """
        t, noise = torch.randint(self.total, (len(sample),), device=sample.device), torch.randn_like(sample)
        x = self.schedule.add_noise(sample, noise, t)
        picture, found = split(self.schedule, self.answer(x, t, told), x, t)
        if self.schedule.config.prediction_type == "sample":
            return (picture - sample).square().mean()
        return weighted_noise_error(found, noise, alphas(self.schedule, t))

    def validate_batch(self, batch: dict[str, Any]) -> None:
        ids, prompts = batch["ids"], batch["prompts"]
        told = self.pipeline.conditions(prompts)
        sample, noises = self.sample(self.ema, self.drawn(ids, self.shape), told)
        noise, t = self.drawn(ids, self.shape, "val noise"), self.times(ids, *self.window)
        x = self.schedule.add_noise(sample, noise, t)
        with lora_off(self.pipeline.unet):
            found = split(self.schedule, self.answer(x, t, told), x, t)[1]
        error = (found - noise).square().mean()
        about = {"loss": error, "spread": spread(sample), "std": sample.std(), "kl": noise_kl(noises.flatten(0, 1))}
        self.add_val(about, len(ids))

    def criterion(self) -> float:
        return -float(self.iteration)


def spread(samples: Tensor) -> Tensor:
    """Mean root mean squared difference of two of the samples [B, ...]; 0 of one alone."""
    x = samples.detach().flatten(1).float()
    return torch.pdist(x).mean() / x.shape[1] ** 0.5 if len(x) > 1 else x.new_zeros(())
