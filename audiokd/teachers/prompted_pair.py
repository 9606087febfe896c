"""A frozen pair model with learnt prompts: tokens in its towers (IVLP, arXiv 2212.03640; PromptSRC, arXiv 2307.06948), or a learnt
offset of its text vectors. (PALM, arXiv 2409.19806, learns in the text vectors' space, too, class by class; here one offset is for
all, so that classes which nothing was learnt of have it as well.)"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.data.classes import spoken
from audiokd.errors import AudiokdError
from audiokd.files import sha256_bytes, write_bytes
from audiokd.nn.deep_prompts import DeepPrompts, prompted_images, prompted_texts
from audiokd.nn.weights import check_weights, weights_sha256
from audiokd.teachers.pair import ContrastivePair, load_pair

PROMPTS = "prompts.safetensors"  # its name in an exported folder
FORMAT = "audiokd-prompts"


@dataclass(frozen=True)
class PromptShape:
    """Which prompts there are.

    Attributes:
        context: what a text begins with; a class is "{context} {name}.". Learnt tokens, which begin as they are, replace its words.
        text_depth: layers of the text tower with tokens of their own; 0 leaves the text tower as it is.
        visual_count: tokens of a layer of the image tower.
        visual_depth: layers of it with tokens of their own; 0 leaves it as it is.
        offset: learn a vector that is added to every text's.
    """

    context: str = "a photo of a"
    text_depth: int = 9
    visual_count: int = 4
    visual_depth: int = 9
    offset: bool = False


class PromptedPair(nn.Module):
    """A `ContrastivePair` with prompts. Its parameters and state_dict are the prompts alone.

    Args:
        pair: frozen.
        shape: of the prompts.

    Raises:
        AudiokdError: prompts that the pair's towers do not take.
    """

    def __init__(self, pair: ContrastivePair, shape: PromptShape):
        super().__init__()
        self.__dict__["pair"] = pair  # past nn.Module's registry: its weights are in no optimiser and no checkpoint
        self.shape, self.name, self.kind, self.dim = shape, pair.name, pair.kind, pair.dim
        net: Any = pair.net
        self.visual = self.text = None
        if shape.visual_depth:
            tower = getattr(net, "vision_model", None)
            _check_depth("visual", shape.visual_depth, tower, pair.name)
            self.visual = DeepPrompts(shape.visual_depth, shape.visual_count, tower.config.hidden_size)  # type: ignore[union-attr]
        if shape.text_depth:
            tower = net.text_model
            _check_depth("text", shape.text_depth, tower, pair.name)
            first = self._context_embeddings()
            self.text = DeepPrompts(shape.text_depth, len(first), first.shape[1], first)
        self.offset = nn.Parameter(torch.zeros(pair.dim)) if shape.offset else None
        if not any(True for _ in self.parameters()):
            raise AudiokdError("no prompts to learn", where=pair.name, fix="a depth over 0, or an offset")

    def _apply(self, fn: Any, recurse: bool = True) -> PromptedPair:
        self.pair._apply(fn)
        return super()._apply(fn, recurse)

    @property
    def scale(self) -> Tensor:
        """What a cosine is multiplied by, scalar."""
        return self.pair.scale

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms it takes; 0 for images."""
        return self.pair.sample_rate

    @property
    def processor(self) -> Any:
        """The pair's own preprocessing."""
        return self.pair.processor

    def preprocess(self, media: Sequence[Any]) -> dict[str, Tensor]:
        """As of `ContrastivePair`."""
        return self.pair.preprocess(media)

    def embed_media(self, inputs: dict[str, Tensor]) -> Tensor:
        """As of `ContrastivePair`, with prompts."""
        if self.visual is None:
            return self.pair.embed_media(inputs)
        return prompted_images(self.pair.net, inputs["pixel_values"].to(self.pair.device), self.visual.tokens)

    def texts_of(self, names: Sequence[str]) -> list[str]:
        """The text of each class by the name that a prompt calls it by."""
        return [f"{self.shape.context} {spoken(name)}." for name in names]

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings [N, D] of length 1 of texts that begin with the context (`texts_of`).

        Raises:
            AudiokdError: one does not, and its first words would be lost; or see `ContrastivePair.embed_texts`.
        """
        if self.text is not None:
            if other := [t for t in texts if not t.startswith(self.shape.context + " ")]:
                what = f"a text that does not begin with {self.shape.context!r}: {other[0][:60]!r}"
                raise AudiokdError(what, where=self.name, fix="learnt tokens stand in the place of these words")
            words = self.pair.tokenize(texts)
            mask = words.get("attention_mask")
            found = prompted_texts(self.pair.net, words["input_ids"], self.text.tokens, mask)
        else:
            found = self.pair.embed_texts(texts)
        return found if self.offset is None else F.normalize(found + self.offset, dim=-1)

    def logits(self, media: Tensor, texts: Tensor) -> Tensor:
        """[B, N] of embeddings [B, D] and [N, D]: scale * cosine + bias."""
        return self.pair.logits(media, texts)

    def identity(self) -> str:
        """Hash of the prompts, their shape and the pair model that they are for."""
        about = [weights_sha256(self), asdict(self.shape), weights_sha256(self.pair)]
        return sha256_bytes(json.dumps(about, sort_keys=True).encode())

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the prompts, with the name and the hash of the pair model that they are for."""
        from safetensors.torch import save

        about = {"pair": self.name, "pair_sha256": weights_sha256(self.pair), "shape": asdict(self.shape)}
        tensors = {k: v.float().cpu().contiguous() for k, v in self.state_dict().items()}
        write_bytes(Path(folder) / PROMPTS, save(tensors, {FORMAT: json.dumps(about, sort_keys=True)}))

    def _context_embeddings(self) -> Tensor:
        """Of the context's tokens [n, D]."""
        with_none, with_it = (self.pair.tokenizer(t)["input_ids"] for t in ("", self.shape.context))
        inner = [i for i in with_it if i not in set(with_none)]
        if len(inner) != len(with_it) - len(with_none):
            raise AudiokdError(
                f"the context {self.shape.context!r} cannot be told from special tokens", where=self.name
            )
        if not inner:
            raise AudiokdError("a context without words", where=self.name, fix='"a photo of a", "this is a sound of"')
        return self.pair.net.get_submodule("text_model").get_input_embeddings().weight[inner].detach()


