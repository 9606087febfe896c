#!/usr/bin/env python
"""Train and score many variants of one recipe: a grid that goes on where it stopped, on any machine.

    cd egs/festvox_ru/tok1 && ../../../recipes/grid.py conf/grid.yaml --nj 2

conf/grid.yaml holds what all cells share (`config` files, sets, `fit` keys, `score`, `slm`) and the cells by name: `fit` keys
of their own, `like` another cell's, `seeds` (0 by default); an `anchor` cell trains nothing (stages/anchor.py). A cell's work
lies in exp/grid/<name>-<seed>/; a finished cell is a row of results.jsonl and is not run again, there or anywhere. Each
command is a process of one thread, --nj cells at once; every command skips what stands, so a killed grid is started again as
it was. --tables prints what there is.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import statistics
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from audiokd.errors import AudiokdError, ConfigError
from audiokd.eval.bitrate import count_parameters
from audiokd.eval.table import markdown
from audiokd.files import jsonl, write_bytes
from audiokd.stages.fit import source

RESULTS, GRID = Path("results.jsonl"), Path("exp/grid")
WRITING = threading.Lock()


@dataclass(frozen=True)
class Cell:
    """One training run: `name`, `seed`, and the `fit` keys that make it; or the `anchor` that it is instead."""

    name: str
    seed: int
    fit: dict[str, Any]
    shared: dict[str, Any]
    anchor: str = ""

    @property
    def folder(self) -> Path:
        return GRID / f"{self.name}-{self.seed}"

    @property
    def sha256(self) -> str:
        """Of everything that makes the cell: another setting is another cell."""
        key = {"fit": self.fit, "seed": self.seed, **self.shared, **({"anchor": self.anchor} if self.anchor else {})}
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()

    @property
    def scores(self) -> Path:
        """Where its scores lie: with another way of scoring they are made anew."""
        return self.folder / f"scores-{self.sha256[:8]}"


def read_cells(path: str) -> list[Cell]:
    """The cells of a grid file, headline cells' further seeds last.

    Raises:
        ConfigError: a cell is like one that is not there.
    """
    tree = yaml.safe_load(Path(path).read_text())
    shared = {k: tree[k] for k in ("config", "train", "dev", "test", "score", "slm")}
    # a change in a config file is a change of the cells
    shared["config_sha256"] = [hashlib.sha256(Path(c).read_bytes()).hexdigest() for c in tree["config"]]
    cells = []
    for name, cell in tree["cells"].items():
        fit, like = dict(tree.get("fit", {})), cell.get("like")
        if like is not None:
            if like not in tree["cells"]:
                raise ConfigError(f"cell {name} is like {like}, which is not there", where=path)
            fit |= tree["cells"][like].get("fit", {})
        fit |= cell.get("fit", {})
        cells += [Cell(name, seed, fit, shared, cell.get("anchor", "")) for seed in cell.get("seeds", [0])]
    return sorted(cells, key=lambda c: c.seed)


def run(cell: Cell, *words: str) -> None:
    """One audiokd command of one thread; its words and output go to the cell's log. A result that stands is left."""
    if "--out" in words and Path(words[words.index("--out") + 1]).exists():
        return
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = cell.folder / "log"
    with open(log, "ab") as f:
        f.write(f"# audiokd {' '.join(words)}\n".encode())
        f.flush()
        done = subprocess.run([sys.executable, "-m", "audiokd.cli", *words], env=env, stdout=f, stderr=f)
    if done.returncode:
        last = log.read_text(errors="replace").splitlines()[-1]
        raise AudiokdError(f"'audiokd {words[0]}' ended with {done.returncode}: {last}", where=str(log))


def train(cell: Cell) -> None:
    words = [w for c in cell.shared["config"] for w in ("--config", c)]
    exp, shared = str(cell.folder), cell.shared
    words += options({**cell.fit, "run.seed": cell.seed})
    run(cell, "fit", "lm_spt", *words, "--train", shared["train"], "--dev", shared["dev"], "--exp_dir", exp)
    run(cell, "export", exp, f"{exp}/export")


def options(keys: dict[str, Any]) -> list[str]:
    return [f"--{k}={json.dumps(v) if isinstance(v, (list, bool)) else v}" for k, v in keys.items()]


