"""A pair model that names pictures or sound by the vectors of class names: zero-shot classification, with the face of a classifier.

What it can be asked is shared by all that keep the media side of a pair model and such vectors (`NamesMedia`), as S3A's model does.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audiokd.errors import AudiokdError
from audiokd.teachers.pair_media import TEXT_SIDE
from audiokd.teachers.prompted_pair import PromptedPair, load_prompted
from audiokd.teachers.text_bank import BANK, TextBank, load_text_bank
from audiokd.vision.transforms import Preprocess, preprocess_of

DAY_S = 86_400.0


class NamesMedia:
    """Logits and embeddings of one frame an item.

    Attributes:
        pair: a `ContrastivePair`, with a text side or without.
        class_vectors: [V, D] of the names.
        scale: what cosines with them are multiplied by.
        window_s: longest recording that `extract` is given whole: it cuts into the pair model's windows itself.
    """

    pair: Any
    class_vectors: Tensor
    scale: float
    feature_layers: tuple[str, ...] = ("logits", "embedding")
    #: layers whose dimensions are labels
    logit_layers: tuple[str, ...] = ("logits",)
    window_s = DAY_S

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
            return self.scale * embeddings.float() @ self.class_vectors.float().T

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
        if self.pair.kind == "image":
            inputs = {"pixel_values": x}
        else:
            n = [x.shape[-1]] * len(x) if lengths is None else lengths.tolist()
            inputs = self.pair.preprocess([wav[:k] for wav, k in zip(x.cpu(), n)])
        found = self.embed(inputs)
        found = self.logits_of(found) if layer == "logits" else found
        return found[:, None], torch.ones(len(found), dtype=torch.long, device=found.device)


@dataclass(frozen=True)
class ZeroShotConfig:
    """What stores say of the model that made them.

    Attributes:
        labels: names in the order of the logits.
        bank_sha256: of the model that made their vectors.
        model_type: of the folder's kind.
        task: one name an item.
    """

    labels: list[str]
    bank_sha256: str
    model_type: str = "promptsrc"
    task: str = "class"

    def to_dict(self) -> dict[str, Any]:
        """Its attributes by name."""
        return asdict(self)


class ZeroShot(NamesMedia, nn.Module):
    """A pair model with learnt prompts, frozen, and the vectors that its text side made of class names.

    Raises:
        AudiokdError: vectors that another model, or it with other prompts, has made.
    """

    def __init__(self, pair: PromptedPair, bank: TextBank, where: str):
        super().__init__()
        bank.check_model(pair.identity(), where)
        self.pair, self.scale, self.kind = pair, bank.scale, pair.kind
        self.register_buffer("class_vectors", bank.vectors)
        self.config = ZeroShotConfig(list(bank.names), bank.model_sha256)
        self.eval()

    def num_parameters(self) -> int:
        """Numbers that an answer takes: of the media side, its prompts and the vectors; no text is read any more."""
        own = self.pair.pair.net.state_dict()
        of_media = sum(v.numel() for k, v in own.items() if k.split(".")[0] not in TEXT_SIDE)
        prompts = 0 if self.pair.visual is None else self.pair.visual.tokens.numel()
        return of_media + prompts + self.class_vectors.numel()

    @property
    def labels(self) -> list[str]:
        """Names in the order of the logits."""
        return self.config.labels

    @property
    def preprocess(self) -> Preprocess:
        """How pictures become `pixel_values`."""
        return preprocess_of(self.pair.processor)


def load_zero_shot(folder: str | os.PathLike[str], device: str = "cpu") -> ZeroShot:
    """What `audiokd export` wrote of `audiokd fit promptsrc`, as a classifier.

    Raises:
        AudiokdError: prompts or vectors are not there, damaged, or do not go together.
    """
    path = Path(folder) / BANK
    if not path.is_file():
        raise AudiokdError("prompts without vectors of class names", where=str(path), fix="export the run again")
    return ZeroShot(load_prompted(folder, device), load_text_bank(path), str(path)).to(device)
