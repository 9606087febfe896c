"""Talking Models' parts: messages, rounds and each loss against a written-out reference, and the students."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.losses.dkd import dkd_loss
from audiokd.losses.logit_kl import logit_kl
from audiokd.methods.talking_models.config import TalkConfig
from audiokd.methods.talking_models.conversation import Speaker, conversation
from audiokd.methods.talking_models.messages import Decoder, Encoder, Interpreters
from audiokd.methods.talking_models.model import TalkModel
from audiokd.methods.talking_models.module import hint_loss
from audiokd.methods.talking_models.settings import MessageSettings, TalkLoss
from audiokd.methods.talking_models.students import cnn_shape
from audiokd.nn.split_layers import LayerSplit
from audiokd.nn.state_tokens import from_tokens, grid_of, positions, resize_tokens, to_tokens, width_of

LAYERS = ("0", "2")


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with tanh between: low is layer 0, high is layer 2, a head above."""
    a, b, c, d = widths
    return nn.Sequential(nn.Linear(a, b), nn.Tanh(), nn.Linear(b, c), nn.Tanh(), nn.Linear(c, d))


class Talk:
    """A student, a frozen teacher, what they need to talk, and a batch."""

    def __init__(self, **messages: Any):
        torch.manual_seed(0)
        self.student, self.teacher = mlp(5, 4, 6, 3), mlp(5, 8, 7, 3).requires_grad_(False)
        self.x, self.y = torch.randn(9, 5), torch.randint(3, (9,))
        self.s = MessageSettings(**{"dim": 4, "hidden": 6, **messages})
        splits = [LayerSplit(m, LAYERS) for m in (self.student, self.teacher)]
        mine = Speaker(splits[0], splits[0].run(self.x), "auto")
        with torch.no_grad():
            theirs: Speaker | None = Speaker(splits[1], splits[1].run(self.x), "auto")
        if self.s.way == "none":
            theirs = None
        self.speakers = mine, theirs
        self.between = Interpreters((6, 4), None if theirs is None else (7, 8), self.s)

    def losses(self, **weights: Any) -> dict[str, Tensor]:
        loss = TalkLoss(**weights)
        task = lambda out: F.cross_entropy(out, self.y)  # noqa: E731
        return conversation(*self.speakers, self.between, task, self.s, loss)


