"""What a run of talking models is asked for: that it can be, and that nothing is asked for in vain."""

from __future__ import annotations

import math
import os
from typing import Any

from audiokd.errors import AudiokdError, ConfigError
from audiokd.methods.talking_models.settings import MessageSettings, TalkSettings, TalkShape, TalkTeacher, talks

#: what each kind of student is for
TAKES = {"backbone": "image", "encoder": "audio"}


def is_folder(backbone: str) -> bool:
    """Whether it is a folder or hub id, and not a name of timm's."""
    return "/" in backbone or os.path.isdir(backbone)


def student_speaks(s: TalkSettings) -> bool:
    """Whether its layers are needed."""
    return talks(s) or bool(s.loss.hint)


def teacher_speaks(s: TalkSettings) -> bool:
    """Whether its layers are needed."""
    return bool(s.teacher.model) and bool((talks(s) and s.messages.way != "none") or s.loss.hint)


def layers_of(model: Any, given: TalkShape | TalkTeacher, option: str) -> tuple[str, str]:
    """The low and the high layer as they are given; one that is not is the first, or the last block of one of our small models.

    Raises:
        AudiokdError: not given, and it is none of these; or no such layer.
    """
    from audiokd.methods.talking_models.students import OWN
    from audiokd.nn.split_layers import layer_of

    low, high = given.low, given.high
    if not (low and high):
        body = getattr(model, "body", None)
        if not isinstance(body, tuple(OWN.values())):
            children = [n for n, _ in model.named_children()]
            what = "which layers it is talked to at is not said"
            fix = f"{option}.low and {option}.high, dotted names below {', '.join(children)}"
            raise AudiokdError(what, where=type(model).__name__, fix=fix)
        last = len(body.blocks) - 1
        if not (low or high or last):
            what, fix = "one block, and a low and a high one are due", "--model.widths of two or more"
            raise AudiokdError(what, where=option, fix=fix)
        low, high = low or "body.blocks.0", high or f"body.blocks.{last}"
    for name in (low, high):
        layer_of(model, name, option)
    if low == high:
        raise AudiokdError(
            f"{low} is both the low and the high layer", where=option, fix=f"{option}.low and {option}.high"
        )
    return low, high


def check_settings(s: TalkSettings, kind: str) -> None:
    """That what is asked for can be, of data of `kind` (image, audio, ratings).

    Raises:
        AudiokdError: it cannot.
    """
    _check_numbers(s)
    m, loss, given = s.messages, s.loss, s.teacher.model
    if m.way == "none" and loss.message:
        raise AudiokdError("nobody to agree with on a message", where="messages.way", fix="--loss.message 0")
    speaks = talks(s) and m.way != "none"
    needs = [n for n, of in (("conversation", speaks), ("kd", loss.kd), ("dkd", loss.dkd), ("hint", loss.hint)) if of]
    if needs and not given:
        fix = "--teacher.model FOLDER, or weights of 0 (--config talking_models/alone)"
        raise AudiokdError("no teacher is given", where=f"loss: {', '.join(needs)}", fix=fix)
    if given and not needs:
        raise AudiokdError("a teacher is given, and no loss needs it", where="teacher.model", fix="leave it out")
    if m.way == "one" and m.rounds > 1:
        what = "one-way talk hears nothing: a second round is the first again"
        raise AudiokdError(what, where="messages.rounds", fix="--messages.rounds 1, or --messages.way two")
    if kind == "ratings" and loss.dkd:
        raise AudiokdError("ratings have no classes to decouple", where="loss.dkd", fix="--loss.kd 1")
    chosen = [k for k in TAKES if getattr(s.model, k)]
    if len(chosen) > 1 or any(TAKES[k] != kind for k in chosen):
        fix = "--model.backbone of pictures, --model.encoder of sound, or neither: a small CNN, or a recommender"
        raise AudiokdError(f"model.{' and model.'.join(chosen)} for data of {kind}", where="model", fix=fix)
    if s.model.weights and (not s.model.backbone or is_folder(s.model.backbone)):
        what = "weights without a backbone of timm's"
        raise AudiokdError(what, where="model.weights", fix="--model.backbone NAME; a folder or hub id brings its own")
    _check_unused(s)


def _check_numbers(s: TalkSettings) -> None:
    m, loss = s.messages, s.loss
    for names in (("interact", "message", "state", "kd", "dkd", "hint"), ("dkd_alpha", "dkd_beta")):
        for name in names:
            value = getattr(loss, name)
            if not (0 <= value < math.inf):
                raise AudiokdError(f"a weight of {value:g}", where=f"loss.{name}", fix="a number of 0 or more")
    if not (0 < loss.temperature < math.inf):
        raise AudiokdError(f"a temperature of {loss.temperature:g}", where="loss.temperature", fix="a number over 0")
    if m.rounds < 1 or min(m.dim, m.hidden, m.count) < 1:
        raise AudiokdError("rounds and sizes of messages are 1 and more", where="messages")


def _check_unused(s: TalkSettings) -> None:
    """That no option is set otherwise than by default that no loss of the run uses.

    Raises:
        ConfigError: one is.
    """
    m, usual = s.messages, MessageSettings()
    changed = [k for k in vars(usual) if getattr(m, k) != getattr(usual, k)]
    if not talks(s) and changed:
        fix = "leave it out, or --loss.interact, --loss.message or --loss.state over 0"
        raise ConfigError("no message is exchanged", where=", ".join(f"messages.{k}" for k in changed), fix=fix)
    unused = {
        "messages.count": m.form == "pooled"
        and "count" in changed
        and "a pooled message is one; --messages.form tokens",
        "messages.shared": m.way == "none" and m.shared and "one model has nobody to share with; leave it out",
        "loss.message_teacher_learns": s.loss.message_teacher_learns and not s.loss.message and "--loss.message over 0",
        "loss.state_student_learns": s.loss.state_student_learns and not s.loss.state and "--loss.state over 0",
        "model.layout": s.model.layout != "auto" and not student_speaks(s) and "no loss looks at its layers",
        "teacher.layout": s.teacher.layout != "auto" and not teacher_speaks(s) and "no loss looks at its layers",
        "teacher.low, teacher.high": bool(s.teacher.low or s.teacher.high)
        and not s.teacher.model
        and "--teacher.model",
    }
    for where, why in unused.items():
        if why:
            raise ConfigError("set, and nothing uses it", where=where, fix=why)
