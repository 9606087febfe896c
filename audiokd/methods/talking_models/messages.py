"""Encoders from hidden states to messages in a shared space, and decoders back; thrown away after training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiokd.errors import AudiokdError
from audiokd.methods.talking_models.settings import MessageSettings
from audiokd.nn.state_tokens import AXES, Layout, from_tokens, grid_of, positions, to_tokens

FREQUENCIES = 6  # of the positions of message tokens


def two_layers(dim_in: int, hidden: int, dim_out: int) -> nn.Sequential:
    """The MLP of an encoder or decoder."""
    return nn.Sequential(nn.Linear(dim_in, hidden), nn.GELU(), nn.Linear(hidden, dim_out))


def _at(state: Tensor, layout: Layout, dtype: torch.dtype) -> Tensor:
    """Fourier features of the positions of a state, as the layers that take them are stored."""
    return positions(grid_of(state, layout), FREQUENCIES, state.device).to(dtype)


class Encoder(nn.Module):
    """A hidden state to a message [B, M, d_m].

    Args:
        width: D of the state.
        s: form, dim and hidden of messages.
    """

    def __init__(self, width: int, s: MessageSettings):
        super().__init__()
        self.mlp = two_layers(width, s.hidden, s.dim)
        self.form = s.form
        if s.form == "tokens":
            self.queries = nn.Parameter(0.5 * torch.randn(s.count, s.dim))
            self.place = nn.Linear(2 * AXES * FREQUENCIES, s.dim)
            self.attend = nn.MultiheadAttention(s.dim, 1, batch_first=True)

    def forward(self, state: Tensor, layout: Layout) -> Tensor:
        """[B, 1, d_m] of the mean over positions (pooled), or [B, M, d_m]: learned queries attend to all positions (tokens)."""
        tokens = to_tokens(state, layout)
        if self.form == "pooled":
            return self.mlp(tokens.mean(1, keepdim=True))
        values = self.mlp(tokens)
        keys = values + self.place(_at(state, layout, self.place.weight.dtype))
        return self.attend(self.queries.expand(len(state), -1, -1), keys, values, need_weights=False)[0]


class Decoder(nn.Module):
    """A message [B, M, d_m] to a hidden state.

    Args:
        width: D of the state.
        s: form, dim and hidden of messages.
    """

    def __init__(self, width: int, s: MessageSettings):
        super().__init__()
        self.mlp = two_layers(s.dim, s.hidden, width)
        self.form = s.form
        if s.form == "tokens":
            self.slots = nn.Parameter(0.5 * torch.randn(s.count, s.dim))
            self.place = nn.Linear(2 * AXES * FREQUENCIES, s.dim)
            self.attend = nn.MultiheadAttention(s.dim, 1, batch_first=True)

    def forward(self, message: Tensor, like: Tensor, layout: Layout) -> Tensor:
        """A state of the shape of `like`: the same at every position (pooled), or each position attends to the message (tokens)."""
        if self.form == "tokens":
            asked = self.place(_at(like, layout, self.place.weight.dtype))
            asked = asked.expand(len(message), -1, -1)
            message = asked + self.attend(asked, message + self.slots, message, need_weights=False)[0]
        return from_tokens(self.mlp(message), like, layout)


class Interpreters(nn.Module):
    """Encoders and decoders of student and teacher: each its own, or (`shared`) one for both.

    Args:
        widths: of the states at the high and the low layer, of the student and of the teacher (None where it does not speak).
        s: configuration.

    Raises:
        AudiokdError: shared ones of models of other widths.
    """

    def __init__(self, student: tuple[int, int], teacher: tuple[int, int] | None, s: MessageSettings):
        super().__init__()
        if s.shared and teacher is not None and student != teacher:
            what = f"states of {student[0]} and {student[1]} numbers in the student, {teacher[0]} and {teacher[1]}"
            fix = (
                "layers of the same widths (--model.low, --model.high, --teacher.low, --teacher.high), or separate ones"
            )
            raise AudiokdError(f"{what} in the teacher, and one encoder and decoder", where="messages.shared", fix=fix)
        self.encoders, self.decoders = nn.ModuleDict(), nn.ModuleDict()
        for name, widths in (("student", student), ("teacher", teacher)):
            if widths is None:
                continue
            if s.shared and name == "teacher":
                continue
            self.encoders[name] = Encoder(widths[0], s)
            if name == "student" or s.way == "two":  # one-way, the teacher hears nothing
                self.decoders[name] = Decoder(widths[1], s)
        self.shared = s.shared

    def encode(self, who: str, state: Tensor, layout: Layout) -> Tensor:
        """Message of the state at a model's high layer; `who` is student or teacher."""
        return self.encoders["student" if self.shared else who](state, layout)

    def decode(self, who: str, message: Tensor, like: Tensor, layout: Layout) -> Tensor:
        """State of the shape of `like` for a model's low layer."""
        return self.decoders["student" if self.shared else who](message, like, layout)
