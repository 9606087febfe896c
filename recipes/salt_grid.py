#!/usr/bin/env python
"""SALT beside V-JEPA's average at equal operations: accuracy by cost, and what the loss says of it. A grid that goes on where it
stopped.

    cd egs/toy_motion/salt1 && ../../../recipes/salt_grid.py conf/grid.yaml --forecast
    ../../../recipes/salt_grid.py conf/grid.yaml            # then --tables, --plot curves.svg

conf/grid.yaml holds what all cells share: `train`, `dev`, `tasks` (of data/TASK/{train,dev,test}, one label an item), `heads`
with the options of each probe, `decay` (the share of a run that decays), `budgets` (operations of a whole training, the teacher's
included), and `runs` by name:

    config      of `audiokd fit salt`
    options     further keys of it
    teacher     of a student: the run that taught it, of the same seed
    share       of a teacher: its part of the last budget, in place of run.max_steps in `options`
    points      which budgets, by number from 0: left out, all; [] of a teacher, which is probed as it ends
    untrained   true: the encoder as it begins, at no budget
    seeds       0 alone by default; of further ones the last of `points` alone

A point of a run with several is a decay branch of one constant run: its operations are those of the constant stretch up to there
and of the decay. A run or seed with one point is trained at once, which is the same. Work lies in exp/grid/; a finished cell is a
row of results.jsonl.
"""

from __future__ import annotations

import json
import statistics
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
)

from audiokd.errors import ConfigError
from audiokd.eval.table import markdown
from audiokd.methods.salt.config import SALTConfig
from audiokd.methods.salt.cost import flops_of, step_flops, steps_within
from audiokd.methods.salt.module import config_of
from audiokd.methods.salt.settings import SALTSettings
from audiokd.report.page import read_metrics
from audiokd.stages.fit import build_settings, read_config, source

SPLITS = ("train", "dev", "test")
#: of a run's last validation
MONITORS = ("loss", "rank", "std_student")
#: configs with what they cost, by cell
KNOWN: dict[str, SALTConfig] = {}
RUN_KEYS = {"config", "options", "teacher", "share", "points", "seeds", "untrained"}


@dataclass(frozen=True)
class Point(Cell):
    """A trained encoder: a run of a seed at one of its budgets.

    Attributes:
        made: as the grid file has the run.
        shared: what all cells share.
        budget: operations; 0 where the run says its own steps.
        stops: all budgets of the run, where they are branches of one.
        teacher: of a student.
    """

    made: dict[str, Any]
    shared: dict[str, Any]
    budget: float
    stops: tuple[float, ...] = ()
    teacher: Point | None = field(default=None, compare=False)

    @property
    def key(self) -> dict[str, Any]:
        made = {k: v for k, v in self.made.items() if k not in ("points", "seeds")}
        return {
            "made": made, "shared": self.shared, "seed": self.seed, "budget": self.budget,
            "teacher": self.teacher.sha256 if self.teacher else None,
        }  # fmt: skip

    @property
    def folder(self) -> Path:
        return GRID / f"{self.name}-{self.seed}-{self.sha256[:8]}"

    @property
    def stable(self) -> Path:
        """The constant run that branches of this run go out from."""
        first = Point(
            self.name.partition("@")[0], self.seed, self.made, self.shared, self.stops[-1], self.stops, self.teacher
        )
        return GRID / f"{first.name}-stable-{self.seed}-{first.sha256[:8]}"

    @property
    def untrained(self) -> bool:
        return bool(self.made.get("untrained"))

    @property
    def export(self) -> str:
        return f"{self.folder}/export-{'init' if self.untrained else 'last'}"

    @property
    def keys(self) -> dict[str, Any]:
        """Options of `audiokd fit`."""
        keys = {**self.made.get("options", {}), "run.seed": self.seed}
        if self.untrained:
            keys["run.max_steps"] = 1  # an export is of a run, whatever its weights
        return keys | ({"step": "student", "teacher.model": self.teacher.export} if self.teacher else {})

    def settings(self) -> SALTSettings:
        """Its settings; a teacher's folder need not be there yet."""
        tree: dict[str, Any] = {}
        for key, value in {**read_config(self.made["config"]), **self.keys}.items():
            *groups, name = key.split(".")
            node = tree
            for group in groups:
                node = node.setdefault(group, {})
            node[name] = value
        return build_settings(SALTSettings, tree)

    def encoder(self) -> SALTConfig:
        """Its config, with what it costs, worked out and not read: the same before and after it is trained."""
        if self.sha256 not in KNOWN:
            s, theirs = self.settings(), self.teacher.encoder() if self.teacher else None
            config, step = config_of(s), step_flops(s, theirs)
            steps = steps_within(self.budget, step, theirs) if self.budget else s.run.max_steps
            config.flops = flops_of(step, steps, theirs)
            KNOWN[self.sha256] = config
        return KNOWN[self.sha256]

    def length(self) -> tuple[int, int]:
        """Steps of the run, and those of them that decay."""
        steps = int(self.encoder().flops["steps"])
        return steps, max(1, round(steps * self.shared["decay"]))


