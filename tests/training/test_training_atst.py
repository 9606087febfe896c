"""ATST pretraining: the official loss, who learns, what is drawn, and runs that are stopped, shared or in half precision."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from debug_runs import data_dir
from method_settings import settings_of
from safetensors.torch import load_file
from whole_runs import assert_same_run, checkpoint, finish, kill_at, rows

from audiokd.data.crops import CropDataset, collate, rng_of
from audiokd.data.inputs import open_input
from audiokd.errors import AudiokdError
from audiokd.losses.byol import byol_loss
from audiokd.methods.atst.module import ATSTModule
from audiokd.nn.ema import ema_update
from audiokd.stages.export import export
from audiokd.stages.fit import build_module
from audiokd.training.collapse import effective_rank, normalized_std

GOLD = Path(__file__).parents[1] / "methods" / "data" / "atst" / "loss.safetensors"
STEPS = 13


@pytest.fixture(scope="module")
def corpus(two_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("corpus")
    return data_dir(root / "train", two_cities, 0, 9), data_dir(root / "dev", two_cities, 9, 2)


@pytest.fixture
def command(corpus: tuple[Path, Path]) -> list[str]:
    options = f"--config atst/debug --train {corpus[0]} --dev {corpus[1]} --run.accelerator cpu --run.max_steps {STEPS}"
    options += " --run.val_every 6 --run.ckpt_every 4 --run.log_every 3"
    return [str(Path(sys.executable).with_name("audiokd")), "fit", "atst", *options.split()]


def module_of(**changes: Any) -> ATSTModule:
    """The debug model; `changes` by key with `__` for the dot."""
    return build_module("atst", settings_of("atst", "debug", {k.replace("__", "."): v for k, v in changes.items()}))


def batch_of(corpus: Path, module: ATSTModule, step: int = 0, rows: range = range(4)) -> dict[str, Any]:
    data = CropDataset(open_input(corpus).utterances(), 16_000, module.settings.data.crop_s, 0, module.crops)
    return collate([data[step, i] for i in rows])


# --- the loss and its monitors ---


def test_the_loss_is_the_official_one() -> None:
    gold = load_file(GOLD)
    module = module_of()
    loss = module.loss(gold["prediction"], gold["target"])
    assert float(loss) == pytest.approx(float(gold["loss"]), abs=1e-6)
    assert float(normalized_std(gold["prediction"])) == pytest.approx(float(gold["std"]), abs=1e-6)


def test_the_loss_knows_directions_alone() -> None:
    x = torch.randn(5, 8)
    assert float(byol_loss(x, 3 * x)) == pytest.approx(0, abs=1e-6)
    assert float(byol_loss(x, -x)) == pytest.approx(4, abs=1e-6)
    assert float(byol_loss(torch.eye(8)[:4], torch.eye(8)[4:])) == pytest.approx(2, abs=1e-6)


def test_the_monitors_see_a_collapse() -> None:
    torch.manual_seed(0)
    spread, one = torch.randn(3000, 16), torch.randn(1, 16) + 0.01 * torch.randn(3000, 16)
    assert float(normalized_std(spread)) == pytest.approx(16**-0.5, rel=0.05)
    assert float(normalized_std(one)) < 0.01
    assert float(effective_rank(spread)) > 15
    assert float(effective_rank(one)) < 2
    assert float(effective_rank(spread[:, :4] @ torch.randn(4, 16))) < 5


# --- one step ---


@pytest.mark.parametrize("kind", ["frame", "clip"])
def test_the_student_learns_and_the_teacher_follows(kind: str, corpus: tuple[Path, Path]) -> None:
    module = module_of(model__kind=kind, model__drop_path=0.0)
    batch = batch_of(corpus[0], module)
    views = module.views(*module.crops_of(batch), batch["ids"], 0)
    prediction, target, _ = module.outputs(views)
    assert prediction.shape == target.shape
    assert not target.requires_grad
    module.loss(prediction, target).backward()
    for name, p in module.student.named_parameters():
        if kind == "clip" and name == "encoder.mask_embed":
            assert p.grad is None
        else:
            assert p.grad is not None and p.grad.any(), name  # noqa: PT018
    assert all(p.grad is None for p in module.teacher.parameters())
    students = sum(p.numel() for p in module.student.parameters())
    assert sum(p.numel() for g in module.configure_optimizers().param_groups for p in g["params"]) == students


def test_what_decays(corpus: tuple[Path, Path]) -> None:
    """Matrices, and with them positions, mask embedding and the clip's token, as officially; biases and norms never."""
    module = module_of(model__kind="clip")
    optimizer = module.configure_optimizers()
    decayed, kept = (g["params"] for g in optimizer.param_groups)
    names = {id(p): n for n, p in module.student.named_parameters()}
    assert {"encoder.pos_embed", "encoder.mask_embed", "encoder.cls_token"} <= {names[id(p)] for p in decayed}
    assert {n for p in kept for n in [names[id(p)]]} == {n for n, p in module.student.named_parameters() if p.ndim < 2}
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.04, 0.0]
    module.iteration = 4
    now = module._schedule(optimizer)
    o = module.settings.optim
    assert (
        now["weight_decay"] == optimizer.param_groups[0]["weight_decay"] == pytest.approx(0.22)
    )  # half way of 8 steps
    assert optimizer.param_groups[1]["weight_decay"] == 0.0
    assert {g["lr"] for g in optimizer.param_groups} == {now["lr"]}
    expected = 1e-6 + (o.lr - 1e-6) * (1 + math.cos(math.pi / 3)) / 2  # two of the six steps after the warm-up
    assert now["lr"] == pytest.approx(expected)


