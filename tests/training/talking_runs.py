"""Runs of Talking Models on upright digits, as several tests want them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from method_settings import settings_of
from tiny_digits import save_digits
from whole_runs import assert_same_run, checkpoint

from audiokd.data.items import read_items, write_items
from audiokd.methods.talking_models.module import TalkModule
from audiokd.methods.talking_models.run import TalkRun
from audiokd.stages.export import export
from audiokd.stages.fit import fit

METHOD = "talking_models"
OF_KINDS = {
    "base": {"task", "interact_1", "message_1", "state_1"},
    "alone": {"task"},
    "kd": {"task", "kd"},
    "dkd": {"task", "dkd_target", "dkd_others"},
    "hints": {"task", "kd", "hint"},
    "modules": {"task", "kd", "interact_1", "state_1"},
}


def save_talk(folder: Path) -> Path:
    """Upright digits to learn from (train), others to be selected by (dev), and a teacher that this method trained."""
    items = read_items(save_digits(folder / "all", each=20))
    upright = [i for i in items if i.domain == "plain"]
    write_items(folder / "train", upright[::2] + upright[1::4])
    write_items(folder / "dev", upright[3::4])
    small = settings(folder, "alone", model__widths=[8, 12, 16], run__max_steps=24)
    fit(METHOD, small, *sets(folder), str(folder / "exp"))
    export(str(folder / "exp"), str(folder / "teacher"), "last")
    return folder


def settings(root: Path, kind: str = "base", **changes: Any) -> Any:
    flat: dict[str, Any] = {"run.accelerator": "cpu", "model.size": 32}
    flat |= {} if kind == "alone" else {"teacher.model": str(root / "teacher")}
    flat |= {"messages.dim": 8, "messages.hidden": 8} if kind in ("base", "modules") else {}
    return settings_of(METHOD, kind, "debug", flat | {k.replace("__", "."): v for k, v in changes.items()})


def sets(root: Path) -> tuple[str, str]:
    return str(root / "train"), str(root / "dev")


def build(
    root: Path, folder: Path, kind: str = "base", data: Path | None = None, **changes: Any
) -> tuple[Any, Any, Any]:
    """Module, data module and a batch."""
    folder.mkdir(exist_ok=True)
    module, data_module = TalkRun(settings(root, kind, **changes), *sets(data or root)).build(folder)
    n = len(data_module.train_set)
    return module, data_module, data_module.collate([data_module.train_set[0, k] for k in (0, 1, n - 2, n - 1)])


def fit_twice(how: Any, train: str, dev: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in one go, and one whose power fails at step 10 and which goes on from step 8: they are the same to the bit."""
    fit(METHOD, how, train, dev, str(folder / "whole"))
    step = TalkModule.training_step

    def power_cut(self: Any, batch: Any, batch_idx: int) -> None:
        if self.iteration == 10:
            raise RuntimeError("power cut")
        step(self, batch, batch_idx)

    monkeypatch.setattr(TalkModule, "training_step", power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(METHOD, how, train, dev, str(folder / "cut"))
    monkeypatch.setattr(TalkModule, "training_step", step)
    assert checkpoint(folder / "cut", "last")["iteration"] == 8
    fit(METHOD, how, train, dev, str(folder / "cut"))
    assert_same_run(folder / "whole", folder / "cut")


def learnt(module: TalkModule, batch: dict[str, Any], steps: int) -> list[dict[str, float]]:
    """Losses of so many steps on one batch."""
    torch.manual_seed(0)
    optimizer, seen = torch.optim.Adam(module.parameters(), lr=1e-2), []
    for _ in range(steps):
        parts = module.losses(batch)
        seen.append({k: float(v.detach()) for k, v in parts.items()})
        optimizer.zero_grad()
        torch.stack([*parts.values()]).sum().backward()
        optimizer.step()
    return seen
