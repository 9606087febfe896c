"""TiUE: pretrain a diffusion model and distil it, on real pictures and sounds; frozen stays frozen, killed equals never killed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from method_settings import settings_of
from tiny_diffusion import stable_diffusion
from tiny_digits import save_digits
from tiny_pairs import save_pair
from whole_runs import checkpoint, differences, finish, rows

from audiokd.data.items import Item, read_items, write_items
from audiokd.errors import AudiokdError, ConfigError
from audiokd.methods.tiue.distill import DistillModule, spread
from audiokd.methods.tiue.lcm import LCMModule
from audiokd.methods.tiue.module import DiffusionModule
from audiokd.methods.tiue.pretrain import PretrainModule
from audiokd.methods.tiue.run import TiUERun
from audiokd.stages.export import export
from audiokd.stages.fit import fit
from audiokd.vision.load_pipeline import load_pipeline, pipeline_sha256
from audiokd.vision.lora import lora_off
from audiokd.vision.shared_encoder_unet import SharedEncoderUNet

KINDS = ("tiue", "swiftbrush", "lcm")
TINY = {"run.accelerator": "cpu"}


def settings(step: str, **changes: Any) -> Any:
    flat = TINY | {"step": step} | {k.replace("__", "."): v for k, v in changes.items()}
    return settings_of("tiue", "debug", flat)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/train and data/dev: handwritten digits of three labels; the teacher of them, two sounds beside."""
    folder = tmp_path_factory.mktemp("tiue")
    found = read_items(save_digits(folder / "all", each=6))
    for name, items in (
        ("train", [i for i in found if i.domain != "turned"]),
        ("dev", [i for i in found if i.domain == "turned"]),
    ):
        write_items(folder / name, [i.with_(domain=None) for i in items])
    fit("tiue", settings("pretrain"), str(folder / "train"), str(folder / "dev"), str(folder / "exp"))
    export(str(folder / "exp"), str(folder / "teacher"))
    return folder


def distil(root: Path, exp: Path, kind: str = "tiue", **changes: Any) -> dict[str, float]:
    s = settings("distill", distill__kind=kind, distill__teacher=str(root / "teacher"), **changes)
    return fit("tiue", s, str(root / "train"), str(root / "dev"), str(exp))


