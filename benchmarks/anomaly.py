"""How do our detectors stand beside anomalib's, on the same tiles, with the same teacher?

anomalib is in no extra of audiokd, since it wants jsonargparse under 4.47: it runs in an environment of its own, which is given
tensors and gives maps, and is asked for a few steps, and later for a picture, in turns with ours.

    python -m venv ../anomalib
    ../anomalib/bin/pip install anomalib==2.7.0 torch==2.11.0 torchvision==0.26.0
    (cd egs/textures/ad1 && ./run.sh --stage data --stop_stage data)
    python benchmarks/anomaly.py --anomalib ../anomalib/bin/python --texture grass

All take the same batches in the same order, at a constant rate, and are scored as the last step leaves them by audiokd's metrics:
there is no selection. Times are of the processor, one thread. What anomalib needed: its STFPM has our learning rate (its own, 0.4,
is for a batch of 32 and another network); its Reverse Distillation decodes to a ResNet's maps alone: the maps are split
in positive and negative parts and padded with zeros to a ResNet-18's 64, 128 and 256 channels. PatchCore has no steps.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "egs" / "textures" / "ad1"
BACKBONE, LEVELS = "tf_efficientnet_lite0", (1, 2, 3)  # maps at strides 4, 8 and 16
OURS = {"dbfad": "DBFAD", "rd4ad": "RD4AD", "stfpm": "STFPM"}
THEIRS = {"reverse_distillation": "Reverse Distillation", "stfpm": "STFPM", "patchcore": "PatchCore"}
#: which of ours a time of theirs is set against
AGAINST = {"reverse_distillation": "rd4ad", "stfpm": "stfpm", "patchcore": "dbfad"}
RATE_OF_STFPM = 0.01
CHUNK, TIMED, WARM_UP = 5, 25, 3  # steps in turn; rounds of one picture, after some that are not counted


class Ours:
    """audiokd's three, as egs/textures/ad1/conf has them but for the rate, which stays.

    Args:
        data: pictures [N, 3, S, S] to learn from and to test on, and batches [steps, 4].
        texture: category of the data folder.
        seed: of the students.
    """

    def __init__(self, data: dict[str, Any], texture: str, seed: int):
        from audiokd.methods.dbfad.run import DBFADRun

        self.data, self.models, self.optimizers = data, {}, {}
        for kind in OURS:
            settings = settings_of(kind, texture, seed)
            with tempfile.TemporaryDirectory() as folder:
                module, _ = DBFADRun(settings, str(RECIPE / "data/train"), str(RECIPE / "data/dev")).build(Path(folder))
            self.models[kind], self.optimizers[kind] = module, module.configure_optimizers()

    def steps(self, name: str, first: int, count: int) -> None:
        module, optimizer = self.models[name].train(), self.optimizers[name]
        for rows in self.data["order"][first : first + count]:
            x = self.data["train"][rows]
            theirs = module.teacher.targets({"pixel_values": x})
            loss = module.distance(module.student(x, theirs), theirs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def fit(self, name: str) -> None:
        """Nothing is left to do after the steps."""

    def say(self, name: str, x: Any) -> tuple[Any, Any]:
        """Scores [B] and maps [B, S, S]."""
        from audiokd.methods.dbfad.model import distances
        from audiokd.vision.anomaly_map import scores_of

        module = self.models[name].eval()
        theirs = module.teacher.targets({"pixel_values": x})
        maps = module.to_map(distances(module.student(x, theirs), theirs))
        return scores_of(maps), maps

    def parameters(self, name: str) -> int:
        return sum(p.numel() for p in self.models[name].student.parameters())


class Theirs:
    """anomalib's three, on the same teacher; runs in anomalib's environment.

    Args:
        data: as of `Ours`.
        weights: of the teacher, timm's names.
        seed: of the students.
    """

    def __init__(self, data: dict[str, Any], weights: str, seed: int):
        import timm
        import torch
        from safetensors.torch import load_file

        known = {k.replace(".", "_"): v for k, v in load_file(weights).items()}
        create = timm.create_model

        def with_weights(name: str, pretrained: bool = False, **more: Any) -> Any:
            net = create(name, pretrained=False, **more)
            if pretrained:
                net.load_state_dict({k: known[k.replace(".", "_")] for k in net.state_dict()})
            return net

        timm.create_model = with_weights
        from anomalib.models import Patchcore, ReverseDistillation, Stfpm
        from anomalib.models.components import TimmFeatureExtractor

        torch.manual_seed(seed)
        size = tuple(data["train"].shape[-2:])
        bare: dict[str, Any] = {"post_processor": False, "evaluator": False, "visualizer": False}
        reverse = ReverseDistillation(
            "resnet18", pre_trained=False, pre_processor=ReverseDistillation.configure_pre_processor(size), **bare
        )
        reverse.model.encoder = split_teacher(TimmFeatureExtractor(BACKBONE, list(LEVELS), pre_trained=True))
        self.data, self.models = data, {
            "reverse_distillation": reverse,
            "stfpm": Stfpm(BACKBONE, list(LEVELS), pre_processor=False, **bare),
            "patchcore": Patchcore(BACKBONE, list(LEVELS[1:]), pre_processor=False, **bare),
        }  # fmt: skip
        self.optimizers = {k: m.configure_optimizers() for k, m in self.models.items()}
        for group in self.optimizers["stfpm"].param_groups:
            group["lr"] = RATE_OF_STFPM

    def steps(self, name: str, first: int, count: int) -> None:
        module, optimizer = self.models[name].train(), self.optimizers[name]
        if optimizer is None:
            return
        for rows in self.data["order"][first : first + count]:
            loss = module.loss(*module.model(self.data["train"][rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def fit(self, name: str) -> None:
        """PatchCore: keep a tenth of the patches."""
        import torch

        if name == "patchcore":
            model = self.models[name].model.train()
            with torch.no_grad():
                for k in range(0, len(self.data["train"]), 4):
                    model(self.data["train"][k : k + 4])
                self.models[name].fit()  # its projection takes a gradient: a graph of every distance, gigabytes

    def say(self, name: str, x: Any) -> tuple[Any, Any]:
        found = self.models[name].eval().model(x)
        return found.pred_score.flatten(), found.anomaly_map[:, 0]

    def parameters(self, name: str) -> int:
        if name == "patchcore":
            return self.models[name].model.memory_bank.numel()
        return sum(p.numel() for g in self.optimizers[name].param_groups for p in g["params"])


def split_teacher(teacher: Any) -> Any:
    """A teacher whose maps are as a ResNet-18's: not negative, 64, 128 and 256 channels."""
    import torch
    from torch.nn import functional as F

    class Split(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.teacher = teacher

        def forward(self, images: Any) -> dict[int, Any]:
            found = {}
            for (key, x), width in zip(self.teacher(images).items(), (64, 128, 256)):
                x = torch.cat([x.relu(), (-x).relu()], 1)
                found[key] = F.pad(x, (0, 0, 0, 0, 0, width - x.shape[1]))
            return found

    return Split()


class Timed:
    """Answers what is asked of systems, with the seconds of the processor that it took."""

    def __init__(self, systems: Any, folder: Path):
        self.systems, self.folder = systems, folder

    def ask(self, what: str, name: str, *given: int) -> float:
        import numpy as np
        import torch

        test, began = self.systems.data["test"], time.thread_time()
        if what == "parameters":
            return self.systems.parameters(name)
        if what in ("steps", "fit"):
            getattr(self.systems, what)(name, *given)
            return time.thread_time() - began
        with torch.inference_mode():
            if what == "picture":
                self.systems.say(name, test[:1])
                return time.thread_time() - began
            parts = [self.systems.say(name, test[k : k + 8]) for k in range(0, len(test), 8)]
        for kind, of in zip(("scores", "maps"), zip(*parts)):
            np.save(self.folder / f"{type(self.systems).__name__}-{name}-{kind}.npy", torch.cat(of).float().numpy())
        return time.thread_time() - began


class Remote:
    """A `Timed` in another environment's process, asked by lines of JSON."""

    def __init__(self, python: str, folder: Path, seed: int):
        words = [python, __file__, "--serve", str(folder), "--seed", str(seed)]
        env = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
        self.log = folder / "log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=env
            )

    def ask(self, *words: Any) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        if not (line := self.process.stdout.readline()):
            sys.exit(f"error: anomalib's process ended with {self.process.wait()}:\n{self.log.read_text()[-2000:]}")
        return json.loads(line)


