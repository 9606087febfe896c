#!/usr/bin/env python
"""Train models of one recipe in many ways: a grid that goes on where it stopped, on any machine.

    cd egs/digits/vl2v1 && ../../../recipes/kd_grid.py conf/grid.yaml --nj 2

conf/grid.yaml holds `train`, `dev` and `test` (a set, or several), `domains` where one after another is left out (or, with
`each: on`, tested on alone), and the cells by name. A cell is made once for each of its `domains` (all by default) and `seeds` (0
by default):

    fits      runs of `audiokd fit`, one after another: `method`, `config` (a file or several), `options`, and where they are not
              the method's own name and the grid's sets: `name`, `train`, `dev`. The last run is what is scored; of the others the
              checkpoint `export` (last by default) is what later ones find
    export    checkpoints of the last run that are scored: last, best, swad, init; last and best by default
    score     classify (the grid's, by default), name, segments, anomalies, boxes, detect, intervals, fidelity, ratings; or
              {classify: {base_novel: true}} with options
    model     in the place of fits, of boxes, intervals and fidelity: what is scored, such as "{teacher}"
    generate  of fidelity: options of `audiokd generate`. The grid's `reference` (`model`, and such options) is the system that
              latency_ratio is the time against, in turn with the cell's own

`shared` holds runs by name that many cells stand on, written as those of `fits`; each is made once, by the first cell that needs
it, and found again by its hash. Texts may hold {seed}, {domain} and the names of shared and of earlier runs, which stand for their
exported folders; a shared run without {seed} in it is the same for all seeds. A run with `boxes` (or `intervals`), a set, is
followed by `audiokd detect3d` (`audiokd intervals`) of that set: {NAME_boxes} stands for what it finds, for students.

A cell's work lies in exp/grid/<name>-<seed>-<hash>/, without checkpoints once it has its row in results.jsonl. --tables prints what
there is, --forecast how long the rest will take.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Sequence
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
    grid_parser,
    making,
    options,
    run,
    unfinished,
    work_through,
)  # fmt: skip
from kd_generated import latencies_ms, score_generated, unet_parameters
from kd_scores import LAYERS, SCORES, in_domain, latency_ms, parameters
from kd_tables import forecast, tables

from audiokd.errors import ConfigError
from audiokd.stages.fit import source

PLACE = re.compile(r"\{(\w+)\}")
#: a run's set, behind its name what the command wrote of it: {NAME_boxes}
AFTER = {"boxes": "detect3d", "intervals": "intervals"}
FIT_KEYS = {"name", "method", "config", "train", "dev", "options", "export", *AFTER}
CELL_KEYS = {"fits", "export", "score", "seeds", "domains", "model", "generate"}


@dataclass(frozen=True)
class Runs(Cell):
    """Runs of `audiokd fit`, one after another; alone, a shared one.

    Attributes:
        fits: as the grid file has them, with the grid's sets and the sha256 of config files as they were when it was read.
        domain: that is left out; "" where none is.
        needs: shared runs by name.
    """

    fits: tuple[dict[str, Any], ...]
    domain: str = ""
    needs: dict[str, Runs] = field(default_factory=dict, compare=False)

    @property
    def key(self) -> dict[str, Any]:
        return {
            "fits": list(self.fits),
            "seed": self.seed,
            "domain": self.domain,
            "needs": {name: of.sha256 for name, of in sorted(self.needs.items())},
        }

    @property
    def folder(self) -> Path:
        """Its own for every setting: what others made by another one is never taken for its."""
        return GRID / f"{self.name}-{self.seed}-{self.sha256[:8]}"

    def run_of(self, fit: dict[str, Any]) -> Path:
        """Folder of one of its runs."""
        return self.folder / fit["name"]

    def filled(self, value: Any) -> Any:
        """A text, a list or options of the grid file with what its {names} stand for."""
        if isinstance(value, list):
            return [self.filled(v) for v in value]
        if isinstance(value, dict):
            return {k: self.filled(v) for k, v in value.items()}
        return PLACE.sub(lambda m: self._places()[m[1]], value) if isinstance(value, str) else value

    def _places(self) -> dict[str, str]:
        places = {"seed": str(self.seed), "domain": self.domain}
        runs = {name: (of, of.fits[0]) for name, of in self.needs.items()} | {f["name"]: (self, f) for f in self.fits}
        for name, (of, fit) in runs.items():
            places |= {name: f"{of.run_of(fit)}/export"}
            places |= {f"{name}_{k}": f"{of.run_of(fit)}/{k}" for k in AFTER if k in fit}
        return places


@dataclass(frozen=True)
class StudentCell(Runs):
    """What is scored: the last of the runs.

    Attributes:
        method: its name in the grid file.
        export: checkpoints.
        test: sets.
        score: command, and its options.
        made: in the place of runs: the model that is scored.
        generate: options of `audiokd generate`.
        reference: model, and such options, that the time of a generating cell is held against.
    """

    method: str = ""
    export: tuple[str, ...] = ("last", "best")
    test: tuple[str, ...] = ()
    score: tuple[str, dict[str, Any]] = ("classify", {})
    made: str = ""
    generate: dict[str, Any] = field(default_factory=dict)
    reference: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> dict[str, Any]:
        found = super().key | {"export": list(self.export), "test": list(self.test), "score": list(self.score)}
        more = {"model": self.made, "generate": self.generate, "reference": self.reference}
        return found | {k: v for k, v in more.items() if v}  # others' cells are what they were

    @property
    def final(self) -> Path:
        """Folder of the last run."""
        return self.run_of(self.fits[-1])

    def model(self, checkpoint: str) -> str:
        """Folder of what is scored."""
        return self.filled(self.made) if self.made else f"{self.final}/export-{checkpoint}"

    def result(self, checkpoint: str, test: str) -> Path:
        """File of its scores."""
        return self.folder / "scores" / f"{checkpoint}-{Path(test).name}.json"


def read_cells(path: str) -> list[StudentCell]:
    """The cells of a grid file, further seeds last.

    Raises:
        ConfigError: an unknown key, no runs, two of one name, a text with a {name} that stands for nothing.
    """
    tree = yaml.safe_load(Path(path).read_text())
    domains, tests = tree.get("domains", [""]), tree["test"]
    shared = {name: fits_of([{**fit, "name": name}], tree, path) for name, fit in tree.get("shared", {}).items()}
    cells = []
    for name, made in tree["cells"].items():
        if strange := sorted(made.keys() - CELL_KEYS):
            raise ConfigError(
                f"cell {name} has {', '.join(strange)}; known are {', '.join(sorted(CELL_KEYS))}", where=path
            )
        if "fits" in made and "model" in made:
            raise ConfigError(f"cell {name} has fits and a model", where=path, fix="one of them")
        fits = () if "model" in made else fits_of(made.get("fits", []), tree, path)
        how = made.get("score", tree.get("score", "classify"))
        command, given = next(iter(how.items())) if isinstance(how, dict) else (how, {})
        if command not in SCORES:
            raise ConfigError(f"cell {name} is scored by {command}, not {' or '.join(SCORES)}", where=path)
        generates = command == "fidelity"
        if not generates and ("generate" in made or ("model" in made and command not in AFTER)):
            raise ConfigError(f"cell {name} is scored by {command}: model and generate are of fidelity", where=path)
        reference = tree.get("reference", {}) if generates else {}
        beside = [given, made.get("model", ""), reference]
        checkpoints = ("last",) if "model" in made else ("last", "best")
        for seed in made.get("seeds", [0]):
            for domain in made.get("domains", domains):
                needs = _needs(fits, shared, seed, path, f"cell {name}", bool(domain), beside)
                called = f"{name}-{domain}" if domain else name
                cell = StudentCell(
                    called, seed, fits, domain, needs, name, tuple(made.get("export", checkpoints)),
                    tuple([tests] if isinstance(tests, str) else tests), (command, given), made.get("model", ""),
                    made.get("generate", {}), reference,
                )  # fmt: skip
                cells.append(cell)
    return sorted(cells, key=lambda c: c.seed)


def fits_of(fits: list[dict[str, Any]], tree: dict[str, Any], path: str) -> tuple[dict[str, Any], ...]:
    """Runs of a cell as `Runs.fits` has them.

    Raises:
        ConfigError: no run, one without a method, an unknown key, two of one name.
    """
    if not fits or any("method" not in f for f in fits):
        raise ConfigError(
            "a cell without runs, or a run without a method", where=path, fix="fits: [{method: vl2v, ...}]"
        )
    if strange := sorted({k for f in fits for k in f} - FIT_KEYS):
        raise ConfigError(f"a run has {', '.join(strange)}; known are {', '.join(sorted(FIT_KEYS))}", where=path)
    files = [[c for c in configs_of(f) if Path(c).is_file()] for f in fits]  # others are packaged
    sets = {"train": tree.get("train"), "dev": tree.get("dev")}
    whole = tuple({"name": f["method"], **sets, **f, "config_sha256": file_sha256(of)} for f, of in zip(fits, files))
    if len({f["name"] for f in whole}) < len(whole):
        raise ConfigError("two runs of one cell have one name", where=path, fix="give each a `name`")
    return whole


def _needs(
    fits: tuple[dict[str, Any], ...],
    shared: dict[str, tuple[dict[str, Any], ...]],
    seed: int,
    path: str,
    who: str,
    left_out: bool,
    beside: Sequence[Any] = (),
) -> dict[str, Runs]:
    """Shared runs that the texts of `fits` name, and of what is made or scored `beside` them."""
    needs: dict[str, Runs] = {}
    known = {"seed"} | ({"domain"} if left_out else set())
    for fit in (*fits, *beside):
        for place in sorted(set(PLACE.findall(json.dumps(fit)))):
            name, _, after = (place, "", "") if place in shared or place in known else place.rpartition("_")
            if name in shared and (not after or (after in AFTER and after in shared[name][0])):
                above = dict(list(shared.items())[: list(shared).index(name)])  # each stands on those above it
                of_seed = seed if _of_seed(name, shared) else 0
                needs[name] = Runs(
                    name, of_seed, shared[name], "", _needs(shared[name], above, of_seed, path, name, False)
                )
            elif place not in known:
                raise ConfigError(
                    f"{who}: {{{place}}} stands for nothing", where=path, fix="a shared or an earlier run"
                )
        if fit in fits:
            known |= {fit["name"], *(f"{fit['name']}_{k}" for k in AFTER if k in fit)}
    return needs


def _of_seed(name: str, shared: dict[str, tuple[dict[str, Any], ...]]) -> bool:
    """Whether a shared run, or one that it stands on, is another for every seed."""
    found = set(PLACE.findall(json.dumps(shared[name])))
    return "seed" in found or any(_of_seed(n, shared) for n in found if n in shared and n != name)


def configs_of(fit: dict[str, Any]) -> list[str]:
    given = fit.get("config", [])
    return [given] if isinstance(given, str) else given


def train(cell: Runs, fit: dict[str, Any]) -> None:
    """One run; the time that it takes is added up in the cell's folder."""
    began, spent = time.monotonic(), cell.folder / "seconds"
    words = [w for c in configs_of(fit) for w in ("--config", cell.filled(c))]
    words += options({"run.seed": cell.seed} | {k: cell.filled(v) for k, v in fit.get("options", {}).items()})
    sets = ["--train", cell.filled(fit["train"]), "--dev", cell.filled(fit["dev"])]
    run(cell, "fit", fit["method"], *words, *sets, "--exp_dir", str(cell.run_of(fit)))
    before = float(spent.read_text()) if spent.exists() else 0.0
    spent.write_text(f"{before + time.monotonic() - began:.1f}\n")


