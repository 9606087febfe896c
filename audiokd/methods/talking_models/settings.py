"""Configuration of Talking Models and of the baselines on its floor. No default is the paper's: its body is not public in full."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from audiokd.training.settings import MediaSettings, RunSettings


@dataclass
class TalkShape:
    """The student; of ratings always a recommender.

    Args:
        backbone: of pictures, timm's name, or folder or hub id (with a slash) of one of transformers', with its weights.
        weights: of timm's, a file, folder or hub id; empty draws them at random.
        encoder: of sound, folder or hub id of a pretrained encoder, ours or one of transformers'.
        clip_blocks: last blocks of the encoder that the clip embedding is made of.
        size: of pictures, pixels; 0 is the backbone's own.
        widths: channels of the blocks of a small CNN, where neither backbone nor encoder is given; of a recommender the hidden
            layers.
        embed_dim: of users and of movies.
        low: layer after which it is talked to, dotted name in the model; empty takes the first block of a small CNN or recommender.
        high: layer whose state it speaks of; empty takes the last block of these.
        layout: axis of the channels there: first, last, or auto (of four axes the second, of fewer the last).
    """

    backbone: str = ""
    weights: str = ""
    encoder: str = ""
    clip_blocks: int = 1
    size: int = 0
    widths: tuple[int, ...] = (16, 32, 64)
    embed_dim: int = 16
    low: str = ""
    high: str = ""
    layout: Literal["auto", "first", "last"] = "auto"


@dataclass
class TalkTeacher:
    """The frozen model; empty for a run without one, such as the teacher's own training.

    Args:
        model: folder or hub id: a model that audiokd exported, or a transformers model with a head of classes; without kd and
            dkd also an encoder of sound or a picture model without a head.
        low: layer after which it is talked to, as of the student.
        high: layer whose state it speaks of.
        layout: axis of the channels there.
    """

    model: str = ""
    low: str = ""
    high: str = ""
    layout: Literal["auto", "first", "last"] = "auto"


@dataclass
class MessageSettings:
    """How they talk.

    Args:
        form: pooled, one message of the mean over positions, which decodes to the same state everywhere; tokens, `count` of them by
            cross-attention.
        dim: d_m of a message.
        hidden: of the two-layer MLPs.
        count: tokens of a message.
        shared: one encoder and one decoder for both models, whose widths are then the same.
        way: two, the student speaks and the teacher answers; one, the teacher speaks of its own state; none, the student's message
            comes back to itself: the same modules without conversation.
        rounds: N; from the second on the student speaks of the state that the last answer put it in.
    """

    form: Literal["pooled", "tokens"] = "pooled"
    dim: int = 64
    hidden: int = 128
    count: int = 4
    shared: bool = False
    way: Literal["two", "one", "none"] = "two"
    rounds: int = 1


@dataclass
class TalkLoss:
    """Weights of the losses beside the task's own; 0 is off. Talking Models' are the first three.

    Args:
        interact: w1, task loss of what the student says after a message.
        message: w2, squared distance of the student's message and the teacher's of the same input.
        state: w3, squared distance of decoded states and the models' own.
        message_teacher_learns: the message loss moves its target, the teacher's encoder, too; messages can then all become alike.
        state_student_learns: the state loss moves its target, the student's own low layers, too; their state can then shrink.
        kd: KL to the teacher's logits (Hinton); of ratings squared distance.
        temperature: of kd and dkd.
        dkd: decoupled distillation.
        dkd_alpha: of its part of the true class.
        dkd_beta: of its part of the other classes.
        hint: FitNets' squared distance of the states at the high layers, through a linear regressor.
    """

    interact: float = 1.0
    message: float = 1.0
    state: float = 1.0
    message_teacher_learns: bool = False
    state_student_learns: bool = False
    kd: float = 0.0
    temperature: float = 4.0
    dkd: float = 0.0
    dkd_alpha: float = 1.0
    dkd_beta: float = 2.0
    hint: float = 0.0


@dataclass
class TalkData(MediaSettings):
    """Labelled pictures, sound or ratings.

    Args:
        view: random view of a training picture (`audiokd.vision.transforms`).
        gain_db: stretches of sound are made so much louder or softer at most.
        snr_db: white noise is at least so much softer than a stretch of sound; null adds none.
        test: data dirs that the run will be tested on: it does not start where one holds an item that it learns from.
    """

    view: Literal["domainbed", "unflipped"] = "unflipped"
    gain_db: float = 6.0
    snr_db: float | None = 20.0
    test: tuple[str, ...] = ()


@dataclass
class TalkOptim:
    """AdamW, warmed up, then along a half cosine to 0.

    Args:
        lr: peak learning rate.
        warmup_steps: of linear warm-up.
        weight_decay: AdamW's.
        grad_clip: norm that the gradient is clipped to; 0 is none.
    """

    lr: float = 1e-3
    warmup_steps: int = 50
    weight_decay: float = 0.01
    grad_clip: float = 5.0


@dataclass
class TalkSettings:
    """Everything `audiokd fit talking_models` can be told.

    Args:
        model: the student.
        teacher: whom it talks with.
        messages: how.
        loss: weights.
        data: items.
        optim: optimiser.
        run: how long and where.
    """

    model: TalkShape = field(default_factory=TalkShape)
    teacher: TalkTeacher = field(default_factory=TalkTeacher)
    messages: MessageSettings = field(default_factory=MessageSettings)
    loss: TalkLoss = field(default_factory=TalkLoss)
    data: TalkData = field(default_factory=TalkData)
    optim: TalkOptim = field(default_factory=TalkOptim)
    run: RunSettings = field(default_factory=lambda: RunSettings(max_steps=2000, val_every=200))


def talks(s: TalkSettings) -> bool:
    """Whether messages are exchanged at all."""
    return any((s.loss.interact, s.loss.message, s.loss.state))
