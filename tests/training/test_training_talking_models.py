"""Talking Models on real digits and readers: what is trained and what is not, every way to be taught, and runs that go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_backbones  # noqa: F401  registers them
import torch
from method_settings import settings_of
from safetensors.torch import load_file
from tiny_digits import save_digits
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    HubertConfig,
    HubertForSequenceClassification,
    HubertModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    Wav2Vec2FeatureExtractor,
)
from whole_runs import assert_same_run, checkpoint, differences, rows

import audiokd
from audiokd.data.items import read_items, write_items
from audiokd.errors import AudiokdError
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.methods.classifier.config import ClassifierConfig
from audiokd.methods.classifier.model import ClassifierModel
from audiokd.methods.mert.config import MERTConfig
from audiokd.methods.mert.model import MERTModel
from audiokd.methods.talking_models.module import TalkModule
from audiokd.methods.talking_models.run import TalkRun
from audiokd.methods.talking_models.students import ConvBlock
from audiokd.nn.split_layers import LayerSplit
from audiokd.stages.export import export
from audiokd.stages.fit import fit
from audiokd.teachers.labeller import load_labeller
from audiokd.teachers.trainable import load_trainable, shape_of

METHOD = "talking_models"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Upright digits to learn from, others to be selected by, and a teacher that this method trained."""
    folder = tmp_path_factory.mktemp("talk")
    items = read_items(save_digits(folder / "all", each=20))
    upright = [i for i in items if i.domain == "plain"]
    write_items(folder / "train", upright[::2] + upright[1::4])
    write_items(folder / "dev", upright[3::4])
    fit(
        METHOD,
        settings(folder, "alone", model__widths=[8, 12, 16], run__max_steps=24),
        *sets(folder),
        str(folder / "exp"),
    )
    export(str(folder / "exp"), str(folder / "teacher"), "last")
    return folder


def settings(root: Path, kind: str = "base", **changes: Any) -> Any:
    flat: dict[str, Any] = {"run.accelerator": "cpu", "model.size": 32}
    flat |= {} if kind == "alone" else {"teacher.model": str(root / "teacher")}
    return settings_of(METHOD, kind, "debug", flat | {k.replace("__", "."): v for k, v in changes.items()})


def sets(root: Path) -> tuple[str, str]:
    return str(root / "train"), str(root / "dev")


def build(
    root: Path, folder: Path, kind: str = "base", data: Path | None = None, **changes: Any
) -> tuple[Any, Any, Any]:
    """Module, data module and a batch."""
    folder.mkdir(exist_ok=True)
    module, data_module = TalkRun(settings(root, kind, **changes), *sets(data or root)).build(folder)
    n = len(data_module.train_set)
    return module, data_module, data_module.collate([data_module.train_set[0, k] for k in (0, 1, n - 2, n - 1)])


def test_the_student_learns_and_the_teacher_stays(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []

    def load(name: str, logits: bool) -> Any:
        kept.append(load_labeller(name, logits))
        return kept[-1]

    monkeypatch.setattr("audiokd.teachers.labeller.load_labeller", load)
    before = load_file(root / "teacher" / "model.safetensors")
    learn = {
        "run__max_steps": 48,
        "run__val_every": 24,
        "model__widths": [8, 16, 16],
        "optim__lr": 1e-2,
        "messages__rounds": 2,
    }
    fit(METHOD, settings(root, **learn), *sets(root), str(tmp_path / "exp"))
    found = {k: float(v) for k, v in rows(tmp_path / "exp").items()}
    losses = [found[s, "train", "task"] for s in range(1, 49)]
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])
    assert found[48, "val", "loss"] < found[0, "val", "loss"]
    (teacher,) = kept
    after = teacher.net.state_dict()  # batch norms' statistics, too
    assert differences(before, {k: after[k] for k in before}) == []
    assert not teacher.net.training
    assert all(p.grad is None and not p.requires_grad for p in teacher.net.parameters())
    # best.ckpt and its export: the student and nothing else; it answers as the student in the run does, alone
    state = checkpoint(tmp_path / "exp", "last")["state_dict"]
    assert {k.split(".")[0] for k in state} == {"model", "interpreters"}
    export(str(tmp_path / "exp"), str(tmp_path / "model"), "last")
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert differences(stored, {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}) == []
    module, _, batch = build(root, tmp_path / "again", **learn)
    module.load_state_dict(state)
    alone = audiokd.load_model(tmp_path / "model")
    with torch.no_grad():
        expected = module.eval().model(**batch["student"])
        assert torch.equal(alone.extract(batch["student"]["pixel_values"], None, "logits")[0][:, 0], expected)
        assert torch.equal(module.split.run(**batch["student"]).output, expected)
    shutil.rmtree(tmp_path / "again")
    assert alone.labels == sorted({i.label for i in read_items(root / "train")})


