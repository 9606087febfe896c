#!/usr/bin/env python
"""Pretrain, fine-tune and probe encoders of one recipe: a grid that goes on where it stopped, on any machine.

    cd egs/debian_sounds/ssl1 && ../../../recipes/probe_grid.py conf/grid.yaml --nj 2

conf/grid.yaml holds what all cells share (`train`, `dev`, `tasks` by kind; `method`, atst by default; `mlp`: MARBLE's
probe in place of a linear one) and the cells by name, each with `seeds` (0 by default):

    config               pretrained by `audiokd fit METHOD` with this file; `fit` has keys of its own, `codes` is a cell of the
                         same seed whose codes are learnt
    init_of              that cell before its first step
    model                an encoder that is there: log_mel, a folder, a hub id; nothing is trained
    encoder, teachers    a cell of the same seed fine-tuned on each class task (by the config `finetune`), taught by these
                         fine-tuned cells
    tokenizer            an RVQ-VAE trained with this file, or [clusters, clusters] of log-mel and of chroma frames

Pretrained encoders are probed, fine-tuned ones are scored themselves; an RVQ-VAE is by the sound of dev that it rebuilds and the
use of its codes. A cell's work lies in exp/grid/<name>-<seed>-<hash>/; what another cell needs of it is made again where it is not
there. --tables prints what there is.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cells import (
    GRID,
    Cell,
    add_row,
    attempt,
    file_sha256,
    finished,
    grid_parser,
    making,
    options,
    run,
    spread,
    unfinished,
    work_through,
)  # fmt: skip

from audiokd.errors import ConfigError
from audiokd.eval.bitrate import count_parameters
from audiokd.eval.table import markdown
from audiokd.report.page import read_metrics
from audiokd.stages.fit import source

SPLITS = ("train", "dev", "test")
#: of a probe: a corpus has hundreds of clips, and a hundred thousand frames
EPOCHS = {"class": 100, "tags": 100, "frames": 20}
WAYS = ("config", "init_of", "model", "encoder", "tokenizer")
#: of rebuilt sound
METRICS = ["mel", "stft", "si_sdr"]
#: of a pretraining's validation
CURVES = ("loss", "std_student", "rank", "mask_share")
#: of the cells that this process works through, by hash: set when one has ended, well or not
ENDED: dict[str, threading.Event] = {}


@dataclass(frozen=True)
class EncoderCell(Cell):
    """An encoder: how it is made, and the tasks that it is asked."""

    made: dict[str, Any]
    shared: dict[str, Any]
    needs: tuple[EncoderCell, ...] = field(default=(), compare=False)

    @property
    def key(self) -> dict[str, Any]:
        return {
            "made": self.made,
            "seed": self.seed,
            **self.shared,
            "probe_epochs": EPOCHS,
            "needs": [c.sha256 for c in self.needs],
        }

    @property
    def folder(self) -> Path:
        """Its own for every setting: what others made by another one is never taken for its."""
        return GRID / f"{self.name}-{self.seed}-{self.sha256[:8]}"

    @property
    def scores(self) -> Path:
        """Where its scores lie."""
        return self.folder / "scores"

    @property
    def model(self) -> str:
        """What is probed, or fine-tuned further."""
        if "init_of" in self.made:
            return f"{self.needs[0].folder}/export-init"
        return self.made.get("model") or f"{self.folder}/export"


def read_cells(path: str) -> list[EncoderCell]:
    """The cells of a grid file, further seeds last, each behind those that it needs.

    Raises:
        ConfigError: a cell is made in no way or several, or needs one that is not there.
    """
    tree = yaml.safe_load(Path(path).read_text())
    shared = {k: tree[k] for k in ("train", "dev", "tasks")} | {k: tree[k] for k in ("method", "mlp") if k in tree}
    cells: dict[tuple[str, int], EncoderCell] = {}
    for name, made in tree["cells"].items():
        ways = [k for k in WAYS if k in made]
        if len(ways) != 1:
            raise ConfigError(f"cell {name} has {' and '.join(ways) or 'none'} of {', '.join(WAYS)}", where=path)
        settings = {k: v for k, v in made.items() if k != "seeds"}
        files = [k for k in ("config", "finetune", "tokenizer") if isinstance(made.get(k), str)]
        settings |= {f"{k}_sha256": file_sha256([made[k]]) for k in files}
        needed = [made[k] for k in ("init_of", "encoder", "codes") if k in made] + made.get("teachers", [])
        for seed in made.get("seeds", [0]):
            missing = [n for n in needed if (n, seed) not in cells]
            if missing:
                raise ConfigError(
                    f"cell {name} needs {missing[0]} of seed {seed}, which no line above makes", where=path
                )
            cells[name, seed] = EncoderCell(name, seed, settings, shared, tuple(cells[n, seed] for n in needed))
    return sorted(cells.values(), key=lambda c: c.seed)


def prepare(cell: EncoderCell) -> None:
    """Make the model of a cell that is not fine-tuned, where it is not there."""
    if "model" in cell.made:
        return
    for needed in cell.needs:
        prepare(needed)
    with making(Path(cell.model).parent):
        if Path(cell.model).exists():
            return
        exp, shared = str(cell.folder), cell.shared
        if "init_of" in cell.made:
            run(cell, "export", str(cell.needs[0].folder), cell.model, "--checkpoint", "init")
            return
        data = ["--train", shared["train"], "--dev", shared["dev"]]
        if "tokenizer" in cell.made:
            train_tokenizer(cell, data)
            return
        words = ["--config", cell.made["config"], f"--run.seed={cell.seed}", "--exp_dir", exp, *data]
        words += options(cell.made.get("fit", {}))
        words += ["--teacher.stored_codes", codes_of(cell.needs[0])] if "codes" in cell.made else []
        run(cell, "fit", shared.get("method", "atst"), *words)
        run(cell, "export", exp, cell.model)


def train_tokenizer(cell: EncoderCell, data: list[str]) -> None:
    made, exp, seed = cell.made["tokenizer"], str(cell.folder), str(cell.seed)
    if isinstance(made, str):
        run(cell, "fit", "rvq_vae", "--config", made, f"--run.seed={seed}", "--exp_dir", exp, *data)
        run(cell, "export", exp, cell.model)
    else:
        run(cell, "kmeans", cell.shared["train"], cell.model, "--clusters", json.dumps(made), "--seed", seed)


def codes_of(cell: EncoderCell) -> str:
    """A store of a tokenizer's codes of what is trained and validated on; made where it is not there."""
    stores = [f"{cell.folder}/codes/{s}" for s in ("train", "dev")]
    both = f"{cell.folder}/codes/all"
    with making(cell.folder / "codes"):
        if not Path(f"{both}/complete.json").exists():
            for store, of in zip(stores, ("train", "dev")):
                run(cell, "tokenize", cell.model, cell.shared[of], store)
            run(cell, "store", "merge", *stores, both)
    return both


