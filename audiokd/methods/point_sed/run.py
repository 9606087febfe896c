"""What `audiokd fit point_sed` is given: clips with events, of which the few are learnt from that have them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from audiokd.data.event_points import EventPoint, check_pairs, read_points
from audiokd.data.events import Event, mean_lengths, read_events
from audiokd.data.inputs import open_input
from audiokd.data.regime import Regime, Seen, item_of, write_regime
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.methods.point_sed.settings import PointSedSettings

KNOWN = "events"  # what a clip that is learnt from is labelled with


class PointSedRun:
    """The inputs of a run.

    Args:
        settings: configuration.
        train, dev: data dirs. Of --train the utterances in its events.tsv are learnt from; by those of --dev, which have
            points.tsv, too, a checkpoint is chosen.
        allow_pipes: run shell commands in wav.scp.

    Raises:
        AudiokdError: one folder for both, no utterance with events, points that are not on the events, a class of dev that train
            lacks.
    """

    def __init__(self, settings: PointSedSettings, train: str, dev: str, allow_pipes: bool = False):
        self.settings = settings
        if os.path.realpath(train) == os.path.realpath(dev):
            raise AudiokdError("--train and --dev are one folder", where=dev, fix="a model is selected by other clips")
        self.sets: dict[str, list[Utterance]] = {}
        self.events: dict[str, list[Event]] = {}
        self.points: dict[str, list[EventPoint]] = {}
        for name, path in (("train", train), ("dev", dev)):
            events = read_events(path)
            self.sets[name] = [u for u in open_input(path, allow_pipes=allow_pipes).utterances() if events.get(u.id)]
            if not self.sets[name]:
                raise AudiokdError("no utterance has an event", where=path, fix="a higher rate of labels")
            self.events |= {u.id: events[u.id] for u in self.sets[name]}
            if name == "dev" or not settings.data.redraw_points:
                points = read_points(path)
                for u in self.sets[name]:
                    check_pairs(u.id, events[u.id], points.get(u.id, []), path)
                self.points |= points
        self.mean_s = mean_lengths(self.events[u.id] for u in self.sets["train"])
        if strange := sorted({e.label for u in self.sets["dev"] for e in self.events[u.id]} - self.mean_s.keys()):
            what = f"classes that no training event has: {', '.join(strange[:5])}"
            raise AudiokdError(what, where=dev, fix="a higher rate of labels, or leave those events out")
        items = {k: [item_of(u, KNOWN) for u in of] for k, of in self.sets.items()}
        tested = [open_input(path, allow_pipes=allow_pipes) for path in settings.data.test]
        test = [item_of(u) for of in tested for u in of.utterances()]
        self.regime = Regime("inductive", [Seen("teacher", items["train"], selection=items["dev"])], test)

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of the inputs."""
        found: dict[str, Any] = {"labels": list(self.mean_s)}
        for name, of in self.sets.items():
            rows = "\n".join(f"{u.id} {self.events[u.id]} {self.points.get(u.id, '')}" for u in of)
            found[name] = {"utterances": len(of), "labelled_sha256": hashlib.sha256(rows.encode()).hexdigest()}
        return found

    def build(self, folder: Path) -> tuple[Any, Any]:
        """The module with the weights that `run.seed` gives, and its data; writes regime.json and the model's config.

        Raises:
            AudiokdError: test clips in training.
        """
        import lightning as L
        from lightning.pytorch.utilities import rank_zero_only

        from audiokd.methods.point_sed.config import PointSedConfig
        from audiokd.methods.point_sed.data import PointDataModule
        from audiokd.methods.point_sed.model import PointSedModel
        from audiokd.methods.point_sed.module import PointSedModule
        from audiokd.training.shape_file import write_shape

        s = self.settings
        L.seed_everything(s.run.seed, workers=True, verbose=False)
        labels, mean_s = list(self.mean_s), [round(v, 4) for v in self.mean_s.values()]
        model = PointSedModel(PointSedConfig(labels, mean_s, **asdict(s.model)))
        if rank_zero_only.rank == 0:
            write_regime(folder, self.regime)
            write_shape(folder, model.config)
        data = PointDataModule(
            self.sets["train"], self.sets["dev"], labels, self.events, self.points, s.data, s.run, folder
        )
        return PointSedModule(s, model), data


def write_model(exp_dir: Path, settings: PointSedSettings, state: dict[str, Any] | None, out: Path, name: str) -> None:
    """Write the teacher of the run in `exp_dir` as a model folder.

    Raises:
        AudiokdError: `state` is None: an untrained teacher has nothing to say.
    """
    from audiokd.methods.point_sed.model import PointSedModel
    from audiokd.training.shape_file import write_trained

    write_trained(exp_dir, PointSedModel, "model.", state, out, name)