def test_the_teacher_is_the_students_average(command: list[str], tmp_path: Path) -> None:
    """teacher.ema 1 stays at the first weights; a decay of its own norms' statistics is none of the student's."""
    finish(command, tmp_path / "one", "--teacher.ema", "1.0")
    state = checkpoint(tmp_path / "one", "last")["state_dict"]
    first = module_of(run__max_steps=STEPS, run__val_every=6, run__ckpt_every=4, run__log_every=3).state_dict()
    teachers = [k for k in first if k.startswith("teacher.") and not k.split(".")[-1].startswith(("running", "num_"))]
    assert len(teachers) > 20
    assert all(torch.equal(state[k], first[k]) for k in teachers)
    assert not torch.equal(state["student.encoder.pos_embed"], first["student.encoder.pos_embed"])
    assert state["teacher.projector.1.num_batches_tracked"] == STEPS
    finish(command, tmp_path / "moving", "--teacher.ema", "0.5")
    moved = checkpoint(tmp_path / "moving", "last")["state_dict"]
    assert not any(torch.equal(moved[k], first[k]) for k in teachers if "mask_embed" not in k)


def test_the_average_by_hand() -> None:
    """Parameters alone, of which the student may have more."""
    torch.manual_seed(0)
    teacher = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    student = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    student[1].running_mean += 5
    old = [p.clone() for p in teacher.parameters()]
    ema_update(teacher, student, 0.9)
    for now, before, theirs in zip(teacher.parameters(), old, student.parameters()):
        torch.testing.assert_close(now, 0.9 * before + 0.1 * theirs)
    assert not teacher[1].running_mean.any()