def export(cell: Runs, run_folder: Path, checkpoint: str, model: str) -> None:
    if not Path(model).exists():
        run(cell, "export", str(run_folder), model, "--checkpoint", checkpoint)


def look(cell: Runs, fit: dict[str, Any]) -> None:
    """What an exported run finds in the set that it is to look at, where there is one."""
    for key, command in AFTER.items():
        if key in fit:
            run(cell, command, f"{cell.run_of(fit)}/export", cell.filled(fit[key]), f"{cell.run_of(fit)}/{key}")


def prepare(shared: Runs) -> None:
    """Make a shared run, and those that it stands on, where it is not there."""
    for needed in shared.needs.values():
        prepare(needed)
    fit = shared.fits[0]
    with making(shared.folder):
        if not (shared.run_of(fit) / "export").exists():
            train(shared, fit)
            export(shared, shared.run_of(fit), fit.get("export", "last"), f"{shared.run_of(fit)}/export")
        look(shared, fit)


def average_is_there(run_folder: Path) -> bool:
    """Whether SWAD found a valley in a run."""
    from audiokd.nn.weights import read_checkpoint
    from audiokd.training.swad import valley_of

    state: Any = read_checkpoint(run_folder / "checkpoints" / "last.ckpt", "train it again")
    return "swad" in state and bool(valley_of(state["swad"]).steps)