def score(cell: Cell) -> None:
    """Tokens of every set, what they know, what they sound like, and a language model on them."""
    exp, shared, how, out = cell.folder, cell.shared, cell.shared["score"], cell.scores
    model, tokens = f"{exp}/export", f"{exp}/tokens/test"
    for name in ("train", "dev", "test"):
        run(cell, "tokenize", model, shared[name], f"{exp}/tokens/{name}")
    run(cell, "semantics", tokens, how["data"], "--out", f"{out}/semantics.json", "--model", model)
    # many more tokens, so that less of it is chance; the audio was trained on, the phones are new to the model
    run(cell, "semantics", f"{exp}/tokens/train", how["train_data"], "--out", f"{out}/semantics_train.json")
    for system in ("rebuilt", "semantic"):
        wav = f"{exp}/wav/{system}"
        run(cell, "decode", model, tokens, wav, "--semantic_only", str(system == "semantic").lower())
        compare(cell, system, wav, read=system == "rebuilt")  # what the semantic one says, the command slm reads
    slm = f"{exp}/slm-{cell.sha256[:8]}"
    words = [*options(shared["slm"]["fit"]), f"--run.seed={cell.seed}", "--exp_dir", slm]
    stores = ["--train", f"{exp}/tokens/train", "--dev", f"{exp}/tokens/dev"]
    run(cell, "fit", "speech_lm", "--config", shared["slm"]["config"], *words, *stores)
    run(cell, "export", slm, f"{slm}/export")
    limit = ["--limit", str(how["asr_limit"]), "--language", how["language"]]
    made = [
        "--tokenizer",
        model,
        "--asr",
        how["asr"],
        "--teacher",
        cell.fit["teacher.name"],
        *options(shared["slm"]["score"]),
    ]
    run(cell, "slm", f"{slm}/export", tokens, "--out", f"{out}/slm.json", *limit, *made)


def score_anchor(cell: Cell) -> None:
    wav = f"{cell.folder}/wav/rebuilt"
    run(cell, "anchor", cell.anchor, cell.shared["score"]["data"], wav)
    compare(cell, "rebuilt", wav, read=True)


def compare(cell: Cell, system: str, wav: str, read: bool) -> None:
    """Score a folder of sound; `read` has the ASR read its first utterances too."""
    how, out = cell.shared["score"], cell.scores
    said = ["--ref", how["data"], "--hyp", wav, "--system", cell.name, "--sample_rate", "16000"]
    run(cell, "score", *said, "--out", f"{out}/{system}.json", "--metrics", json.dumps(how["metrics"]))
    if read:
        reading = ["--text", "true", "--asr", how["asr"], "--language", how["language"]]
        reading += ["--limit", str(how["asr_limit"]), "--teacher", cell.fit["teacher.name"]]
        run(cell, "score", *said, "--out", f"{out}/{system}_asr.json", "--metrics", "[]", *reading)