def is_prompted(name: str | os.PathLike[str]) -> bool:
    """Whether it is a folder of prompts."""
    return (Path(name) / PROMPTS).is_file()


def load_prompted(folder: str | os.PathLike[str], device: str = "cpu", pair: str = "") -> PromptedPair:
    """Prompts and the pair model that they are for, all frozen.

    Args:
        folder: that `PromptedPair.save` wrote to.
        device: where to.
        pair: folder or hub id of the pair model, where it is another place now.

    Raises:
        AudiokdError: no prompts there, or damaged ones; no such pair model, or one of other weights.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(folder) / PROMPTS
    try:
        with safe_open(path, framework="pt") as f:
            about = json.loads((f.metadata() or {})[FORMAT])
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118  no dict
    except (SafetensorError, OSError, KeyError, ValueError) as e:
        raise AudiokdError(f"no prompts, or damaged ones: {e}", where=str(path), fix="export the run again") from e
    found = load_pair(pair or about["pair"], device)
    if (sha := weights_sha256(found)) != about["pair_sha256"]:
        what = f"its prompts are of a pair model {about['pair_sha256'][:12]}, {found.name} is {sha[:12]}"
        raise AudiokdError(what, where=str(path), fix="give the pair model that they were learnt with")
    prompted = PromptedPair(found, PromptShape(**about["shape"]))
    check_weights(prompted.state_dict(), tensors, str(path), "export the run again")
    prompted.load_state_dict(tensors)
    return prompted.to(device).eval().requires_grad_(False)


def load_any_pair(name: str, device: str = "cpu") -> ContrastivePair | PromptedPair:
    """A pair model, or one with prompts, by folder or hub id.

    Raises:
        AudiokdError: as of `load_pair` and `load_prompted`.
    """
    return load_prompted(name, device) if is_prompted(name) else load_pair(name, device)


def _check_depth(kind: str, depth: int, tower: Any, where: str) -> None:
    encoder = getattr(tower, "encoder", None)
    layers = len(getattr(encoder, "layers", getattr(encoder, "layer", ())))  # BERT's is `layer`
    if depth > layers:
        what = f"{kind} prompts for {depth} layers; its {kind} tower has {layers or 'no layers that take them'}"
        fix = f"--model.{kind}_depth {layers}" + (", or --model.offset true" if kind == "text" else "")
        raise AudiokdError(what, where=where, fix=fix)
