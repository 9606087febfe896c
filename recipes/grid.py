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

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cells import (
    Cell,
    add_row,
    attempt,
    file_sha256,
    finished,
    grid_parser,
    options,
    run,
    spread,
    unfinished,
    work_through,
)

from audiokd.errors import ConfigError
from audiokd.eval.bitrate import count_parameters
from audiokd.eval.table import markdown
from audiokd.stages.fit import source


@dataclass(frozen=True)
class TokenizerCell(Cell):
    """One training run: the `fit` keys that make it; or the `anchor` that it is instead."""

    fit: dict[str, Any]
    shared: dict[str, Any]
    anchor: str = ""

    @property
    def key(self) -> dict[str, Any]:
        return {"fit": self.fit, "seed": self.seed, **self.shared, **({"anchor": self.anchor} if self.anchor else {})}

    @property
    def scores(self) -> Path:
        """Where its scores lie: with another way of scoring they are made anew."""
        return self.folder / f"scores-{self.sha256[:8]}"


def read_cells(path: str) -> list[TokenizerCell]:
    """The cells of a grid file, headline cells' further seeds last.

    Raises:
        ConfigError: a cell is like one that is not there.
    """
    tree = yaml.safe_load(Path(path).read_text())
    shared = {k: tree[k] for k in ("config", "train", "dev", "test", "score", "slm")}
    shared["config_sha256"] = file_sha256(tree["config"])
    cells = []
    for name, cell in tree["cells"].items():
        fit, like = dict(tree.get("fit", {})), cell.get("like")
        if like is not None:
            if like not in tree["cells"]:
                raise ConfigError(f"cell {name} is like {like}, which is not there", where=path)
            fit |= tree["cells"][like].get("fit", {})
        fit |= cell.get("fit", {})
        cells += [TokenizerCell(name, seed, fit, shared, cell.get("anchor", "")) for seed in cell.get("seeds", [0])]
    return sorted(cells, key=lambda c: c.seed)


def train(cell: TokenizerCell) -> None:
    words = [w for c in cell.shared["config"] for w in ("--config", c)]
    exp, shared = str(cell.folder), cell.shared
    words += options({**cell.fit, "run.seed": cell.seed})
    run(cell, "fit", "lm_spt", *words, "--train", shared["train"], "--dev", shared["dev"], "--exp_dir", exp)
    run(cell, "export", exp, f"{exp}/export")


def score(cell: TokenizerCell) -> None:
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


def score_anchor(cell: TokenizerCell) -> None:
    wav = f"{cell.folder}/wav/rebuilt"
    run(cell, "anchor", cell.anchor, cell.shared["score"]["data"], wav)
    compare(cell, "rebuilt", wav, read=True)


def compare(cell: TokenizerCell, system: str, wav: str, read: bool) -> None:
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


def finish(cell: TokenizerCell) -> None:
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


def table(cells: list[TokenizerCell], columns: dict[str, str], bits: str) -> str:
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
            rows.append([name, *about, *(spread(found, k) for k in columns)])
    headers = ["cell", "seeds", "utterances (read)", "read by", "parameters", "frames/s", "bit/s"]
    return markdown([*headers, *columns.values()], rows)


def work(cell: TokenizerCell, train_only: bool) -> str:
    """Do what is left of a cell, and say how it ended."""

    def do() -> str | None:
        if cell.anchor:
            score_anchor(cell)
        else:
            train(cell)
            if train_only:
                return "trained"
            score(cell)
        finish(cell)
        return None

    return attempt(cell, do)


def main() -> None:
    parser = grid_parser(__doc__)
    parser.add_argument("--train_only", action="store_true", help="score later")
    args = parser.parse_args()
    cells = [c for c in read_cells(args.grid) if args.only in c.name]
    if args.tables:
        for title, spec in yaml.safe_load(Path(args.grid).read_text())["tables"].items():
            print(f"{title}\n\n{table(cells, spec['columns'], spec['bits'])}")
        return
    work_through(unfinished(cells), args.nj, lambda c: work(c, args.train_only))


if __name__ == "__main__":
    main()