def read_points(path: str) -> list[Point]:
    """The cells of a grid file, further seeds last, each behind its teacher.

    Raises:
        ConfigError: a key that is not known, or a teacher that no line above makes.
    """
    tree = yaml.safe_load(Path(path).read_text())
    shared = {k: tree[k] for k in ("train", "dev", "tasks", "heads", "decay")} | {"layer": tree.get("layer", "tokens")}
    budgets = [float(b) for b in tree["budgets"]]
    cells: dict[tuple[str, int], list[Point]] = {}
    for name, given in tree["runs"].items():
        if strange := given.keys() - RUN_KEYS:
            raise ConfigError(
                f"run {name} has {', '.join(sorted(strange))}", where=path, fix=f"keys: {', '.join(sorted(RUN_KEYS))}"
            )
        made = given | {"config_sha256": file_sha256([given["config"]])}
        for seed in given.get("seeds", [0]):
            teacher = None
            if "teacher" in given:
                if (given["teacher"], seed) not in cells:
                    raise ConfigError(f"no run {given['teacher']} of seed {seed} above {name}", where=path)
                teacher = cells[given["teacher"], seed][-1]
            if "share" in given:
                mine = [float(given["share"]) * budgets[-1]]
            elif given.get("untrained"):
                mine = [0.0]
            else:
                points = given.get("points", list(range(len(budgets))))
                mine = [budgets[k] for k in points] or [0.0]
            stops = tuple(mine)
            if seed:
                mine = mine[-1:]
            cells[name, seed] = [
                Point(f"{name}@{stops.index(b)}" if len(stops) > 1 else name, seed, made, shared, b, stops, teacher)
                for b in mine
            ]
    return sorted((c for of in cells.values() for c in of), key=lambda c: c.seed)


def train(cell: Point) -> None:
    """Train and export an encoder, its teacher first, where it is not there; in its own run, or as a branch."""
    if cell.teacher:
        train(cell.teacher)
    with making(cell.folder):
        if Path(cell.export).exists():
            return
        steps, decay = cell.length()
        keys = dict(cell.keys)
        if len(cell.stops) > 1 and not cell.seed:
            others = [Point(cell.name, 0, cell.made, cell.shared, b, cell.stops, cell.teacher) for b in cell.stops]
            forks = [n - d for n, d in (o.length() for o in others)]
            with making(cell.stable):  # the other points of the run want it, too
                fit(cell, cell.stable, {**keys, "keep": forks, "run.max_steps": forks[-1]})
            keys |= {"branch.run": str(cell.stable), "branch.step": steps - decay}
        fit(cell, cell.folder, {**keys, "optim.decay_steps": decay, "run.max_steps": steps})
        run(cell, "export", str(cell.folder), cell.export, "--checkpoint", "init" if cell.untrained else "last")


def fit(cell: Point, exp: Path, keys: dict[str, Any]) -> None:
    data = ["--train", cell.shared["train"], "--dev", cell.shared["dev"]]
    run(cell, "fit", "salt", "--config", cell.made["config"], *options(keys), *data, "--exp_dir", str(exp))


def probe(cell: Point) -> None:
    """Every head on every task."""
    for task in cell.shared["tasks"]:
        for layer in (cell.shared["layer"], "clip"):
            for split in SPLITS:
                run(
                    cell,
                    "extract",
                    cell.export,
                    f"data/{task}/{split}",
                    f"{cell.folder}/features/{task}/{layer}/{split}",
                    "--layer",
                    layer,
                )
        data = ",".join(f"data/{task}/{s}" for s in SPLITS)
        for head, how in cell.shared["heads"].items():
            layer = cell.shared["layer"] if head == "attentive" else "clip"
            words = [w for s in SPLITS for w in (f"--{s}", f"{cell.folder}/features/{task}/{layer}/{s}")]
            words += ["--data", f"[{data}]", "--head", head, "--seed", str(cell.seed), *options(how or {})]
            run(cell, "probe", *words, "--out", f"{cell.folder}/scores/{task}-{head}.json")


