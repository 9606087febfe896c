#!/usr/bin/env python
"""A benchmark of encoders, networks, losses and optimisers of segmentation networks, that goes on where it stopped, on any machine.

    cd egs/offnadir_toy/seg1 && ../../../recipes/seg_bench.py conf/benchmark.yaml --nj 1

In stages: encoders with what `first` names, then with the best encoder the optimisers, with the best of these the losses, and then
the networks. The best is the one of the greatest IoU on `dev`, the mean over `seeds`; test sets choose nothing. --full runs the
whole product. --encoders all takes all that the file lists, and not only those that it has under `here`.

The file has `train`, `dev`, `test`, `config` files, `options`, `seeds`, the four lists, `rates` by optimiser and `first`. A pair
that cannot be built is named and left out. A cell's work and its row are as those of kd_grid.py. --tables prints what there is,
--plot FILE draws F1 against parameters and latency with the Pareto fronts, --forecast times a few steps of each cell.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from cells import finished, spread, unfinished, work_through
from kd_grid import StudentCell, fits_of, work

from audiokd.errors import AudiokdError, ConfigError
from audiokd.eval.table import markdown

#: list in the file by what a cell is made of, in the order of the stages
LISTS = {"encoder": "encoders", "optimizer": "optimizers", "loss": "losses", "network": "networks"}
#: steps that a forecast times, after one that is not counted
TIMED = 3


class Choice(NamedTuple):
    """What a cell is made of."""

    encoder: str
    optimizer: str
    loss: str
    network: str

    @property
    def name(self) -> str:
        """Of its cell."""
        return f"{self.network}-{self.encoder}-{self.optimizer}-{self.loss}"


def read_benchmark(path: str, encoders: str) -> dict[str, Any]:
    """The file, with the encoders that are asked for.

    Raises:
        ConfigError: a list is missing, or an encoder is asked for that is none of the list.
    """
    tree = yaml.safe_load(Path(path).read_text())
    if missing := [name for name in (*LISTS.values(), "first", "rates") if name not in tree]:
        raise ConfigError(f"no {', '.join(missing)}", where=path)
    listed = tree["encoders"]
    tree["encoders"] = (
        listed if encoders == "all" else tree.get("here", listed) if encoders == "here" else encoders.split(",")
    )
    if strange := sorted(set(tree["encoders"]) - set(listed)):
        raise ConfigError(f"{', '.join(strange)} is not in its list of encoders", where=path)
    return tree


def cells_of(tree: dict[str, Any], choice: Choice, path: str) -> list[StudentCell]:
    """The cells of a choice, one a seed."""
    made = {
        "model.encoder": choice.encoder,
        "model.network": choice.network,
        "loss.name": choice.loss,
        "optim.name": choice.optimizer,
        "optim.lr": tree["rates"][choice.optimizer],
        "model.weights": "",
        "data.test": [tree["test"]],
    }
    fit = {"method": "building_sda", "config": tree["config"], "options": {**made, **tree.get("options", {})}}
    fits = fits_of([fit], tree, path)
    return [
        StudentCell(
            f"bench-{choice.name}", seed, fits, "", {}, choice.name, ("best",), (tree["test"],), ("segments", {})
        )
        for seed in tree.get("seeds", [0])
    ]


def stages(tree: dict[str, Any], path: str, full: bool) -> Iterator[list[Choice]]:
    """Choices stage by stage; each is made when the one before it has its rows."""
    if full:
        yield [Choice(*of) for of in itertools.product(*(tree[name] for name in LISTS.values()))]
        return
    best = Choice(tree["encoders"][0], tree["first"]["optimizer"], tree["first"]["loss"], tree["first"]["network"])
    for kind, name in LISTS.items():
        choices = [best._replace(**{kind: value}) for value in tree[name]]
        yield choices
        scored = {c: s for c in choices if (s := dev_iou(tree, c, path)) is not None}
        if not scored:
            return
        best = max(scored, key=lambda c: scored[c])


def rows_of(tree: dict[str, Any], choice: Choice, path: str) -> list[dict[str, Any]]:
    done = finished()
    return [done[c.sha256] for c in cells_of(tree, choice, path) if c.sha256 in done]


def dev_iou(tree: dict[str, Any], choice: Choice, path: str) -> float | None:
    """The mean over seeds; None where one of them is not done."""
    found = rows_of(tree, choice, path)
    if len(found) < len(tree.get("seeds", [0])):
        return None
    return statistics.mean(r["scores"]["best.in_domain"] for r in found)


def refused(choice: Choice) -> str:
    """Why a pair cannot be built; "" where it can."""
    from audiokd.vision.segmenter import build_segmenter

    try:
        build_segmenter(choice.network, choice.encoder)
    except AudiokdError as e:
        return e.what
    return ""


def run_all(tree: dict[str, Any], path: str, full: bool, nj: int) -> None:
    for number, choices in enumerate(stages(tree, path, full), 1):
        print(f"stage {number}: {len(choices)} choices", flush=True)
        left = []
        for choice in choices:
            cells = cells_of(tree, choice, path)
            if any(c.sha256 not in finished() for c in cells) and (why := refused(choice)):
                print(f"left out: {why}", flush=True)
                continue
            left += cells
        work_through(unfinished(left), nj, work)


def all_choices(tree: dict[str, Any], path: str, full: bool) -> list[Choice]:
    """Those of all stages that are known so far, each once."""
    return list(dict.fromkeys(c for choices in stages(tree, path, full) for c in choices))


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which points (cost, score) no other is at most as dear and better than, by cost."""
    order = sorted(range(len(points)), key=lambda k: (points[k][0], -points[k][1]))
    kept: list[int] = []
    for k in order:
        if not kept or points[k][1] > points[kept[-1]][1]:
            kept.append(k)
    return kept


