"""Stage 5: train a method."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import Any

from audiokd.errors import ConfigError
from audiokd.files import write_text

#: keys that change neither what is learnt nor what is logged when: a run may go on with others
RUNTIME_KEYS = {"data.num_workers", "run.ckpt_every", "run.accelerator"}


def fit(method: str, settings: Any, train: str, dev: str, exp_dir: str, allow_pipes: bool = False) -> dict[str, float]:
    """Train `method` from `train`, choose the best checkpoint on `dev`, write everything to `exp_dir`.

    Goes on from `exp_dir`'s last checkpoint where there is one: killed and started again equals never killed. Audio that
    cannot be read is named in `exp_dir`/errors.jsonl; another utterance is trained on in its place, and a score goes without it.

    Args:
        method: name of the method, such as lm_spt.
        settings: its settings (methods/<name>/settings.py).
        train: INPUT to train on (data dir, shards, cuts file, folder or file of audio; of pictures a folder with items.jsonl;
            for speech_lm a token store).
        dev: INPUT to validate on.
        exp_dir: folder of the run.
        allow_pipes: run shell commands in wav.scp.

    Returns:
        The last validation's metrics, and `steps_per_second`.

    Raises:
        ConfigError: `exp_dir` holds a run with another configuration.
    """
    inputs = _inputs(method)(settings, train, dev, allow_pipes)
    folder = Path(exp_dir)
    config = {"method": method, **dataclasses.asdict(settings), "inputs": inputs.describe()}
    _claim(folder, config, flatten(dataclasses.asdict(type(settings)())))

    import time

    import lightning as L
    from lightning.pytorch.loggers import TensorBoardLogger

    from audiokd.data.error_log import ERRORS, count_errors
    from audiokd.nn.weights import read_checkpoint
    from audiokd.training.callbacks import ShowProgress
    from audiokd.training.checkpoint import AtomicCheckpointIO, RunCheckpoint
    from audiokd.training.csv_log import LongCSVLogger

    _quiet()
    run = settings.run
    last = folder / "checkpoints" / "last.ckpt"
    fix = "delete it: the run begins again from its first step"
    kept = read_checkpoint(last, fix) if last.exists() else {"iteration": 0}
    resume = int(kept["iteration"])
    if resume >= run.max_steps or kept.get("done"):
        print(f"{folder}: {resume} steps are done already")
        return {}
    del kept
    module, data = inputs.build(folder)
    module.sign_frozen()  # before a trainer changes their precision
    strategy = run.strategy
    if strategy == "auto" and run.devices * run.num_nodes > 1:
        strategy = "ddp_find_unused_parameters_true"  # each of the two backward passes leaves the other network out
    trainer = L.Trainer(
        accelerator=run.accelerator,
        devices=run.devices,
        num_nodes=run.num_nodes,
        strategy=strategy,
        precision=run.precision,  # type: ignore[arg-type]
        max_epochs=-1,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=-1 if resume % run.val_every == 0 else 0,
        callbacks=[ShowProgress(), RunCheckpoint(last.parent, run.ckpt_every)],
        logger=[
            LongCSVLogger(folder / "metrics.csv", resume),
            TensorBoardLogger(folder, name="tensorboard", version="", purge_step=resume or None),
        ],
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )
    started = time.monotonic()
    try:
        trainer.fit(module, datamodule=data, ckpt_path=str(last) if resume else None, weights_only=True)
    except SystemExit as e:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt from e
    rate = (module.iteration - resume) / max(time.monotonic() - started, 1e-9)
    print(f"{folder}: {module.iteration} steps, {rate:.2f} steps a second (validation included)")
    if unread := count_errors(folder):
        counts = ", ".join(f"{n} of {name}" for name, n in unread.items())
        print(f"{folder}: utterances that cannot be read: {counts}; {ERRORS} names them")
    return {**module.val_metrics, "steps_per_second": rate}


def _inputs(method: str) -> Any:
    """What reads the inputs of a method: its own "run" where they are not sound."""
    from audiokd.hub.auto import METHODS, part

    return part(method, "run") if "run" in METHODS[method] else functools.partial(SoundRun, method)


class SoundRun:
    """A run that trains on crops of audio; `train` and `dev` are INPUTs."""

    def __init__(self, method: str, settings: Any, train: str, dev: str, allow_pipes: bool):
        from audiokd.data.inputs import open_input

        self.method, self.settings = method, settings
        inputs = {"train": open_input(train, allow_pipes=allow_pipes), "dev": open_input(dev, allow_pipes=allow_pipes)}
        self.utterances = {k: i.utterances() for k, i in inputs.items()}

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of the inputs."""
        return {
            k: {"utterances": len(u), "ids_sha256": hashlib.sha256("\n".join(x.id for x in u).encode()).hexdigest()}
            for k, u in self.utterances.items()
        }

    def build(self, folder: Path) -> tuple[Any, Any]:
        """The module with the weights that `run.seed` gives, and its data."""
        from audiokd.training.datamodule import CropDataModule

        s, u = self.settings, self.utterances
        module = build_module(self.method, s)
        return module, CropDataModule(u["train"], u["dev"], s.model.sample_rate, s.data, s.run, folder, module.crops)