def test_averaged_targets(corpus: tuple[Path, Path]) -> None:
    """The data2vec option: one linear layer regresses the mean of the last blocks, each normalised over the clip."""
    module = module_of(teacher__average_blocks=2, model__drop_path=0.0)
    batch = batch_of(corpus[0], module)
    views = module.views(*module.crops_of(batch), batch["ids"], 0)
    prediction, target, _ = module.outputs(views)
    encoder, states = module.teacher.encoder, []
    x, mask = encoder._embed(views.mel, views.frames // 4, None)
    for block in encoder.blocks:
        x = block(x, mask)
        states.append(torch.nn.functional.instance_norm(x.transpose(1, 2)).transpose(1, 2))
    expected = torch.stack(states).mean(0)[views.mask]
    torch.testing.assert_close(target, expected, atol=1e-5, rtol=0)
    assert prediction.shape == target.shape
    assert module.student.projector.weight.shape == (32, 32)


# --- what is drawn ---


@pytest.mark.parametrize("kind", ["frame", "clip"])
def test_views_depend_on_the_utterance_and_the_step_alone(kind: str, corpus: tuple[Path, Path]) -> None:
    module = module_of(model__kind=kind, views__mixup=0.0)
    whole, part = batch_of(corpus[0], module, 3), batch_of(corpus[0], module, 3, range(3, 1, -1))
    a = module.views(*module.crops_of(whole), whole["ids"], 3)
    b = module.views(*module.crops_of(part), part["ids"], 3)
    c = module.views(*module.crops_of(whole), whole["ids"], 4)
    torch.testing.assert_close(b.mel, a.mel[[3, 2, 7, 6]], atol=1e-6, rtol=0)
    assert not torch.equal(a.mel[4:], c.mel[4:])
    if kind == "frame":
        assert a.mask is not None and b.mask is not None and c.mask is not None  # noqa: PT018
        assert torch.equal(a.mask[:4], a.mask[4:])
        assert torch.equal(b.mask, a.mask[[3, 2, 7, 6]])
        assert not torch.equal(a.mask, c.mask)
        assert torch.equal(a.mel[:4], module.crops_of(whole)[0][:, 0])  # the first view is the clip itself
    else:
        assert a.mask is None
        crops = module.crops_of(whole)[0]
        assert not torch.equal(crops[:, 0], crops[:, 1])  # two places of an utterance


def test_a_short_clip_is_heard_to_its_end(corpus: tuple[Path, Path]) -> None:
    """Padding is masked out of the loss and of the attention; the same clip without padding gives the same tokens."""
    module = module_of(data__crop_s=6.0).eval()
    batch = batch_of(corpus[0], module, rows=range(2))  # 4 s each
    assert batch["lengths"].tolist() == [64_000, 64_000]
    crops, frames = module.crops_of(batch)
    assert crops.shape[-1] == 601
    assert frames.tolist() == [401, 401]
    views = module.views(crops, frames, batch["ids"], 0)
    assert views.mask is not None
    assert not views.mask[:, 100:].any()
    padded, _ = module.teacher.encoder(crops[:, 0], frames)
    alone, _ = module.teacher.encoder(crops[:, 0, :, :401], frames)
    torch.testing.assert_close(padded[:, :100], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["frame", "clip"])
def test_what_a_short_clip_has_none_of_is_not_mixed(kind: str, corpus: tuple[Path, Path]) -> None:
    """A tenth of a second of near silence in the memory: where it has ended, a longer clip keeps its sound."""
    module = module_of(model__kind=kind, data__crop_s=2.0, views__warp=False)
    batch = batch_of(corpus[0], module)
    lengths = torch.full_like(batch["lengths"], 1600)
    short = {"wav": torch.zeros_like(batch["wav"]), "lengths": lengths, "ids": list("abcd")}
    short["wav"][..., :1600] = 1e-4 * torch.randn(1600, generator=torch.Generator().manual_seed(0))
    module.views(*module.crops_of(short), short["ids"], 0)
    crops, frames = module.crops_of(batch)
    mixed = module.views(crops, frames, batch["ids"], 1).mel[4:, :, 20:]
    draws = [float(rng_of(0, "view", 1, i, 1).random(2)[1]) for i in batch["ids"]]
    share = 0.4 * torch.tensor(draws)[:, None, None]
    # the least that a mixture with nothing there comes to
    assert (share > 0.05).any()
    silence = crops[:, -1, :, 20:].exp().mul(1 - share) + share * torch.tensor(-1.0).exp()
    assert (mixed - silence.log()).max() < 0.15
    assert (mixed < crops[:, -1, :, 20:].clamp(min=-0.5) + 1e-3).all()


@pytest.mark.parametrize("kind", ["frame", "clip"])
def test_a_click_of_a_clip_trains(kind: str) -> None:
    """10 ms of sound, which the front end cannot take alone, beside a whole crop."""
    module = module_of(model__kind=kind)
    wav = torch.zeros(4, module.crops, 32_000).squeeze(1)
    wav[..., :160] = 0.1 * torch.randn(wav[..., :160].shape)
    crops, frames = module.crops_of({"wav": wav, "lengths": torch.tensor([160, 160, 32_000, 32_000])})
    assert frames.tolist() == ([4, 4, 201, 201] if kind == "frame" else [201] * 4)
    prediction, target, _ = module.outputs(module.views(crops, frames, list("abcd"), 0))
    assert torch.isfinite(module.loss(prediction, target))


def test_silence_gives_a_finite_loss() -> None:
    module = module_of()
    crops, frames = module.crops_of({"wav": torch.zeros(4, 32_000), "lengths": torch.full((4,), 32_000)})
    views = module.views(crops, frames, list("abcd"), 0)
    prediction, target, _ = module.outputs(views)
    assert torch.isfinite(module.loss(prediction, target))


def test_a_crop_that_the_model_cannot_take() -> None:
    with pytest.raises(AudiokdError, match=r"data\.crop_s 12 is 1201 frames, more than model\.max_frames 1001"):
        module_of(data__crop_s=12.0)


def test_a_checkpoint_of_another_size(tmp_path: Path) -> None:
    small, large = module_of(), module_of(model__dim=48)
    saved = {"iteration": 3, "state_dict": large.state_dict()}
    with pytest.raises(AudiokdError, match=r"weights of another model: student\.encoder\.\S+: \[.*48.*\] there") as e:
        small.on_load_checkpoint(saved)
    assert "go on with the settings that the run began with" in str(e.value)
    assert small.iteration == 0
    config = {"method": "atst", **dataclasses.asdict(small.settings), "inputs": {}}
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    torch.save(saved, tmp_path / "checkpoints" / "best.ckpt")
    with pytest.raises(AudiokdError, match=r"best\.ckpt: weights of another model"):
        export(str(tmp_path), str(tmp_path / "model"))
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes((tmp_path / "checkpoints" / "best.ckpt").read_bytes()[:-400])
    with pytest.raises(AudiokdError, match=r"last\.ckpt: no checkpoint of torch, or not whole"):
        export(str(tmp_path), str(tmp_path / "model"), "last")
    assert not (tmp_path / "model").exists()


# --- whole runs ---


@pytest.mark.parametrize("kind", ["frame", "clip"])
def test_the_loss_falls_and_nothing_collapses(kind: str, command: list[str], tmp_path: Path) -> None:
    options = f"--model.kind {kind} --run.max_steps 60 --run.val_every 60 --run.log_every 5 --teacher.ema 0.97"
    options += " --optim.warmup_steps 5"
    finish(
        [*command, *options.split()],
        tmp_path / "exp",
    )
    found = {k: float(v) for k, v in rows(tmp_path / "exp").items()}
    losses = [found[s, "train", "loss"] for s in range(5, 65, 5)]
    assert sum(losses[-3:]) / 3 < 0.85 * sum(losses[:2]) / 2, losses
    assert min(found[s, "train", "std_student"] for s in range(30, 65, 5)) > 0.03
    assert found[60, "train", "rank"] > 1.5
    if kind == "frame":
        assert 0.35 < found[60, "train", "mask_share"] < 0.65
    assert found[60, "train", "ema"] == 1.0
    assert found[60, "train", "weight_decay"] == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize("kind", ["frame", "clip"])
def test_killed_and_started_again_equals_never_killed(kind: str, command: list[str], tmp_path: Path) -> None:
    """Also that the mixup's memory is there again: views of the steps after the kill mix what came before it."""
    kinds = ["--model.kind", kind]
    finish(command, tmp_path / "whole", *kinds)
    kill_at(6, command, tmp_path / "killed", *kinds)
    assert checkpoint(tmp_path / "killed", "last")["iteration"] < STEPS
    finish(command, tmp_path / "killed", *kinds)
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


def test_without_its_memory_a_run_would_differ(command: list[str], tmp_path: Path) -> None:
    """What the test above rests on: mixing matters to the numbers."""
    finish(command, tmp_path / "mixed")
    finish(command, tmp_path / "plain", "--views.mixup_memory", "0")
    a, b = (checkpoint(tmp_path / n, "last")["state_dict"]["student.encoder.pos_embed"] for n in ("mixed", "plain"))
    assert not torch.equal(a, b)


@pytest.mark.slow
def test_two_processes_with_workers_are_killed_and_go_on(command: list[str], tmp_path: Path) -> None:
    """Each with a memory of its own clips for the mixup, which its resumed process reads again."""
    more = ["--run.devices", "2", "--data.batch_size", "2", "--data.num_workers", "1", "--run.max_steps", "9"]
    finish(command, tmp_path / "whole", *more)
    kill_at(6, command, tmp_path / "killed", *more)
    assert checkpoint(tmp_path / "killed", "last")["iteration"] < 9
    finish(command, tmp_path / "killed", *more)
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["frame", "clip"])
def test_two_processes_train_as_one_with_twice_the_batch(kind: str, command: list[str], tmp_path: Path) -> None:
    """Batch norm, loss and average over the joint batch; nothing random but the views, which depend on the utterance.

    Left out is what the heads' batch norm cancels: a shift of all their inputs has no gradient but rounding, of which AdamW
    makes steps of full size.
    """
    options = f"--model.kind {kind} --model.drop_path 0 --views.mixup 0 --run.max_steps 5".split()
    finish(command, tmp_path / "one", *options, "--data.batch_size", "4")
    finish(command, tmp_path / "two", *options, "--data.batch_size", "2", "--run.devices", "2")
    finish(command, tmp_path / "alone", *options, "--data.batch_size", "2")

    def weights(name: str) -> torch.Tensor:
        state = checkpoint(tmp_path / name, "last")["state_dict"]
        cancelled = ("encoder.norm.bias", "projector.1.running_mean")
        return torch.cat([v.flatten().float() for k, v in sorted(state.items()) if not k.endswith(cancelled)])

    far, near = (weights(n) - weights("one") for n in ("alone", "two"))
    assert near.norm() < 0.02 * far.norm(), (float(near.norm()), float(far.norm()))


def test_bf16_trains(command: list[str], tmp_path: Path) -> None:
    finish(command, tmp_path / "exp", "--run.precision", "bf16-mixed")
    found = {k: float(v) for k, v in rows(tmp_path / "exp").items()}
    assert all(math.isfinite(v) for v in found.values())
    assert found[12, "train", "loss"] < found[1, "train", "loss"]
