"""How fast is a step of ATST pretraining, beside the arrangement of the official code?

    python benchmarks/pretrain.py [--config atst/frame_small] [--batch_size 4] [--repeats 5] [--threads 1] [--device cpu]

Ours: log-mel, views and masks of a batch at once on its device, attention by torch's scaled_dot_product_attention. Official
arrangement (audiossl, methods/atstframe and methods/atst), written anew: transforms clip by clip, in the same process here,
attention as matrix products with a softmax of scores to which a mask [B, 1, N, N] is added. Both take the same crops of real
speech, the same weights and the same optimiser, in turns, each in a process of its own, of which only ours keeps freed memory
(launch/local.py, as `audiokd fit` does); a step is everything from waveforms to the teacher's update. Not compared: reading
audio, and loader workers, which either arrangement may have.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable

import numpy as np
import torch
import torchaudio
from torch import Tensor
from torch.nn import functional as F
from turns import Arrangement, in_turns, table

from audiokd.data.audio import load
from audiokd.data.fetch import downloads_dir, fetch_pypi
from audiokd.data.utterance import Utterance
from audiokd.data.views.frame_mask import draw_mask
from audiokd.methods.atst.module import ATSTModule
from audiokd.methods.atst.settings import PATCH, ATSTSettings
from audiokd.methods.atst.views import Views
from audiokd.nn.ema import ema_update
from audiokd.nn.vit import Attention, Block, take_rows
from audiokd.stages.fit import build_module, build_settings, read_config

OFFICIAL = "official arrangement"
WHEEL = ("moonshine-voice", "0.1.5", "1ed9e0ccf94be4845d69e7fa862dcf4c8b5801a758796966494c694f48184496")


class PerClipViews:
    """Two views of each clip, one after another."""

    def __init__(self, settings: ATSTSettings, device: str):
        self.settings, self.device = settings, device
        self.mel = torchaudio.transforms.MelSpectrogram(
            16000, n_fft=1024, win_length=settings.model.win_length, hop_length=160, f_min=60, f_max=7800, n_mels=64
        )
        self.db = torchaudio.transforms.AmplitudeToDB(stype="power", top_db=80)
        self.memory: list[list[Tensor]] = [[], []]
        self.rng = np.random.default_rng(0)
        self.clip = settings.model.kind == "clip"
        self.both = self.clip if settings.views.both is None else settings.views.both

    def __call__(self, crops: Tensor) -> Views:
        """Views of waveforms [B, crops, T]."""
        mels: list[list[Tensor]] = [[], []]
        masks = []
        for clip in crops:
            features = [2 * (self.db(self.mel(c[None])) + 79.6482) / 130.3324 - 1 for c in clip]
            for v in (0, 1):
                x = features[min(v, len(features) - 1)]
                mels[v].append(self.change(x, self.memory[v]) if v or self.both else x)
            masks.append(torch.from_numpy(draw_mask(self.rng, mels[0][0].shape[-1] // PATCH)))
        mel = torch.cat([torch.cat(m) for m in mels]).to(self.device)
        frames = torch.full((len(mel),), mel.shape[-1], device=self.device)
        return Views(mel, frames, None if self.clip else torch.stack(masks).repeat(2, 1).to(self.device))

    def change(self, x: Tensor, memory: list[Tensor]) -> Tensor:
        """Log-mixup-exp with a clip of the memory, then a random resize crop."""
        a = self.settings.views.mixup * random.random()
        if memory:
            mixed = torch.log((1 - a) * x.exp() + a * random.choice(memory).exp() + torch.finfo(x.dtype).eps)
        else:
            mixed = x
        memory.append(x)
        del memory[: -self.settings.views.mixup_memory]
        bands, frames = x.shape[1:]
        width = int(1.5 * frames) if self.clip else frames
        area = torch.zeros(1, bands, width)
        left = (width - frames) // 2
        area[..., left : left + frames] = mixed
        h = min(max(int(random.uniform(0.6, 1.5) * bands), 1), bands)
        w = min(max(int(random.uniform(0.6, 1.5) * frames), 1), width) if self.clip else frames
        i, j = random.randint(0, bands - h), random.randint(0, width - w)
        cut = area[:, i : i + h, j : j + w]
        return F.interpolate(cut[None], size=(bands, frames), mode="bicubic", align_corners=True)[0]


def whole_block(self: Block, x: Tensor, mask: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
    """Every token's output, of which the wanted ones are taken."""
    whole = Block.forward(self, x, mask)
    return whole if rows is None else take_rows(whole, rows)