def _quiet() -> None:
    """Our own progress line and errors say it all; keep the libraries' tips and notices off the terminal."""
    import logging
    import warnings

    from transformers.utils import logging as transformers_logging

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    for module in ("lightning", "torch.jit", "tensorboard"):
        warnings.filterwarnings("ignore", module=module)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")


def build_module(method: str, settings: Any) -> Any:
    """The method's module with the weights that `run.seed` gives."""
    import lightning as L

    from audiokd.hub.auto import part

    L.seed_everything(settings.run.seed, workers=True, verbose=False)
    return part(method, "module")(settings)


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dict to `{"a.b": value}`; tuples become lists."""
    out: dict[str, Any] = {}
    for k, v in tree.items():
        if isinstance(v, dict):
            out.update(flatten(v, f"{prefix}{k}."))
        else:
            out[f"{prefix}{k}"] = list(v) if isinstance(v, tuple) else v
    return out


def _claim(folder: Path, config: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Write config.yaml of a new run, or hold it against the one that is there.

    One that ended before its first step, for a teacher that is not there, say, makes way.

    A run from before a setting existed had what is now its default: `defaults` stand in for keys that it lacks.
    """
    import yaml

    path = folder / "config.yaml"
    new = flatten(config)
    if path.exists():
        old = flatten(yaml.safe_load(path.read_text()))
        if old.get("method") == config["method"]:
            old = defaults | old
        keys = sorted(k for k in (old.keys() | new.keys()) - RUNTIME_KEYS if not k.startswith("audiokd."))
        differ = [f"  {k}: {old.get(k)} there, {new.get(k)} now" for k in keys if old.get(k) != new.get(k)]
        begun = any((folder / name).exists() for name in ("checkpoints/last.ckpt", "metrics.csv"))
        if differ and begun:
            raise ConfigError(
                "the run in this folder has another configuration:\n" + "\n".join(differ),
                where=str(path),
                fix="give --exp_dir another name, or the same settings",
            )
        if not differ:
            return
    plain = _plain(config) | {"audiokd": source()}
    write_text(path, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def source() -> dict[str, str | None]:
    """What code this is: the package's version, and the commit where it runs from a git checkout."""
    import importlib.metadata
    import subprocess

    folder = Path(__file__).resolve().parents[2]
    git = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    inside = (folder / ".git").exists()  # a site-packages folder may lie in somebody else's checkout
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() if inside else ""
    return {"version": importlib.metadata.version("audiokd"), "commit": commit or None}


def _plain(x: Any) -> Any:
    if isinstance(x, dict):
        return {k: _plain(v) for k, v in x.items()}
    return [_plain(v) for v in x] if isinstance(x, (tuple, list)) else x


def read_settings(exp_dir: str) -> tuple[str, Any]:
    """Method and settings of the run in `exp_dir`.

    Raises:
        ConfigError: there is no run there.
    """
    import yaml

    from audiokd.hub.auto import part

    path = Path(exp_dir) / "config.yaml"
    if not path.exists():
        raise ConfigError("no run here", where=str(path), fix="give the --exp_dir of 'audiokd fit'")
    tree = yaml.safe_load(path.read_text())
    method = tree.pop("method")
    for key in ("inputs", "audiokd"):
        tree.pop(key, None)
    return method, build_settings(part(method, "settings"), tree)


def read_config(name: str) -> dict[str, Any]:
    """A YAML file, or a packaged one by short name such as "lm_spt/small", as flat `{"model.encoder_dim": value}`.

    Raises:
        ConfigError: no such file, or it is not YAML with keys and values.
    """
    import yaml

    path = Path(name)
    packaged = Path(__file__).parents[1] / "conf" / f"{name.removesuffix('.yaml')}.yaml"
    if not path.exists() and packaged.exists():
        path = packaged
    try:
        tree = yaml.safe_load(path.read_text())
    except FileNotFoundError as e:
        known = sorted(str(p.relative_to(packaged.parents[1])) for p in packaged.parents[1].glob("*/*.yaml"))
        raise ConfigError("no such config file", where=name, fix=f"packaged ones: {', '.join(known)}") from e
    except yaml.YAMLError as e:
        raise ConfigError(f"not YAML: {e}", where=name) from e
    if not isinstance(tree or {}, dict):
        raise ConfigError("a config file holds keys and values", where=name)
    return flatten(tree or {})


def build_settings(cls: Any, tree: dict[str, Any]) -> Any:
    """Settings dataclasses from nested plain values; lists become tuples."""
    import typing

    hints = typing.get_type_hints(cls)
    return cls(
        **{
            k: build_settings(hints[k], v)
            if dataclasses.is_dataclass(hints[k])
            else tuple(v)
            if isinstance(v, list)
            else v
            for k, v in tree.items()
        }
    )
