"""Contrastive pair models: pictures or sound on one side, texts on the other, in one space (CLIP, SigLIP, CLAP, LiT).

CLIP: arXiv 2103.00020. SigLIP: arXiv 2303.15343. CLAP: arXiv 2211.06687. LiT: arXiv 2111.07991 (`audiokd fit lit`).
Each side has its model's own preprocessing, whatever the student that learns from it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.nn.lengths import stack_padded
from audiokd.teachers.base import load_pretrained, read_family

if TYPE_CHECKING:
    from PIL.Image import Image

#: transformers' model_type -> what is paired with texts
PAIRS: dict[str, Literal["image", "audio"]] = {"clip": "image", "siglip": "image", "clap": "audio"}
#: ours, whose config says itself what is paired (`pairs`)
OURS = ("lit",)
#: padded to their longest text in training, with no attention mask
FULL_LENGTH = ("siglip",)
#: text encoders that count positions before the first token, and how many
ROBERTAS = ("clap_text_model", "roberta", "xlm-roberta")
ROBERTA_MARGIN = 2


class ContrastivePair(nn.Module):
    """A pair model of transformers, or one of ours. Its weights are frozen and it is in eval mode; gradients pass through it.

    Args:
        net: a CLIPModel, SiglipModel, ClapModel, or a LitModel of ours.
        processor: its image processor or feature extractor.
        tokenizer: of its text side.
        name: folder or hub id, for messages.

    Attributes:
        kind: what is paired with texts, "image" or "audio".
        dim: size of an embedding.
        sample_rate: Hz of the waveforms it takes; 0 for images.
        max_tokens: of a text.
    """

    def __init__(self, net: nn.Module, processor: Any, tokenizer: Any, name: str):
        super().__init__()
        self.net = net.eval().requires_grad_(False)
        self.processor, self.tokenizer, self.name = processor, tokenizer, name
        config: Any = net.config
        self.kind: Literal["image", "audio"] = PAIRS.get(config.model_type) or config.pairs
        of_text = config.text_config
        self.dim: int = getattr(config, "projection_dim", None) or of_text.projection_size
        self.sample_rate: int = processor.sampling_rate if self.kind == "audio" else 0
        self._full = config.model_type in FULL_LENGTH
        self.max_tokens = text_limit(of_text)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.net.parameters()).device

    @property
    def scale(self) -> Tensor:
        """What a cosine is multiplied by, scalar."""
        return (self.net.logit_scale_a if hasattr(self.net, "logit_scale_a") else self.net.logit_scale).exp().squeeze()

    @property
    def bias(self) -> Tensor:
        """What is added after that, scalar: SigLIP's, else 0."""
        return self.net.logit_bias.squeeze() if hasattr(self.net, "logit_bias") else torch.zeros((), device=self.device)

    @property
    def window_samples(self) -> int:
        """Samples of sound that it hears at once."""
        return self.processor.nb_max_samples if self.net.config.model_type == "clap" else self.net.max_samples

    def preprocess(self, media: Sequence[Image] | Sequence[Tensor]) -> dict[str, Tensor]:
        """What `embed_media` takes, made as this model was trained to have it.

        Args:
            media: RGB pictures, or waveforms [T] at `sample_rate`.

        Returns:
            `pixel_values` [B, 3, H, W]; or `windows` [B], how many windows are each waveform's, and of all of them
            `input_features` [N, 1, T', M] (CLAP), or `wav` [N, T] with `lengths` [N] samples (LiT). A waveform longer than the
            model hears is cut into windows of that length, the last of which ends where it does: transformers' own extractor takes
            one at random.

        Raises:
            AudiokdError: nothing is given, or a waveform that is empty or not one-dimensional.
        """
        if not len(media):
            raise AudiokdError("no image or waveform to embed", where=self.name)
        if self.kind == "image":
            return {"pixel_values": self.processor(images=list(media), return_tensors="pt")["pixel_values"]}
        windows, counts = _windows(media, self.window_samples, self.name)
        if self.net.config.model_type == "clap":
            # one by one: of a batch without a long clip the extractor says at random that one is
            found = [
                self.processor(w.cpu().numpy(), sampling_rate=self.sample_rate, return_tensors="pt")["input_features"]
                for w in windows
            ]
            return {"input_features": torch.cat(found), "windows": counts}
        return {"wav": stack_padded(windows), "lengths": torch.tensor([len(w) for w in windows]), "windows": counts}

    def embed_media(self, inputs: dict[str, Tensor]) -> Tensor:
        """Embeddings [B, `dim`] of length 1 of what `preprocess` gave; of several windows the direction of their sum."""
        if self.kind == "image":
            found = self.net.get_image_features(pixel_values=inputs["pixel_values"].to(self.device)).pooler_output
            return F.normalize(found, dim=-1)
        heard = {k: v.to(self.device) for k, v in inputs.items() if k != "windows"}
        if "input_features" in heard:
            n = len(heard["input_features"])
            heard["is_longer"] = torch.zeros(n, 1, dtype=torch.bool, device=self.device)
        each = F.normalize(self.net.get_audio_features(**heard).pooler_output, dim=-1)
        return F.normalize(torch.stack([w.sum(0) for w in each.split(inputs["windows"].tolist())]), dim=-1)

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """`input_ids` [N, T], and where the text tower hears it `attention_mask`, as `embed_texts` gives them to the tower.

        Raises:
            AudiokdError: no text, an empty one, or one longer than the model reads: it is named, and how many tokens it has.
        """
        if not len(texts) or not all(t.strip() for t in texts):
            raise AudiokdError("no text, or an empty one, to embed", where=self.name)
        words = self.tokenizer(list(texts))["input_ids"]
        for text, tokens in zip(texts, words):
            if len(tokens) > self.max_tokens:
                what = f"{len(tokens)} tokens, the model reads {self.max_tokens}: {text[:60]!r}"
                raise AudiokdError(what, where=self.name, fix="shorten the prompt or the name")
        how = {"padding": "max_length", "max_length": self.max_tokens} if self._full else {"padding": True}
        inputs = self.tokenizer(list(texts), return_tensors="pt", **how)
        kept = ("input_ids",) if self._full else ("input_ids", "attention_mask")
        return {k: inputs[k].to(self.device) for k in kept}

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings [N, `dim`] of length 1.

        Raises:
            AudiokdError: as of `tokenize`.
        """
        return F.normalize(self.net.get_text_features(**self.tokenize(texts)).pooler_output, dim=-1)

    def logits(self, media: Tensor, texts: Tensor) -> Tensor:
        """[B, N] of embeddings [B, D] and [N, D]: scale * cosine + bias, in float32 whatever the autocast: times a scale of
        100 bfloat16 would round cosines of near classes to one."""
        with torch.autocast(media.device.type, enabled=False):
            return self.scale * media.float() @ texts.float().T + self.bias


def _windows(media: Sequence[Any], longest: int, where: str) -> tuple[list[Tensor], Tensor]:
    """Stretches of at most `longest` samples of waveforms, the last of each ending where it does, and how many of each, [B]."""
    windows: list[Tensor] = []
    counts = []
    for wav in media:
        if not isinstance(wav, Tensor) or wav.dim() != 1 or not len(wav):
            shape = list(wav.shape) if isinstance(wav, Tensor) else type(wav).__name__
            raise AudiokdError(f"a waveform [T] is due, not {shape}", where=where)
        starts = [*range(0, max(len(wav) - longest, 0), longest), max(len(wav) - longest, 0)]
        windows += [wav[s : s + longest] for s in starts]
        counts.append(len(starts))
    return windows, torch.tensor(counts)


def load_pair(name: str, device: str = "cpu") -> ContrastivePair:
    """A pair model by folder or hub id: of transformers, or one that `audiokd export` wrote.

    Raises:
        AudiokdError: no such model, one that pairs nothing with texts, or a folder without its preprocessing or tokenizer.
    """
    from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoModel

    family = read_family(name)
    if family not in (*PAIRS, *OURS):
        fix = f"one of {', '.join((*PAIRS, *OURS))}"
        raise AudiokdError(f"a {family} model pairs nothing with texts", where=name, fix=fix)
    net = load_pretrained(AutoModel, name, "the pair model", dtype=torch.float32)
    pairs = PAIRS.get(family) or net.config.pairs
    reader: Any = AutoImageProcessor if pairs == "image" else AutoFeatureExtractor
    processor = _read_part(name, "preprocessing", reader.from_pretrained)
    return ContrastivePair(net, processor, read_tokenizer(name), name).to(device)


def read_tokenizer(name: str) -> Any:
    """The tokenizer of a text encoder by folder or hub id of transformers.

    Raises:
        AudiokdError: there is none.
    """

    def read(name: str) -> Any:
        from transformers import AutoTokenizer

        found = AutoTokenizer.from_pretrained(name)
        if len(found) <= len(set(found.all_special_tokens)):
            raise ValueError("there are no words in it")  # what transformers makes where there are no files
        return found

    return _read_part(name, "tokenizer", read)


def text_limit(config: Any) -> int:
    """Tokens that a text encoder of this config reads at most."""
    return config.max_position_embeddings - (ROBERTA_MARGIN if config.model_type in ROBERTAS else 0)


def _read_part(name: str, part: str, read: Callable[[str], Any]) -> Any:
    try:
        return read(name)
    except (OSError, ValueError, TypeError, KeyError) as e:
        what = f"cannot read its {part}: {str(e).splitlines()[0]}"
        raise AudiokdError(what, where=name, fix="the folder lacks preprocessor_config.json or tokenizer files") from e
