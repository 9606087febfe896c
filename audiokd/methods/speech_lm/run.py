"""What `audiokd fit speech_lm` is given: token stores in place of audio, and a vocabulary made from the training texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audiokd.errors import AudiokdError
from audiokd.methods.speech_lm.pairs import PairSet, read_pairs
from audiokd.methods.speech_lm.settings import SpeechLMSettings

#: folder of a run that holds config.json and tokenizer of the model before training
LM = "lm"


class SpeechLMRun:
    """The inputs of a run.

    Args:
        settings: configuration.
        train, dev: token stores made by one tokenizer.
        allow_pipes: see `read_pairs`.

    Raises:
        AudiokdError: a store cannot be used, or the two were made by different tokenizers.
    """

    def __init__(self, settings: SpeechLMSettings, train: str, dev: str, allow_pipes: bool = False):
        d = settings.data
        self.settings = settings
        self.sets = {k: read_pairs(p, d.text, d.text_dirs, allow_pipes) for k, p in (("train", train), ("dev", dev))}
        self.speech = speech_of(self.sets["train"], settings)
        other = speech_of(self.sets["dev"], settings)
        if other != self.speech:
            differ = [f"{k}: {self.speech[k]} and {other[k]}" for k in self.speech if self.speech[k] != other[k]]
            what = "the two stores were made by different tokenizers: " + "; ".join(differ)
            raise AudiokdError(what, where=f"{train}, {dev}", fix="tokenize both with one model")

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of the inputs."""
        return {k: s.describe() for k, s in self.sets.items()}

    def build(self, folder: Path) -> tuple[Any, Any]:
        """The module, with the weights that `run.seed` gives, and its data; the vocabulary goes to `folder`."""
        from lightning.pytorch.utilities import rank_zero_only

        from audiokd.methods.speech_lm.data import PairDataModule
        from audiokd.methods.speech_lm.module import SpeechLMModule

        model = self.new_model()
        if rank_zero_only.rank == 0:
            model.lm.config.save_pretrained(folder / LM)
            model.vocab.tokenizer.save_pretrained(folder / LM)
        s = self.settings
        data = PairDataModule(self.sets["train"], self.sets["dev"], model.vocab, s.data, s.run)
        return SpeechLMModule(s, model), data

    def new_model(self) -> Any:
        """The untrained model."""
        import lightning as L

        from audiokd.methods.speech_lm.model import create

        L.seed_everything(self.settings.run.seed, workers=True, verbose=False)
        return create(self.settings.model, self.speech, self.sets["train"].pairs)


def speech_of(pairs: PairSet, settings: SpeechLMSettings) -> dict[str, Any]:
    """What the tokens of a store are, as the model's config.json keeps it."""
    meta = pairs.store.meta
    sizes = [int(n) for n in meta["cardinality"]]
    return {
        "codebooks": settings.codebooks,
        "cardinality": sizes[:1] if settings.codebooks == "semantic" else sizes,
        "frame_rate": meta["frame_rate"],
        "model_sha256": meta.get("model_sha256", ""),
        "text": settings.data.text,
        "unconditional": settings.data.unconditional,
    }