def measured(tree: dict[str, Any], path: str, full: bool) -> list[tuple[Choice, list[dict[str, Any]]]]:
    found = [(c, rows_of(tree, c, path)) for c in all_choices(tree, path, full)]
    return [(c, rows) for c, rows in found if rows]


def costs(rows: list[tuple[Choice, list[dict[str, Any]]]], key: str) -> list[tuple[float, float]]:
    """Cost and F1 of each, medians and means over seeds."""
    return [
        (statistics.median(r[key] for r in of), statistics.mean(r["scores"]["best.f1"] for r in of)) for _, of in rows
    ]


def tables(rows: list[tuple[Choice, list[dict[str, Any]]]]) -> str:
    """A row a choice; those on a Pareto front of F1 are marked by what they are cheap in."""
    fronts = {key: front(costs(rows, key)) for key in ("parameters", "latency_ms")}
    table = []
    for k, (choice, of) in enumerate(rows):
        scores = [spread(of, f"best.{s}") for s in ("in_domain", "f1", "iou", "f1_per_image")]
        size, speed = (statistics.median(r[key] for r in of) for key in fronts)
        on = ", ".join(
            name for name, key in (("parameters", "parameters"), ("latency", "latency_ms")) if k in fronts[key]
        )
        table.append([*choice, str(len(of)), *scores, f"{size / 1e6:.2f} M", f"{speed:.1f}", on or "-"])
    headers = [*LISTS, "seeds", "dev IoU", "F1", "IoU", "F1 per image", "parameters", "ms a picture", "Pareto front"]
    return markdown(headers, table)


