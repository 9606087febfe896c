"""Stage 6: a run's model as a transformers folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from audiokd.errors import AudiokdError
from audiokd.files import atomic_folder

DAMAGED = "if it is damaged, the other one of --checkpoint best and last may be whole"


def export(exp_dir: str, model_dir: str, checkpoint: Literal["best", "last", "swad", "init"] = "best") -> None:
    """Write config.json, model.safetensors, preprocessor_config.json and a model card.

    Args:
        exp_dir: folder of the run.
        model_dir: folder to write.
        checkpoint: best on validation; last; swad, the average of weights that the last checkpoint of a run with SWAD holds; or
            init, the untrained model that the run's seed gives, as a baseline.

    Raises:
        AudiokdError: there is no such run or checkpoint, or no average in it.
    """
    from audiokd.data.regime import keep_regime
    from audiokd.stages.fit import read_settings

    method, settings = read_settings(exp_dir)
    path = Path(exp_dir) / "checkpoints" / f"{'last' if checkpoint == 'swad' else checkpoint}.ckpt"
    if checkpoint != "init" and not path.exists():
        fix = "train it with 'audiokd fit'; best.ckpt is written by the first validation that improves"
        raise AudiokdError("no such checkpoint", where=str(path), fix=fix)

    import dataclasses

    import lightning as L
    from transformers import EncodecFeatureExtractor
    from transformers.utils import logging

    from audiokd.hub.auto import METHODS, part
    from audiokd.nn.weights import load_weights, read_checkpoint

    logging.disable_progress_bar()
    state: Any = None if checkpoint == "init" else read_checkpoint(path, DAMAGED)
    if checkpoint == "swad":
        from audiokd.training.swad import averaged

        state = averaged(state, str(path), part(method, "module").exported)
    if "export" in METHODS[method]:
        part(method, "export")(Path(exp_dir), settings, state, Path(model_dir), checkpoint)
        keep_regime(exp_dir, model_dir)
        return
    L.seed_everything(settings.run.seed, workers=True, verbose=False)
    config = part(method, "config")(**dataclasses.asdict(settings.model))
    model = part(method, "model")(config)
    iteration = 0
    if state is not None:
        iteration = state["iteration"]
        prefix = part(method, "module").exported
        weights = {k[len(prefix) :]: v for k, v in state["state_dict"].items() if k.startswith(prefix)}
        load_weights(model, weights, str(path))
    params = sum(p.numel() for p in model.parameters())
    with atomic_folder(model_dir) as folder:
        model.eval().save_pretrained(folder)
        # the waveform's contract in transformers' terms: mono float at this rate, padded on the right
        EncodecFeatureExtractor(feature_size=1, sampling_rate=model.sample_rate).save_pretrained(folder)
        (folder / "README.md").write_text(_card(method, checkpoint, iteration, params, model), encoding="utf-8")
    print(f"{model_dir}: {method}, {checkpoint} checkpoint, step {iteration}, {params / 1e6:.2f} M parameters")


TOKENIZER = """tok = audiokd.load_tokenizer("this folder or hub id")
codes = tok.encode(wav, lengths)      # wav [B, T] float32 at tok.sample_rate
wav, lengths = tok.decode(codes)"""
ENCODER = """model = audiokd.load_model("this folder or hub id")
features = model.extract_features(wav, lengths)   # wav [B, T] float32 at model.sample_rate
features.hidden_states, features.lengths          # [B, T', D] a layer, and frames of each clip
features.clip                                     # [B, D'] an embedding of each clip"""


def _card(method: str, checkpoint: str, iteration: int, params: int, model: object) -> str:
    rows = {"parameters": f"{params:,}", "checkpoint": f"{checkpoint}, step {iteration}"}
    for name in ("sample_rate", "frame_rate", "frame_size", "num_codebooks", "cardinality", "dim"):
        if hasattr(model, name):
            rows[name] = str(getattr(model, name))
    table = "\n".join(f"| {k} | {v} |" for k, v in rows.items())
    return f"""---
library_name: audiokd
tags: [audio, {method}]
---
# {method}

Trained with audiokd. Load it:

```python
import audiokd
{TOKENIZER if hasattr(model, "encode") else ENCODER}
```

| | |
| --- | --- |
{table}
"""
