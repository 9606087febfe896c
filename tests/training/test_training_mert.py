"""MERT pretraining: the loss, who learns, alignment of targets, and runs that are stopped, shared or go wrong."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from debug_runs import data_dir
from method_settings import settings_of
from safetensors.torch import load_file
from tiny_encodec import save, tiny_encodec
from torch.nn import functional as F
from whole_runs import assert_same_run, checkpoint, finish, kill_at, rows, start

import audiokd
from audiokd.data.audio import load_at
from audiokd.data.crops import CropDataset, collate
from audiokd.data.inputs import open_input
from audiokd.data.kaldi import write_data_dir
from audiokd.errors import AudiokdError, ConfigError
from audiokd.methods.mert.memory import activation_bytes, parameters_of, step_memory
from audiokd.methods.mert.module import MERTModule
from audiokd.methods.mert.run import MERTRun
from audiokd.stages.export import export
from audiokd.stages.fit import build_module, fit
from audiokd.stages.tokenize import tokenize
from audiokd.training.memory import saved_bytes
from audiokd.training.stored_codes import StoredCodeTeacher

STEPS = 11
RATE = 24_000


@pytest.fixture(scope="module")
def corpus(two_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("corpus")
    return data_dir(root / "train", two_cities, 0, 9), data_dir(root / "dev", two_cities, 9, 2)


@pytest.fixture(scope="module")
def encodec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny_encodec(), tmp_path_factory.mktemp("teacher") / "encodec")


@pytest.fixture(scope="module")
def store(corpus: tuple[Path, Path], encodec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Codes of the training set, made beforehand."""
    path = tmp_path_factory.mktemp("stored") / "codes"
    tokenize(str(encodec), str(corpus[0]), str(path))
    return path


@pytest.fixture
def command(corpus: tuple[Path, Path], encodec: Path) -> list[str]:
    options = f"--config mert/debug --train {corpus[0]} --dev {corpus[1]} --run.accelerator cpu --run.max_steps {STEPS}"
    options += f" --run.val_every 6 --run.ckpt_every 4 --run.log_every 3 --teacher.codes {encodec}"
    return [str(Path(sys.executable).with_name("audiokd")), "fit", "mert", *options.split()]


def module_of(**changes: Any) -> MERTModule:
    return build_module("mert", settings_of("mert", "debug", {k.replace("__", "."): v for k, v in changes.items()}))


def batch_of(corpus: Path, module: MERTModule, step: int = 0, items: range = range(4)) -> dict[str, Any]:
    s = module.settings.data
    data = CropDataset(open_input(corpus).utterances(), RATE, s.crop_s, 0, hop_s=1 / 75)
    return collate([data[step, i] for i in items])


# --- one step ---


def test_the_loss_written_out(corpus: tuple[Path, Path], encodec: Path) -> None:
    """Cosines over the temperature, cross-entropy summed over codebooks, the square of features and of the CQT's error."""
    module = module_of(teacher__codes=str(encodec), mixture__probability=0.0).eval()
    batch = batch_of(corpus[0], module)
    losses, logged, rows_ = module.losses(batch, 0)
    wav, n = batch["wav"], batch["lengths"]
    student = module.student
    with torch.no_grad():
        features, frames = student.convolve(wav, n)
        mask = module._masks(batch["ids"], frames, features.shape[1], 0)
        state = list(student.states(features, frames, mask))[-1]
        codes = module.teacher.net.encode(wav, n).codes[:, :, :74]
        assert module.code_heads is not None
        assert module.cqt_head is not None
        assert module.cqt is not None
        projected = module.code_heads.projection(state[mask])
        expected = 0.0
        for q in range(2):
            said, book = projected[:, q * 16 : (q + 1) * 16], module.code_heads.embeddings[q]
            logits = F.cosine_similarity(said[:, None], book[None], dim=-1) / 0.1
            expected += float(F.cross_entropy(logits, codes[:, q][mask]))
        cqt = module.cqt(wav, n)[0][:, :74]
        error = float((module.cqt_head(state[mask]) - cqt[mask]).square().mean())
        penalty = float(features.square().mean())
    assert rows_ == int(mask.sum()) > 100
    assert float(losses["codes"].sum()) == pytest.approx(expected, rel=1e-5)
    assert float(losses["cqt"]) == pytest.approx(error, rel=1e-5)
    assert float(losses["features"]) == pytest.approx(penalty, rel=1e-5)
    assert float(module.total(losses)) == pytest.approx(expected + error + 10 * penalty, rel=1e-5)
    assert float(logged["mask_share"]) == pytest.approx(float(mask.float().mean()))
    # the input of a hidden frame is the mask embedding, whatever is heard there
    hidden = student.feature_projection(features)[mask]
    assert not torch.allclose(hidden, student.masked_spec_embed.expand_as(hidden))