def test_a_split_that_gives_something_else_is_found_at_the_start(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And looking for it moves nothing: the run is the same to the bit, with the check and without."""
    seen = LayerSplit.check
    checked: list[str] = []

    def noted(self: Any, passed: Any) -> None:
        checked.append(self.where)
        seen(self, passed)

    monkeypatch.setattr(LayerSplit, "check", noted)
    module, _, _ = build(root, tmp_path / "run")
    assert checked == ["the student", str(root / "teacher")]
    after = torch.get_rng_state()
    monkeypatch.setattr(LayerSplit, "check", lambda self, passed: None)
    other, _, _ = build(root, tmp_path / "other")
    assert torch.equal(torch.get_rng_state(), after)
    assert differences(module.state_dict(), other.state_dict()) == []
    monkeypatch.setattr(LayerSplit, "check", seen)
    forward = ConvBlock.forward
    monkeypatch.setattr(ConvBlock, "forward", lambda *args: forward(*args) + torch.randn(()))
    with pytest.raises(AudiokdError, match=r"the student: entered after body\.blocks\.0 with the state that it has"):
        build(root, tmp_path / "noisy")


def learnt(module: TalkModule, batch: dict[str, Any], steps: int) -> list[dict[str, float]]:
    """Losses of so many steps on one batch."""
    torch.manual_seed(0)
    optimizer, seen = torch.optim.Adam(module.parameters(), lr=1e-2), []
    for _ in range(steps):
        parts = module.losses(batch)
        seen.append({k: float(v.detach()) for k, v in parts.items()})
        optimizer.zero_grad()
        torch.stack([*parts.values()]).sum().backward()
        optimizer.step()
    return seen


@pytest.mark.parametrize("form", ["pooled", "tokens"])
def test_all_losses_of_a_talk_fall(root: Path, tmp_path: Path, form: str) -> None:
    """The messages carry what the student needs to be right after them."""
    module, data, _ = build(root, tmp_path / "run", messages__form=form, messages__rounds=2, model__widths=[8, 16, 16])
    seen = learnt(module, data.collate([data.train_set[0, k] for k in range(0, 45, 3)]), 80)
    for name in ("task", "interact_1", "interact_2", "state_1", "state_2"):
        assert seen[-1][name] < 0.8 * seen[0][name], (name, seen[0], seen[-1])


OF_KINDS = {
    "base": {"task", "interact_1", "message_1", "state_1"},
    "alone": {"task"},
    "kd": {"task", "kd"},
    "dkd": {"task", "dkd_target", "dkd_others"},
    "hints": {"task", "kd", "hint"},
    "modules": {"task", "kd", "interact_1", "state_1"},
}


@pytest.mark.parametrize("kind", OF_KINDS)
def test_every_way_to_be_taught(root: Path, tmp_path: Path, kind: str) -> None:
    """All begin with the same student, and train no more than it and what they add."""
    module, _, batch = build(root, tmp_path / "run", kind)
    plain, _, _ = build(root, tmp_path / "plain", "alone")
    assert differences(plain.model.state_dict(), module.model.state_dict()) == []
    parts = module.losses(batch)
    assert parts.keys() == OF_KINDS[kind]
    statistics = module.model.body.blocks[1].norm.running_mean.clone()
    plain.losses(batch)
    torch.testing.assert_close(statistics, plain.model.body.blocks[1].norm.running_mean)  # messages leave them alone
    torch.stack([*parts.values()]).sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    (group,) = module.configure_optimizers().param_groups
    assert len(group["params"]) == len(list(module.parameters()))
    added = {n.split(".")[0] for n, _ in module.named_parameters()} - {"model"}
    assert added == {"base": {"interpreters"}, "modules": {"interpreters"}, "hints": {"regressor"}}.get(kind, set())
    if module.teacher is not None:
        assert all(p.grad is None for p in module.teacher.net.parameters())


def test_weights_rounds_and_the_teachers_columns(root: Path, tmp_path: Path) -> None:
    module, _, batch = build(root, tmp_path / "run", messages__rounds=3)
    parts = {k: float(v) for k, v in module.losses(batch).items()}
    assert len(parts) == 1 + 9
    again, _, _ = build(
        root, tmp_path / "run", messages__rounds=3, loss__interact=0.5, loss__message=2.0, loss__state=3.0
    )
    for name, value in again.losses(batch).items():
        times = {"interact": 0.5, "message": 2.0, "state": 3.0, "task": 1.0}[name.partition("_")[0]]
        assert float(value) == pytest.approx(times * parts[name], rel=1e-5), name
    kd, _, _ = build(root, tmp_path / "run", "kd")
    logits = torch.arange(12.0).view(4, 3)
    assert torch.equal(kd._of_columns(logits), logits)
    kd.columns = [2, 0]
    assert torch.equal(kd._of_columns(logits), logits[:, [2, 0]])


def test_stopped_and_started_again_it_is_the_same(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = settings(root, messages__form="tokens", messages__rounds=2)
    fit(METHOD, how, *sets(root), str(tmp_path / "whole"))
    step = TalkModule.training_step

    def power_cut(self: Any, batch: Any, batch_idx: int) -> None:
        if self.iteration == 10:
            raise RuntimeError("power cut")
        step(self, batch, batch_idx)

    monkeypatch.setattr(TalkModule, "training_step", power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(METHOD, how, *sets(root), str(tmp_path / "cut"))
    monkeypatch.setattr(TalkModule, "training_step", step)
    assert checkpoint(tmp_path / "cut", "last")["iteration"] == 8
    fit(METHOD, how, *sets(root), str(tmp_path / "cut"))
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_transformers_and_timm(root: Path, tmp_path: Path) -> None:
    """A ViT of transformers that sees other sizes talks with timm's ResNet; it knows more classes, in another order."""
    names = ["zebra", *sorted({i.label or "" for i in read_items(root / "train")}, reverse=True)]
    config = ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=48)
    config.id2label, config.label2id = dict(enumerate(names)), {n: k for k, n in enumerate(names)}
    torch.manual_seed(0)
    vit = ViTForImageClassification(config)
    vit.save_pretrained(tmp_path / "vit")
    ViTImageProcessor(size={"height": 48, "width": 48}).save_pretrained(tmp_path / "vit")
    layers = {"teacher.low": "vit.layers.0", "teacher.high": "vit.layers.1", "model.low": "body.net.net.layer1",
              "model.high": "body.net.net.layer4", "model.backbone": "audiokd_tiny_resnet", "model.size": 0}  # fmt: skip
    changes = {k.replace(".", "__"): v for k, v in layers.items()} | {"teacher__model": str(tmp_path / "vit")}
    module, _, batch = build(root, tmp_path / "run", messages__form="tokens", loss__kd=1.0, loss__hint=1.0, **changes)
    assert batch["student"]["pixel_values"].shape == (4, 3, 32, 32)
    assert batch["teacher"]["pixel_values"].shape == (4, 3, 48, 48)
    assert module.columns == [3, 2, 1]
    parts = module.losses(batch)
    assert parts.keys() == OF_KINDS["base"] | {"kd", "hint"}
    torch.stack([*parts.values()]).sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    said = vit.eval()(batch["teacher"]["pixel_values"]).logits
    assert torch.equal(module.teacher.logits(batch["teacher"]), said)