def rebuild(cell: EncoderCell) -> None:
    """Score what an RVQ-VAE rebuilds of the dev set; clusters rebuild nothing."""
    codes_of(cell)
    if isinstance(cell.made["tokenizer"], str):
        store, wavs = f"{cell.folder}/codes/dev", f"{cell.folder}/rebuilt"
        run(cell, "decode", cell.model, store, wavs)
        rate = json.loads((Path(cell.model) / "config.json").read_text())["sample_rate"]
        words = ["--store", store, "--metrics", json.dumps(METRICS), "--sample_rate", str(rate)]
        words += ["--out", str(cell.scores / "rebuilt.json")]
        run(cell, "score", "--ref", cell.shared["dev"], "--hyp", wavs, *words)


def probe(cell: EncoderCell) -> None:
    """A probe of each task: linear, or MARBLE's."""
    for kind, tasks in cell.shared["tasks"].items():
        layer = "frames" if kind == "frames" else "clip"
        for task in tasks:
            stores = {s: f"{cell.folder}/features/{task}/{s}" for s in SPLITS}
            out = str(cell.scores / f"{task}.json")
            for split, store in stores.items():
                run(cell, "extract", cell.model, f"data/{task}/{split}", store, "--layer", layer)
            words = [w for s, store in stores.items() for w in (f"--{s}", store)]
            data = ",".join(f"data/{task}/{s}" for s in SPLITS)
            words += ["--data", f"[{data}]", "--task", kind, "--seed", str(cell.seed)]
            words += ["--epochs", str(EPOCHS.get(kind, 100))]
            words += ["--head", "mlp"] if cell.shared.get("mlp") else []
            run(cell, "probe", *words, "--out", out)


def finetune(cell: EncoderCell, task: str) -> str:
    """The folder of a classifier of a task; made where it is not there."""
    encoder, *teachers = cell.needs
    prepare(encoder)
    taught = [finetune(t, task) for t in teachers]
    exp, data = f"{cell.folder}/{task}", f"data/{task}"
    with making(Path(exp)):
        if not Path(f"{exp}/export").exists():
            words = ["--config", cell.made["finetune"], "--model.encoder", encoder.model, f"--run.seed={cell.seed}"]
            words += ["--data.labels", f"[{data}/train,{data}/dev]", "--train", f"{data}/train", "--dev", f"{data}/dev"]
            words += ["--teachers.models", f"[{','.join(taught)}]"] if taught else []
            run(cell, "fit", "classifier", *words, "--exp_dir", exp)
            run(cell, "export", exp, f"{exp}/export")
    return f"{exp}/export"


