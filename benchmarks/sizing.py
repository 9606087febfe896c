"""What does a corpus of so many hours take? Costs measured here on shards of the real size, then a run with failures, simulated.

    python benchmarks/sizing.py [--hours 100000] [--gpus 8 64 256] [--speed 600] [--shards 40]

Measured: writing a shard (without the model), what a resumed run looks at before it begins, finishing and opening a store, and
looking an utterance up. Simulated: workers that take shards from one list or have their share from the start, whose nodes fail
at random and lose the shard in the making. `--speed` is seconds of audio a second that one GPU encodes: an assumption, since no
GPU was lent; give your own.
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.eval.table import markdown
from audiokd.tokens.store import StoreItem, StoreWriter, open_store

FRAME_RATE, BOOKS, SIZE, RATE = 12.5, 8, 1024, 24000
SEED = 0


def items(shard: int, utterances: int, seconds: float) -> list[StoreItem]:
    rng = np.random.default_rng(shard)
    found = []
    for i in range(utterances):
        n = int(max(1.0, rng.lognormal(np.log(seconds), 0.5)) * RATE)
        codes = rng.integers(0, SIZE, (BOOKS, int(np.ceil(n / RATE * FRAME_RATE))))
        found.append(
            StoreItem(f"speaker{i % 50:04d}/chapter{shard:06d}/utterance{i:06d}", codes, n, RATE, text="t" * 120)
        )
    return found


def timed(f: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    out = f()
    return time.perf_counter() - start, out


def measure(folder: Path, shards: int, utterances: int, seconds: float) -> dict[str, float]:
    """Seconds and bytes of what is not the model's work."""
    meta = {"cardinality": [SIZE] * BOOKS, "frame_rate": FRAME_RATE, "sample_rate": RATE, "model_sha256": "0" * 64}
    writer = StoreWriter(folder / "store", "codes", meta)
    names = [f"{i:05d}" for i in range(shards)]
    made = [items(i, utterances, seconds) for i in range(shards)]
    write, _ = timed(lambda: [writer.write_shard(n, m, input_sha256=n) for n, m in zip(names, made)])
    look, _ = timed(lambda: [writer.done(n, n) for n in names])
    finish, _ = timed(lambda: writer.finish(names))
    opened, store = timed(lambda: open_store(folder / "store"))
    ids = [m.id for m in made[-1]]
    first, _ = timed(lambda: store[ids[0]])
    each, _ = timed(lambda: [store[i] for i in ids])
    files = [p for p in (folder / "store").rglob("*") if p.is_file()]
    size = {n: sum(p.stat().st_size for p in files if p.name == n) for n in ("codes.npy", "index.jsonl", "lookup.npy")}
    return {
        "write a shard, s": write / shards,
        "look whether a shard is done, ms": look / shards * 1e3,
        "finish, ms a shard": finish / shards * 1e3,
        "open a finished store, ms a shard": opened / shards * 1e3,
        "first look-up, ms": first * 1e3,
        "look-up, ms": each / len(ids) * 1e3,
        "codes, bytes an hour": size["codes.npy"] / (shards * utterances * seconds / 3600),
        "index, bytes an utterance": size["index.jsonl"] / (shards * utterances),
        "lookup, bytes an utterance": size["lookup.npy"] / (shards * utterances),
        "files a shard": (len(files) - 3) / shards,
        "audio of a shard, h": sum(m.num_samples for of in made for m in of) / RATE / 3600 / shards,
    }


