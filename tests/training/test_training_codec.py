"""Who learns from which loss: generator, discriminator and teacher in real steps with a real Whisper encoder."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from debug_runs import data_dir, debug_settings
from torch import Tensor

from audiokd.data.inputs import open_input
from audiokd.errors import AudiokdError
from audiokd.methods.lm_spt.module import LMSPTModule
from audiokd.stages.fit import build_module
from audiokd.teachers.whisper import WhisperTeacher
from audiokd.training.checkpoint import AtomicCheckpointIO, RunCheckpoint
from audiokd.training.csv_log import LongCSVLogger
from audiokd.training.datamodule import CropDataModule
from audiokd.training.schedules import warmup_cosine

Grads = dict[str, Tensor | None]


@pytest.fixture(scope="module")
def teacher(whisper_dir: Path) -> WhisperTeacher:
    return WhisperTeacher.from_pretrained(str(whisper_dir), "crop")


@pytest.fixture(scope="module")
def corpus(two_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("corpus")
    return data_dir(root / "train", two_cities, 0, 6), data_dir(root / "dev", two_cities, 9, 2)


@pytest.fixture
def module(whisper_dir: Path) -> LMSPTModule:
    return build_module("lm_spt", debug_settings(whisper_dir))


def grads(net: torch.nn.Module) -> Grads:
    return {n: None if p.grad is None else p.grad.clone() for n, p in net.named_parameters()}


def same(a: Grads, b: Grads) -> bool:
    return all((a[k] is None and b[k] is None) or (a[k] is not None and torch.equal(a[k], b[k])) for k in a)


def reached(net: torch.nn.Module) -> bool:
    """Whether any gradient other than zero has come to `net`."""
    return any(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


def batch_of(corpus: tuple[Path, Path], settings: Any, step: int = 0) -> dict[str, Any]:
    from audiokd.data.crops import CropDataset, collate

    data = CropDataset(open_input(corpus[0]).utterances(), 24000, settings.data.crop_s, 0)
    return collate([data[step, 0], data[step, 1]])


class Watch(L.Callback):
    """Snapshots at every optimiser's step: which network has which gradient, at what rate."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, Grads, Grads, float]] = []

    def on_before_optimizer_step(self, trainer: L.Trainer, module: Any, optimizer: Any) -> None:
        first = optimizer.param_groups[0]["params"][0]
        name = "generator" if any(p is first for p in module.generator.parameters()) else "discriminator"
        lr = optimizer.param_groups[0]["lr"]
        self.steps.append((name, grads(module.generator), grads(module.discriminator), lr))


def train(module: LMSPTModule, settings: Any, corpus: tuple[Path, Path], folder: Path, *callbacks: L.Callback) -> Any:
    data = CropDataModule(
        open_input(corpus[0]).utterances(),
        open_input(corpus[1]).utterances(),
        24000,
        settings.data,
        settings.run,
        folder,
    )
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=-1,
        callbacks=list(callbacks),
        logger=[LongCSVLogger(folder / "metrics.csv")],
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(module, datamodule=data)
    return trainer


def metrics(folder: Path) -> dict[tuple[int, str, str], float]:
    with open(folder / "metrics.csv") as f:
        return {(int(r["step"]), r["split"], r["name"]): float(r["value"]) for r in csv.DictReader(f)}


