"""Word and character error rate by a Whisper: are the words still there after the codec?

Source: Whisper, Radford et al. 2022, https://arxiv.org/abs/2212.04356 (text normalisation: appendix C). Error counts by
jiwer. The model is a transformers folder or hub id; a CTranslate2 folder goes through
`audiokd.teachers.whisper_ct2.convert_whisper_ct2` first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from audiokd.errors import AudiokdError
from audiokd.eval.common import need, signal

if TYPE_CHECKING:
    from audiokd.eval.common import Signal

SAMPLE_RATE = 16_000
MAX_S, MIN_S = 30, 25  # Whisper hears 30 s; a longer clip is cut at its quietest place between these
QUIET = SAMPLE_RATE // 10  # samples over which loudness is taken to find that place


class AsrScorer:
    """A Whisper that reads audio, greedy, one result for one clip whatever its neighbours.

    Args:
        model: transformers folder or hub id.
        device: torch device.
        language: e.g. "en" for a multilingual model; "" lets it find out, clip by clip. English-only models need none.
        batch_size: clips in one pass; 0 is 1 on the CPU and 16 elsewhere.

    Raises:
        AudiokdError: the model cannot be loaded or is no Whisper.
    """

    def __init__(self, model: str | os.PathLike[str], device: str = "cpu", language: str = "", batch_size: int = 0):
        from transformers import AutoFeatureExtractor, AutoTokenizer, WhisperForConditionalGeneration
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()  # generate() warns of what Whisper's own generation_config holds, once a model

        try:
            # float32 also where the folder holds halves: a comparison of systems should not hang on rounding
            whisper = WhisperForConditionalGeneration.from_pretrained(model, dtype=torch.float32)
            self.model = whisper.eval().requires_grad_(False).to(device)
            self.features = AutoFeatureExtractor.from_pretrained(model)
            self.tokenizer = AutoTokenizer.from_pretrained(model)
        except (OSError, ValueError, RuntimeError) as e:
            raise AudiokdError(
                f"cannot be loaded as a Whisper: {str(e).splitlines()[0] if str(e) else type(e).__name__}",
                where=str(model),
                fix="give a folder that transformers' WhisperForConditionalGeneration saved, or a hub id",
            ) from e
        self.device, self.batch_size = device, batch_size or (1 if device == "cpu" else 16)
        self.multilingual = bool(getattr(self.model.generation_config, "is_multilingual", False))
        self.language = language if self.multilingual else ""
        self.english = not self.multilingual or language in ("en", "english")
        self.model.generation_config.max_length = self.model.config.max_target_positions
        self.model.generation_config.return_timestamps = False

    def transcribe(self, wavs: Sequence[Signal]) -> list[str]:
        """What is said in each clip.

        Args:
            wavs: each `[T]` float32 at 16 kHz. A clip over 30 s is cut at the quietest tenth of a second between 25 s
                and 30 s, again and again, and its pieces' texts are joined. Digital silence reads as "".

        Returns:
            one text a clip, as the model writes it (cased, with punctuation).
        """
        pieces, owner = [], []
        for i, wav in enumerate(wavs):
            for piece in split_quiet(signal(wav)):
                if piece.any():
                    pieces.append(piece)
                    owner.append(i)
        texts: list[list[str]] = [[] for _ in wavs]
        for at in range(0, len(pieces), self.batch_size):
            batch = pieces[at : at + self.batch_size]
            for i, text in zip(owner[at : at + self.batch_size], self._read(batch)):
                texts[i].append(text.strip())
        return [" ".join(t for t in parts if t) for parts in texts]

    def normalise(self, text: str) -> str:
        """`normalise_text` as it fits the model's language."""
        return normalise_text(text, english=self.english)

    def _read(self, batch: list[np.ndarray]) -> list[str]:
        x = self.features(batch, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        extra: dict[str, Any] = {"task": "transcribe"} if self.multilingual else {}
        if self.language:
            extra["language"] = self.language
        with torch.inference_mode():
            ids = self.model.generate(
                x.input_features.to(self.device, self.model.dtype),
                do_sample=False,
                num_beams=1,
                **extra,
            )
        return self.tokenizer.batch_decode(ids, skip_special_tokens=True)


def split_quiet(x: np.ndarray) -> list[np.ndarray]:
    """`x [T]` at 16 kHz as pieces of at most 30 s, cut where it is quietest so that words stay whole."""
    pieces = []
    while x.size > MAX_S * SAMPLE_RATE:
        stretch = x[MIN_S * SAMPLE_RATE : MAX_S * SAMPLE_RATE].astype(np.float64) ** 2
        loudness = np.convolve(stretch, np.ones(QUIET), "valid")
        cut = MIN_S * SAMPLE_RATE + int(loudness.argmin()) + QUIET // 2
        pieces.append(x[:cut])
        x = x[cut:]
    return [*pieces, x]


def normalise_text(text: str, english: bool = True) -> str:
    """Text as error rates count it: lower case, no punctuation, and for English one way to write numbers and such.

    Whisper's own normalisers, as published results use them. The English one is used without the table of British and
    American spellings, which comes with a tokenizer folder and not with transformers.

    Args:
        text: as written or as read by the model.
        english: Whisper's English rules; else the ones for any language (diacritics stay).
    """
    return " ".join(_normaliser(english)(text).split())


@lru_cache(maxsize=2)
def _normaliser(english: bool) -> Callable[[str], str]:
    from transformers.models.whisper import english_normalizer as rules

    return rules.EnglishTextNormalizer({}) if english else rules.BasicTextNormalizer()


@dataclass(frozen=True)
class Errors:
    """Edit operations between two texts and the length of the reference, in words or characters."""

    substitutions: int
    deletions: int
    insertions: int
    length: int

    @property
    def count(self) -> int:
        """All edit operations."""
        return self.substitutions + self.deletions + self.insertions


def word_errors(ref: str, hyp: str) -> Errors:
    """Word edits from `ref` to `hyp`, both normalised before. An empty reference has length 0."""
    return _errors(need("jiwer").process_words([ref], [hyp]))


def character_errors(ref: str, hyp: str) -> Errors:
    """Character edits from `ref` to `hyp`; the space between words is a character."""
    return _errors(need("jiwer").process_characters([ref], [hyp]))


def _errors(o: Any) -> Errors:
    return Errors(o.substitutions, o.deletions, o.insertions, o.hits + o.substitutions + o.deletions)


def wer(refs: Sequence[str], hyps: Sequence[str]) -> float | None:
    r"""Word error rate of a corpus, :math:`\sum_i (S_i + D_i + I_i) / \sum_i N_i`. Lower is better, 0 is equal.

    Args:
        refs: normalised reference texts.
        hyps: normalised texts of the same utterances.

    Returns:
        a share, 0 and up (insertions can bring it over 1); None where the references hold no word.
    """
    return _rate([word_errors(r, h) for r, h in zip(refs, hyps, strict=True)])


def cer(refs: Sequence[str], hyps: Sequence[str]) -> float | None:
    """Character error rate of a corpus, as `wer` with characters (the space is one). For languages without spaces."""
    return _rate([character_errors(r, h) for r, h in zip(refs, hyps, strict=True)])


def _rate(errors: list[Errors]) -> float | None:
    length = sum(e.length for e in errors)
    return sum(e.count for e in errors) / length if length else None


def same_model(a: str, b: str) -> bool:
    """Whether two model folders or hub ids are one model: the same place, or the same weights. A score by the teacher is no
    stranger's score and says so."""
    from audiokd.files import sha256_file

    if a == b or Path(a).resolve() == Path(b).resolve():
        return True
    weights = [Path(m) / "model.safetensors" for m in (a, b)]
    return all(w.is_file() for w in weights) and sha256_file(weights[0]) == sha256_file(weights[1])