def simulate(
    shards: int, gpus: int, shard_s: float, shared: bool, failures_per_day: float, restart_s: float
) -> tuple[float, float]:
    """Hours until the last shard is written, and share of all GPU time that was lost to failures and to waiting for the last.

    Args:
        shards: to do.
        gpus: workers, one each.
        shard_s: mean seconds of a shard; each takes 0.7 to 1.3 of it.
        shared: workers take the next shard of one list (Ray, local); else each has every gpus-th from the start (a SLURM array).
        failures_per_day: of a worker's node.
        restart_s: until a worker is there again and has its model.
    """
    rng = np.random.default_rng(SEED)
    takes = shard_s * rng.uniform(0.7, 1.3, shards)
    todo = [list(range(shards))] if shared else [list(range(g, shards, gpus)) for g in range(gpus)]
    for mine in todo:
        mine.reverse()
    free = [(float(rng.uniform(0, restart_s)), g) for g in range(gpus)]
    heapq.heapify(free)
    mean_s = 86400 / failures_per_day if failures_per_day else np.inf
    fails = {g: float(rng.exponential(mean_s)) if np.isfinite(mean_s) else np.inf for g in range(gpus)}
    end = worked = 0.0
    while free:
        now, g = heapq.heappop(free)
        mine = todo[0 if shared else g]
        if not mine:
            continue
        shard = mine.pop()
        if fails[g] < now + takes[shard]:
            at = max(now, fails[g])
            fails[g] = at + float(rng.exponential(mean_s))
            mine.insert(0, shard)  # again, after all others
            heapq.heappush(free, (at + restart_s, g))
            continue
        worked += takes[shard]
        end = max(end, now + takes[shard])
        heapq.heappush(free, (now + takes[shard], g))
    return end / 3600, 1 - worked / (end * gpus)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--hours", type=float, default=100_000)
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64, 256])
    parser.add_argument("--speed", type=float, default=600, help="seconds of audio a second, of one GPU")
    parser.add_argument("--utterances", type=int, nargs="+", default=[1000, 4000], help="of a shard")
    parser.add_argument("--seconds", type=float, default=10, help="median of an utterance")
    parser.add_argument("--shards", type=int, default=40, help="that are measured")
    args = parser.parse_args()
    columns, found = [f"{n} utterances a shard" for n in args.utterances], []
    for n in args.utterances:
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(Path(folder), args.shards, n, args.seconds))
    print(markdown(["measured", *columns], [[k, *(f"{f[k]:,.4g}" for f in found)] for k in found[0]]))
    rows = []
    for n, f in zip(args.utterances, found):
        shards = round(args.hours / f["audio of a shard, h"])
        row = [f"{n}", f"{shards:,}", f"{shards * f['files a shard']:,.0f}"]
        row.append(f"{args.hours * f['codes, bytes an hour'] / 1e9:,.0f}")
        row.append(f"{shards * n * f['index, bytes an utterance'] / 1e9:,.1f}")
        row.append(f"{shards * n * f['lookup, bytes an utterance'] / 1e9:,.2f}")
        row.append(f"{shards * f['look whether a shard is done, ms'] / 1e3:,.1f}")
        row.append(f"{shards * f['finish, ms a shard'] / 6e4:,.1f}")
        rows.append(row)
    heads = ["utterances a shard", "shards", "files", "codes, GB", "indices, GB", "lookup, GB"]
    print(f"\n{args.hours:,.0f} h:\n\n" + markdown([*heads, "a resumed run looks, s", "finish, min"], rows))
    rows = []
    for n, f in zip(args.utterances, found):
        hours = f["audio of a shard, h"]
        shards = round(args.hours / hours)
        shard_s = hours * 3600 / args.speed + f["write a shard, s"]
        for gpus in args.gpus:
            for shared in (True, False):
                row = [f"{n}", f"{gpus}", "one list" if shared else "shares"]
                for failures in (0.0, 0.1, 2.0):
                    wall, lost = simulate(shards, gpus, shard_s, shared, failures, 300)
                    row.append(f"{wall:,.1f} h ({lost:.1%})")
                rows.append(row)
    print(
        f"\nAt {args.speed:g} s of audio a second and GPU, 5 min until a worker is back; wall time (share of GPU time lost):\n"
    )
    heads = [
        "utterances a shard",
        "GPUs",
        "shards are taken from",
        "no failure",
        "a node fails every 10 days",
        "twice a day",
    ]
    print(markdown(heads, rows))


if __name__ == "__main__":
    main()