def build(root: Path, folder: Path, kind: str = "tiue", **changes: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Module, data and a batch of four."""
    folder.mkdir(exist_ok=True)
    teacher = changes.pop("distill__teacher", str(root / "teacher"))
    s = settings("distill", distill__kind=kind, distill__teacher=teacher, **changes)
    module, data = TiUERun(s, str(root / "train"), str(root / "dev")).build(folder)
    return module, data, data.collate([data.train_set[0, k] for k in range(4)])


def test_the_pretrained_folder(root: Path) -> None:
    pipeline = load_pipeline(str(root / "teacher"))
    assert pipeline.labels == ("cat", "dog", "rain")
    assert (pipeline.config.sampler, pipeline.sample_shape) == ("ddim", (1, 8, 8))
    best = checkpoint(root / "exp", "best")
    mine = {k.removeprefix("ema."): v for k, v in best["state_dict"].items() if k.startswith("ema.")}
    assert differences(mine, dict(pipeline.unet.state_dict())) == []
    assert pipeline(["cat"], steps=2).shape == (1, 8, 8, 1)
    regime = json.loads((root / "teacher" / "regime.json").read_text())
    assert regime["steps"][0]["labelled"]["count"] == 36


def test_pretraining_learns(root: Path, tmp_path: Path) -> None:
    s = settings("pretrain", run__max_steps=80, run__val_every=80, data__batch_size=8, optim__lr=5e-3)
    fit("tiue", s, str(root / "train"), str(root / "dev"), str(tmp_path / "exp"))
    found = {k: float(v) for k, v in rows(tmp_path / "exp").items()}
    assert found[80, "val", "loss"] < 0.8 * found[0, "val", "loss"]


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_targets_of_pretraining(root: Path, tmp_path: Path, prediction: str) -> None:
    """The loss is that of what the scheduler makes of picture and noise, and the folder says so."""
    (tmp_path / "run").mkdir()
    s = settings("pretrain", model__prediction=prediction)
    module, data = TiUERun(s, str(root / "train"), str(root / "dev")).build(tmp_path / "run")
    assert module.pipeline.scheduler.config.prediction_type == prediction
    batch = data.collate([data.train_set[0, k] for k in range(3)])
    x, t = batch["pixel_values"], torch.tensor([10, 500, 990])
    noise = torch.randn_like(x)
    a = module.pipeline.scheduler.alphas_cumprod[t].reshape(3, 1, 1, 1)
    target = x if prediction == "sample" else a.sqrt() * noise - (1 - a).sqrt() * x
    noised = a.sqrt() * x + (1 - a).sqrt() * noise
    told = module.pipeline.conditions(batch["prompts"])
    with torch.no_grad():
        want = (module.student(noised, t, **told).sample - target).square().mean()
        torch.testing.assert_close(module.error(module.student, x, noise, t, told), want)


@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_started_again_equals_never_killed(
    root: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cls = LCMModule if kind == "lcm" else DistillModule
    distil(root, tmp_path / "whole", kind)
    said = capsys.readouterr().out
    assert "a step needs about" in said
    assert said.index("a step needs about") < said.index("steps a second")
    step = cls.training_step

    def stop(self: Any, batch: Any, batch_idx: int) -> None:
        if self.iteration == 3:
            raise RuntimeError("killed")
        step(self, batch, batch_idx)

    with monkeypatch.context() as m:
        m.setattr(cls, "training_step", stop)
        with pytest.raises(RuntimeError, match="killed"):
            distil(root, tmp_path / "killed", kind)
    distil(root, tmp_path / "killed", kind)
    assert rows(tmp_path / "whole") == rows(tmp_path / "killed")
    for name in ("last", "best"):
        mine, theirs = (checkpoint(tmp_path / e, name) for e in ("whole", "killed"))
        for part in ("state_dict", "optimizer_states", "iteration"):
            assert differences(mine[part], theirs[part], part) == [], name
    kept = {k.split(".")[0] for k in mine["state_dict"]}
    assert kept == {"student", "ema", "target"} if kind == "lcm" else {"student", "ema", "lora"}
    before = load_pipeline(str(root / "teacher"))
    assert pipeline_sha256(before) == pipeline_sha256(load_pipeline(str(root / "teacher")))
    export(str(tmp_path / "whole"), str(tmp_path / "model"), "last")
    made = load_pipeline(str(tmp_path / "model"))
    want = {"tiue": ("tiue", 4, "leading"), "swiftbrush": ("tiue", 1, "trailing"), "lcm": ("lcm", 4, "leading")}[kind]
    assert (made.config.sampler, made.config.steps, made.scheduler.config.timestep_spacing) == want
    assert made(["dog", "cat"]).shape == (2, 8, 8, 1)
    assert pipeline_sha256(made) != pipeline_sha256(before)
    export(str(tmp_path / "whole"), str(tmp_path / "init"), "init")  # a baseline: the teacher sampled as its student
    assert pipeline_sha256(load_pipeline(str(tmp_path / "init"))) == pipeline_sha256(before)


@pytest.mark.slow
def test_two_processes_learn_of_both(root: Path, tmp_path: Path) -> None:
    """Of one label the first process has the prompts and noise that it has alone: what differs is the other's gradient."""
    (tmp_path / "p.txt").write_text("cat\n" * 2)
    words = f"--config tiue/debug --step distill --run.accelerator cpu --distill.teacher {root / 'teacher'}"
    words += f" --distill.fake_steps 2 --train {tmp_path / 'p.txt'} --dev {tmp_path / 'p.txt'} --run.max_steps 2"
    command = [str(Path(sys.executable).with_name("audiokd")), "fit", "tiue", *words.split()]
    finish(command, tmp_path / "one")
    finish(command, tmp_path / "two", "--run.devices", "2")
    one, two = (checkpoint(tmp_path / name, "last")["state_dict"] for name in ("one", "two"))
    for part in ("student.", "ema.", "lora."):
        assert differences(*({k: v for k, v in s.items() if k.startswith(part)} for s in (one, two))) != [], part
    found = [{k: float(v) for k, v in rows(tmp_path / name).items()} for name in ("one", "two")]
    assert found[0].keys() == found[1].keys()
    assert found[0][1, "train", "vsd"] == pytest.approx(found[1][1, "train", "vsd"], rel=1e-4)


def test_fewer_validation_items_than_processes(root: Path, tmp_path: Path) -> None:
    """Each process says so: one that went on would wait for the other for ever."""
    _, data, _ = build(root, tmp_path / "run", data__val_items=2)
    for rank, size in ((0, 3), (2, 3), (1, 2)):
        root_device = torch.device("cpu")
        data.trainer = SimpleNamespace(
            global_rank=rank, world_size=size, strategy=SimpleNamespace(root_device=root_device)
        )
        if size == 2:
            assert len(data.val_dataloader()) == 1
            continue
        with pytest.raises(AudiokdError, match="2 validation items for 3 processes"):
            data.val_dataloader()


@pytest.mark.parametrize("kind", KINDS)
def test_validation_sees_every_class(root: Path, tmp_path: Path, kind: str) -> None:
    """A set lies class by class; its first items are of one class."""
    by_class = sorted(read_items(root / "dev"), key=lambda i: i.label or "")
    write_items(tmp_path / "dev", [i.with_(id=f"{i.label}-{k:02d}") for k, i in enumerate(by_class)])
    (tmp_path / "run").mkdir()
    s = settings("distill", distill__kind=kind, distill__teacher=str(root / "teacher"), data__val_items=3)
    _, data = TiUERun(s, str(root / "train"), str(tmp_path / "dev")).build(tmp_path / "run")
    assert [data.dev_set[0, k]["prompt"] for k in range(len(data.dev_set))] == ["cat", "dog", "rain"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_teacher_is_frozen_and_nobodys(root: Path, tmp_path: Path, kind: str) -> None:
    module, _, _ = build(root, tmp_path / "run", kind)
    of_teacher = {p for part in module.frozen() for n, p in part.named_parameters() if "lora" not in n}
    assert of_teacher
    assert not any(p.requires_grad for p in of_teacher)
    held = {p for o in module.configure_optimizers() for g in o.param_groups for p in g["params"]}
    assert not held & of_teacher
    assert held == {p for p in module.parameters() if p.requires_grad}
    assert not {id(p) for p in module.parameters()} & {id(p) for p in of_teacher}
    for mode in (True, False, True):
        module.train(mode)
        assert not any(m.training for part in (*module.frozen(), module.ema) for m in part.modules())
    assert module.student.training


@torch.no_grad()
def test_adapters_off_is_the_teacher(root: Path, tmp_path: Path) -> None:
    module, _, batch = build(root, tmp_path / "run")
    plain = load_pipeline(str(root / "teacher"))
    x, t = torch.randn(4, 1, 8, 8), torch.tensor([20, 300, 700, 980])
    told = plain.conditions(batch["prompts"])
    for p in module.lora.values():
        p.normal_()
    with lora_off(module.pipeline.unet):
        assert torch.equal(module.answer(x, t, told), plain.unet(x, t, **told).sample)
    assert not torch.equal(module.answer(x, t, told), plain.unet(x, t, **told).sample)
    theirs, mine = module.noises(x, t, told)
    null = plain.unet(x, t, **plain.conditions([None] * 4)).sample
    want = null + module.settings.distill.guidance * (plain.unet(x, t, **told).sample - null)
    torch.testing.assert_close(theirs, want, rtol=1e-4, atol=1e-4)
    assert float((theirs - mine).abs().max()) > 1e-3


def test_the_students_gradient(root: Path, tmp_path: Path) -> None:
    """d L / d sample is the difference of scores over the number of elements, and it reaches the encoder from every step."""
    module, _, batch = build(root, tmp_path / "run", loss__kl=0.0)
    with torch.no_grad():
        for p in module.lora.values():
            p.normal_()
    told = module.pipeline.conditions(batch["prompts"])
    z = torch.randn(4, 1, 8, 8)
    seen: dict[str, Any] = {}
    sampled, noises = module.sample, module.noises
    module.sample = lambda *a: seen.setdefault("sample", [x if k else _held(x) for k, x in enumerate(sampled(*a))])  # type: ignore[method-assign]
    module.noises = lambda x, t, told: seen.setdefault("noises", (t, noises(x, t, told)))[1]  # type: ignore[method-assign]
    sample, parts = module.losses(z, told, batch["prompts"])
    assert parts.keys() == {"vsd"}
    parts["vsd"].backward()
    t, (theirs, mine) = seen["noises"]
    assert int(t.min()) >= 20
    assert int(t.max()) < 981
    a = module.schedule.alphas_cumprod[t].reshape(4, 1, 1, 1)
    torch.testing.assert_close(sample.grad, (1 - a) * (theirs - mine) / sample.numel())
    student = module.student
    encoder = [*student.conv_in.parameters(), *student.down_blocks.parameters(), *student.mid_block.parameters()]
    assert all(float(p.grad.abs().sum()) > 0 for p in encoder if p.ndim > 1)
    for step in range(4):  # by the closed form each step has its weight
        student.zero_grad()
        answers = SharedEncoderUNet(student)(z, module.form.timesteps, **told)
        (module.form.weights[step].float() * answers[step]).square().sum().backward()
        assert all(float(p.grad.abs().sum()) > 0 for p in encoder if p.ndim > 1)
    assert not any(
        p.grad is not None for part in module.frozen() for n, p in part.named_parameters() if "lora" not in n
    )


def _held(x: torch.Tensor) -> torch.Tensor:
    x.retain_grad()
    return x


def test_the_fake_score_learns_the_students_samples(root: Path, tmp_path: Path) -> None:
    module, _, batch = build(root, tmp_path / "run", lora__rank=8, lora__targets=("to_q", "to_v", "conv1", "conv2"))
    sample = torch.full((4, 1, 8, 8), 0.5)
    told = module.pipeline.conditions(batch["prompts"])
    optimizer = module.configure_optimizers()[1]
    errors = []
    for step in range(30):
        torch.manual_seed(step % 3)
        loss = module.fake_error(sample, told)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(float(loss))
    assert sum(errors[-3:]) < 0.9 * sum(errors[:3])


def test_a_consistency_model_begins_at_the_picture(root: Path, tmp_path: Path) -> None:
    """The target of the first grid step is the data that the solver comes to; the others are the average's, one solver step on."""
    module, _, batch = build(root, tmp_path / "run", "lcm", distill__guidance=1.0)
    x, t = batch["pixel_values"], torch.tensor([19, 19, 999, 499])
    noise, told = torch.randn_like(batch["pixel_values"]), module.pipeline.conditions(batch["prompts"])
    with torch.no_grad():
        noised = module.schedule.add_noise(x, noise, t)
        said = module.pipeline.unet(noised, t, **told).sample
        ddim = module.schedule
        ddim.set_timesteps(50)
        for k in range(4):
            ddim.final_alpha_cumprod = torch.tensor(1.0)
            want = ddim.step(said[k : k + 1], int(t[k]), noised[k : k + 1]).prev_sample
            torch.testing.assert_close(module.solved(noised, t, told)[k : k + 1], want, rtol=1e-4, atol=1e-4)
    loss, found = module.error(module.student, x, noise, t, told)
    loss.backward()
    assert found.shape == x.shape
    assert not any(p.grad is not None for p in module.target.parameters())


def test_sounds_are_pictures_too(tmp_path: Path, beckett: Path) -> None:
    """Items of sound with labels: pretrain on their log-mel, distil by labels, export with the way back to sound."""
    import soundfile as sf

    wav, rate = sf.read(beckett)
    for name, start in (("train", 0), ("dev", 4)):
        items = []
        for k in range(4):
            path = tmp_path / name / f"{name}{k}.wav"
            path.parent.mkdir(exist_ok=True)
            sf.write(path, wav[(start + k) * rate : (start + k + 1) * rate], rate)
            items.append(Item(path.stem, str(path), label=("a", "b")[k % 2]))
        write_items(tmp_path / name, items)
    mel = {"mel__frames": 8, "mel__n_mels": 16, "mel__sample_rate": 8000}
    io = (str(tmp_path / "train"), str(tmp_path / "dev"))
    fit("tiue", settings("pretrain", **mel), *io, str(tmp_path / "exp"))
    export(str(tmp_path / "exp"), str(tmp_path / "teacher"))
    teacher = load_pipeline(str(tmp_path / "teacher"))
    assert (teacher.media, teacher.sample_shape, teacher.labels) == ("audio", (1, 8, 16), ("a", "b"))
    for kind, size in (("tiue", 12), ("lcm", 0)):
        of_kind = {"distill__kind": kind, "distill__size": size, "run__max_steps": 2}
        s = settings("distill", distill__teacher=str(tmp_path / "teacher"), **of_kind)
        fit("tiue", s, *io, str(tmp_path / kind))
        export(str(tmp_path / kind), str(tmp_path / f"{kind}-model"), "last")
        made = load_pipeline(str(tmp_path / f"{kind}-model"))
        assert made.sample_shape == (1, size or 8, 16)
        assert made(["a"]).shape == (1, (size or 8) * 512)


def test_consistency_in_latents(root: Path, tmp_path: Path) -> None:
    """Pictures go through the teacher's autoencoder, at its size and in colour; labels are texts to it."""
    stable_diffusion().save_pretrained(tmp_path / "teacher")
    module, _, batch = build(root, tmp_path / "run", "lcm", distill__teacher=str(tmp_path / "teacher"))
    assert batch["pixel_values"].shape == (4, 3, 16, 16)
    x, told = module.pipeline.encode(batch["pixel_values"]), module.pipeline.conditions(batch["prompts"])
    assert x.shape == (4, 4, 8, 8)
    loss, _ = module.error(module.student, x, torch.randn_like(x), module.grid[[0, 10, 20, 49]], told)
    loss.backward()
    assert all(p.grad is not None for p in module.student.parameters())
    assert not any(p.grad is not None for part in module.frozen() for p in part.parameters())


def test_texts_of_any_encoder(root: Path, tmp_path: Path) -> None:
    """A model of texts: CLIP's text half, and its states' width."""
    save_pair("clip", tmp_path / "clip")
    (tmp_path / "run").mkdir()
    s = settings("pretrain", model__text_encoder=str(tmp_path / "clip"))
    module, _ = TiUERun(s, str(root / "train"), str(root / "dev")).build(tmp_path / "run")
    assert isinstance(module, PretrainModule)
    assert module.student.config.cross_attention_dim == 32
    told = module.pipeline.conditions(["a dog", None])["encoder_hidden_states"]
    assert told.shape == (2, 20, 32)
    assert [n for n in module.state_dict() if not n.startswith(("student.", "ema."))] == []


@pytest.mark.parametrize("most", [0.0, 1.0])
def test_float16_clips_the_gradient_and_not_its_scale(root: Path, tmp_path: Path, most: float) -> None:
    """The norm that is clipped and logged is the gradient's, however the loss is scaled; Lightning takes the scale off later."""
    module, _, batch = build(root, tmp_path / "run")
    found = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=2.0**12)):
        module._trainer = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler))
        module.zero_grad()
        loss = 100 * sum(p.sum() for p in module.student.parameters())
        (loss if scaler is None else scaler.scale(loss)).backward()
        norm = module.clip_gradient(module.student.parameters(), most, batch)
        if scaler is not None:
            scaler.unscale_(torch.optim.SGD(module.student.parameters(), 1.0))
        left = torch.cat([p.grad.flatten() for p in module.student.parameters()]).norm()
        assert float(left) == pytest.approx(most or float(norm), rel=1e-4)
        found.append(float(norm))
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert found[0] > 100


