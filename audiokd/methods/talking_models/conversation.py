r"""Distillation by conversation (Zhao et al., arXiv 2310.03188), as we read what is public of it (README.md).

With H the state after a model's low or high layer, and Enc and Dec of the student s and the teacher t, round n of a two-way talk is

.. math:: m_s^n = \mathrm{Enc}_s(H_s^{h,n-1}),\quad \tilde H_t^{l} = \mathrm{Dec}_t(m_s^n),\quad
    m_t^n = \mathrm{Enc}_t(\mathrm{layers}_t(\tilde H_t^l)),\quad \tilde H_s^{l} = \mathrm{Dec}_s(m_t^n)

and the student's upper layers make of the last the answer y^n and the state H_s^{h,n}; H_s^{h,0} is its own. Losses of a round:

.. math:: L_\mathrm{interact} = \ell(y^n, y),\quad L_\mathrm{MC} = \|m_s^n - \mathrm{Enc}_t(H_t^h)\|^2,\quad
    L_\mathrm{SC} = \sum_k \|\tilde H_k^l - H_k^l\|^2

with means over all numbers of a message or a state in the place of sums. Enc_t(H_t^h) and H_k^l are targets: held, unless settings
have them moved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from audiokd.methods.talking_models.messages import Interpreters
from audiokd.methods.talking_models.settings import MessageSettings, TalkLoss
from audiokd.nn.batch_norm import statistics_kept
from audiokd.nn.split_layers import LayerSplit, Passed
from audiokd.nn.state_tokens import Layout


class Speaker(NamedTuple):
    """A model in a conversation.

    Attributes:
        split: the model, with a low and a high layer.
        passed: what it made of the batch.
        layout: of the channels of its states.
    """

    split: LayerSplit
    passed: Passed
    layout: Layout

    @property
    def low(self) -> Tensor:
        """Its own state at the low layer."""
        return self.passed.states[self.split.layers[0]]

    @property
    def high(self) -> Tensor:
        """Its own state at the high layer."""
        return self.passed.states[self.split.layers[1]]

    def think(self, state: Tensor, aloud: bool) -> Passed:
        """The layers above the low one on another state: to the model's output (`aloud`), or to the high layer."""
        low, high = self.split.layers
        with statistics_kept(self.split.model):  # alone it sees none of these states
            return self.split.enter(self.passed, low, state, "" if aloud else high)


def conversation(
    student: Speaker,
    teacher: Speaker | None,
    interpreters: Interpreters,
    task_loss: Callable[[Tensor], Tensor],
    messages: MessageSettings,
    weights: TalkLoss,
) -> dict[str, Tensor]:
    """Losses of all rounds, not weighted: `interact_1`, `message_1`, `state_1`, and so on; scalars.

    `message` is absent where the student talks to itself. What has no weight is not computed where nothing else needs it.

    Args:
        student: whose gradients are kept.
        teacher: frozen; gradients pass through the layers between its low and its high one. None of way "none".
        interpreters: encoders and decoders.
        task_loss: of the student's output.
        messages: way and rounds.
        weights: of the losses, and what the targets move.
    """
    parts: dict[str, Tensor] = {}
    high = student.high
    own = None
    if teacher is not None and (weights.message or messages.way == "one"):
        own = interpreters.encode("teacher", teacher.high, teacher.layout)
    for n in range(1, messages.rounds + 1):
        said = interpreters.encode("student", high, student.layout)
        state = said.new_zeros(())
        answered = bool(weights.state or weights.interact or n < messages.rounds)
        answer = said
        if teacher is not None and messages.way == "one":
            assert own is not None
            answer = own
        elif teacher is not None and answered:
            heard = interpreters.decode("teacher", said, teacher.low, teacher.layout)
            state = state + F.mse_loss(heard.float(), teacher.low.float())
            thought = teacher.think(heard, aloud=False).states[teacher.split.layers[1]]
            answer = interpreters.encode("teacher", thought, teacher.layout)
        if own is not None and weights.message:
            target = own if weights.message_teacher_learns else own.detach()
            parts[f"message_{n}"] = F.mse_loss(said.float(), target.float())
        if not answered:
            break
        told = interpreters.decode("student", answer, student.low, student.layout)
        if weights.state:
            target = student.low if weights.state_student_learns else student.low.detach()
            parts[f"state_{n}"] = state + F.mse_loss(told.float(), target.float())
        if weights.interact or n < messages.rounds:
            again = student.think(told, aloud=True)
            high = again.states[student.split.layers[1]]
            if weights.interact:
                parts[f"interact_{n}"] = task_loss(again.output)
    return parts
