"""The config of a model that is only known once a run has read its data: kept beside the run, and read back by export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from audiokd.errors import AudiokdError
from audiokd.files import atomic_folder, write_json


def write_shape(exp_dir: Path, config: Any) -> None:
    """Write the transformers `config` into a run's folder, as its model type names it."""
    write_json(exp_dir / f"{config.model_type}.json", config.to_dict())


def write_trained(
    exp_dir: Path, model_class: Any, prefix: str, state: dict[str, Any] | None, out: Path, name: str
) -> None:
    """Write the model of a run's checkpoint as a model folder.

    Args:
        exp_dir: folder of the run.
        model_class: PreTrainedModel whose config `write_shape` wrote.
        prefix: of its weights in the state dict.
        state: the checkpoint.
        out: folder to write.
        name: of the checkpoint.

    Raises:
        AudiokdError: `state` is None: an untrained head has nothing to say.
    """
    from transformers.utils import logging

    kind = model_class.config_class.model_type
    if state is None:
        raise AudiokdError(f"a {kind} has no init checkpoint to export", where=str(exp_dir), fix="--checkpoint last")
    config = model_class.config_class.from_dict(json.loads((exp_dir / f"{kind}.json").read_text()))
    model = model_class(config)
    weights = state["state_dict"].items()
    model.load_state_dict({k.removeprefix(prefix): v for k, v in weights if k.startswith(prefix)})
    params = sum(p.numel() for p in model.parameters())
    logging.disable_progress_bar()
    with atomic_folder(out) as folder:
        model.eval().save_pretrained(folder)
    what = f"{kind} of {len(config.labels)} labels, {name} checkpoint, step {state['iteration']}"
    print(f"{out}: {what}, {params / 1e6:.2f} M parameters")
