"""Does memory, or the cost of an utterance, grow with the corpus? Many short utterances through validate, shard and tokenize.

    python benchmarks/many.py [--utterances 200000] [--nj 2] [--out many]

The utterances are 0.4 s stretches of real recordings of 5 s, as Kaldi's segments; the tokenizer is LM-SPT's debug size, untrained.
Each command runs by itself; twice a second the resident memory of its processes is read, beside the count that it has reached.
Writes OUT.csv (command, seconds, utterances, MB) and OUT.svg, and prints memory and speed of each tenth of the corpus.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile as sf

from audiokd.eval.table import markdown

Row = tuple[str, float, int, float]


def make_corpus(folder: Path, utterances: int) -> None:
    """200 recordings of 5 s, each with as many segments as are needed; some overlap."""
    from encode import speech

    wav, rate = speech(44.0)
    (folder / "wav").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for r in range(200):
        start = int(rng.integers(0, wav.shape[1] - 5 * rate))
        sf.write(folder / "wav" / f"r{r:03d}.wav", wav[0, start : start + 5 * rate].numpy(), rate)
    (folder / "wav.scp").write_text("".join(f"r{r:03d} {folder}/wav/r{r:03d}.wav\n" for r in range(200)))
    each = -(-utterances // 200)
    rows = [
        f"r{r:03d}-{i:05d} r{r:03d} {s:.4f} {s + 0.4:.4f}\n"
        for r in range(200)
        for i, s in enumerate(np.linspace(0, 4.6, each))
    ]
    (folder / "segments").write_text("".join(rows[:utterances]))


def resident_mb(root: int) -> float:
    """Of a process and all that it started."""
    parents: dict[int, int] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(pid)] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    mine, found = {root}, 0
    while found != len(mine):
        found = len(mine)
        mine |= {p for p, parent in parents.items() if parent in mine}
    total = 0
    for pid in mine:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
    return total * os.sysconf("SC_PAGE_SIZE") / 1e6


def watched(name: str, words: list[str], rows: list[Row]) -> None:
    """Run a command and add a row every half second."""
    start = time.monotonic()
    run = subprocess.Popen([sys.executable, "-m", "audiokd.cli", *words], stderr=subprocess.PIPE, text=True)
    reached, said = [0], []

    def listen() -> None:
        assert run.stderr is not None
        for line in run.stderr:
            said.append(line)
            if found := re.search(r" ([\d,]+)/[\d,]+ utterances", line):
                reached[0] = int(found[1].replace(",", ""))

    thread = threading.Thread(target=listen)
    thread.start()
    while run.poll() is None:
        rows.append((name, time.monotonic() - start, reached[0], resident_mb(run.pid)))
        time.sleep(0.5)
    thread.join()
    if run.returncode:
        sys.exit("".join(said[-5:]))
    rows.append((name, time.monotonic() - start, reached[0], float("nan")))
    print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)


def tenths(rows: list[Row]) -> list[list[str]]:
    """Seconds and greatest memory of a command; memory and speed of each tenth of its utterances, where their count is shown often
    enough to tell."""
    found = []
    for name in dict.fromkeys(r[0] for r in rows):
        seconds, done, mb = (np.array(x, dtype=float) for x in list(zip(*(r for r in rows if r[0] == name)))[1:])
        shown = np.flatnonzero(np.diff(done) > 0) + 1
        row = [name, f"{seconds[-1]:.0f} s, {np.nanmax(mb):.0f} MB"]
        for part in range(10):
            low, high = done[-1] * part / 10, done[-1] * (part + 1) / 10
            if len(shown) < 8 or low < done[shown[0]]:
                row.append("-")
                continue
            start, end = np.interp([low, high], done[shown], seconds[shown])
            at = (seconds >= start) & (seconds <= end) & np.isfinite(mb)
            row.append(f"{mb[at].max():.0f} MB, {(high - low) / (end - start):.0f}/s" if at.any() else "-")
        found.append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=200_000)
    parser.add_argument("--nj", type=int, default=2)
    parser.add_argument("--out", default="many")
    args = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        data, dump, model = f"{folder}/data", f"{folder}/dump", f"{folder}/model"
        make_corpus(Path(data), args.utterances)
        make_model(model)
        nj = ["--nj", str(args.nj)]
        watched("validate", ["validate", data, *nj], rows)
        watched("shard", ["shard", data, dump, *nj], rows)
        watched("tokenize", ["tokenize", model, dump, f"{folder}/tokens", *nj, "--threads", "1"], rows)
        watched("verify", ["store", "verify", f"{folder}/tokens"], rows)
    with open(f"{args.out}.csv", "w", newline="") as f:
        csv.writer(f).writerows([("command", "seconds", "utterances", "resident_mb"), *rows])
    print(markdown(["command", "whole", *(f"{p}0 to {p + 1}0 %" for p in range(10))], tenths(rows)))
    plot(rows, f"{args.out}.svg")


def plot(rows: list[Row], out: str) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.5))
    for name in ("validate", "shard", "tokenize"):
        mine = [(r[2], r[3]) for r in rows if r[0] == name]
        axes.plot(*zip(*mine), label=name)
    axes.set(xlabel="utterances", ylabel="resident memory of all processes, MB", ylim=(0, None))
    axes.legend()
    figure.tight_layout()
    figure.savefig(out)


def make_model(folder: str) -> None:
    import torch
    import yaml

    from audiokd.methods.lm_spt.config import LMSPTConfig
    from audiokd.methods.lm_spt.model import LMSPTModel

    packaged = Path(__file__).parents[1] / "audiokd" / "conf" / "lm_spt" / "debug.yaml"
    torch.manual_seed(0)
    LMSPTModel(LMSPTConfig(**yaml.safe_load(packaged.read_text())["model"])).save_pretrained(folder)


if __name__ == "__main__":
    main()
