"""What does the paper's 30 s window cost in distillation, beside a window that is as long as the crop?

    python benchmarks/window.py --teacher egs/festvox_ru/tok1/downloads/whisper-base [--batch_size 1] [--repeats 5] [--threads 1]

Times the teacher's part of a training step as methods/lm_spt/module.py takes it: features of the original without gradient,
features of the auxiliary decoder's sound with it, their distance, and the gradient back to that sound. Both windows take
turns on the same real speech; the median of each is compared.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import torchaudio

from audiokd.data.audio import load
from audiokd.data.fetch import downloads_dir, fetch_pypi
from audiokd.data.utterance import Utterance
from audiokd.launch.local import keep_freed_memory
from audiokd.losses.resynthesis import resynthesis_loss
from audiokd.teachers.auto import load_teacher
from audiokd.teachers.base import FrozenTeacher

WHEEL = ("moonshine-voice", "0.1.5", "1ed9e0ccf94be4845d69e7fa862dcf4c8b5801a758796966494c694f48184496")


def distil(teacher: FrozenTeacher, wav: torch.Tensor) -> torch.Tensor:
    """Gradient of the resynthesis loss with respect to a noisy copy of `wav` [B, T]."""
    target = teacher.targets({"wav": wav})
    heard = (wav + 0.01 * torch.randn_like(wav)).requires_grad_()
    resynthesis_loss(teacher(heard)[0], target["features"], target["feature_lengths"]).backward()
    return heard.grad


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--teacher", required=True)
    p.add_argument("--batch_size", type=int, default=1)
    p.add_argument("--repeats", type=int, default=5)
    p.add_argument("--threads", type=int, default=1)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    keep_freed_memory()
    (path,) = fetch_pypi(*WHEEL, downloads_dir() / "benchmarks", ["moonshine_voice/assets/two_cities.wav"])
    wav, rate = load(Utterance("two_cities", str(path)))
    speech = torchaudio.functional.resample(torch.from_numpy(wav), rate, 16000)
    teachers = {w: load_teacher(a.teacher, window=w) for w in ("full", "crop")}
    print(f"batch {a.batch_size}, {a.threads} threads, torch {torch.__version__}\n")
    print("| crop | full window, s (median, range) | crop window, s (median, range) | full / crop |")
    print("| --- | --- | --- | --- |")
    for crop_s in (1.28, 3.0, 6.0):
        n = round(crop_s * 16000)
        batch = torch.stack([speech[i * n : (i + 1) * n] for i in range(a.batch_size)])
        times: dict[str, list[float]] = {w: [] for w in teachers}
        for turn in range(a.repeats + 1):
            for window, teacher in teachers.items():
                start = time.perf_counter()
                distil(teacher, batch)
                if turn:  # the first is for warming up
                    times[window].append(time.perf_counter() - start)
        median = {w: statistics.median(t) for w, t in times.items()}
        cells = [f"{median[w]:.2f} ({min(t):.2f}-{max(t):.2f})" for w, t in times.items()]
        print(f"| {crop_s:g} s | {' | '.join(cells)} | {median['full'] / median['crop']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
