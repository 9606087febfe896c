"""Class vectors of a text encoder, computed once and kept in a file: with it no text model is needed any more.

A class is the direction of the mean of its prompts' embeddings (CLIP's prompt ensembling, arXiv 2103.00020).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.data.classes import spoken
from audiokd.errors import AudiokdError
from audiokd.files import write_bytes
from audiokd.nn.weights import weights_sha256

FORMAT = "audiokd-text-bank"
BANK = "text_bank.safetensors"  # its name in a folder
#: texts at once
BATCH = 256
#: prompts by name: of photographs alone and in seven ways of CLIP's; of sound; the bare name
TEMPLATES: dict[str, tuple[str, ...]] = {
    "photo": ("a photo of a {}.",),
    "photo7": (
        "itap of a {}.",
        "a bad photo of the {}.",
        "a origami {}.",
        "a photo of the large {}.",
        "a {} in a video game.",
        "art of the {}.",
        "a photo of the small {}.",
    ),
    "sound": ("this is a sound of {}.",),
    "name": ("{}",),
}


class TextEncoder(Protocol):
    """What embeds texts: `audiokd.teachers.pair.ContrastivePair`, or a model of the same face."""

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings [N, D] of length 1."""

    def state_dict(self) -> Any:
        """Weights by name."""


@dataclass(frozen=True)
class TextBank:
    """Class vectors and what they were made of.

    Attributes:
        names: of the classes, in the order of the rows.
        prompts: texts of each class.
        vectors: [C, D] float32 of length 1.
        scale: what a cosine with them is multiplied by in their own model.
        model_sha256: of the weights that made them.
    """

    names: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    vectors: Tensor
    scale: float
    model_sha256: str

    def __len__(self) -> int:
        return len(self.names)

    def of(self, names: Sequence[str]) -> TextBank:
        """The classes `names` alone, in that order.

        Raises:
            AudiokdError: one is not in the bank, or is given twice.
        """
        _once_each(names, "names")
        row = {n: i for i, n in enumerate(self.names)}
        if lacking := [n for n in names if n not in row]:
            what = f"no text vectors of {len(lacking)} of {len(names)} classes: {', '.join(lacking[:5])}"
            raise AudiokdError(what, fix="make the bank with all class names")
        rows = [row[n] for n in names]
        return TextBank(
            tuple(names), tuple(self.prompts[i] for i in rows), self.vectors[rows], self.scale, self.model_sha256
        )

    def check_model(self, model_sha256: str, where: str = "") -> None:
        """That the vectors are of the model with these weights (`audiokd.nn.weights.weights_sha256`).

        Raises:
            AudiokdError: they are another's; both hashes are named.
        """
        if model_sha256 != self.model_sha256:
            what = f"the text bank was made by model {self.model_sha256[:12]}, this one is {model_sha256[:12]}"
            raise AudiokdError(what, where=where or None, fix="make the bank anew with this model")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, whole or not at all: `vectors`, and the rest as JSON in its metadata."""
        from safetensors.torch import save

        about = {
            "names": self.names,
            "prompts": self.prompts,
            "scale": self.scale,
            "model_sha256": self.model_sha256,
        }
        metadata = {FORMAT: json.dumps(about, ensure_ascii=False, sort_keys=True)}  # one key: safetensors orders none
        write_bytes(path, save({"vectors": self.vectors.float().cpu().contiguous()}, metadata))


def load_text_bank(path: str | os.PathLike[str]) -> TextBank:
    """Read a bank.

    Raises:
        AudiokdError: no such file, damaged, or another kind of file.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise AudiokdError("no such file", where=str(path), fix="give the text bank that an earlier step wrote")
    try:
        with safe_open(path, framework="pt") as f:
            metadata = f.metadata() or {}
            vectors = f.get_tensor("vectors") if "vectors" in f.keys() else None  # noqa: SIM118  no dict
    except (SafetensorError, OSError) as e:
        raise AudiokdError(f"damaged, or no text bank: {e}", where=str(path), fix="make it anew") from e
    if FORMAT not in metadata or vectors is None:
        raise AudiokdError("not a text bank", where=str(path), fix="give the file that an earlier step wrote")
    about = json.loads(metadata[FORMAT])
    prompts = tuple(map(tuple, about["prompts"]))
    return TextBank(tuple(about["names"]), prompts, vectors, about["scale"], about["model_sha256"])


@torch.no_grad()
def make_text_bank(encoder: TextEncoder, prompts: Mapping[str, Sequence[str]], scale: float) -> TextBank:
    """Embed each class' prompts once.

    Args:
        encoder: of texts.
        prompts: texts by class name; see `fill`.
        scale: of the encoder's model.

    Raises:
        AudiokdError: no class, or one without prompts.
    """
    _once_each(list(prompts), "classes")
    if without := [n for n, texts in prompts.items() if not texts]:
        raise AudiokdError(f"class {without[0]!r} has no prompts", fix="give each class one at least")
    texts = list(dict.fromkeys(t for of in prompts.values() for t in of))
    found = torch.cat([encoder.embed_texts(texts[i : i + BATCH]).float().cpu() for i in range(0, len(texts), BATCH)])
    row = {t: i for i, t in enumerate(texts)}
    vectors = F.normalize(torch.stack([found[[row[t] for t in of]].mean(0) for of in prompts.values()]), dim=-1)
    made_of = tuple(tuple(of) for of in prompts.values())
    return TextBank(tuple(prompts), made_of, vectors, scale, encoder_sha256(encoder))


def encoder_sha256(encoder: Any) -> str:
    """What a bank tells its text encoder by: the hash of its weights, or of what it says itself that it is made of."""
    return encoder.identity() if hasattr(encoder, "identity") else weights_sha256(encoder)


def fill(classes: Mapping[str, str] | Sequence[str], templates: str | Sequence[str]) -> dict[str, list[str]]:
    """Prompts by class: each template with each name in the place of {}; underscores of a name are spaces.

    Args:
        classes: names by label (`audiokd.data.classes`), or labels that are names; two labels may have one name, as in ImageNet.
        templates: a name of `TEMPLATES`, or texts.

    Raises:
        AudiokdError: a name that comes twice or is empty, no such set of templates, or one without {}.
    """
    names = dict(classes) if isinstance(classes, Mapping) else dict(zip(classes, classes))
    _once_each(list(classes), "classes")
    if isinstance(templates, str):
        if templates not in TEMPLATES:
            raise AudiokdError(f"no templates {templates!r}", fix=f"one of {', '.join(TEMPLATES)}, or texts with {{}}")
        templates = TEMPLATES[templates]
    if wrong := [t for t in templates if t.count("{}") != 1]:
        raise AudiokdError(f"template {wrong[0]!r} has {wrong[0].count('{}')} places for a name, one is due")
    return {label: [t.replace("{}", spoken(name)) for t in templates] for label, name in names.items()}


def _once_each(names: Sequence[str], what: str) -> None:
    """That there are some, none twice and none empty.

    Raises:
        AudiokdError: otherwise; those that come twice are named.
    """
    if not names:
        raise AudiokdError(f"no {what}")
    if any(not n.strip() for n in names):
        raise AudiokdError(f"an empty name among {len(names)} {what}")
    if twice := [n for n, k in Counter(names).items() if k > 1]:
        raise AudiokdError(f"{len(twice)} of the {what} come twice: {', '.join(twice[:5])}", fix="name each once")
