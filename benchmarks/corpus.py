"""A folder of speech of mixed length to tokens: `audiokd tokenize` beside the loops that people write. One run, ratios.

    python benchmarks/corpus.py [--files 200] [--repeats 3] [--data FOLDER]

The model is LM-SPT at the released size with random weights. The files are FOLDER's, or cut out of one real recording, 0.5 to 25 s
long (log-normal, as read speech is). Every arrangement is a process of its own with torch's default threads, and takes its turn
--repeats times; its time is from when its imports are done until all codes are on disk, the loading of the model included:

    plain            one file after the other through the network as one writes it first, an .npy each
    padded           the same in batches of 8 in the order of the files
    best loop        one file after the other with audiokd's folded network, inference mode, freed memory kept
    tokenize         audiokd's command in one process
    tokenize --nj 2  in two processes of half of the threads

The ceiling is the machine's fp32 matrix product, measured before and after. What --nj 2 takes for its imports is in its time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from encode import ceiling_gflops, plain, speech
from torch.utils.flop_counter import FlopCounterMode

from audiokd.data.audio import load_at
from audiokd.data.utterance import Utterance
from audiokd.eval.table import markdown
from audiokd.hub.auto import load_model, load_tokenizer
from audiokd.launch.local import keep_freed_memory
from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.methods.lm_spt.model import LMSPTModel
from audiokd.stages.tokenize import tokenize
from audiokd.tokens.reader import StoredCodes
from audiokd.tokens.store import open_store

BATCH = 8


def cut_speech(folder: Path, files: int) -> None:
    wav, rate = speech(44.0)
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i, seconds in enumerate(np.clip(rng.lognormal(np.log(5.0), 0.7, files), 0.5, 25.0)):
        start = int(rng.integers(0, wav.shape[1] - int(seconds * rate)))
        sf.write(folder / f"{i:05d}.wav", wav[0, start : start + int(seconds * rate)].numpy(), rate)


def wavs(folder: Path, rate: int) -> list[tuple[str, Callable[[], np.ndarray]]]:
    """Name of each file and what reads it."""
    return [(p.stem, lambda p=p: load_at(Utterance(p.stem, str(p)), rate)) for p in sorted(folder.iterdir())]


def plain_loop(model_dir: str, folder: Path, out: Path) -> None:
    model = plain(load_model(model_dir))
    with torch.no_grad():
        for name, read in wavs(folder, model.sample_rate):
            codes = model.encode(torch.from_numpy(read())[None]).codes[0]
            np.save(out / name, codes.numpy())


def padded_batches(model_dir: str, folder: Path, out: Path) -> None:
    model = plain(load_model(model_dir))
    files = wavs(folder, model.sample_rate)
    with torch.no_grad():
        for first in range(0, len(files), BATCH):
            some = [(name, torch.from_numpy(read())) for name, read in files[first : first + BATCH]]
            padded = torch.nn.utils.rnn.pad_sequence([wav for _, wav in some], batch_first=True)
            for (name, wav), codes in zip(some, model.encode(padded).codes):
                np.save(out / name, codes[:, : -(-len(wav) // model.frame_size)].numpy())


def best_loop(model_dir: str, folder: Path, out: Path) -> None:
    keep_freed_memory()
    model = load_tokenizer(model_dir)
    with torch.inference_mode():
        for name, read in wavs(folder, model.sample_rate):
            codes = model.encode(torch.from_numpy(read())[None]).codes[0]
            np.save(out / name, codes.numpy())


def command(model_dir: str, folder: Path, out: Path) -> None:
    tokenize(model_dir, str(folder), str(out), shard_size=10)


def command_of_two(model_dir: str, folder: Path, out: Path) -> None:
    tokenize(model_dir, str(folder), str(out), shard_size=10, nj=2)


ARRANGEMENTS: dict[str, Callable[[str, Path, Path], None]] = {
    "plain": plain_loop,
    "padded": padded_batches,
    "best loop": best_loop,
    "tokenize": command,
    "tokenize --nj 2": command_of_two,
}


def timed(name: str, model_dir: str, folder: Path, out: Path) -> float:
    """Seconds of an arrangement in a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_timed, args=(name, model_dir, folder, out, there))
    process.start()
    there.close()
    took = here.recv()
    process.join()
    return took


def _timed(name: str, model_dir: str, folder: Path, out: Path, end: multiprocessing.connection.Connection) -> None:
    import transformers.models.auto.modeling_auto  # noqa: F401  a lazy module: its import is nobody's work

    start = time.perf_counter()
    ARRANGEMENTS[name](model_dir, folder, out)
    end.send(time.perf_counter() - start)


def codes_of(out: Path) -> dict[str, np.ndarray]:
    if (out / "complete.json").exists():
        return {item.id: item.codes for item in open_store(out).items() if isinstance(item, StoredCodes)}
    return {p.stem: np.load(p) for p in out.glob("*.npy")}


def equal(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> float:
    """The share of the codes; a file that is not there, or has other frames, is none of them."""
    same = sum(int((found[i] == w).sum()) for i, w in wanted.items() if i in found and found[i].shape == w.shape)
    return same / sum(w.size for w in wanted.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", default="", help="a folder of audio of your own")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as top:
        folder, model_dir = Path(args.data or f"{top}/wav"), f"{top}/model"
        if not args.data:
            cut_speech(folder, args.files)
        torch.manual_seed(0)
        model = LMSPTModel(LMSPTConfig()).eval()
        model.save_pretrained(model_dir)
        rate = model.sample_rate
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.encode(torch.zeros(1, 10 * rate))
        gflop = counter.get_total_flops() / 10 / 1e9
        seconds = [sf.info(p).duration for p in sorted(folder.iterdir())]
        peaks = [ceiling_gflops()]
        times: dict[str, list[float]] = {name: [] for name in ARRANGEMENTS}
        codes: dict[str, dict[str, np.ndarray]] = {}
        for turn in range(args.repeats):
            for name, of in times.items():
                out = Path(top) / f"{name}-{turn}"
                if not name.startswith("tokenize"):
                    out.mkdir()
                of.append(timed(name, model_dir, folder, out))
                print(f"turn {turn}, {name}: {of[-1]:.0f} s", flush=True)
                codes[name] = codes_of(out)
        peaks.append(ceiling_gflops())
    total, peak = sum(seconds), max(peaks)
    print(
        f"\n{len(seconds)} files of {min(seconds):.1f} to {max(seconds):.1f} s, {total / 60:.0f} minutes; {os.cpu_count()} cores"
    )
    print(f"{gflop:.1f} GFLOP per audio second, ceiling {peak:.0f} GFLOP/s, torch {torch.__version__}\n")
    base = statistics.median(times["plain"])
    rows = []
    for name, of in times.items():
        median = statistics.median(of)
        speed = f"{total / median:.1f} ({total / max(of):.1f}-{total / min(of):.1f})"
        share, same = gflop * total / median / peak, equal(codes[name], codes["plain"])
        rows.append([name, speed, f"{base / median:.2f}", f"{share:.0%}", f"{same:.4%}"])
    header = [
        "arrangement",
        "audio s per s (median, range)",
        "against plain",
        "share of the ceiling",
        "codes as plain's",
    ]
    print(markdown(header, rows))


if __name__ == "__main__":
    main()