def squared(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().mean()


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_two_way_talk_written_out(rounds: int) -> None:
    t = Talk(rounds=rounds)
    found = t.losses()
    s, k, enc, dec = t.student, t.teacher, t.between.encoders, t.between.decoders
    low_s, low_t = s[0](t.x), k[0](t.x)
    high_s, high_t = s[2](s[1](low_s)), k[2](k[1](low_t))
    assert len(found) == 3 * rounds  # N rounds add 3 N losses
    own = enc["teacher"].mlp(high_t)
    for n in range(1, rounds + 1):
        said = enc["student"].mlp(high_s)
        heard = dec["teacher"].mlp(said)
        answer = enc["teacher"].mlp(k[2](k[1](heard)))
        told = dec["student"].mlp(answer)
        high_s = s[2](s[1](told))
        logits = s[4](s[3](high_s))
        torch.testing.assert_close(found[f"message_{n}"], squared(said, own))
        torch.testing.assert_close(found[f"state_{n}"], squared(heard, low_t) + squared(told, low_s))
        torch.testing.assert_close(found[f"interact_{n}"], -logits.log_softmax(1)[range(9), t.y].mean())


def test_a_one_way_talk_and_one_with_nobody_written_out() -> None:
    t = Talk(way="one")
    s, k, enc, dec = t.student, t.teacher, t.between.encoders, t.between.decoders
    assert set(dec) == {"student"}  # the teacher hears nothing
    high_s, high_t = s[:3](t.x), k[:3](t.x)
    told = dec["student"].mlp(enc["teacher"].mlp(high_t))
    found = t.losses()
    torch.testing.assert_close(found["interact_1"], F.cross_entropy(s[1:](told), t.y))
    torch.testing.assert_close(found["message_1"], squared(enc["student"].mlp(high_s), enc["teacher"].mlp(high_t)))
    torch.testing.assert_close(found["state_1"], squared(told, s[0](t.x)))
    t = Talk(way="none", rounds=2)
    s, enc, dec = t.student, t.between.encoders, t.between.decoders
    assert set(enc) == set(dec) == {"student"}
    found = t.losses()
    assert found.keys() == {"interact_1", "state_1", "interact_2", "state_2"}
    told = dec["student"].mlp(enc["student"].mlp(s[:3](t.x)))
    torch.testing.assert_close(found["interact_1"], F.cross_entropy(s[1:](told), t.y))
    again = dec["student"].mlp(enc["student"].mlp(s[1:3](told)))
    torch.testing.assert_close(found["interact_2"], F.cross_entropy(s[1:](again), t.y))
    torch.testing.assert_close(found["state_2"], squared(again, s[0](t.x)))


def moved(t: Talk, loss: Tensor) -> set[str]:
    """What a loss has a gradient for."""
    for m in (t.student, t.between):
        m.zero_grad(set_to_none=True)
    loss.backward(retain_graph=True)
    parts = {f"student.{i}": layer for i, layer in enumerate(t.student)}
    parts |= {f"enc.{k}": m for k, m in t.between.encoders.items()} | {
        f"dec.{k}": m for k, m in t.between.decoders.items()
    }
    assert all(p.grad is None for p in t.teacher.parameters())
    return {n for n, m in parts.items() if any(p.grad is not None and bool(p.grad.any()) for p in m.parameters())}


def test_what_each_loss_moves() -> None:
    t = Talk()
    found = t.losses(message_teacher_learns=True, state_student_learns=True)
    everything = {"enc.student", "enc.teacher", "dec.student", "dec.teacher", "student.0", "student.2"}
    # through the frozen teacher's layers to the student's own encoder, and below it
    assert moved(t, found["interact_1"]) == everything | {"student.4"}
    assert moved(t, found["message_1"]) == {"enc.student", "enc.teacher", "student.0", "student.2"}
    assert moved(t, found["state_1"]) == everything
    held = t.losses()  # by default no loss moves its target
    assert moved(t, held["message_1"]) == {"enc.student", "student.0", "student.2"}
    torch.testing.assert_close(held["message_1"], found["message_1"])
    torch.testing.assert_close(held["state_1"], found["state_1"])
    one = Talk(way="one")
    low = one.losses(state_student_learns=True)["state_1"], one.losses()["state_1"]
    assert moved(one, low[0]) == {"enc.teacher", "dec.student", "student.0"}
    assert moved(one, low[1]) == {"enc.teacher", "dec.student"}


@pytest.mark.parametrize("moving", [True, False])
def test_the_state_loss_shrinks_a_target_that_it_moves_and_no_other(moving: bool) -> None:
    t = Talk(way="one")
    split, scales = t.speakers[0].split, []
    optimizer = torch.optim.Adam([*t.student.parameters(), *t.between.parameters()], lr=1e-2)
    for _ in range(60):
        mine = Speaker(split, split.run(t.x), "auto")
        scales.append(float(mine.low.detach().square().mean().sqrt()))
        t.speakers = mine, t.speakers[1]
        loss = t.losses(interact=0.0, message=0.0, state_student_learns=moving)["state_1"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (scales[-1] < 0.7 * scales[0]) == moving, scales
    if not moving:
        assert scales[-1] == scales[0]


@pytest.mark.parametrize("off", ["interact", "message", "state"])
def test_a_loss_without_a_weight_is_absent_and_the_others_stay(off: str) -> None:
    t = Talk(rounds=2)
    found, without = t.losses(), t.losses(**{off: 0.0})
    assert without.keys() == {k for k in found if not k.startswith(off)}
    assert all(torch.equal(without[k], found[k]) for k in without)


def test_what_nothing_needs_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for name in ("encode", "decode"):
        own = getattr(Interpreters, name)

        def watched(self: Any, who: str, *args: Any, name: str = name, own: Any = own) -> Tensor:
            asked.append(f"{name} {who}")
            return own(self, who, *args)

        monkeypatch.setattr(Interpreters, name, watched)
    off = {"interact": 0.0, "message": 0.0, "state": 0.0}
    for on, needed in (
        ("message", {"encode student", "encode teacher"}),  # nobody answers
        ("state", {"encode student", "encode teacher", "decode student", "decode teacher"}),
    ):
        asked.clear()
        assert Talk().losses(**off | {on: 1.0}).keys() == {f"{on}_1"}
        assert set(asked) == needed
        assert len(asked) == len(needed)


def test_one_encoder_and_decoder_for_both() -> None:
    shared = Interpreters((6, 4), (6, 4), MessageSettings(shared=True, dim=4, hidden=6))
    own = Interpreters((6, 4), (6, 4), MessageSettings(dim=4, hidden=6))
    assert 2 * sum(p.numel() for p in shared.parameters()) == sum(p.numel() for p in own.parameters())
    x = torch.randn(2, 6)
    assert torch.equal(shared.encode("student", x, "auto"), shared.encode("teacher", x, "auto"))
    assert not torch.equal(own.encode("student", x, "auto"), own.encode("teacher", x, "auto"))
    with pytest.raises(
        AudiokdError, match=r"messages.shared: states of 6 and 4 numbers in the student, 7 and 8 in the teacher"
    ):
        Interpreters((6, 4), (7, 8), MessageSettings(shared=True))


@pytest.mark.parametrize(
    ("layout", "shape"), [("auto", (2, 6)), ("auto", (2, 5, 6)), ("first", (2, 6, 5)), ("auto", (2, 6, 3, 4))]
)
def test_states_as_tokens_and_messages_of_them(layout: Any, shape: tuple[int, ...]) -> None:
    state = torch.randn(shape)
    tokens = to_tokens(state, layout)
    assert width_of(state, layout) == tokens.shape[2] == 6
    assert torch.equal(from_tokens(tokens, state, layout), state)
    for form, count in (("pooled", 1), ("tokens", 3)):
        s = MessageSettings(form=form, dim=4, hidden=5, count=3)
        torch.manual_seed(0)
        message = Encoder(6, s)(state, layout)
        assert message.shape == (2, count, 4)
        back = Decoder(6, s)(message, state, layout)
        assert back.shape == state.shape
        spread = to_tokens(back, layout).std(1, unbiased=False).max()
        several = len(shape) > 2 and form == "tokens"
        assert (float(spread) > 1e-4) == several  # a pooled message decodes to the same state everywhere


@pytest.mark.parametrize("form", ["pooled", "tokens"])
def test_messages_in_half_the_digits(form: Any) -> None:
    s, state = MessageSettings(form=form, dim=4, hidden=5, count=3), torch.randn(2, 5, 6).bfloat16()
    message = Encoder(6, s).bfloat16()(state, "auto")
    assert Decoder(6, s).bfloat16()(message, state, "auto").dtype == message.dtype == torch.bfloat16


def test_pooled_messages_know_no_order_and_tokens_do() -> None:
    state = torch.randn(2, 5, 6)
    turned = state.flip(1)
    for form, same in (("pooled", True), ("tokens", False)):
        encoder = Encoder(6, MessageSettings(form=form, dim=4, hidden=5))
        assert torch.allclose(encoder(state, "auto"), encoder(turned, "auto"), atol=1e-6) == same


def test_positions() -> None:
    assert positions((), 3, torch.device("cpu")).shape == (1, 18)
    assert torch.equal(positions((4,), 3, torch.device("cpu")), positions((1, 4), 3, torch.device("cpu")))
    found = positions((3, 4), 3, torch.device("cpu"))
    assert len(found.unique(dim=0)) == 12
    tokens = torch.arange(4.0).view(1, 4, 1)
    torch.testing.assert_close(resize_tokens(tokens, (4,), (2,))[0, :, 0], torch.tensor([0.5, 2.5]))
    video = positions((2, 3, 4), 3, torch.device("cpu"))
    assert len(video.unique(dim=0)) == len(video) == 24
    cube = torch.arange(8.0).reshape(1, 8, 1)
    torch.testing.assert_close(resize_tokens(cube, (2, 2, 2), (1, 1, 1))[0, :, 0], torch.tensor([3.5]))
    assert grid_of(torch.zeros(2, 6, 3, 4), "auto") == (3, 4)


def test_hints_of_maps_and_of_tokens() -> None:
    class Map(nn.Module):
        def __init__(self, state: Tensor):
            super().__init__()
            self.low, self.high, self.state = nn.Identity(), nn.Identity(), state

        def forward(self) -> Tensor:
            return self.high(self.low(self.state))

    def speaker(state: Tensor) -> Speaker:
        split = LayerSplit(Map(state), ("low", "high"))
        return Speaker(split, split.run(), "auto")

    a, b, tokens = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2), torch.randn(2, 7, 5)
    regressor = nn.Linear(3, 5)
    resized = F.interpolate(a, (2, 2), mode="bilinear", align_corners=False)
    expected = squared(F.conv2d(resized, regressor.weight[..., None, None], regressor.bias), b)
    torch.testing.assert_close(hint_loss(regressor, speaker(a), speaker(b)), expected)
    expected = squared(regressor(a.mean((2, 3))), tokens.mean(1))
    torch.testing.assert_close(hint_loss(regressor, speaker(a), speaker(tokens)), expected)


def test_dkd_by_hand_and_as_what_it_is_made_of() -> None:
    torch.manual_seed(0)
    s, t, y = torch.randn(6, 4, requires_grad=True), torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    target, others = dkd_loss(s, t, y, 1.5, 3.0, 2.0)
    by_hand = [0.0, 0.0]
    for row in range(6):
        p, q = (x[row].detach().div(2.0).softmax(0).tolist() for x in (t, s))
        k = int(y[row])
        for a, b in ((p[k], q[k]), (1 - p[k], 1 - q[k])):
            by_hand[0] += a * float(torch.tensor(a / b).log())
        for j in set(range(4)) - {k}:
            a, b = p[j] / (1 - p[k]), q[j] / (1 - q[k])
            by_hand[1] += a * float(torch.tensor(a / b).log())
    assert float(target.detach()) == pytest.approx(1.5 * 4 * by_hand[0] / 6, rel=1e-4)
    assert float(others.detach()) == pytest.approx(3.0 * 4 * by_hand[1] / 6, rel=1e-4)
    (target + others).backward()
    assert s.grad is not None
    assert bool(s.grad.any())
    # Hinton's divergence of one row is the target's part and (1 - p_y) times the others'
    one = slice(0, 1)
    target, others = dkd_loss(s[one], t[one], y[one], 1.0, 1.0, 1.0)
    left = 1 - t[one].softmax(1)[0, 0]
    torch.testing.assert_close(target + left * others, logit_kl(s[one], t[one]))
    with pytest.raises(ValueError, match="of the student"):
        dkd_loss(s, t[:, :3], y, 1.0, 1.0, 1.0)


def test_a_clip_is_heard_alone_as_in_its_batch() -> None:
    torch.manual_seed(0)
    model = TalkModel(TalkConfig(cnn_shape("audio", (4, 6, 8), 0), ["a", "b"]))
    for _ in range(3):  # batch norms that are not what they begin as
        model(wav=torch.randn(4, 9000), lengths=torch.tensor([9000, 8000, 4000, 9000]))
    model.eval()
    wav, lengths = torch.randn(3, 9000) / 5, torch.tensor([9000, 5001, 2000])
    together, ones = model.extract(wav, lengths, "logits")
    for k, n in enumerate(lengths.tolist()):
        torch.testing.assert_close(
            model.extract(wav[k : k + 1, :n], None, "logits")[0][0], together[k], atol=1e-5, rtol=1e-4
        )
    assert ones.tolist() == [1, 1, 1]
    assert model(wav=wav[:, :100], lengths=torch.tensor([100, 100, 50])).shape == (3, 2)  # padded to a frame
    with pytest.raises(AudiokdError, match="labels are due of classes"):
        TalkModel(TalkConfig(cnn_shape("audio", (4,), 0)))
    with pytest.raises(AudiokdError, match=r"model\.widths"):
        TalkModel(TalkConfig(cnn_shape("image", (), 0), ["a"]))