def score(cell: StudentCell, checkpoint: str) -> None:
    """What one checkpoint of the last run says of the test sets."""
    model, (command, given) = cell.model(checkpoint), cell.score
    if cell.fits:
        export(cell, cell.final, checkpoint, model)
    for test in map(cell.filled, cell.test):
        if command == "fidelity":
            score_generated(cell, model, test, str(cell.result(checkpoint, test)), cell.generate, cell.filled(given))
            continue
        if command == "ratings":  # of names: there is nothing to extract
            run(cell, command, model, test, "--out", str(cell.result(checkpoint, test)), *options(given))
            continue
        layer = LAYERS.get(command, "logits")
        store, out = f"{cell.folder}/{layer}/{checkpoint}-{Path(test).name}", cell.result(checkpoint, test)
        if command == "intervals":
            run(
                cell,
                command,
                model,
                test,
                store,
                "--every",
                "true",
                "--truth",
                test,
                "--out",
                str(out),
                *options(given),
            )
            continue
        if command == "boxes":
            run(cell, "detect3d", model, test, store)
        else:
            run(cell, "extract", model, test, store, "--layer", layer)
        words = [
            "--data",
            f"[{test}]" if command in ("classify", "detect") else test,
            "--out",
            str(out),
            *options(given),
        ]
        if command == "detect":  # thresholds are chosen on dev
            dev, heard = cell.filled(cell.fits[-1]["dev"]), f"{cell.folder}/{layer}/{checkpoint}-dev"
            run(cell, "extract", model, dev, heard, "--layer", layer)
            words += ["--dev", heard, "--dev_data", f"[{dev}]"]
        run(cell, command, store, *words)


