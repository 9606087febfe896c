"""S3A's model: the media side of a pair model, trained whole, and the frozen vectors of a vocabulary's names.

It names pictures or sound by cosine with vectors that the pair model's text encoder made once: no text model is needed to use it.
Untrained it is the pair model itself, classifying by the whole vocabulary (zero-shot).
"""

from __future__ import annotations

from dataclasses import asdict

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from audiokd.errors import AudiokdError
from audiokd.methods.s3a.config import S3AConfig
from audiokd.nn.tables import KeepsTables
from audiokd.teachers.pair import ContrastivePair
from audiokd.teachers.pair_media import build_media, copy_media, media_shape
from audiokd.teachers.text_bank import TextBank
from audiokd.vision.transforms import Preprocess, preprocess_of

DAY_S = 86_400.0


class S3AModel(KeepsTables, PreTrainedModel):
    """Logits of a vocabulary's names from pictures or sound. Its weights can be trained, but for the names' vectors.

    Attributes:
        pair: a `ContrastivePair` without its text side.
        class_vectors: [V, D] of the names.
        window_s: longest recording that `extract` is given whole: it cuts into the pair model's windows itself.

    Raises:
        AudiokdError: no names, or no pair model.
    """

    config_class = S3AConfig
    base_model_prefix = "s3a"
    main_input_name = "pixel_values"
    feature_layers = ("logits", "embedding")
    #: layers whose dimensions are `labels`
    logit_layers = ("logits",)
    window_s = DAY_S

    def __init__(self, config: S3AConfig):
        super().__init__(config)
        if not config.labels or not config.media:
            raise AudiokdError("an S3A model needs names and a pair model", where="s3a config")
        with self.tables():
            self.pair = build_media(config.media)
        self.register_buffer("class_vectors", torch.zeros(len(config.labels), config.dim))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the tower is loaded."""

    @property
    def kind(self) -> str:
        """What it names: "image" or "audio"."""
        return self.config.kind

    @property
    def preprocess(self) -> Preprocess:
        """How pictures become `pixel_values`."""
        return Preprocess(**self.config.preprocess)

    @property
    def labels(self) -> list[str]:
        """Names in the order of the logits."""
        return self.config.labels

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms it takes; 0 for pictures."""
        return self.pair.sample_rate

    @property
    def frame_size(self) -> int:
        """Samples that one embedding covers at most."""
        return round(self.window_s * self.sample_rate)

    @property
    def frame_rate(self) -> float:
        """An embedding is of a whole recording."""
        return 1 / self.window_s

    def embed(self, inputs: dict[str, Tensor]) -> Tensor:
        """Embeddings [B, D] of length 1 of what the pair model's own preprocessing gave."""
        return self.pair.embed_media(inputs)

    def logits_of(self, embeddings: Tensor) -> Tensor:
        """Logits [B, V] of embeddings [B, D] of length 1, in float32 whatever the autocast."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.config.scale * embeddings.float() @ self.class_vectors.float().T

    def forward(self, inputs: dict[str, Tensor] | Tensor) -> Tensor:
        """Logits [B, V] of what the pair model's own preprocessing gave, or of pictures [B, 3, H, W] as `preprocess` makes them."""
        return self.logits_of(self.embed(inputs if isinstance(inputs, dict) else {"pixel_values": inputs}))

    def extract(self, x: Tensor, lengths: Tensor | None, layer: str) -> tuple[Tensor, Tensor]:
        """One of `feature_layers` as one frame an item.

        Args:
            x: pictures [B, 3, H, W], or waveforms [B, T] at `sample_rate`.
            lengths: [B] samples of the waveforms; all of T by default.
            layer: logits [B, 1, V], or embedding [B, 1, D].

        Returns:
            The features, and [B] ones.
        """
        if self.kind == "image":
            inputs = {"pixel_values": x}
        else:
            n = [x.shape[-1]] * len(x) if lengths is None else lengths.tolist()
            inputs = self.pair.preprocess([wav[:k] for wav, k in zip(x.cpu(), n)])
        found = self.embed(inputs)
        found = self.logits_of(found) if layer == "logits" else found
        return found[:, None], torch.ones(len(found), dtype=torch.long, device=found.device)


def model_of(pair: ContrastivePair, bank: TextBank) -> S3AModel:
    """The untrained model of `pair`, whose weights are copied, and the names of `bank`.

    Raises:
        AudiokdError: vectors of another size than the pair model's embeddings.
    """
    if bank.vectors.shape[1] != pair.dim:
        what = f"a text bank of {bank.vectors.shape[1]} dimensions, the pair model has {pair.dim}"
        raise AudiokdError(what, where=pair.name, fix="make the bank with this model")
    config = S3AConfig(
        media=media_shape(pair),
        labels=list(bank.names),
        scale=bank.scale,
        kind=pair.kind,
        dim=pair.dim,
        preprocess=asdict(preprocess_of(pair.processor)) if pair.kind == "image" else None,
        bank_sha256=bank.model_sha256,
    )
    model = S3AModel(config)
    copy_media(pair, model.pair)
    model.class_vectors.copy_(bank.vectors)
    return model.eval()