def eager_attention(self: Attention, x: Tensor, mask: Tensor | None, rows: None = None) -> Tensor:
    """Scores, a mask of their size added to them, softmax, and the weighted sum, each a tensor of its own."""
    b, n, d = x.shape
    q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, d // self.num_heads).permute(2, 0, 3, 1, 4)
    scores = (q @ k.transpose(-2, -1)) * (d // self.num_heads) ** -0.5
    hidden = torch.zeros(b, 1, 1, n, device=x.device) if mask is None else -10000.0 * (~mask)
    scores += hidden.expand(b, 1, n, n)
    return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, d))


def step_of(module: ATSTModule, views_of: Callable[[Tensor, int], Views]) -> Callable[[Tensor, int], float]:
    """A whole step on waveforms [B, crops, T]."""
    optimizer = module.configure_optimizers()

    def step(wav: Tensor, number: int) -> float:
        prediction, target, _ = module.outputs(views_of(wav, number))
        loss = module.loss(prediction, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema_update(module.teacher.encoder, module.student.encoder, 0.99)
        ema_update(module.teacher.projector, module.student.projector, 0.99)
        return float(loss.detach())

    return step


def make_step(name: str, settings: ATSTSettings, device: str) -> Callable[[Tensor, int], float]:
    """The step of an arrangement."""
    module = build_module("atst", settings).to(device).train()
    if name == OFFICIAL:
        per_clip = PerClipViews(settings, device)
        for m in module.modules():
            for kind, forward in ((Attention, eager_attention), (Block, whole_block)):
                if isinstance(m, kind):
                    m.forward = forward.__get__(m)  # type: ignore[method-assign]
        return step_of(module, lambda wav, _: per_clip(wav))

    def views(wav: Tensor, number: int) -> Views:
        lengths = torch.full((len(wav),), wav.shape[-1], device=device)
        batch = {"wav": wav.to(device), "lengths": lengths}
        return module.views(*module.crops_of(batch), [str(i) for i in range(len(wav))], number)

    return step_of(module, views)


def make(
    name: str, settings: ATSTSettings, batch_size: int, device: str, speech: Tensor
) -> tuple[Callable[[int], Tensor], Callable[[Tensor, int], float]]:
    """What draws crops [B, crops, T] of speech, and the step of an arrangement."""
    step, n = make_step(name, settings, device), round(settings.data.crop_s * 16000)
    crops = build_module("atst", settings).crops

    def draw(turn: int) -> Tensor:
        starts = np.random.default_rng(turn).integers(len(speech) - n, size=(batch_size, crops))
        return torch.stack([torch.stack([speech[s : s + n] for s in row]) for row in starts])

    return draw, step


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--config", default="atst/frame_small")
    p.add_argument("--batch_size", type=int, default=4)
    p.add_argument("--repeats", type=int, default=5)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--device", default="cpu")
    a = p.parse_args()
    tree: dict[str, dict] = {}
    for key, value in read_config(a.config).items():
        group, _, name = key.partition(".")
        tree.setdefault(group, {})[name] = value
    settings = build_settings(ATSTSettings, tree)
    (path,) = fetch_pypi(*WHEEL, downloads_dir() / "benchmarks", ["moonshine_voice/assets/two_cities.wav"])
    wav, rate = load(Utterance("two_cities", str(path)))
    speech = torchaudio.functional.resample(torch.from_numpy(wav), rate, 16000)
    times = in_turns(
        {
            name: Arrangement(make, (name, settings, a.batch_size, a.device, speech), name != OFFICIAL)
            for name in (OFFICIAL, "audiokd")
        },
        a.repeats,
        a.threads,
        a.device,
    )
    print(f"{a.config}, batch {a.batch_size}, {a.threads} threads, {a.device}, torch {torch.__version__}\n")
    print(table(times, a.batch_size, OFFICIAL, "clips"))


if __name__ == "__main__":
    main()
