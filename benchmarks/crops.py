"""How fast does training read its crops: from files, from shards that keep every sample, from shards of the rate that it hears?

    python benchmarks/crops.py [--sample_rate 16000] [--crop_s 6] [--crops 64] [--repeats 5]

A real recording at 48 kHz, cut into wav files of 12 s. The same crops at the same places are read in turns, in one process of one
thread, by what `audiokd fit` reads with; the median of each arrangement is compared, and what its folder takes on disk.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import soundfile as sf
import torch

from audiokd.data.audio import write_wav
from audiokd.data.crops import CropDataset
from audiokd.data.fetch import downloads_dir, fetch_pypi
from audiokd.data.inputs import open_input
from audiokd.stages.shard import shard

WHEEL = ("moonshine-voice", "0.1.5", "1ed9e0ccf94be4845d69e7fa862dcf4c8b5801a758796966494c694f48184496")
CUT_S = 12


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sample_rate", type=int, default=16000)
    p.add_argument("--crop_s", type=float, default=6.0)
    p.add_argument("--crops", type=int, default=64)
    p.add_argument("--repeats", type=int, default=5)
    a = p.parse_args()
    torch.set_num_threads(1)
    (path,) = fetch_pypi(*WHEEL, downloads_dir() / "benchmarks", ["moonshine_voice/assets/two_cities.wav"])
    wav, rate = sf.read(path, dtype="float32")
    with tempfile.TemporaryDirectory() as made:
        folders = {name: Path(made) / name for name in ("files", "shards", f"shards at {a.sample_rate} Hz")}
        files, exact, resampled = folders.values()
        files.mkdir()
        for k in range(len(wav) // (CUT_S * rate)):
            write_wav(files / f"{k:03d}.wav", wav[k * CUT_S * rate : (k + 1) * CUT_S * rate], rate)
        shard(str(files), str(exact))
        shard(str(files), str(resampled), sample_rate=a.sample_rate)
        sets = {
            name: CropDataset(list(open_input(folder).utterances()), a.sample_rate, a.crop_s, seed=0)
            for name, folder in folders.items()
        }
        times: dict[str, list[float]] = {name: [] for name in sets}
        for turn in range(a.repeats + 1):
            for name, crops in sets.items():
                start = time.perf_counter()
                for k in range(a.crops):
                    crops[turn, k % len(crops)]
                if turn:  # the first is for warming up
                    times[name].append(time.perf_counter() - start)
        sizes = {name: sum(f.stat().st_size for f in folder.rglob("*.*")) for name, folder in folders.items()}
    print(f"crops of {a.crop_s:g} s at {a.sample_rate} Hz from {rate} Hz, 1 thread, torch {torch.__version__}\n")
    print("| read from | crops a second (median, range) | against files | on disk against files |")
    print("| --- | --- | --- | --- |")
    for name, of in times.items():
        median = statistics.median(of)
        shown = f"{a.crops / median:.0f} ({a.crops / max(of):.0f}-{a.crops / min(of):.0f})"
        against = f"{statistics.median(times['files']) / median:.2f} | {sizes[name] / sizes['files']:.2f}"
        print(f"| {name} | {shown} | {against} |")


if __name__ == "__main__":
    main()