def test_spread_falls_where_samples_collapse() -> None:
    x = torch.randn(6, 1, 8, 8)
    assert float(spread(x)) > 1
    assert float(spread(x[:1].expand(6, -1, -1, -1))) == 0
    assert float(spread(x[:1])) == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"step": "pretrain", "distill__steps": 2}, "neither teacher nor student"),
        ({"distill__teacher": ""}, "distill has a teacher"),
        ({"distill__kind": "swiftbrush", "distill__steps": 4}, "swiftbrush has one step"),
        ({"distill__kind": "swiftbrush", "distill__timestep_spacing": "leading"}, "swiftbrush has one step"),
        ({"distill__kind": "lcm", "distill__timestep_spacing": "leading"}, "steps are its solver's"),
        ({"distill__kind": "lcm", "distill__size": 16}, "of its pictures' size"),
        ({"data__test": ("data/test",)}, "tiue learns from no item"),
        ({"distill__kind": "swiftbrush", "data__test": ("data/test",)}, "swiftbrush learns from no item"),
        ({"distill__kind": "swiftbrush", "loss__kl": 1.0}, "loss.kl: set, and swiftbrush makes nothing of it"),
        ({"distill__kind": "lcm", "distill__fake_steps": 2}, "distill.fake_steps: set, and lcm makes nothing of it"),
        ({"distill__huber": 0.1}, "distill.huber: set, and tiue makes nothing of it\n  it is of lcm"),
        ({"noising__timesteps": 500}, "noising: set, and tiue makes nothing of it"),
        (
            {"step": "pretrain", "distill__teacher": "", "optim__lora_lr": 0.1},
            "lora_lr: set, and pretrain makes nothing",
        ),
        ({"loss__clip": 0.1}, "a weight and a model"),
        ({"distill__t_min": 0.99}, "times from 0.99"),
        ({"distill__fake_steps": 0}, "does not learn"),
        ({"distill__steps": 1}, "one step under leading"),
        ({"distill__steps": 3}, "3 steps do not divide the schedule of 1000"),
        ({"distill__kind": "lcm", "distill__solver_steps": 7}, "7 solver steps do not divide"),
        ({"distill__kind": "lcm", "distill__steps": 60}, "60 steps of a model that learnt 50"),
        ({"distill__t_max": 0.0202}, "no time of 1000 lies between 0.02 and 0.0202"),
        ({"lora__targets": ("nowhere",)}, "no adapter can be put in"),
        ({"step": "pretrain", "distill__teacher": "", "model__widths": (8,)}, "1 widths and 2 of attention"),
        ({"step": "pretrain", "distill__teacher": "", "model__widths": (8, 12)}, "multiples of 4"),
        ({"step": "pretrain", "distill__teacher": "", "model__size": 9}, "pictures of 9 x 9"),
        ({"step": "pretrain", "distill__teacher": "", "model__attention": (False, False)}, "no level attends"),
        ({"step": "pretrain", "distill__teacher": "", "model__channels": 2}, "pictures of 2 channels"),
        ({"step": "pretrain", "distill__teacher": "", "model__heads": 0}, "--model.heads 0"),
        ({"step": "pretrain", "distill__teacher": "", "model__norm_groups": 0}, "--model.norm_groups 0"),
        ({"step": "pretrain", "distill__teacher": "", "model__layers": 0}, "--model.layers 0"),
        ({"step": "pretrain", "distill__teacher": "", "model__size": 0}, "--model.size 0"),
        ({"step": "pretrain", "distill__teacher": "", "noising__timesteps": 0}, "--noising.timesteps 0"),
    ],
)
def test_what_is_refused(root: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    flat = {"distill__teacher": str(root / "teacher")} | changes
    s = settings(flat.pop("step", "distill"), **flat)
    with pytest.raises(AudiokdError, match=said):
        TiUERun(s, str(root / "train"), str(root / "dev")).build(tmp_path)


def test_bad_inputs(root: Path, tmp_path: Path, beckett: Path) -> None:
    s = settings("pretrain")
    with pytest.raises(AudiokdError, match="are one folder"):
        TiUERun(s, str(root / "train"), str(root / "train"))
    bare = read_items(root / "dev")[0]
    write_items(tmp_path / "bare", [bare.with_(label=None)])
    with pytest.raises(AudiokdError, match="1 of 1 items have neither label nor caption"):
        TiUERun(s, str(tmp_path / "bare"), str(root / "dev"))
    captioned = []
    for name in ("train", "dev"):
        items = [i.with_(label=None, caption="a digit") for i in read_items(root / name)]
        write_items(tmp_path / f"captioned-{name}", items)
        captioned.append(str(tmp_path / f"captioned-{name}"))
    with pytest.raises(AudiokdError, match=r"captions and no labels(.|\n)*--model.text_encoder"):
        TiUERun(s, *captioned).build(tmp_path)
    write_items(tmp_path / "mixed", [bare, Item("sound", str(beckett), label="cat")])
    with pytest.raises(AudiokdError, match="sound is no picture, others are"):
        TiUERun(s, str(tmp_path / "mixed"), str(root / "dev"))
    write_items(tmp_path / "strange", [bare.with_(label="fox")])
    with pytest.raises(AudiokdError, match="knows no label fox"):
        TiUERun(s, str(root / "train"), str(tmp_path / "strange")).build(tmp_path)
    of_teacher = settings("distill", distill__teacher=str(root / "teacher"))
    with pytest.raises(AudiokdError, match="knows no label fox"):
        TiUERun(of_teacher, str(tmp_path / "strange"), str(root / "dev")).build(tmp_path)
    leak = settings("pretrain", data__test=(str(root / "train"),))
    with pytest.raises(AudiokdError, match="saw 36 test items"):
        TiUERun(leak, str(root / "train"), str(root / "dev")).build(tmp_path)
    with pytest.raises(ConfigError, match="distill has a teacher"):
        TiUERun(settings("distill"), str(root / "train"), str(root / "dev"))


def test_the_average_is_what_moves_slowly(root: Path, tmp_path: Path) -> None:
    module, _, _ = build(root, tmp_path / "run", optim__ema_decay=0.9)
    assert isinstance(module, DiffusionModule)
    module.iteration = 10_000
    old = [p.clone() for p in module.ema.parameters()]
    with torch.no_grad():
        for p in module.student.parameters():
            p.add_(1.0)
    module.average()
    for before, now in zip(old, module.ema.parameters()):
        torch.testing.assert_close(now, before + 0.1)
