"""Talking Models on readers, with encoders of sound: ours and those of transformers, with a head and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_backbones  # noqa: F401  registers them
import torch
from safetensors.torch import load_file
from talking_runs import METHOD, OF_KINDS, build, learnt, settings
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    HubertConfig,
    HubertForSequenceClassification,
    HubertModel,
    Wav2Vec2FeatureExtractor,
)
from whole_runs import checkpoint, differences, rows

import audiokd
from audiokd.errors import AudiokdError
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.methods.classifier.config import ClassifierConfig
from audiokd.methods.classifier.model import ClassifierModel
from audiokd.methods.mert.config import MERTConfig
from audiokd.methods.mert.model import MERTModel
from audiokd.stages.export import export
from audiokd.stages.fit import fit
from audiokd.teachers.labeller import load_labeller
from audiokd.teachers.trainable import load_trainable, shape_of


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


@pytest.mark.parametrize(("name", "layers"), [("hubert", HUBERT), ("bare_hubert", {})])
def test_a_hubert_teacher_stays_to_the_bit(
    readers: Path, ears: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, layers: dict[str, str]
) -> None:
    """Convolutions with weight norm, layer drop and all: after training in two rounds it is what its file holds."""
    kept = []

    def load(name: str, logits: bool) -> Any:
        kept.append(load_labeller(name, logits))
        kept.append({k: v.clone() for k, v in kept[0].net.state_dict().items()})
        return kept[0]

    monkeypatch.setattr("audiokd.teachers.labeller.load_labeller", load)
    low, high = BARE["bare_hubert"]
    layers = layers or {"teacher__low": low, "teacher__high": high}
    how = {
        "teacher__model": str(ears / name),
        "messages__rounds": 2,
        "run__max_steps": 3,
        "run__val_every": 3,
        **layers,
    }
    fit(METHOD, settings(readers, **how), str(readers / "train"), str(readers / "dev"), str(tmp_path / "exp"))
    teacher, before = kept
    assert differences(before, teacher.net.state_dict()) == []
    if name == "hubert":
        assert differences(load_file(ears / name / "model.safetensors"), teacher.net.state_dict()) == []
    assert not any(m.training for m in teacher.net.modules())
    assert all(p.grad is None and not p.requires_grad for p in teacher.net.parameters())
    assert {k.split(".")[0] for k in checkpoint(tmp_path / "exp", "last")["state_dict"]} == {"model", "interpreters"}


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
    n = sum(p.numel() for p in module.interpreters.parameters())
    assert f"encoders and decoders of messages: {n:,} weights beside the student's" in said
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