def test_the_masked_share_is_the_published_one() -> None:
    """0.583 of a batch of one (audio.md, 12), and the last frame is never hidden."""
    module = module_of()
    frames = torch.full((200,), 374)
    mask = module._masks([str(i) for i in range(200)], frames, 374, 0)
    assert float(mask.float().mean()) == pytest.approx(0.583, abs=0.01)
    assert not mask[:, -1].any()


def test_who_learns(corpus: tuple[Path, Path], encodec: Path) -> None:
    module = module_of(teacher__codes=str(encodec), model__layerdrop=0.0)
    losses, _, _ = module.losses(batch_of(corpus[0], module), 0)
    module.total(losses).backward()
    for name, p in module.named_parameters():
        assert p.grad is not None, name
        assert p.grad.any(), name
    assert all(p.grad is None for p in module.teacher.net.parameters())
    assert not any(k.startswith("teacher") for k in module.state_dict())
    trained = {id(p) for g in module.configure_optimizers().param_groups for p in g["params"]}
    assert trained == {id(p) for p in module.parameters()}


def test_gradients_into_the_convolutions_are_scaled(corpus: tuple[Path, Path]) -> None:
    """By 0.1, but for the penalty's, as in fairseq."""
    grads = {}
    for factor in (1.0, 0.1):
        module = module_of(
            optim__feature_grad=factor, loss__features=0.0, model__dropout=0.0, model__attention_dropout=0.0
        )
        module.reseed()
        module.train()
        losses, _, _ = module.losses(batch_of(corpus[0], module), 0)
        losses["cqt"].backward()
        grads[factor] = {k: p.grad for k, p in module.student.named_parameters() if p.grad is not None}
    for name, g in grads[1.0].items():
        scale = 0.1 if name.startswith("feature_extractor") else 1.0
        torch.testing.assert_close(grads[0.1][name], g * scale, rtol=1e-4, atol=1e-8)