def serve(folder: Path, seed: int) -> None:
    import torch

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    torch.set_num_threads(1)
    timed = Timed(Theirs(read_data(folder), str(RECIPE / "downloads/lite0.safetensors"), seed), folder)
    for line in sys.stdin:
        answers.write(json.dumps(timed.ask(*json.loads(line))) + "\n")
        answers.flush()


def settings_of(kind: str, texture: str, seed: int) -> Any:
    import yaml

    from audiokd.methods.dbfad.settings import DBFADSettings
    from audiokd.stages.fit import build_settings

    tree = yaml.safe_load((RECIPE / f"conf/{kind}.yaml").read_text())
    tree["model"]["weights"] = str(RECIPE / tree["model"]["weights"])
    tree["data"]["category"], tree["run"]["seed"] = texture, seed
    return build_settings(DBFADSettings, tree)


def write_data(folder: Path, texture: str, steps: int, seed: int) -> list[Any]:
    """The pictures as both see them, and the batches; the items of test."""
    import numpy as np

    from audiokd.data.images import load_image
    from audiokd.data.items import read_items
    from audiokd.vision.transforms import Preprocess, plain_view

    seen = Preprocess((128, 128), (0.5,) * 3, (0.5,) * 3, crop=1.0, crop_mode="squash")
    sets = {"train": [i for i in read_items(RECIPE / "data/train") if i.domain == texture]}
    sets["test"] = read_items(RECIPE / f"data/test-{texture}")
    for name, items in sets.items():
        np.save(folder / f"{name}.npy", np.stack([plain_view(load_image(i), seen).numpy() for i in items]))
    rng = np.random.default_rng(seed)
    epochs = -(-steps * 4 // len(sets["train"]))
    order = np.concatenate([rng.permutation(len(sets["train"])) for _ in range(epochs)])[: steps * 4]
    np.save(folder / "order.npy", order.reshape(steps, 4))
    return sets["test"]


def read_data(folder: Path) -> dict[str, Any]:
    import numpy as np
    import torch

    return {name: torch.from_numpy(np.load(folder / f"{name}.npy")) for name in ("train", "test", "order")}


def scores(folder: Path, whose: str, name: str, items: list[Any]) -> dict[str, float]:
    import numpy as np

    from audiokd.data.masks import at_size, load_mask
    from audiokd.eval.anomaly_pictures import auroc
    from audiokd.eval.anomaly_pixels import aupro, gather_pixels, pixel_auroc

    said, maps = (np.load(folder / f"{whose}-{name}-{kind}.npy") for kind in ("scores", "maps"))
    masks = [np.zeros(m.shape, bool) if i.mask is None else at_size(load_mask(i), m.shape) for i, m in zip(items, maps)]
    pixels = gather_pixels(list(maps), masks)
    bad = np.array([i.mask is not None for i in items])
    return {"auroc": auroc(said, bad), "pixel_auroc": pixel_auroc(pixels), "aupro": aupro(pixels)}


def compare(python: str, texture: str, steps: int, minutes: float, seed: int) -> tuple[int, list[dict[str, Any]]]:
    """Steps that were taken, and a row a system: seconds a step and milliseconds a picture of the processor, and scores."""
    import torch

    torch.set_num_threads(1)
    taken, began = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        items = write_data(folder, texture, steps, seed)
        ours: Any = Timed(Ours(read_data(folder), texture, seed), folder)
        theirs: Any = Remote(python, folder, seed)
        asked = [("Ours", n, ours) for n in OURS] + [("Theirs", n, theirs) for n in THEIRS]
        train: dict[tuple[str, str], list[float]] = {(w, n): [] for w, n, _ in asked}
        pictures: dict[tuple[str, str], list[float]] = {(w, n): [] for w, n, _ in asked}
        while taken < steps and time.monotonic() - began < 60 * minutes:
            for whose, name, who in asked:
                train[whose, name].append(who.ask("steps", name, taken, CHUNK))
            taken += CHUNK
            print(f"{taken} steps", file=sys.stderr, flush=True)
        fitted = {(whose, name): who.ask("fit", name) for whose, name, who in asked}
        for number in range(WARM_UP + TIMED):
            for whose, name, who in asked:
                spent = who.ask("picture", name)
                if number >= WARM_UP:
                    pictures[whose, name].append(1000 * spent)
        rows = []
        for whose, name, who in asked:
            who.ask("maps", name)
            key = whose, name
            rows.append({
                "whose": whose, "name": name, "train_s": round(sum(train[key]) + fitted[key], 2),
                "step_s": round(statistics.median(train[key]) / CHUNK, 4),
                "picture_ms": round(statistics.median(pictures[key]), 2),
                "picture_ms_quartiles": [round(q, 2) for q in statistics.quantiles(pictures[key], n=4)[::2]],
                "numbers": int(who.ask("parameters", name)), **scores(folder, whose, name, items),
            })  # fmt: skip
        theirs.process.stdin.close()
        theirs.process.wait()
    return taken, rows


def table(rows: list[dict[str, Any]]) -> str:
    from audiokd.eval.table import markdown

    of = {(r["whose"], r["name"]): r for r in rows}
    lines = []
    for r in rows:
        label = f"audiokd {OURS[r['name']]}" if r["whose"] == "Ours" else f"anomalib {THEIRS[r['name']]}"
        own = r if r["whose"] == "Ours" else of["Ours", AGAINST[r["name"]]]
        low, high = r["picture_ms_quartiles"]
        step = f"{r['step_s']:.3f} ({r['step_s'] / own['step_s']:.2f})" if r["name"] != "patchcore" else "-"
        quality = [f"{r[k]:.3f}" for k in ("auroc", "pixel_auroc", "aupro")]
        speed = f"{r['picture_ms']:.1f} ({low:.1f}-{high:.1f}; {r['picture_ms'] / own['picture_ms']:.2f})"
        lines.append([label, *quality, step, f"{r['train_s']:.0f}", speed, f"{1000 / r['picture_ms']:.1f}",
                      f"{r['numbers'] / 1e6:.2f} M"])  # fmt: skip
    names = [
        "image AUROC",
        "pixel AUROC",
        "AUPRO",
        "s a step (over ours)",
        "s to train",
        "ms a picture (quartiles; over ours)",
    ]
    return markdown(["system", *names, "frames a second", "numbers learnt or kept"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--anomalib", help="python of anomalib's environment")
    parser.add_argument("--texture", default="grass", choices=["brick", "grass", "gravel"])
    parser.add_argument("--steps", type=int, default=120, help=f"of four tiles; a multiple of {CHUNK}")
    parser.add_argument(
        "--minutes", type=float, default=60, help="no step is begun after so long: all have taken the same"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="JSON to write, with the command")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(Path(args.serve), args.seed)
        return
    if not args.anomalib:
        parser.error("--anomalib PYTHON: see the head of this file")
    steps, rows = compare(args.anomalib, args.texture, args.steps, args.minutes, args.seed)
    if args.out:
        command = f"python benchmarks/anomaly.py --texture {args.texture} --steps {steps} --seed {args.seed}"
        Path(args.out).write_text(json.dumps({"command": command, "rows": rows}, indent=1) + "\n")
    print(f"{steps} steps\n\n{table(rows)}")


if __name__ == "__main__":
    main()