def finish(cell: Point) -> None:
    """Append the cell's row."""
    found = {p.stem: json.loads(p.read_text()) for p in sorted((cell.folder / "scores").glob("*.json"))}
    flops = json.loads((Path(cell.export) / "config.json").read_text())["flops"]
    if cell.untrained:
        flops = {"step": 0.0, "steps": 0, "teacher": 0.0, "total": 0.0}
    known = read_metrics(cell.folder / "metrics.csv")
    validated = {k: float(of["val"][1][-1]) for k, of in known.items() if k in MONITORS and "val" in of}
    validated = {} if cell.untrained else validated
    add_row({
        "config_sha256": cell.sha256,
        "seed": cell.seed,
        "steps": flops["steps"],
        "flops": flops,
        "commit": yaml.safe_load((cell.folder / "config.yaml").read_text())["audiokd"]["commit"],
        "scored_commit": source()["commit"],
        "set": "test",
        "system": f"grid/{cell.name}",
        "scores": {k: f["test"]["mean"] for k, f in found.items()},
        "intervals": {k: [f["test"]["low"], f["test"]["high"]] for k, f in found.items()},
        "chance": {k: f["chance"] for k, f in found.items()},
        "validation": validated,
    })  # fmt: skip


def work(cell: Point) -> str:
    """Do what is left of a cell, and say how it ended."""

    def do() -> None:
        train(cell)
        probe(cell)
        finish(cell)

    return attempt(cell, do)


def fit_of(loss: list[float], score: list[float]) -> str:
    """R2 of the straight line through points, and which way it goes."""
    if len(loss) < 3 or len(set(loss)) < 2 or len(set(score)) < 2:
        return "-"
    r = statistics.correlation(loss, score)
    return f"{r * r:.3f} {'falls' if r < 0 else 'rises'}"


def tables(cells: list[Point]) -> str:
    """A row a run and budget, operations those of its first seed; and how well the validation loss tells each score, and whether
    the score falls or rises with it, of seed 0: within a run, and over all students and teachers, whose losses are against targets
    of their own."""
    done = finished()
    scores = [f"{t}-{h}" for t in cells[0].shared["tasks"] for h in cells[0].shared["heads"]]
    rows = []
    for name in dict.fromkeys(c.name for c in cells):
        found = [done[c.sha256] for c in cells if c.name == name and c.sha256 in done]
        if found:
            of = found[0]
            losses = [f["validation"]["loss"] for f in found if f["validation"]]
            about = [
                str(len(found)),
                f"{of['flops']['total']:.3g}",
                f"{of['flops']['teacher']:.3g}",
                f"{statistics.mean(losses):.4f}" if losses else "-",
            ]
            rows.append([name, *about, *(spread(found, s) for s in scores)])
    text = markdown(["run", "seeds", "operations", "its teacher's", "loss", *scores], rows)
    lines = []
    trained = [c for c in cells if not (c.untrained or c.seed)]
    runs = dict.fromkeys(c.name.partition("@")[0] for c in trained if len(c.stops) > 1)
    for kind, mine in (
        *((name, [c for c in trained if c.name.partition("@")[0] == name]) for name in runs),
        ("all students", [c for c in trained if c.teacher]),
        ("all teachers", [c for c in trained if c.settings().step == "teacher"]),
    ):
        found = [done[c.sha256] for c in mine if c.sha256 in done]
        loss = [f["validation"]["loss"] for f in found]
        lines.append([kind, str(len(found)), *(fit_of(loss, [f["scores"][s] for f in found]) for s in scores)])
    text += "\n" + markdown(["R2 of loss and score", "encoders", *scores], lines)
    ratios: dict[int, list[float]] = {}
    for cell in cells:
        if cell.sha256 in done and not cell.untrained:
            ratios.setdefault(cell.seed, []).append(counted_anew(cell, done) / done[cell.sha256]["flops"]["total"])
    if any(abs(r - 1) > 0.005 for of in ratios.values() for r in of):
        said = ", ".join(f"seed {k} {min(of):.3f} to {max(of):.3f}" for k, of in ratios.items())
        text += f"\nCounted anew, operations are so many times those of the rows: {said}.\n"
    return text


