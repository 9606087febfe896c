"""How fast is a step of MERT pretraining, beside transformers' HubertModel; and what do targets cost that are made in the step?

    python benchmarks/mert.py [--config mert/base] [--batch_size 2] [--repeats 5] [--threads 1] [--device cpu]

All take the same crops of real speech, the same first weights, masks, noise and optimiser, in turns, each in a process of its own;
a step is everything from waveforms to the update. "Stored" targets are there before the clock runs, as cached codes and magnitudes
would be. HubertModel is run by transformers as it comes, with its own attention, dropout and layerdrop; heads and losses
are ours. EnCodec has the released 24 kHz model's shape with random weights: its time is that of any weights.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchaudio
from torch import Tensor
from transformers import EncodecConfig, EncodecModel, HubertModel
from turns import Arrangement, in_turns, table

from audiokd.data.audio import load
from audiokd.data.fetch import downloads_dir, fetch_pypi
from audiokd.data.utterance import Utterance
from audiokd.methods.mert.convert import write_folder
from audiokd.methods.mert.module import MERTModule
from audiokd.methods.mert.settings import MERTSettings
from audiokd.stages.fit import build_settings, read_config
from audiokd.teachers.codes import CodeTeacher
from audiokd.teachers.encodec import EncodecTokenizer

WHEEL = ("moonshine-voice", "0.1.5", "1ed9e0ccf94be4845d69e7fa862dcf4c8b5801a758796966494c694f48184496")
HUBERT, STORED = "HubertModel, stored targets", "audiokd, stored targets"
IN_STEP = {
    "audiokd, CQT in the step": {"cqt"},
    "audiokd, EnCodec in the step": {"codes"},
    "audiokd, both": {"cqt", "codes"},
}


class Hubert(torch.nn.Module):
    """HubertModel where the module looks for its student."""

    def __init__(self, module: MERTModule):
        super().__init__()
        ours = module.student
        with tempfile.TemporaryDirectory() as folder:
            write_folder(ours, {}, Path(folder), "")
            self.net = HubertModel.from_pretrained(folder)
        self.feature_extractor, self.normed = ours.feature_extractor, ours.normed
        self.parts = torch.nn.ModuleList([self.net.feature_extractor, self.net.feature_projection, self.net.encoder])

    def convolve(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self.net.feature_extractor(wav).transpose(1, 2), self.feature_extractor.frames(lengths)

    def states(self, features: Tensor, frames: Tensor, mask: Tensor) -> list[Tensor]:
        x = self.net.feature_projection(features)
        x = torch.where(mask[..., None], self.net.masked_spec_embed, x)
        return [self.net.encoder(x)[0]]


def make(
    name: str, settings: MERTSettings, batch_size: int, device: str, speech: Tensor
) -> tuple[Callable[[int], Any], Callable[[Any, int], Any]]:
    """What draws a batch and its stored targets, and the step of an arrangement."""
    torch.manual_seed(0)
    encodec = EncodecTokenizer(EncodecModel(shape := EncodecConfig()), shape)
    module = MERTModule(settings, CodeTeacher(encodec)).to(device).train()
    targets = module.targets
    if name == HUBERT:
        module.__dict__["_modules"]["student"] = Hubert(module).to(device).train()
    optimizer = module.configure_optimizers()
    rate = settings.model.sample_rate
    n = round(settings.data.crop_s * rate)

    def draw(turn: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
        starts = np.random.default_rng(turn).integers(len(speech) - n, size=batch_size)
        wav = torch.stack([speech[s : s + n] for s in starts]).to(device)
        lengths = torch.full((batch_size,), n, device=device)
        batch = {"wav": wav, "lengths": lengths, "ids": [str(i) for i in range(batch_size)]}
        return batch, targets(batch)

    def step(inputs: tuple[dict[str, Any], dict[str, Tensor]], turn: int) -> None:
        batch, stored = inputs
        in_step = IN_STEP.get(name, set())
        said = dict(stored)
        if "codes" in in_step:
            said |= module.teacher.targets(batch)
        if "cqt" in in_step:
            said["cqt"] = module.cqt(batch["wav"], batch["lengths"])[0][:, : stored["cqt"].shape[1]]
        said["codes"] = said["codes"][..., : stored["codes"].shape[-1]]
        module.targets = lambda _: {k: said[k] for k in stored}
        losses, _, _ = module.losses(batch, turn)
        optimizer.zero_grad()
        module.total(losses).backward()
        optimizer.step()

    return draw, step


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--config", default="mert/base")
    p.add_argument("--batch_size", type=int, default=2)
    p.add_argument("--repeats", type=int, default=5)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--device", default="cpu")
    a = p.parse_args()
    tree: dict[str, dict] = {}
    for key, value in read_config(a.config).items():
        group, _, name = key.partition(".")
        tree.setdefault(group, {})[name] = value
    tree.setdefault("teacher", {}).update(codes="", stored_codes="", cqt=True)
    settings = build_settings(MERTSettings, tree)
    (path,) = fetch_pypi(*WHEEL, downloads_dir() / "benchmarks", ["moonshine_voice/assets/two_cities.wav"])
    wav, rate = load(Utterance("two_cities", str(path)))
    speech = torchaudio.functional.resample(torch.from_numpy(wav), rate, settings.model.sample_rate)
    names = [HUBERT, STORED, *IN_STEP]
    args = (settings, a.batch_size, a.device, speech)
    times = in_turns({n: Arrangement(make, (n, *args), n != HUBERT) for n in names}, a.repeats, a.threads, a.device)
    shape = f"batch {a.batch_size} of {settings.data.crop_s:g} s"
    print(f"{a.config}, {shape}, {a.threads} threads, {a.device}, torch {torch.__version__}\n")
    print(table(times, a.batch_size, HUBERT, "crops"))
    base = statistics.median(times[STORED])
    for name in IN_STEP:
        whole = statistics.median(times[name])
        print(f"{name}: {(whole - base) / whole:.0%} of the step is spent on targets")


if __name__ == "__main__":
    main()
