"""How fast is encoding, beside its own plain form and beside EnCodec and Mimi? One run, one machine, ratios.

    python benchmarks/encode.py [--seconds 10] [--repeats 5] [--threads 2]

Every model has random weights (cost does not depend on them) and the same 10 s of real speech, resampled to its rate.
The contestants take turns, `--repeats` rounds; the median of each is compared. `plain` is the same LM-SPT network as one writes
it first: weight norm computed at every call, Snake as a formula, torch.no_grad, the allocator as it comes. The ceiling is
this machine's own fp32 matrix product, measured in the same run.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
import torchaudio
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from audiokd.data.audio import load
from audiokd.data.fetch import downloads_dir, fetch_pypi
from audiokd.data.utterance import Utterance
from audiokd.launch.local import keep_freed_memory
from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.methods.lm_spt.model import LMSPTModel
from audiokd.nn.codec.snake import EPS, Snake1d


class PlainSnake(nn.Module):
    """x + sin^2(a x) / a, written as the formula."""

    def __init__(self, snake: Snake1d):
        super().__init__()
        self.alpha = snake.alpha

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + (self.alpha + EPS).reciprocal() * torch.sin(self.alpha * x).pow(2)


def plain(model: LMSPTModel) -> LMSPTModel:
    """A copy without our levers."""
    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Snake1d):
                setattr(parent, name, PlainSnake(child))
    return model


def speech(seconds: float) -> tuple[torch.Tensor, int]:
    wheel = ("moonshine-voice", "0.1.5", "1ed9e0ccf94be4845d69e7fa862dcf4c8b5801a758796966494c694f48184496")
    (path,) = fetch_pypi(*wheel, downloads_dir() / "benchmarks", ["moonshine_voice/assets/two_cities.wav"])
    wav, rate = load(Utterance("two_cities", str(path)))
    return torch.from_numpy(wav[: round(seconds * rate)])[None], rate


def ceiling_gflops() -> float:
    """fp32 matrix product, the best of ten."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    a @ b
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best / 1e9


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seconds", type=float, default=10.0)
    p.add_argument("--repeats", type=int, default=5)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    from transformers import EncodecConfig, EncodecModel, MimiConfig, MimiModel

    wav, rate = speech(a.seconds)
    at24 = torchaudio.functional.resample(wav, rate, 24000)
    ours = LMSPTModel(LMSPTConfig()).eval().requires_grad_(False)
    slow = plain(ours)
    ours.fold()
    encodec = EncodecModel(EncodecConfig()).eval()
    mimi = MimiModel(MimiConfig()).eval()
    contestants = {
        "LM-SPT, plain eager": lambda: slow.encode(at24).codes,
        "EnCodec 24 kHz (transformers), 8 codebooks": lambda: encodec.encode(at24[:, None], bandwidth=6.0).audio_codes,
        "Mimi (transformers), 8 codebooks": lambda: mimi.encode(at24[:, None], num_quantizers=8).audio_codes,
        "LM-SPT, audiokd": lambda: ours.encode(at24).codes,
    }
    flops, codes = {}, {}
    for name, f in contestants.items():
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            codes[name] = f()
        flops[name] = counter.get_total_flops() / a.seconds / 1e9
    times: dict[str, list[float]] = {name: [] for name in contestants}
    peak = ceiling_gflops()
    for name, f in contestants.items():  # ours last: its allocator setting cannot be taken back
        if name == "LM-SPT, audiokd":
            keep_freed_memory()
        with torch.inference_mode() if name == "LM-SPT, audiokd" else torch.no_grad():
            f()
            for _ in range(a.repeats):
                start = time.perf_counter()
                f()
                times[name].append(time.perf_counter() - start)
    equal = (codes["LM-SPT, audiokd"] == codes["LM-SPT, plain eager"]).float().mean().item()
    base = statistics.median(times["LM-SPT, plain eager"])
    print(f"{a.seconds:g} s of speech, {a.threads} threads, ceiling {peak:.0f} GFLOP/s, torch {torch.__version__}\n")
    print("| encoder | GFLOP per audio second | audio s per s (median, range) | against plain | share of the ceiling |")
    print("| --- | --- | --- | --- | --- |")
    for name, t in times.items():
        m = statistics.median(t)
        low, high = a.seconds / max(t), a.seconds / min(t)
        share = flops[name] * a.seconds / m / peak
        print(
            f"| {name} | {flops[name]:.1f} | {a.seconds / m:.1f} ({low:.1f}-{high:.1f}) | {base / m:.2f} | {share:.0%} |"
        )
    print(f"\ncodes equal to the plain form's: {equal:.4%}")


if __name__ == "__main__":
    main()