def flat(found: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """The scores of a row by name, each with mean, low and high: rebuilt sound, semantic stream, language model."""
    scores: dict[str, Any] = {}
    for prefix, name in (("", "semantics"), ("train.", "semantics_train")):
        knows = found.get(name, {}).get("phone_information", {})
        for key in ("pnmi", "pnmi_floor", "pnmi_over_chance", "phone_purity", "code_purity"):
            if key in knows:
                scores[prefix + key] = knows[key] if isinstance(knows[key], dict) else {"mean": knows[key]}
    if "semantics" in found:
        scores["abx_within"] = found["semantics"]["abx"]["within"]["error"]
    for name in ("rebuilt", "semantic", "rebuilt_asr", "slm"):
        prefix = name.removesuffix("_asr")
        scores |= {f"{prefix}.{k}": v for k, v in found.get(name, {}).get("summary", {}).items()}
    return {k: scores[k] for k in sorted(scores)}


def finish(cell: Cell) -> None:
    """Append the cell's row: scores, and what it takes to make them again."""
    found = {p.stem: json.loads(p.read_text()) for p in sorted(cell.scores.glob("*.json"))}
    scores, cost = flat(found), {}
    reading = found["rebuilt_asr"]["settings"]
    trained: dict[str, Any] = {"run": {"max_steps": 0}, "audiokd": {"commit": None}}
    if not cell.anchor:
        trained = yaml.safe_load((cell.folder / "config.yaml").read_text())
        cost = found["semantics"]["store"]
    row = {
        "config_sha256": cell.sha256,
        "seed": cell.seed,
        "steps": trained["run"]["max_steps"],
        "commit": trained["audiokd"]["commit"],
        "scored_commit": source()["commit"],
        "set": "test",
        "system": f"grid/{cell.name}",
        "utterances": found["rebuilt"]["num_scored"],
        "utterances_read": found["rebuilt_asr"]["num_scored"],
        "parameters": None if cell.anchor else count_parameters(cell.folder / "export"),
        "frame_rate": cost.get("frame_rate"),
        "bits_per_second": cost.get("bits_per_second"),
        "semantic_bits_per_second": found.get("semantics", {}).get("bits_per_second"),
        "asr": Path(reading["asr"]).name + (", the teacher" if reading["teacher_scored"] else ""),
        "scores": {k: v["mean"] for k, v in scores.items()},
        "intervals": {k: [v["low"], v["high"]] for k, v in scores.items() if v.get("low") is not None},
    }
    add_row(row)


def add_row(row: dict[str, Any]) -> None:
    """Append a row to RESULTS."""
    # threads share a process and processes a folder: two rows at once must not be one
    GRID.mkdir(parents=True, exist_ok=True)
    with WRITING, open(GRID / ".lock", "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        write_bytes(RESULTS, (RESULTS.read_bytes() if RESULTS.exists() else b"") + jsonl([row]))


def finished() -> dict[str, dict[str, Any]]:
    """Rows of the grid's cells by their configuration."""
    lines = RESULTS.read_bytes().splitlines() if RESULTS.exists() else []
    rows = [json.loads(line) for line in lines]
    return {r["config_sha256"]: r for r in rows if r["system"].startswith("grid/")}


def table(cells: list[Cell], columns: dict[str, str], bits: str) -> str:
    """A row a cell: of one seed with its 95% bootstrap interval over utterances, of several the mean and their range.

    `bits` is the row's key for the rate of what the table is about: all streams, or the semantic one.
    """
    done = finished()
    rows = []
    for name in dict.fromkeys(c.name for c in cells):
        found = [done[c.sha256] for c in cells if c.name == name and c.sha256 in done]
        if found and any(k in found[0]["scores"] for k in columns):
            r = found[0]
            about = [str(len(found)), f"{r['utterances']} ({r['utterances_read']})", r["asr"]]
            about.append(f"{r['parameters'] / 1e6:.2f} M" if r["parameters"] else "-")
            about += [f"{r[k]:g}" if r[k] else "-" for k in ("frame_rate", bits)]
            rows.append([name, *about, *(_spread(found, k) for k in columns)])
    headers = ["cell", "seeds", "utterances (read)", "read by", "parameters", "frames/s", "bit/s"]
    return markdown([*headers, *columns.values()], rows)


def _spread(rows: list[dict[str, Any]], key: str) -> str:
    kept = [r["scores"][key] for r in rows if r["scores"].get(key) is not None]
    if not kept:
        return "-"
    mean = f"{statistics.mean(kept):.3f}"
    if len(kept) > 1:
        return f"{mean} ({min(kept):.3f} to {max(kept):.3f})"
    low, high = rows[0]["intervals"].get(key, (None, None))
    return mean if low is None else f"{mean} [{low:.3f}, {high:.3f}]"


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Whether this process has the cell; another one that has it is left to its work."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def work(cell: Cell, train_only: bool) -> str:
    """Do what is left of a cell; one that fails says so and stops no other."""
    with alone(cell.folder) as mine:
        if not mine:
            return "is being worked on elsewhere"
        if cell.sha256 in finished():  # since this process began
            return "was done elsewhere"
        try:
            if cell.anchor:
                score_anchor(cell)
            else:
                train(cell)
                if train_only:
                    return "trained"
                score(cell)
            finish(cell)
        except AudiokdError as e:
            return f"failed: {e}"
        except Exception as e:  # a fault of the grid's own: the next cell may not have it, and the log keeps all of it
            with open(cell.folder / "log", "a") as f:
                traceback.print_exc(file=f)
            return f"failed: {type(e).__name__}: {e} (see {cell.folder}/log)"
    return "done"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("grid", help="such as conf/grid.yaml")
    parser.add_argument("--nj", type=int, default=1, help="cells at once, a thread each")
    parser.add_argument("--only", default="", help="cells whose name holds this")
    parser.add_argument("--train_only", action="store_true", help="score later")
    parser.add_argument("--tables", action="store_true", help="print the tables of finished cells")
    args = parser.parse_args()
    cells = [c for c in read_cells(args.grid) if args.only in c.name]
    if args.tables:
        for title, spec in yaml.safe_load(Path(args.grid).read_text())["tables"].items():
            print(f"{title}\n\n{table(cells, spec['columns'], spec['bits'])}")
        return
    done = finished()
    left = [c for c in cells if c.sha256 not in done]
    print(f"{len(cells) - len(left)} of {len(cells)} cells are in {RESULTS}", flush=True)
    failed = 0
    with ThreadPoolExecutor(args.nj) as pool:
        for cell, said in zip(left, pool.map(lambda c: work(c, args.train_only), left)):
            print(f"{cell.name} seed {cell.seed}: {said}", flush=True)
            failed += said.startswith("failed")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