def finish(cell: StudentCell, without: list[str], began: float) -> None:
    """Append the cell's row: scores, and what it takes to make them again. The checkpoints are done with."""
    trained = [yaml.safe_load((cell.run_of(f) / "config.yaml").read_text()) for f in cell.fits]
    scored = [c for c in cell.export if c not in without]
    scores: dict[str, Any] = {}
    chance = None
    for checkpoint in scored:
        for test in map(cell.filled, cell.test):
            found = json.loads(cell.result(checkpoint, test).read_text())
            prefix = checkpoint if len(cell.test) == 1 else f"{checkpoint}.{Path(test).name}"
            scores |= {f"{prefix}.{k}": v for k, v in SCORES[cell.score[0]](found).items()}
            chance = found.get("chance")
        for name, whose in (("in_domain", ""), ("teacher_in_domain", "teacher_")) if cell.fits else ():
            if (value := in_domain(cell.final, checkpoint, whose)) is not None:
                scores[f"{checkpoint}.{name}"] = {"mean": value}
    models = [cell.model(c) for c in scored]
    if cell.score[0] == "fidelity":
        size, speed = unet_parameters(models[0]), None
        for checkpoint, model in zip(scored, models):
            systems = [(model, cell.generate), (cell.filled(cell.reference.get("model", model)), cell.reference)]
            speed, of_reference = latencies_ms(systems)
            scores[f"{checkpoint}.latency_ratio"] = {"mean": round(speed / of_reference, 4)}
    else:
        size, speed = (parameters(models[0]), latency_ms(models[0])) if models else (None, None)
    add_row({
        "config_sha256": cell.sha256,
        "seed": cell.seed,
        "steps": sum(t["run"]["max_steps"] for t in trained),
        "commit": trained[-1]["audiokd"]["commit"] if trained else source()["commit"],
        "scored_commit": source()["commit"],
        "set": ", ".join(map(cell.filled, cell.test)),
        "system": f"grid/{cell.name}",
        "method": cell.method,
        "domain": cell.domain or None,
        "parameters": size,
        "latency_ms": speed,
        "seconds": float((cell.folder / "seconds").read_text()) if cell.fits else round(time.monotonic() - began, 1),
        "chance": chance,
        "without": without,
        "scores": {k: v["mean"] for k, v in scores.items()},
        "intervals": {k: [v["low"], v["high"]] for k, v in scores.items() if v.get("low") is not None},
    })  # fmt: skip
    for fit in cell.fits:
        shutil.rmtree(cell.run_of(fit) / "checkpoints", ignore_errors=True)


def work(cell: StudentCell) -> str:
    """Do what is left of a cell, and say how it ended."""

    def do() -> None:
        for needed in cell.needs.values():
            prepare(needed)
        began = time.monotonic()
        for fit in cell.fits:
            train(cell, fit)
            if fit is not cell.fits[-1]:
                export(cell, cell.run_of(fit), fit.get("export", "last"), f"{cell.run_of(fit)}/export")
                look(cell, fit)
        without = []
        for checkpoint in cell.export:
            if checkpoint == "swad" and not average_is_there(cell.final):
                without.append(checkpoint)
            else:
                score(cell, checkpoint)
        finish(cell, without, began)

    return attempt(cell, do)


def main() -> None:
    parser = grid_parser(__doc__)
    parser.add_argument("--forecast", action="store_true", help="print how long the others will take")
    args = parser.parse_args()
    cells = [c for c in read_cells(args.grid) if args.only in c.name]
    if args.tables:
        tree = yaml.safe_load(Path(args.grid).read_text())
        print(tables(cells, tree.get("columns", ["accuracy"]), tree.get("each", "without")))
    elif args.forecast:
        print(forecast(cells))
    else:
        work_through(unfinished(cells), args.nj, work)


if __name__ == "__main__":
    main()