def classify(cell: EncoderCell) -> None:
    """What its classifier scores on each class task."""
    for task in cell.shared["tasks"]["class"]:
        logits = f"{cell.folder}/{task}/logits"
        run(cell, "extract", finetune(cell, task), f"data/{task}/test", logits, "--layer", "logits")
        run(cell, "classify", logits, "--data", f"[data/{task}/test]", "--out", str(cell.scores / f"{task}.json"))


def finish(cell: EncoderCell) -> None:
    """Append the cell's row: scores, and what it takes to make them again."""
    found = {p.stem: json.loads(p.read_text()) for p in sorted(cell.scores.glob("*.json"))}
    sound = found.pop("rebuilt", None)
    if sound:
        used = {f"codes{q} used": {"mean": s["used"]} for q, s in enumerate(sound["store"]["codebooks"])}
        found = {name: {"test": s} for name, s in {**sound["summary"], **used}.items()}
    configs = [cell.folder / "config.yaml", *sorted(cell.folder.glob("*/config.yaml"))]
    trained = next((yaml.safe_load(c.read_text()) for c in configs if c.exists()), None)
    model = next(iter(sorted(cell.folder.glob("*/export"))), Path(cell.model))
    add_row({
        "config_sha256": cell.sha256,
        "seed": cell.seed,
        "steps": trained["run"]["max_steps"] if trained else 0,
        "commit": trained["audiokd"]["commit"] if trained else None,
        "scored_commit": source()["commit"],
        "set": "dev" if sound else "test",
        "system": f"grid/{cell.name}",
        "parameters": count_parameters(model) if model.is_dir() else None,
        "scores": {task: f["test"]["mean"] for task, f in found.items()},
        "intervals": {task: [f["test"].get("low"), f["test"].get("high")] for task, f in found.items()},
        "chance": {task: f["chance"] for task, f in found.items() if "chance" in f},
        "validation": curves(cell.folder / "metrics.csv"),
    })  # fmt: skip


def curves(metrics: Path) -> dict[str, list[float]]:
    """What a run's loss and monitors were in its first validation and its last, and the least in between."""
    known = read_metrics(metrics) if metrics.exists() else {}
    values = {name: known[name]["val"][1].tolist() for name in CURVES if "val" in known.get(name, {})}
    return {name: [v[0], min(v), v[-1]] for name, v in values.items()}


def work(cell: EncoderCell) -> str:
    """Do what is left of a cell, and say how it ended."""

    for needed in cell.needs:
        if needed.sha256 in ENDED:
            ENDED[needed.sha256].wait()

    def do() -> None:
        if "encoder" in cell.made:
            classify(cell)
        elif "tokenizer" in cell.made:
            prepare(cell)
            rebuild(cell)
        else:
            prepare(cell)
            probe(cell)
        finish(cell)

    try:
        return attempt(cell, do)
    finally:
        ENDED[cell.sha256].set()


def table(cells: list[EncoderCell]) -> str:
    """A row a cell: of one seed with its 95% bootstrap interval over utterances, of several the mean and their range."""
    tasks = [t for of in cells[0].shared["tasks"].values() for t in of]
    tables = [_rows([c for c in cells if "tokenizer" not in c.made], tasks)]
    coded = [c for c in cells if isinstance(c.made.get("tokenizer"), str)]
    trained = [c for c in cells if finished().get(c.sha256, {}).get("validation")]
    if trained:
        tables.append(_curve_rows(trained))
    if coded:
        streams = {k for c in coded for k in finished().get(c.sha256, {"scores": {}})["scores"]}
        tables.append(_rows(coded, [*METRICS, *sorted(streams - {*METRICS})]))
    return "\n".join(tables)


def _rows(cells: list[EncoderCell], scores: list[str]) -> str:
    done, rows = finished(), []
    for name in dict.fromkeys(c.name for c in cells):
        found = [done[c.sha256] for c in cells if c.name == name and c.sha256 in done]
        if found:
            about = [str(len(found)), str(found[0]["steps"])]
            rows.append([name, *about, *(spread(found, s) for s in scores)])
    return markdown(["cell", "seeds", "steps", *scores], rows)


def _curve_rows(cells: list[EncoderCell]) -> str:
    """A row a pretraining: its loss and monitors in the first validation, the least of them, and in the last."""
    done = finished()
    found = {(c.name, c.seed): done[c.sha256]["validation"] for c in cells}
    names = [n for n in CURVES if any(n in v for v in found.values())]
    rows = [
        [name, str(seed), *(" ".join(f"{x:.3g}" for x in v[n]) if n in v else "-" for n in names)]
        for (name, seed), v in found.items()
    ]
    return markdown(["first, least, last", "seed", *names], rows)


def main() -> None:
    parser = grid_parser(__doc__)
    args = parser.parse_args()
    cells = [c for c in read_cells(args.grid) if args.only in c.name]
    if args.tables:
        print(table(cells))
    else:
        left = unfinished(cells)
        ENDED.update({c.sha256: threading.Event() for c in left})
        work_through(left, args.nj, work)


if __name__ == "__main__":
    main()
