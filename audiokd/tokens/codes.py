"""`Codes`: the codes of a batch of utterances with their lengths, the one value that tokenizers give and take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audiokd.errors import AudiokdError

if TYPE_CHECKING:
    import torch

    from audiokd.tokens.reader import StoredCodes

_LAYOUTS = {"bqt": (0, 1, 2), "btq": (0, 2, 1), "qbt": (1, 0, 2)}


@dataclass
class Codes:
    """Codes of a batch, ids not offset by codebook. Frames from `lengths` on are padding and mean nothing.

    Shape:
        codes: [B, Q, T'] int64, Q kept at 1 codebook.
        lengths: [B] int64, frames.
        num_samples: [B] int64, samples of the audio at `sample_rate`, or None where not known.
    """

    codes: torch.Tensor
    lengths: torch.Tensor
    num_samples: torch.Tensor | None = None
    sample_rate: int | None = None

    def __post_init__(self) -> None:
        if self.codes.dim() != 3 or self.lengths.shape != self.codes.shape[:1]:
            shapes = f"codes {list(self.codes.shape)}, lengths {list(self.lengths.shape)}"
            raise AudiokdError(f"{shapes}: [B, Q, T'] and [B] expected", fix="unsqueeze the axes that are missing")

    def __len__(self) -> int:
        """Utterances in the batch, B."""
        return self.codes.shape[0]

    @property
    def num_codebooks(self) -> int:
        """Q."""
        return self.codes.shape[1]

    def to_layout(self, layout: str) -> torch.Tensor:
        """The codes with their axes in another order.

        Args:
            layout: "bqt" [B, Q, T'] (as here), "btq" [B, T', Q] (language models), "qbt" [Q, B, T'] (encodec, RVQ).

        Raises:
            AudiokdError: another layout.
        """
        if layout not in _LAYOUTS:
            raise AudiokdError(f"layout {layout!r} is not known", fix="use " + ", ".join(_LAYOUTS))
        return self.codes.permute(*_LAYOUTS[layout]).contiguous()

    def semantic(self, n: int = 1) -> Codes:
        """The first `n` codebooks only: those that a semantic teacher was distilled into. Shape: [B, n, T'].

        Raises:
            AudiokdError: there are not so many.
        """
        if not 1 <= n <= self.num_codebooks:
            raise AudiokdError(f"{n} codebooks asked for, there are {self.num_codebooks}")
        return Codes(self.codes[:, :n], self.lengths, self.num_samples, self.sample_rate)

    def to(self, device: str | torch.device) -> Codes:
        """The same codes on `device`."""
        samples = None if self.num_samples is None else self.num_samples.to(device)
        return Codes(self.codes.to(device), self.lengths.to(device), samples, self.sample_rate)

    def __getitem__(self, i: int) -> Codes:
        """Utterance `i` alone and without padding. Shape: codes [1, Q, lengths[i]]."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"utterance {i} of {len(self)}")  # also ends `for c in codes`
        i %= len(self)
        samples = None if self.num_samples is None else self.num_samples[i : i + 1]
        return Codes(
            self.codes[i : i + 1, :, : int(self.lengths[i])], self.lengths[i : i + 1], samples, self.sample_rate
        )

    @staticmethod
    def collate(items: Sequence[Codes]) -> Codes:
        """One batch of several, padded with 0 to the longest. Items may be batches themselves.

        Raises:
            AudiokdError: nothing to collate, or the items differ in number of codebooks or sample rate.
        """
        import torch

        if not items:
            raise AudiokdError("nothing to collate", fix="give at least one utterance")
        if len({c.num_codebooks for c in items}) > 1 or len({c.sample_rate for c in items}) > 1:
            kinds = sorted({f"{c.num_codebooks} codebooks at {c.sample_rate} Hz" for c in items})
            raise AudiokdError(f"these do not go in one batch: {'; '.join(kinds)}", fix="use one tokenizer for all")
        lengths = torch.cat([c.lengths for c in items])
        codes = items[0].codes.new_zeros(
            len(lengths), items[0].num_codebooks, int(lengths.max()) if len(lengths) else 0
        )
        b = 0
        for item in items:
            for one, n in zip(item.codes, item.lengths.tolist()):
                codes[b, :, :n] = one[:, :n]
                b += 1
        known = [c.num_samples for c in items if c.num_samples is not None]
        return Codes(codes, lengths, torch.cat(known) if len(known) == len(items) else None, items[0].sample_rate)

    @staticmethod
    def from_store(utterances: Iterable[StoredCodes]) -> Codes:
        """A batch from what a token store gives: `Codes.from_store([store[i] for i in ids])`."""
        import torch

        return Codes.collate(
            [
                Codes(
                    torch.from_numpy(u.codes)[None],
                    torch.tensor([u.codes.shape[1]]),
                    torch.tensor([u.num_samples]),
                    u.sample_rate,
                )
                for u in utterances
            ]
        )