@pytest.mark.parametrize("official", [False, True])
def test_each_step_moves_one_network(
    whisper_dir: Path, teacher: WhisperTeacher, corpus: tuple[Path, Path], tmp_path: Path, official: bool
) -> None:
    settings = debug_settings(
        whisper_dir,
        run__max_steps=4,
        run__val_every=2,
        optim__warmup_steps=2,
        optim__official_discriminator_lr=official,
    )
    L.seed_everything(0, verbose=False)
    module = LMSPTModule(settings, teacher)
    before = {k: v.clone() for k, v in teacher.net.state_dict().items()}
    watch = Watch()
    trainer = train(module, settings, corpus, tmp_path, watch)

    assert [s[0] for s in watch.steps] == ["discriminator", "generator"] * 4
    none_g, none_d = grads(module.generator), grads(module.discriminator)
    last_g: Grads = dict.fromkeys(none_g)
    for k in range(0, 8, 2):
        (_, g1, d1, lr_d), (_, g2, d2, lr_g) = watch.steps[k : k + 2]
        if k % 4 == 0:  # Lightning drops all gradients before a validation
            last_g = dict.fromkeys(last_g)
        assert same(g1, last_g)  # the discriminator's loss gave the generator nothing
        assert same(d1, d2)  # the generator's loss gave the discriminator nothing
        assert all(v is not None and v.any() for v in d1.values())
        assert sum(v is not None and bool(v.any()) for v in g2.values()) > 0.9 * len(none_g)
        assert not same(g1, g2)
        last_g = g2
        optim = settings.optim
        expected = warmup_cosine(k // 2, peak=optim.lr, floor=optim.min_lr, warmup_steps=2, total_steps=4)
        assert lr_g == expected
        assert lr_d == (1e-3 if official else expected)
    assert none_d.keys() == watch.steps[0][2].keys()

    # the teacher: nobody's to train, and as it was
    mine = {id(p) for p in teacher.net.parameters()}
    held = [p for o in trainer.optimizers for group in o.param_groups for p in group["params"]]
    assert len(held) == len(list(module.generator.parameters())) + len(list(module.discriminator.parameters()))
    assert not mine & {id(p) for p in held}
    assert not mine & {id(p) for p in module.parameters()}
    after = teacher.net.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items())
    assert all(p.grad is None and not p.requires_grad for p in teacher.net.parameters())

    rows = metrics(tmp_path)
    assert rows[3, "train", "distill_weight"] == 500 * 0.96 / 30
    assert rows[3, "train", "lr"] == pytest.approx(watch.steps[5][3])
    wanted = {"mel", "adversarial", "feature_matching", "distill", "commit_semantic", "codebook_semantic"}
    for step in (1, 2, 3, 4):
        assert {n for s, split, n in rows if (s, split) == (step, "train")} >= wanted | {"discriminator", "total"}
        names = ("mel", "adversarial", "feature_matching", "distill", "commit_semantic", "codebook_semantic")
        names += ("commit_acoustic", "codebook_acoustic")
        total = sum(module.weights[n] * rows[step, "train", n] for n in names)
        assert rows[step, "train", "total"] == pytest.approx(total, rel=1e-5)
    assert {s for s, split, _ in rows if split == "val"} == {0, 2, 4}


def test_the_teacher_stays_out_and_stays_frozen(
    whisper_dir: Path, corpus: tuple[Path, Path], tmp_path: Path, module: LMSPTModule
) -> None:
    assert not [k for k in module.state_dict() if "teacher" in k]
    assert not [n for n, _ in module.named_parameters() if "teacher" in n]
    assert not any(m.training for m in module.teacher.net.modules())
    module.train()
    assert module.generator.training
    assert not any(m.training for m in module.teacher.net.modules())

    seen = []

    class Look(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, m: Any, *args: Any) -> None:
            seen.append((m.generator.training, any(x.training for x in m.teacher.net.modules())))

        def on_validation_batch_end(self, trainer: L.Trainer, m: Any, *args: Any) -> None:
            seen.append((m.generator.training, any(x.training for x in m.teacher.net.modules())))

    settings = debug_settings(whisper_dir, run__max_steps=2, run__val_every=1)
    module.run = settings.run
    train(module, settings, corpus, tmp_path, Look())
    assert seen == [(False, False), (True, False), (False, False), (True, False), (False, False)]
    module.train()
    assert not any(m.training for m in module.teacher.net.modules())
    assert not [k for k in module.state_dict() if "teacher" in k]


def test_distillation_teaches_the_semantic_path_alone(
    whisper_dir: Path, corpus: tuple[Path, Path], module: LMSPTModule
) -> None:
    out = module.rebuild(batch_of(corpus, debug_settings(whisper_dir)))
    out.losses["distill"].backward()
    g = module.generator
    assert reached(g.aux_decoder)
    assert reached(g.quantizer.semantic)
    assert reached(g.semantic_encoder)
    assert all(p.grad is not None and bool(p.grad.any()) for p in g.semantic_encoder.parameters())
    for untouched in (g.acoustic_encoder, g.decoder, g.quantizer.acoustic, module.discriminator, module.teacher.net):
        assert not reached(untouched)


def test_the_mel_loss_passes_by_the_auxiliary_decoder(
    whisper_dir: Path, corpus: tuple[Path, Path], module: LMSPTModule
) -> None:
    batch = batch_of(corpus, debug_settings(whisper_dir))
    module.mel_loss(module.rebuild(batch).wav, batch["wav"]).backward()
    g = module.generator
    assert not reached(g.aux_decoder)
    for learns in (g.semantic_encoder, g.acoustic_encoder, g.decoder, g.quantizer.semantic, g.quantizer.acoustic):
        assert reached(learns)


def test_weight_of_distillation_follows_the_crop(whisper_dir: Path, teacher: WhisperTeacher) -> None:
    for crop_s in (0.96, 1.28, 30.0):
        module = LMSPTModule(debug_settings(whisper_dir, data__crop_s=crop_s), teacher)
        assert module.constants({})["distill_weight"] == pytest.approx(500 * crop_s / 30)
    full = LMSPTModule(debug_settings(whisper_dir, teacher__window="full"), teacher)
    assert full.constants({})["distill_weight"] == 500
    with pytest.raises(AudiokdError, match=r"crop_s 31 is more than the teacher's 30 s"):
        LMSPTModule(debug_settings(whisper_dir, data__crop_s=31.0), teacher)