def test_the_gradient_is_clipped_before_the_step(
    corpus: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is logged is the norm before."""
    seen: list[tuple[float, float, float]] = []
    clip = MERTModule.clip_gradient

    def watched(self: MERTModule, parameters: Any, most: float, batch: dict[str, Any]) -> torch.Tensor:
        def norm() -> float:
            return float(torch.stack([p.grad.norm() for p in self.parameters() if p.grad is not None]).norm())

        before, found = norm(), clip(self, parameters, most, batch)
        seen.append((before, norm(), float(found)))
        return found

    monkeypatch.setattr(MERTModule, "clip_gradient", watched)
    changes = {"run.accelerator": "cpu", "run.max_steps": 1, "run.log_every": 1, "optim.grad_clip": 0.1}
    fit("mert", settings_of("mert", "debug", changes), str(corpus[0]), str(corpus[1]), str(tmp_path))
    ((before, after, found),) = seen
    assert before > 0.2
    assert after == pytest.approx(0.1, rel=1e-3)
    assert found == pytest.approx(before, rel=1e-4)
    assert float(rows(tmp_path)[1, "train", "grad_norm"]) == pytest.approx(before, rel=1e-3)


def test_noise_is_heard_and_targets_are_clean(
    corpus: tuple[Path, Path], encodec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = module_of(teacher__codes=str(encodec), mixture__probability=1.0).eval()
    batch = batch_of(corpus[0], module)
    plain = module_of(teacher__codes=str(encodec), mixture__probability=0.0).eval()
    plain.load_state_dict(module.state_dict())
    assert module.cqt is not None
    heard: dict[str, list[torch.Tensor]] = {"codes": [], "cqt": [], "student": []}

    def listen(where: Any, method: str, name: str) -> None:
        as_it_was = getattr(where, method)
        monkeypatch.setattr(where, method, lambda wav, n: heard[name].append(wav.clone()) or as_it_was(wav, n))

    listen(module.teacher.net, "encode", "codes")
    listen(module.cqt, "forward", "cqt")
    listen(module.student, "convolve", "student")
    with torch.no_grad():
        noisy, clean = module.losses(batch, 0)[0], plain.losses(batch, 0)[0]
        validated = module.losses(batch, "val")[0]
    assert {k: len(v) for k, v in heard.items()} == {"codes": 2, "cqt": 2, "student": 2}
    assert all(torch.equal(w, batch["wav"]) for w in (*heard["codes"], *heard["cqt"]))
    mixed, unmixed = heard["student"]
    assert bool((mixed != batch["wav"]).any(1).all())
    assert torch.equal(unmixed, batch["wav"])  # none in validation
    assert float(noisy["codes"].sum()) != float(clean["codes"].sum())
    assert float(validated["features"]) == pytest.approx(float(clean["features"]))


# --- targets ---


def test_stored_codes_are_those_of_the_crop(corpus: tuple[Path, Path], encodec: Path, store: Path) -> None:
    """Crops begin at frames; what EnCodec says of a crop is what it said of the whole, once its start is forgotten."""
    module = module_of(teacher__stored_codes=str(store), data__crop_s=2.0)
    batch = batch_of(corpus[0], module, step=3)
    assert all(abs(s * 75 - round(s * 75)) < 1e-6 for s in batch["starts_s"])
    assert min(batch["starts_s"]) > 0
    target = module.targets(batch)
    whole = audiokd.load_tokenizer(encodec)
    for b, (utt_id, start_s) in enumerate(zip(batch["ids"], batch["starts_s"])):
        utt = next(u for u in open_input(corpus[0]).utterances() if u.id == utt_id)
        codes = whole.encode(torch.from_numpy(load_at(utt, RATE))[None]).codes[0]
        first = round(start_s * 75)
        assert torch.equal(target["codes"][b], codes[:, first : first + 149])
    fresh = module_of(teacher__codes=str(encodec), data__crop_s=2.0).targets(batch)
    assert float((fresh["codes"][..., 20:149] == target["codes"][..., 20:]).float().mean()) > 0.8


def test_a_run_crops_at_frames_and_checks_its_store(
    corpus: tuple[Path, Path], beckett: Path, store: Path, tmp_path: Path
) -> None:
    """What the tests above ask of a dataset and a store made by hand is what `audiokd fit` makes."""
    settings = settings_of("mert", "debug", {"teacher.stored_codes": str(store)})
    _, data = MERTRun(settings, str(corpus[0]), str(corpus[0])).build(tmp_path)
    starts = [data.train_set[step, 0]["start_s"] * 75 for step in range(8)]
    assert min(starts) > 0
    assert all(abs(s - round(s)) < 1e-6 for s in starts)
    with pytest.raises(AudiokdError, match="no codes of 1 of 10 utterances, beckett first"):
        MERTRun(settings, str(corpus[0]), str(beckett)).build(tmp_path)


@pytest.mark.parametrize("at", [24_000, 24_000 + 160, 40_000])
def test_a_click_stands_in_its_frame(at: int) -> None:
    """Of the encoder, of the codes and of the CQT: sample 320 k and frame k."""
    wav = torch.zeros(1, 2 * RATE)
    wav[0, at] = 1.0
    module = module_of()
    assert module.cqt is not None
    magnitudes, _ = module.cqt(wav)
    # the highest bins have the shortest kernels; frames are centred at multiples of 320
    assert abs(int(magnitudes[0, :, -48:].sum(-1).argmax()) - at / 320) <= 0.5
    with torch.no_grad():
        heard = module.student.feature_extractor.conv_layers
        x = wav[:, None]
        for layer in heard:
            x = F.gelu(layer.conv(x).abs())
    frame = int(x[0].sum(0).argmax())
    # a frame's 400 samples begin at 320 k
    assert frame * 320 <= at < frame * 320 + 400
    net = tiny_encodec()
    with torch.no_grad():
        silent, clicked = net.encoder(torch.zeros(1, 1, 2 * RATE)), net.encoder(wav[:, None])
    assert int((silent != clicked).any(1)[0].nonzero()[0]) == at // 320


def test_silence_and_short_clips_give_finite_losses(encodec: Path) -> None:
    module = module_of(teacher__codes=str(encodec))
    wav = torch.zeros(4, RATE)
    wav[3] = 0.1 * torch.randn(RATE)
    batch = {"wav": wav, "lengths": torch.tensor([RATE, 100, 5000, RATE]), "ids": list("abcd"), "starts_s": [0.0] * 4}
    losses, _, _ = module.losses(batch, 0)
    assert torch.isfinite(module.total(losses))


def test_targets_that_do_not_fit(
    corpus: tuple[Path, Path], encodec: Path, store: Path, two_cities: Path, beckett: Path, tmp_path: Path
) -> None:
    other = save(tiny_encodec(upsampling_ratios=[8, 5, 4, 4]), tmp_path / "other")
    with pytest.raises(AudiokdError, match=r"the teacher gives 37\.5 frames a second, the encoder 75"):
        module_of(teacher__codes=str(other))
    slow = save(tiny_encodec(sampling_rate=12_000, upsampling_ratios=[5, 4, 4, 2]), tmp_path / "slow")
    with pytest.raises(AudiokdError, match="the teacher hears 12000 Hz, the encoder 24000"):
        module_of(teacher__codes=str(slow))
    with pytest.raises(ConfigError, match="nothing to predict"):
        module_of(teacher__cqt=False)
    teacher = StoredCodeTeacher(str(store))
    teacher.check(open_input(corpus[0]).utterances())
    with pytest.raises(AudiokdError, match="no codes of 1 of 1 utterances, beckett first"):
        teacher.check(open_input(beckett).utterances())
    longer = data_dir(tmp_path / "longer", two_cities, 0, 9, seconds=4.2)
    with pytest.raises(AudiokdError, match=r"two_cities-00 lasts 4\.200 s, and 4\.000 s of it were tokenized") as e:
        teacher.check(open_input(longer).utterances())
    assert str(store) in str(e.value)
    for key, path in (("stored_codes", store), ("codes", encodec)):  # a run that is resumed keeps its teacher
        run = MERTRun(settings_of("mert", "debug", {f"teacher.{key}": str(path)}), str(corpus[0]), str(corpus[0]))
        assert run.describe()["teacher_sha256"] == teacher.model_sha256


def test_stored_codes_are_held_against_their_teacher(
    corpus: tuple[Path, Path], encodec: Path, store: Path, tmp_path: Path
) -> None:
    """Where both are given: other weights, and other sound of the same ids and lengths, are found."""
    both = {"teacher.stored_codes": str(store), "teacher.codes": str(encodec)}
    module, _ = MERTRun(settings_of("mert", "debug", both), str(corpus[0]), str(corpus[0])).build(tmp_path)
    assert isinstance(module.teacher, StoredCodeTeacher)
    other = save(tiny_encodec(seed=1), tmp_path / "other")
    with pytest.raises(AudiokdError, match=r"the store was made by model [0-9a-f]{12}, the teacher is") as e:
        MERTRun(
            settings_of("mert", "debug", both | {"teacher.codes": str(other)}), str(corpus[0]), str(corpus[0])
        ).build(tmp_path)
    assert str(other) in str(e.value)
    swapped = tmp_path / "swapped"
    swapped.mkdir()
    lines = (corpus[0] / "segments").read_text().splitlines()
    ids, stretches = zip(*(line.split(maxsplit=1) for line in lines))
    rows = [f"{i} {s}\n" for i, s in zip(ids, (*stretches[1:], stretches[0]))]
    (swapped / "segments").write_text("".join(rows))
    (swapped / "wav.scp").write_text((corpus[0] / "wav.scp").read_text())
    with pytest.raises(AudiokdError, match=rf"{ids[0]}: \d+% of the stored codes are what the teacher says") as e:
        MERTRun(settings_of("mert", "debug", both), str(swapped), str(swapped)).build(tmp_path)
    assert str(store) in str(e.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data.crop_s": 0.01}, r"data.crop_s 0.01 is shorter than a frame, 0.017 s"),
        ({"data.val_crop_s": 0.0}, r"data.val_crop_s 0 is shorter"),
        ({"mask.length": 0}, r"mask.length 0 is no span"),
        ({"mixture.shortest": 2.0}, r"mixture.shortest 2, mixture.longest 1 leave nothing to mix"),
        ({"mixture.most": 0}, r"mixture.most 0,"),
        ({"teacher.cqt_bins": 500}, r"teacher.cqt_bins 500 go up to 44056 Hz, half the sample rate is 12000"),
        ({"teacher.cqt_fmin": 0.0}, r"teacher.cqt_fmin, .* above 0"),
    ],
)
def test_settings_that_nothing_can_be_done_with(changes: dict[str, Any], said: str, corpus: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match=said):
        MERTRun(settings_of("mert", "debug", changes), str(corpus[0]), str(corpus[1]))


# --- memory ---


def test_what_a_step_needs(corpus: tuple[Path, Path]) -> None:
    """Counted on two layers and one crop, against what autograd keeps of the whole encoder's real batch."""
    changes = {"model__depth": 5, "model__layerdrop": 0.0, "model__dropout": 0.0, "model__attention_dropout": 0.0}
    module = module_of(**changes).train()
    samples = RATE * 1
    wav, n = torch.randn(4, samples), torch.full((4,), samples)
    held = saved_bytes(
        lambda: list(module.student.states(*module.student.convolve(wav, n))), module.student.parameters()
    )
    assert activation_bytes(module.settings) == pytest.approx(held, rel=0.03)
    large = settings_of("mert", "large")
    assert parameters_of(large) == pytest.approx(315.4e6, rel=1e-3)
    assert parameters_of(settings_of("mert", "base")) == pytest.approx(94.4e6, rel=1e-3)
    assert "activations of 4 crops of 1 s" in step_memory(module.settings)


# --- whole runs ---


def test_the_loss_falls_and_codes_are_guessed(command: list[str], tmp_path: Path) -> None:
    out = finish(
        [*command, *["--run.max_steps", "60", "--run.val_every", "60", "--run.log_every", "5"]], tmp_path / "exp"
    )
    assert "M parameters; a step needs about" in out
    found = {k: float(v) for k, v in rows(tmp_path / "exp").items()}
    for name in ("loss", "codebook0", "codebook1", "cqt"):
        assert found[60, "val", name] < found[0, "val", name], name
    assert found[60, "val", "accuracy"] > found[0, "val", "accuracy"]
    assert {f"accuracy/codebook{q}" for q in range(2)} <= {n for _, _, n in found}
    assert 0.4 < found[60, "train", "mask_share"] < 0.65
    assert found[60, "train", "grad_norm"] > 0
    export(str(tmp_path / "exp"), str(tmp_path / "model"), "best")
    model = audiokd.load_model(tmp_path / "model")
    weights = checkpoint(tmp_path / "exp", "best")["state_dict"]
    for name, p in model.state_dict().items():
        assert torch.equal(p, weights[f"student.{name}"]), name
    heads = load_file(tmp_path / "model" / "heads.safetensors")
    of_codes = {f"code_heads.{k}" for k in ("projection.weight", "projection.bias", "embeddings")}
    assert set(heads) == of_codes | {"cqt_head.weight", "cqt_head.bias"}
    assert torch.equal(heads["cqt_head.weight"], weights["cqt_head.weight"])
    export(str(tmp_path / "exp"), str(tmp_path / "init"), "init")
    assert not torch.equal(audiokd.load_model(tmp_path / "init").masked_spec_embed, model.masked_spec_embed)


@pytest.mark.parametrize("stored", [False, True])
def test_killed_and_started_again_equals_never_killed(
    stored: bool, command: list[str], corpus: tuple[Path, Path], store: Path, tmp_path: Path
) -> None:
    more = []
    if stored:
        command[command.index("--dev") + 1] = str(corpus[0])
        more = ["--teacher.stored_codes", str(store), "--teacher.codes", ""]
    finish(command, tmp_path / "whole", *more)
    kill_at(6, command, tmp_path / "killed", *more)
    assert checkpoint(tmp_path / "killed", "last")["iteration"] < STEPS
    finish(command, tmp_path / "killed", *more)
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(
    command: list[str], corpus: tuple[Path, Path], tmp_path: Path
) -> None:
    """Clips of unlike length give each process another number of hidden frames, and each frame counts the same; but for the
    penalty, a mean over each process' own frames, which is left out."""
    whole = open_input(corpus[0]).utterances()
    uneven = [replace(u, end_s=u.start_s + (1.0, 0.25, 0.6)[i % 3], duration_s=None) for i, u in enumerate(whole)]
    write_data_dir(tmp_path / "uneven", uneven)
    command[command.index("--train") + 1] = str(tmp_path / "uneven")
    options = [f"--model.{k}=0" for k in ("dropout", "attention_dropout", "layerdrop")]
    options += ["--mixture.probability=0", "--loss.features=0", "--run.max_steps=5"]
    finish(command, tmp_path / "one", *options, "--data.batch_size", "4")
    finish(command, tmp_path / "two", *options, "--data.batch_size", "2", "--run.devices", "2")
    finish(command, tmp_path / "alone", *options, "--data.batch_size", "2")

    def weights(name: str) -> torch.Tensor:
        state = checkpoint(tmp_path / name, "last")["state_dict"]
        return torch.cat([v.flatten().float() for _, v in sorted(state.items())])

    far, near = (weights(n) - weights("one") for n in ("alone", "two"))
    assert near.norm() < 0.05 * far.norm(), (float(near.norm()), float(far.norm()))


def test_bf16_trains(command: list[str], tmp_path: Path) -> None:
    finish(command, tmp_path / "exp", "--run.precision", "bf16-mixed")
    found = {k: float(v) for k, v in rows(tmp_path / "exp").items()}
    assert all(math.isfinite(v) for v in found.values())
    assert found[9, "train", "loss"] < found[1, "train", "loss"]


def test_a_run_that_goes_nan_keeps_the_batch(command: list[str], tmp_path: Path) -> None:
    run = start(command, tmp_path / "exp", "--optim.lr", "1e30", "--optim.warmup_steps", "1", "--optim.grad_clip", "0")
    out = run.communicate(timeout=300)[0]
    assert run.returncode != 0
    assert "the loss is not finite at step" in out
    (kept,) = (tmp_path / "exp").glob("not_finite.step*.rank0.pt")
    assert str(kept) in out.replace("\n", "")
    batch = torch.load(kept, weights_only=True)
    assert batch["wav"].shape == (4, RATE)
    assert all(i in out for i in batch["ids"])
    assert np.isfinite(batch["wav"].numpy()).all()


def test_a_gradient_that_is_nan_is_its_own_batchs(
    corpus: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a loss that is finite: the batch that is kept is the one that did it, and no weight has learnt from it."""
    given = {}
    losses = MERTModule.losses

    def spoilt(self: MERTModule, batch: dict[str, Any], step: int | str) -> Any:
        found = losses(self, batch, step)
        if step == 4:
            given["ids"] = batch["ids"]
            found[0]["cqt"].register_hook(lambda g: g * float("nan"))
        return found

    monkeypatch.setattr(MERTModule, "losses", spoilt)
    settings = settings_of("mert", "debug", {"run.accelerator": "cpu", "run.max_steps": 12, "run.ckpt_every": 1})
    with pytest.raises(AudiokdError, match="the gradient is not finite at step 4") as e:
        fit("mert", settings, str(corpus[0]), str(corpus[1]), str(tmp_path))
    assert str(given["ids"]) in str(e.value)
    (kept,) = tmp_path.glob("not_finite.step4.rank0.pt")
    assert torch.load(kept, weights_only=True)["ids"] == given["ids"]
    last = checkpoint(tmp_path, "last")
    assert last["iteration"] == 4
    assert all(torch.isfinite(v).all() for v in last["state_dict"].values())


@pytest.mark.parametrize("scale", [2.0**10, 2.0**60])
def test_float16_logs_its_scale_and_leaves_out_what_overflows(
    scale: float, corpus: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The norm that is logged has no scale on it; where the scale is too large it is halved, and nothing is learnt or stopped."""
    import lightning as L
    from lightning.pytorch.plugins import MixedPrecision

    module = module_of(run__log_every=1, run__max_steps=2, run__val_every=2)
    _, data = MERTRun(module.settings, str(corpus[0]), str(corpus[1])).build(tmp_path)
    logged: list[dict[str, float]] = []
    monkeypatch.setattr(module, "write_metrics", lambda split, metrics: logged.append(metrics))
    start = {k: v.clone() for k, v in module.state_dict().items()}
    L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        plugins=[MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=scale))],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    ).fit(module, datamodule=data)
    fits = scale < 2.0**20
    assert [m["loss_scale"] for m in logged[:2]] == ([scale, scale] if fits else [scale / 2, scale / 4])
    assert [0 < m["grad_norm"] < 200 for m in logged[:2]] == [fits, fits]
    assert any(not torch.equal(v, start[k]) for k, v in module.state_dict().items()) == fits