def plot(rows: list[tuple[Choice, list[dict[str, Any]]]], out: str) -> None:
    """F1 on test against parameters and latency."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True)
    for axis, key, unit, label in zip(
        axes, ("parameters", "latency_ms"), (1e6, 1), ("parameters, millions", "one thread, ms a picture")
    ):
        points = [(cost / unit, score) for cost, score in costs(rows, key)]
        axis.scatter(*zip(*points), s=14)
        best = front(points)
        axis.plot(*zip(*(points[k] for k in best)), drawstyle="steps-post", linewidth=1)
        for k in best:  # left of the front there is nothing
            axis.annotate(
                rows[k][0].name, points[k], fontsize=6, xytext=(-4, 3), textcoords="offset points", ha="right"
            )
        axis.set(xscale="log", xlabel=label, xlim=(0.2 * min(x for x, _ in points), None))
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
    axes[0].set_ylabel("F1, all pixels of test")
    figure.tight_layout()
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
    print(f"{out}: {len(rows)} points")


def seconds_a_step(tree: dict[str, Any], choice: Choice) -> float:
    """Processor time of one step of one thread, random pictures."""
    import torch
    from torch.nn import functional as F

    from audiokd.stages.fit import read_config
    from audiokd.vision.segmenter import build_segmenter

    known: dict[str, Any] = {}
    for file in tree["config"]:
        known |= read_config(file)
    side, size = known["data.crop"], known["data.batch_size"]
    torch.set_num_threads(1)
    model = build_segmenter(choice.network, choice.encoder)
    optimizer = torch.optim.Adam(model.parameters())
    spent = []
    for _ in range(1 + TIMED):
        began = time.thread_time()
        optimizer.zero_grad()
        logits = model(torch.randn(size, 3, side, side))
        F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits)).backward()
        optimizer.step()
        spent.append(time.thread_time() - began)
    return statistics.median(spent[1:])


def forecast(tree: dict[str, Any], path: str, full: bool) -> str:
    """Minutes of training by timed steps; losses and optimisers cost next to nothing, so a stage's cells of one network and encoder
    are timed once. What later stages have chosen is not known before the earlier ones are done: the first encoder stands for it."""
    steps, seeds = tree["options"]["run.max_steps"], len(tree.get("seeds", [0]))
    if full:
        choices = all_choices(tree, path, full)
    else:
        first = Choice(tree["encoders"][0], tree["first"]["optimizer"], tree["first"]["loss"], tree["first"]["network"])
        choices = [first._replace(**{kind: value}) for kind, name in LISTS.items() for value in tree[name]]
        choices = list(dict.fromkeys(choices))
    timed: dict[tuple[str, str], float | None] = {}
    table, total = [], 0.0
    for c in choices:
        pair = c.network, c.encoder
        if pair not in timed:
            timed[pair] = None if refused(c) else seconds_a_step(tree, c)
        each = timed[pair]
        if each is None:
            table.append([c.name, "cannot be built", "", ""])
            continue
        total += each * steps * seeds
        table.append([c.name, f"{each:.2f}", f"{each * steps / 60:.1f}", f"{each * steps * seeds / 3600:.2f}"])
    table.append(["all", "", "", f"{total / 3600:.2f}"])
    return markdown(["cell", "s a step", "minutes a run", "hours of one thread"], table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("benchmark", help="such as conf/benchmark.yaml")
    parser.add_argument("--nj", type=int, default=1, help="cells at once, a thread each")
    parser.add_argument("--encoders", default="here", help="here, all, or some of the list with commas between")
    parser.add_argument("--full", action="store_true", help="the whole product in place of stages")
    parser.add_argument("--tables", action="store_true", help="print the table of finished cells")
    parser.add_argument("--plot", metavar="FILE", help="draw finished cells: F1 against parameters and latency")
    parser.add_argument("--forecast", action="store_true", help="time steps, and print how long all will take")
    args = parser.parse_args()
    tree = read_benchmark(args.benchmark, args.encoders)
    if args.forecast:
        print(forecast(tree, args.benchmark, args.full))
    elif args.tables or args.plot:
        rows = measured(tree, args.benchmark, args.full)
        if not rows:
            raise SystemExit("no cell of it is in results.jsonl yet")
        if args.tables:
            print(tables(rows))
        if args.plot:
            plot(rows, args.plot)
    else:
        run_all(tree, args.benchmark, args.full, args.nj)


if __name__ == "__main__":
    main()