@pytest.fixture(scope="module")
def ears(readers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Teachers of sound with random weights: an ATST of ours, and HuBERT of transformers, which knows other classes."""
    folder = tmp_path_factory.mktemp("ears")
    torch.manual_seed(0)
    encoder = ATSTModel(ATSTConfig(kind="clip", dim=32, depth=2, heads=2))
    ClassifierModel(ClassifierConfig(shape_of(encoder), ["beckett", "two_cities"])).save_pretrained(folder / "atst")
    config = HubertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8), conv_kernel=(10, 8),
        conv_stride=(20, 16), num_feat_extract_layers=2, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, num_labels=3,
    )  # fmt: skip
    HubertForSequenceClassification(config).save_pretrained(folder / "hubert")
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder / "hubert")
    encoder.save_pretrained(folder / "bare_atst")
    MERTModel(MERTConfig(channels=8, dim=32, depth=2, heads=2, hidden=32, layerdrop=0.9)).save_pretrained(
        folder / "bare_mert"
    )
    HubertModel(config).save_pretrained(folder / "bare_hubert")
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder / "bare_hubert")
    small = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "num_mel_bins": 32,
    }
    ASTForAudioClassification(ASTConfig(**small, max_length=100, num_labels=3)).save_pretrained(folder / "ast")
    ASTFeatureExtractor(num_mel_bins=32, max_length=100).save_pretrained(folder / "ast")
    return folder


BARE = {
    "bare_atst": ("encoder.blocks.0", "encoder.blocks.1"),
    "bare_mert": ("encoder.encoder.layers.0", "encoder.encoder.layers.1"),
    "bare_hubert": ("encoder.body.encoder.layers.0", "encoder.body.encoder.layers.1"),
    "ast": ("encoder.body.layers.0", "encoder.body.layers.1"),  # whose head would want transformers' log-mel
}


@pytest.mark.parametrize("name", BARE)
def test_an_encoder_without_a_head_talks_and_gives_hints(
    readers: Path, ears: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for method in ("atst", "mert"):  # a batch of more goes through the layers in one call
        monkeypatch.setattr(f"audiokd.methods.{method}.model.CHUNKS", 1)
    low, high = BARE[name]
    how = {"teacher__model": str(ears / name), "teacher__low": low, "teacher__high": high}
    module, _, batch = build(readers, tmp_path / "run", loss__hint=1.0, **how)
    assert (module.teacher.labels, module.columns) == ((), None)
    parts = module.losses(batch)
    assert parts.keys() == OF_KINDS["base"] | {"hint"}
    torch.stack([*parts.values()]).sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    # the state is the encoder's own, of the waveform at its rate
    view = batch.get("teacher", batch["student"])
    passed = module._taught(batch)
    with torch.no_grad():
        found = load_trainable(str(ears / name)).eval().extract_features(view["wav"], view["lengths"], 1)
    torch.testing.assert_close(passed.output, found.clip)
    low_state = passed.states[low]
    again = module.teacher_split.enter(passed, low, low_state)
    assert torch.equal(again.output, passed.output)
    assert not torch.allclose(
        module.teacher_split.enter(passed, low, torch.randn_like(low_state)).output, passed.output
    )
    module.validate_batch(batch)
    with pytest.raises(AudiokdError, match=r"(?s)(says neither classes nor ratings|takes spectrograms).*--loss.kd 0"):
        build(readers, tmp_path / "run", "kd", teacher__model=str(ears / name))


def test_sound_is_learnt_with_a_teacher_of_ours(readers: Path, ears: Path, tmp_path: Path) -> None:
    layers = {"teacher__low": "encoder.blocks.0", "teacher__high": "encoder.blocks.1", "model__widths": [8, 16]}
    how = {"teacher__model": str(ears / "atst"), "data__crop_s": 1.0, **layers}
    module, data, _ = build(readers, tmp_path / "run", **how)
    seen = learnt(module, data.collate([data.train_set[0, k] for k in range(14)]), 40)
    for name in ("task", "state_1"):
        assert seen[-1][name] < 0.7 * seen[0][name], (name, seen[0], seen[-1])
    fit(METHOD, settings(readers, **how), str(readers / "train"), str(readers / "dev"), str(tmp_path / "exp"))
    assert (12, "val", "teacher_score") in rows(tmp_path / "exp")
    export(str(tmp_path / "exp"), str(tmp_path / "model"))
    model = audiokd.load_model(tmp_path / "model")
    assert (model.kind, model.sample_rate, model.labels) == ("audio", 16000, ["beckett", "two_cities"])


HUBERT = {"teacher__low": "hubert.encoder.layers.0", "teacher__high": "hubert.encoder.layers.1"}


def test_an_encoder_that_drops_layers_learns(readers: Path, ears: Path, tmp_path: Path) -> None:
    """MERT in training mode runs all of them; its batches here are of more clips than go through it at once otherwise."""
    mine = {"model__low": "body.encoder.encoder.layers.0", "model__high": "body.encoder.encoder.layers.1"}
    how = {"teacher__model": str(ears / "hubert"), "model__encoder": str(ears / "bare_mert"), **HUBERT, **mine}
    module, data, _ = build(readers, tmp_path / "run", **how)
    assert module.model.config.body["encoder"]["layerdrop"] == 0.0
    module.train()
    parts = module.losses(data.collate([data.train_set[0, k] for k in range(9)]))
    assert parts.keys() == OF_KINDS["base"]
    torch.stack([*parts.values()]).sum().backward()


def test_channels_where_auto_does_not_look_for_them(
    readers: Path, ears: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A convolution over time gives [B, 8, T]."""
    conv = {"teacher__model": str(ears / "hubert"), **HUBERT, "teacher__low": "hubert.feature_extractor.conv_layers.0"}
    with pytest.raises(
        AudiokdError, match=r"(?s)conv_layers.0 has 400 channels in one batch and 300 in .*--teacher.layout first"
    ):
        build(readers, tmp_path / "run", **conv)
    high = {"teacher__high": "hubert.feature_extractor.conv_layers.1", "teacher__layout": "first"}
    capsys.readouterr()
    module, _, batch = build(readers, tmp_path / "run", **conv | high)
    said = capsys.readouterr().out
    assert (
        "--teacher.low, --teacher.high: hubert.feature_extractor.conv_layers.0, 8 channels at 400 positions; " in said
    )
    assert (
        "--model.low, --model.high: body.blocks.0, 4 channels at 32 x 25 positions; body.blocks.1, 8 channels" in said
    )
    assert module.losses(batch).keys() == OF_KINDS["base"]
    batch["ids"] = batch["ids"] * 2
    with pytest.raises(AudiokdError, match=r"4 states at the layer body.blocks.1 of 8 items"):
        module.losses(batch)


def test_a_teacher_of_other_classes_can_talk_and_not_be_copied(readers: Path, ears: Path, tmp_path: Path) -> None:
    layers = {"teacher__low": "hubert.encoder.layers.0", "teacher__high": "hubert.encoder.layers.1"}
    module, _, batch = build(readers, tmp_path / "run", teacher__model=str(ears / "hubert"), **layers)
    assert module.columns is None
    assert module.losses(batch).keys() == OF_KINDS["base"]
    with pytest.raises(AudiokdError, match="does not know 2 of 2 classes: beckett, two_cities"):
        build(readers, tmp_path / "run", "kd", teacher__model=str(ears / "hubert"))
    # as transformers' own extractor prepares it, clip by clip
    clips = [w[:n].numpy() for w, n in zip(batch["student"]["wav"], batch["student"]["lengths"].tolist())]
    given = module.teacher.processor(clips, sampling_rate=16000, return_tensors="pt", padding=True)
    with torch.no_grad():
        expected = module.teacher.net(**given).logits
    torch.testing.assert_close(module.teacher.logits(batch["student"]), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("base", {"teacher__model": ""}, "loss: conversation: no teacher is given"),
        ("alone", {"teacher__model": "x/y"}, "a teacher is given, and no loss needs it"),
        ("base", {"messages__way": "one", "messages__rounds": 2}, "one-way talk hears nothing"),
        ("base", {"messages__way": "none"}, "nobody to agree with on a message"),
        ("base", {"messages__rounds": 0}, "rounds and sizes of messages are 1 and more"),
        ("base", {"loss__state": -1.0}, "a weight under 0"),
        ("kd", {"loss__temperature": 0.0}, "loss.temperature: a temperature of 0"),
        ("dkd", {"loss__dkd_beta": -1.0}, "loss.dkd_alpha, loss.dkd_beta: a weight under 0"),
        ("base", {"model__encoder": "x/y"}, "model.encoder for data of image"),
        ("base", {"model__weights": "x"}, "weights without a backbone"),
        ("base", {"model__low": "body.blocks.0", "model__high": "body.block.1"}, r"no layer 'body.block.1' in this TalkModel"),
        ("base", {"teacher__low": "body.blocks.9", "teacher__high": "body.blocks.1"}, r"teacher.*no layer 'body.blocks.9'"),
        ("base", {"model__low": "body.blocks.0"}, r"which layers it is talked to at is not said"),
        ("base", {"model__widths": [8]}, "one block, and a low and a high one are due"),
        ("base", {"messages__shared": True}, r"messages.shared: states of 8 and 4 numbers in the student, 16 and 8"),
        ("base", {"model__backbone": "audiokd_tiny_vit", "model__size": 0}, "--model.low and --model.high, dotted names"),
    ],
)  # fmt: skip
def test_what_cannot_be(root: Path, tmp_path: Path, kind: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AudiokdError, match=f"(?s){said}"):
        build(root, tmp_path / "run", kind, **changes)


def test_data_that_do_not_go_together(root: Path, readers: Path, ears: Path, tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match="the teacher is of image, the data of audio"):
        build(root, tmp_path / "run", data=readers, model__size=0)
    ATSTModel(ATSTConfig(kind="clip", dim=32, depth=2, heads=2)).save_pretrained(tmp_path / "atst")
    with pytest.raises(AudiokdError, match="says neither classes nor ratings"):
        load_labeller(str(tmp_path / "atst"))
    with pytest.raises(AudiokdError, match=r"student saw \d+ test items"):
        build(root, tmp_path / "run", data__test=(str(root / "train"),))
    regime = json.loads((root / "exp" / "regime.json").read_text())
    assert (regime["setting"], regime["steps"][0]["labelled"]["count"]) == ("inductive", 45)
