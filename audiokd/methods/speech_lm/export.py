"""A run's language model as a plain transformers folder with its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audiokd.files import atomic_folder
from audiokd.methods.speech_lm.model import SpeechLM, load
from audiokd.methods.speech_lm.run import LM
from audiokd.methods.speech_lm.settings import SpeechLMSettings
from audiokd.nn.weights import load_weights


def write_model(exp_dir: Path, settings: SpeechLMSettings, state: dict[str, Any] | None, out: Path, name: str) -> None:
    """Write the model of the run in `exp_dir` to `out`.

    Args:
        exp_dir: folder of the run; its vocabulary lies there.
        settings: of the run.
        state: checkpoint; None for untrained weights of the run's shape and seed.
        out: folder to write.
        name: of the checkpoint, for the card.
    """
    import lightning as L

    L.seed_everything(settings.run.seed, workers=True, verbose=False)
    model = load(exp_dir / LM, weights=False)
    iteration = 0
    if state is not None:
        iteration, prefix = state["iteration"], "model."
        found = {k.removeprefix(prefix): v for k, v in state["state_dict"].items()}
        load_weights(model, found, f"{exp_dir}, {name} checkpoint")
    params = sum(p.numel() for p in model.parameters())
    with atomic_folder(out) as folder:
        model.save(folder)
        (folder / "README.md").write_text(_card(model, name, iteration, params), encoding="utf-8")
    print(f"{out}: speech_lm, {name} checkpoint, step {iteration}, {params / 1e6:.2f} M parameters")


def _card(model: SpeechLM, name: str, iteration: int, params: int) -> str:
    rows = {"parameters": f"{params:,}", "checkpoint": f"{name}, step {iteration}", **model.speech}
    table = "\n".join(f"| {k} | {v} |" for k, v in rows.items())
    return f"""---
library_name: transformers
tags: [audio, text-to-speech, automatic-speech-recognition, audiokd]
---
# speech_lm

Reads and writes text and speech tokens: `<|text|> ... <|speech|> <|s_12|><|s_7|>... <|end|>` speaks, the other order
transcribes. Trained with audiokd on tokens of the model whose weights hash to `model_sha256`.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

lm, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
ids = tokenizer("<|text|>text as the training data has it<|speech|>", add_special_tokens=False, return_tensors="pt")
print(tokenizer.decode(lm.generate(**ids, max_new_tokens=400)[0]))
```
Where `text_step` stands below, positions do not count on: source and target start at 0 each and a text token takes so many
positions, which transformers' `generate` does not know. `audiokd slm` scores the model;
`audiokd.methods.speech_lm.generate` turns text into codes and codes into text.

| | |
| --- | --- |
{table}
"""