def counted_anew(cell: Point, done: dict[str, Any]) -> float:
    """Operations of a finished cell's steps as they are counted now: a row has what was counted when it was made."""
    before = counted_anew(cell.teacher, done) if cell.teacher else 0.0
    row = done.get(cell.sha256)
    return before + cell.encoder().flops["step"] * (row["flops"]["steps"] if row else cell.encoder().flops["steps"])


def plot(cells: list[Point], out: str) -> None:
    """Scores of the first probe by operations, a panel a task: a line a run (a point where it has one budget), its seeds' range
    where there are several, and the untrained encoder's."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    done, head = finished(), next(iter(cells[0].shared["heads"]))
    tasks = cells[0].shared["tasks"]
    figure, axes = plt.subplots(1, len(tasks), figsize=(5.5 * len(tasks), 4.5), squeeze=False)
    for task, axis in zip(tasks, axes[0]):
        key = f"{task}-{head}"
        chance = 0.0
        for name in dict.fromkeys(c.name.partition("@")[0] for c in cells):
            points: dict[float, list[float]] = {}
            mine = [c for c in cells if c.name.partition("@")[0] == name and c.sha256 in done]
            for cell in mine:
                row = done[cell.sha256]
                chance = row["chance"][key]
                cost = row["flops"]["total"] if cell.seed == 0 or not points else max(points)
                points.setdefault(cost, []).append(row["scores"][key])
            if not points:
                continue
            costs = sorted(points)
            middle = [statistics.mean(points[c]) for c in costs]
            if mine[0].untrained:
                axis.axhline(middle[0], color="grey", linewidth=1, linestyle="--", label=name)
                continue
            ranges = [
                [m - min(points[c]) for c, m in zip(costs, middle)],
                [max(points[c]) - m for c, m in zip(costs, middle)],
            ]
            axis.errorbar(costs, middle, ranges, marker="o", markersize=4, linewidth=1, capsize=3, label=name)
        axis.axhline(chance, color="grey", linewidth=0.5, label="chance")
        axis.set(title=task, xlabel="operations of the whole training", ylim=(0, 1))
    axes[0][0].set_ylabel(f"{head} probe, test")
    axes[0][-1].legend(fontsize=7)
    figure.tight_layout()
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
    print(f"{out}: {sum(c.sha256 in done for c in cells)} encoders")


def forecast(cells: list[Point], given: dict[str, float]) -> str:
    """What the grid takes on a core that does `gflops` and needs `read_s` for a step's clips and `probe_s` for an encoder's
    probes."""
    rows, total, stable = [], 0.0, set()
    for cell in cells:
        flops, (steps, decay) = cell.encoder().flops, cell.length()
        branch = len(cell.stops) > 1 and not cell.seed
        mine = decay if branch else steps
        if branch and cell.stable not in stable and cell.budget == cell.stops[-1]:
            stable.add(cell.stable)
            mine += steps - decay
        seconds = mine * (flops["step"] / given["gflops"] / 1e9 + given["read_s"])
        total += seconds + given["probe_s"]
        rows.append(
            [
                cell.name,
                str(cell.seed),
                str(steps),
                f"{flops['total']:.3g}",
                f"{seconds / 60:.1f}",
                f"{given['probe_s'] / 60:.1f}",
            ]
        )
    text = markdown(["cell", "seed", "steps", "operations", "train, min", "probe, min"], rows)
    return f"{text}\n{total / 3600:.2f} h in all, at {given['gflops']:g} GFLOPS"


def main() -> None:
    parser = grid_parser(__doc__)
    parser.add_argument("--forecast", action="store_true", help="print what each cell costs; nothing is run")
    parser.add_argument("--plot", metavar="FILE", help="draw finished cells: the first probe's scores by operations")
    args = parser.parse_args()
    cells = [c for c in read_points(args.grid) if args.only in c.name]
    if args.forecast:
        print(forecast(cells, yaml.safe_load(Path(args.grid).read_text())["forecast"]))
    elif args.tables or args.plot:
        if args.tables:
            print(tables(cells))
        if args.plot:
            plot(cells, args.plot)
    else:
        work_through(unfinished(cells), args.nj, work)


if __name__ == "__main__":
    main()
