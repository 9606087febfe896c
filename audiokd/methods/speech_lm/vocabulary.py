"""One vocabulary for text and speech: text tokens, then <|text|> <|speech|> <|end|>, then the codes of each stream.

Stream 0 is `<|s_0|>`, `<|s_1|>`, ...; stream q >= 1 is `<|s{q}_0|>`, ... The streams lie behind one another, so that each
has a slice of the embedding matrix and of the output matrix; everything before stream 1 is the head of stream 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from audiokd.errors import AudiokdError
from audiokd.tokens.lm_text import stream_token

CONTROLS = ("<|text|>", "<|speech|>", "<|end|>")


def character_tokenizer(texts: Iterable[str]) -> Any:
    """A transformers tokenizer whose tokens are the characters of `texts`, and bytes for any other: it loses nothing."""
    import tokenizers
    from tokenizers import decoders, models
    from transformers import PreTrainedTokenizerFast

    names = [f"<0x{b:02X}>" for b in range(256)] + sorted({c for t in texts for c in t})
    vocab = {name: i for i, name in enumerate(names)}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)


def extend(tokenizer: Any, cardinality: list[int]) -> None:
    """Add the control tokens and the codes of each stream to `tokenizer`.

    Raises:
        AudiokdError: it has one of them already.
    """
    new = [*CONTROLS, *(stream_token(q, i) for q, n in enumerate(cardinality) for i in range(n))]
    first = len(tokenizer)
    tokenizer.add_tokens(new, special_tokens=True)
    if len(tokenizer) != first + len(new):
        raise AudiokdError("the tokenizer has some of the speech tokens already", fix="give model.name a text model")


@dataclass(frozen=True)
class Vocabulary:
    """Where the tokens are.

    Attributes:
        tokenizer: an extended transformers tokenizer.
        text_size: ids below it are text.
        text, speech, end: ids of the control tokens.
        offsets: id of code 0 of each stream.
        cardinality: codes of each stream.
        text_step: positions that a text token takes, in frames, where both sides start at 0; 0 where positions count on.
    """

    tokenizer: Any
    text_size: int
    text: int
    speech: int
    end: int
    offsets: tuple[int, ...]
    cardinality: tuple[int, ...]
    text_step: float = 0.0

    @classmethod
    def of(cls, tokenizer: Any, cardinality: Iterable[int], text_step: float = 0.0) -> Vocabulary:
        """The vocabulary of an extended tokenizer."""
        sizes = tuple(cardinality)
        text, speech, end = (tokenizer.convert_tokens_to_ids(c) for c in CONTROLS)
        offsets = tuple(tokenizer.convert_tokens_to_ids(stream_token(q, 0)) for q in range(len(sizes)))
        return cls(tokenizer, text, text, speech, end, offsets, sizes, text_step)

    def __len__(self) -> int:
        return self.offsets[-1] + self.cardinality[-1]

    @property
    def streams(self) -> int:
        """Streams of a step."""
        return len(self.cardinality)

    def head(self, stream: int) -> tuple[int, int]:
        """First id and end of the tokens that stream `stream` is told apart from."""
        first = self.offsets[stream] if stream else 0
        return first, self.offsets[stream] + self.cardinality[stream]

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Ids of texts. What looks like a speech token in a text is text."""
        if not texts:
            return []
        return self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    def decode(self, ids: list[int]) -> str:
        """Text of ids."""
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