def test_a_crop_keeps_the_scale_of_the_full_window(
    whisper_dir: Path, teacher: WhisperTeacher, corpus: tuple[Path, Path]
) -> None:
    """The mean of a full window runs over 30 s: weight * loss of a crop is of the size of the full window's.

    Only of its size: frames of the padding hear the speech, too, and are part of the full window's mean. Measured on
    untrained models, crop / full: 0.20 at 0.96 s, 0.26 at 1.28 s, 0.53 at 3.84 s, 0.83 at 6 s. Unscaled: 6.2 to 4.1.
    """
    settings = debug_settings(whisper_dir, data__crop_s=3.84)
    batch = batch_of(corpus, settings)
    weighted = {}
    for window in ("crop", "full"):
        L.seed_everything(0, verbose=False)
        s = debug_settings(whisper_dir, teacher__window=window, data__crop_s=3.84)
        module = LMSPTModule(s).eval()
        with torch.no_grad():
            weighted[window] = float(module.rebuild(batch).losses["distill"]) * module.weights["distill"]
    assert 0.3 < weighted["crop"] / weighted["full"] < 1


def test_a_loss_that_is_not_finite_names_the_utterances(
    whisper_dir: Path, teacher: WhisperTeacher, corpus: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = debug_settings(whisper_dir, run__max_steps=3, run__val_every=3)
    L.seed_everything(0, verbose=False)
    module = LMSPTModule(settings, teacher)

    class Burst(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, m: Any, batch: Any, *args: Any) -> None:
            if m.iteration == 1:
                with torch.no_grad():
                    next(m.generator.decoder.parameters()).fill_(float("inf"))
                self.ids = batch["ids"]
                self.before = [p.clone() for p in m.discriminator.parameters()]
                self.after = list(m.discriminator.parameters())

    burst = Burst()
    with pytest.raises(AudiokdError, match="the loss is not finite at step 1: discriminator") as e:
        train(module, settings, corpus, tmp_path, burst)
    assert len(burst.ids) == 2
    assert all(
        map(torch.equal, burst.before, burst.after)
    )  # it hears the loud ones first, and learns nothing from them
    assert all(i in str(e.value.where) for i in burst.ids)
    assert "look at the utterances' audio" in str(e.value)
    assert {s for s, split, _ in metrics(tmp_path) if split == "train"} == {1}


def test_a_gradient_that_is_not_finite_is_not_learnt_from(
    whisper_dir: Path, teacher: WhisperTeacher, corpus: tuple[Path, Path], tmp_path: Path
) -> None:
    """Of a loss that is; of the generator here, and of every method's module by the same words."""
    settings = debug_settings(whisper_dir, run__max_steps=3, run__val_every=3)
    module = LMSPTModule(settings, teacher)
    mel_loss = module.mel_loss

    def spoilt(*args: Any) -> torch.Tensor:
        loss = mel_loss(*args)
        if module.iteration == 1 and loss.requires_grad:
            loss.register_hook(lambda g: g * float("nan"))
        return loss

    module.__dict__["mel_loss"] = spoilt
    with pytest.raises(AudiokdError, match="the gradient is not finite at step 1"):
        train(module, settings, corpus, tmp_path)
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_the_last_checkpoint_waits_for_the_last_validation(
    whisper_dir: Path, teacher: WhisperTeacher, corpus: tuple[Path, Path], tmp_path: Path
) -> None:
    """A run ends at a last.ckpt of max_steps: cut off before it has validated, it must still be found unfinished."""
    settings = debug_settings(whisper_dir, run__max_steps=4, run__val_every=2)

    class PowerCut(L.Callback):
        def on_validation_start(self, trainer: L.Trainer, m: Any) -> None:
            if m.iteration == 4:
                raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(LMSPTModule(settings, teacher), settings, corpus, tmp_path, RunCheckpoint(tmp_path, 2), PowerCut())
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["iteration"] == 2
    train(LMSPTModule(settings, teacher), settings, corpus, tmp_path, RunCheckpoint(tmp_path, 2))
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert last["iteration"] == 4
    assert (4, "val", "loss") in metrics(tmp_path)
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert list(last["callbacks"].values()) == [{"best": metrics_exact(best)}]


def metrics_exact(checkpoint: dict[str, Any]) -> float:
    """The validation loss that a best.ckpt was chosen for."""
    (state,) = checkpoint["callbacks"].values()
    return state["best"]
