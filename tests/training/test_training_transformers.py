"""Fine-tuning encoders of transformers, and teaching across front ends: from a log-mel to waveforms."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from soundscapes import event_corpus, read
from torch import Tensor
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    BertConfig,
    Data2VecAudioConfig,
    HubertConfig,
    HubertModel,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2ConformerConfig,
    Wav2Vec2ConformerModel,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperModel,
)
from whole_runs import finish, rows

import audiokd
from audiokd.data.audio import load_at
from audiokd.data.crops import collate
from audiokd.data.inputs import open_input
from audiokd.errors import AudiokdError
from audiokd.losses.label_distillation import probabilities
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.methods.classifier.config import ClassifierConfig
from audiokd.methods.classifier.model import ClassifierModel
from audiokd.methods.classifier.run import ClassifierRun
from audiokd.methods.classifier.settings import ClassifierSettings
from audiokd.methods.detector.config import DetectorConfig
from audiokd.methods.detector.model import DetectorModel
from audiokd.methods.detector.run import DetectorRun
from audiokd.methods.detector.settings import DetectorSettings
from audiokd.methods.mert.config import MERTConfig
from audiokd.methods.mert.model import MERTModel
from audiokd.stages.export import export
from audiokd.stages.extract import extract
from audiokd.teachers.trainable import build_trainable, load_trainable, shape_of
from audiokd.training.layer_decay import layer_decay_groups, train_last_blocks


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small encoders of each family, with random weights."""
    root = tmp_path_factory.mktemp("encoders")
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    hubert = HubertConfig(**shape, conv_dim=[16] * 7, num_conv_pos_embedding_groups=4)
    HubertModel(hubert).save_pretrained(root / "hubert")
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(root / "hubert")
    Wav2Vec2BertModel(Wav2Vec2BertConfig(**shape)).save_pretrained(root / "w2v_bert")
    conformer = Wav2Vec2ConformerConfig(**shape, conv_dim=[16] * 7, position_embeddings_type="rotary")
    Wav2Vec2ConformerModel(conformer).save_pretrained(root / "conformer")
    Wav2Vec2FeatureExtractor().save_pretrained(root / "conformer")
    ASTModel(ASTConfig(**shape, max_length=100)).save_pretrained(root / "ast")
    ASTFeatureExtractor(max_length=100).save_pretrained(root / "ast")
    half = {"layers": 2, "attention_heads": 4, "ffn_dim": 64}
    whisper = {f"{part}_{k}": v for part in ("encoder", "decoder") for k, v in half.items()}
    whisper |= {f"{k}_token_id": 1 for k in ("pad", "bos", "eos", "decoder_start")}
    WhisperModel(WhisperConfig(**whisper, d_model=32, vocab_size=100)).save_pretrained(root / "whisper")
    ATSTModel(ATSTConfig(kind="clip", dim=32, depth=2, heads=2)).save_pretrained(root / "atst")
    shape = {"dim": 32, "depth": 2, "heads": 4, "hidden": 64, "channels": 16}
    MERTModel(MERTConfig(**shape, chunk_s=0.5)).save_pretrained(root / "mert")
    return root


def fitted(readers: Path, encoder: Path, exp: Path, *more: str) -> Path:
    """The folder of a classifier of the readers, trained for 30 steps."""
    options = f"--config classifier/debug --train {readers}/train --dev {readers}/dev --run.accelerator cpu"
    options += f" --data.labels [{readers}/train,{readers}/dev] --model.encoder {encoder}"
    options += " --run.max_steps 30 --run.val_every 15 --data.crop_s 1 --data.val_crop_s 1 --data.batch_size 7"
    command = [str(Path(sys.executable).with_name("audiokd")), "fit", "classifier", *options.split()]
    finish([*command, *more], exp)
    export(str(exp), str(exp / "export"))
    return exp / "export"


def two_clips(readers: Path) -> tuple[Tensor, Tensor]:
    wavs = [load_at(u, 16_000) for u in open_input(str(readers / "dev")).utterances()[1:3]]
    return torch.from_numpy(np.stack(wavs)), torch.tensor([16_000, 9_000])


def losses(exp: Path) -> list[float]:
    found = rows(exp)
    return [float(found[s, "train", "loss"]) for s in range(1, 31)]


@pytest.mark.parametrize("family", ["hubert", "w2v_bert", "whisper", "conformer", "ast"])
def test_a_transformers_encoder_is_trained_whole(family: str, readers: Path, encoders: Path, tmp_path: Path) -> None:
    folder = fitted(readers, encoders / family, tmp_path / "exp", "--augment.mixup", "0")
    curve = losses(tmp_path / "exp")
    assert sum(curve[-8:]) < 0.8 * sum(curve[:8]), curve
    model = audiokd.load_model(folder)
    before = dict(load_trainable(str(encoders / family)).named_parameters())
    after = dict(model.encoder.named_parameters())
    moved = {n for n, p in after.items() if not torch.equal(p, before[n])}
    assert any(".layers.0." in n for n in moved)
    assert any(".layers.1." in n for n in moved)
    assert not any("embed_positions" in n for n in moved)
    # one command's logits are the model's, alone and in a batch
    wav, lengths = two_clips(readers)
    logits = model(wav, lengths)
    torch.testing.assert_close(logits[1:], model(wav[1:, :9_000]), atol=1e-4, rtol=1e-4)
    extract(str(folder), str(readers / "dev"), str(tmp_path / "store"), layer="logits")
    store = audiokd.open_store(tmp_path / "store")
    assert store.meta["labels"] == ["beckett", "two_cities"]
    np.testing.assert_allclose(store["beckett-8"].array[0], logits[0].detach(), atol=1e-4)


def test_mert_is_trained_whole(readers: Path, encoders: Path, tmp_path: Path) -> None:
    """An encoder of ours that takes waveforms: its mixed clips, its classifier alone, in a batch and as a teacher."""
    folder = fitted(readers, encoders / "mert", tmp_path / "exp", "--optim.lr", "0.02")
    curve = losses(tmp_path / "exp")
    assert sum(curve[-8:]) < 0.95 * sum(curve[:8]), curve
    model, before = audiokd.load_model(folder), dict(load_trainable(str(encoders / "mert")).named_parameters())
    moved = {n for n, p in model.encoder.named_parameters() if not torch.equal(p, before[n])}
    assert before.keys() - moved == {"masked_spec_embed"}
    wav = torch.from_numpy(np.stack([load_at(u, 24_000) for u in open_input(str(readers / "dev")).utterances()[1:3]]))
    logits = model(wav, torch.tensor([24_000, 13_000]))
    torch.testing.assert_close(logits[1:], model(wav[1:, :13_000]), atol=1e-4, rtol=1e-4)
    few = ["--teachers.models", f"[{folder}]", "--run.max_steps", "15"]
    again = fitted(readers, encoders / "mert", tmp_path / "taught", *few)
    assert audiokd.load_model(again).config.encoder["model_type"] == "mert"


def test_hubert_is_normalised_as_its_preprocessor_says(readers: Path, encoders: Path, tmp_path: Path) -> None:
    """A classifier's folder has no preprocessor_config.json: its own config says it."""
    folder = fitted(readers, encoders / "hubert", tmp_path / "exp", "--run.max_steps", "15")
    model = audiokd.load_model(folder)
    assert model.encoder.teacher.normalize is False
    wav, _ = two_clips(readers)
    assert not torch.allclose(model(wav), model(0.1 * wav), atol=1e-3)


def test_log_mel_teaches_waveforms(readers: Path, encoders: Path, tmp_path: Path) -> None:
    """An ATST teaches a HuBERT on the very waveforms that are mixed for both."""
    teacher = fitted(readers, encoders / "atst", tmp_path / "atst")
    s = ClassifierSettings()
    s.model.encoder, s.data.labels = str(encoders / "hubert"), (str(readers / "train"), str(readers / "dev"))
    s.teachers.models, s.data.crop_s = (str(teacher),), 1.0
    module, data = ClassifierRun(s, str(readers / "train"), str(readers / "dev")).build(tmp_path)
    batch = data.collate([data.train_set[0, i] for i in (0, 1, 7, 8)])
    x, n, _, _ = module._augmented(batch)
    assert x.shape == batch["wav"].shape
    assert not torch.equal(x, batch["wav"])
    said = probabilities(audiokd.load_model(teacher)(x, n), module.kind)
    torch.testing.assert_close(module._ask(x, n)[0], said, atol=1e-5, rtol=1e-5)
    s.augment.warp = True
    with pytest.raises(AudiokdError, match=r"none in common(.|\n)*augment.warp false"):
        ClassifierRun(s, str(readers / "train"), str(readers / "dev")).build(tmp_path)


def test_log_mels_of_two_windows(readers: Path, encoders: Path, tmp_path: Path) -> None:
    """ATST-Frame small hears windows of 640 samples and base of 1024: neither's log-mel is the other's, each makes its own."""
    narrow = ATSTConfig(kind="clip", dim=32, depth=2, heads=2, win_length=640)
    names = ["beckett", "two_cities"]
    ClassifierModel(ClassifierConfig(narrow.to_dict(), names, "class")).save_pretrained(tmp_path / "narrow")
    ClassifierModel(ClassifierConfig({**narrow.to_dict(), "win_length": 1024}, names, "class")).save_pretrained(
        tmp_path / "wide"
    )
    s = ClassifierSettings()
    s.model.encoder, s.data.labels = str(encoders / "atst"), (str(readers / "train"), str(readers / "dev"))
    built = {}
    for teacher in ("narrow", "wide"):
        s.teachers.models = (str(tmp_path / teacher),)
        module, _ = ClassifierRun(s, str(readers / "train"), str(readers / "dev")).build(tmp_path / teacher)
        built[teacher] = module
    assert built["wide"].on_mel
    assert not built["narrow"].on_mel
    wav, lengths = two_clips(readers)
    said = built["narrow"]._ask(*built["narrow"].front({"wav": wav, "lengths": lengths}))[0]
    alone = probabilities(audiokd.load_model(tmp_path / "narrow")(wav, lengths), built["narrow"].kind)
    torch.testing.assert_close(said, alone, atol=1e-5, rtol=1e-5)


def test_a_detector_on_waveforms(
    readers: Path, encoders: Path, two_cities: Path, beckett: Path, tmp_path: Path
) -> None:
    """A HuBERT finds who reads when, 50 times a second, and learns from the frames that an untrained one of its kind says."""
    event_corpus(tmp_path, {"beckett": read(beckett), "two_cities": read(two_cities)})
    options = f"--config detector/debug --train {tmp_path}/train --dev {tmp_path}/dev --run.accelerator cpu"
    options += f" --data.events [{tmp_path}/train,{tmp_path}/dev] --data.labels [{tmp_path}/train]"
    options += f" --model.encoder {encoders}/hubert --run.max_steps 30 --run.val_every 15 --data.val_crop_s 3"
    options += " --optim.unfreeze -1 --optim.lr 0.05 --augment.mixup 0 --mean_teacher.when never"
    command = [str(Path(sys.executable).with_name("audiokd")), "fit", "detector", *options.split()]
    finish(command, tmp_path / "exp")
    curve = losses(tmp_path / "exp")
    assert sum(curve[-8:]) < 0.85 * sum(curve[:8]), curve
    export(str(tmp_path / "exp"), str(tmp_path / "export"))
    extract(str(tmp_path / "export"), str(tmp_path / "dev"), str(tmp_path / "store"), layer="events")
    store = audiokd.open_store(tmp_path / "store")
    assert (store.meta["frame_rate"], store.meta["labels"]) == (50, ["beckett", "two_cities"])
    assert store["dev-00"].array.shape == (149, 2)
    finish([*command, "--teachers.models", f"[{tmp_path}/export]", "--run.max_steps", "2"], tmp_path / "taught")
    assert float(rows(tmp_path / "taught")[2, "train", "taught"]) > 0


def test_a_teacher_with_a_frame_less(
    readers: Path, encoders: Path, two_cities: Path, beckett: Path, tmp_path: Path
) -> None:
    """HuBERT gives 49 frames a second where Whisper gives 50; what both have is learnt."""
    event_corpus(tmp_path, {"beckett": read(beckett), "two_cities": read(two_cities)})
    torch.manual_seed(0)
    teacher = DetectorModel(
        DetectorConfig(shape_of(load_trainable(str(encoders / "hubert"))), ["beckett", "two_cities"])
    )
    teacher.save_pretrained(tmp_path / "hubert")
    s = DetectorSettings()
    s.model.encoder, s.teachers.models, s.data.crop_s = str(encoders / "whisper"), (str(tmp_path / "hubert"),), 1.0
    s.data.events, s.augment.mixup = (str(tmp_path / "train"), str(tmp_path / "dev")), 0.0
    module, data = DetectorRun(s, str(tmp_path / "train"), str(tmp_path / "dev")).build(tmp_path)
    batch = collate([data.train_set[0, 0, i] for i in range(3)])
    x, n, mix = module._views(batch)
    events, _, _ = module.logits(module.model, x, n)
    said = module._ask(x, n, mix, batch, events)
    assert (events.shape[1], said.shape[1]) == (50, 49)
    torch.testing.assert_close(said, teacher.eval()(x, n)[0].sigmoid(), atol=1e-5, rtol=1e-5)


def scales(model: torch.nn.Module) -> dict[str, float]:
    """What the rate of each parameter is multiplied by, halved from block to block."""
    groups = layer_decay_groups(model, torch.nn.Linear(2, 2), model.depth, 0.5)
    scale = {id(p): g["scale"] for g in groups for p in g["params"]}
    return {n: scale[id(p)] for n, p in model.named_parameters() if id(p) in scale}


def test_the_last_block_and_its_norm(encoders: Path) -> None:
    """The norm after the last block is trained with it, at its rate; what is frozen is the same twice in training mode."""
    stable = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_dim": [16] * 7}
    large = HubertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, **stable)
    for model, first in (
        (load_trainable(str(encoders / "whisper")), "conv1"),
        (build_trainable({**large.to_dict(), "do_normalize": True}), "feature_extractor.conv_layers.1.conv"),
    ):
        scale = scales(model)
        last, norm = [n for n in scale if ".layers.1." in n], f"{model.last_norm}.weight"
        assert scale[norm] == 0.5
        assert {scale[n] for n in last} == {0.5}
        assert scale[f"body.{first}.weight"] == 0.25
        train_last_blocks(model, model.depth, 1)
        trained = {n for n, p in model.named_parameters() if p.requires_grad}
        assert trained == {*last, norm, f"{model.last_norm}.bias"}
    mert = MERTModel(MERTConfig(dim=32, depth=2, heads=4, hidden=64, channels=16, pre_norm=True, layerdrop=0.5))
    mert.depth = 2
    scale = scales(mert)
    assert scale["encoder.layer_norm.weight"] == scale["encoder.layers.1.layer_norm.weight"] == 0.5
    assert {s for n, s in scale.items() if not n.startswith(("encoder.layers.1.", "encoder.layer_norm."))} == {0.25}
    train_last_blocks(mert, 2, 1)
    assert mert.encoder.layerdrop == 0
    post = MERTModel(MERTConfig(dim=32, depth=2, heads=4, hidden=64, channels=16))
    train_last_blocks(post, 2, 1)
    assert {n.rsplit(".layers.", 1)[-1][:2] for n, p in post.named_parameters() if p.requires_grad} == {"1."}
    hubert = load_trainable(str(encoders / "hubert"))
    train_last_blocks(hubert, hubert.depth, 1)
    hubert.train()
    wav = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    a, b = (hubert.extract(wav, None, "layer2")[0] for _ in range(2))
    assert torch.equal(a, b)
    a, b = (hubert.extract(wav, None, "layer3")[0] for _ in range(2))
    assert not torch.equal(a, b)


def test_convolutions_called_layers_are_no_blocks() -> None:
    """data2vec's positional convolutions stand before the blocks: at the lowest rate, and left as they are."""
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = Data2VecAudioConfig(**shape, conv_dim=[16] * 7, num_conv_pos_embedding_groups=4)
    model = build_trainable({**config.to_dict(), "do_normalize": True})
    scale = scales(model)
    assert {scale[f"body.encoder.pos_conv_embed.layers.{i}.conv.weight"] for i in range(5)} == {0.25}
    train_last_blocks(model, model.depth, 1)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {n for n in scale if n.startswith("body.encoder.layers.1.")}


def test_what_is_no_encoder(readers: Path, tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match="no such folder"):
        load_trainable(str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudiokdError, match="cannot load the encoder"):
        load_trainable(str(tmp_path / "empty"))
    tagger = ClassifierModel(
        ClassifierConfig(ATSTConfig(kind="clip", dim=32, depth=2, heads=2).to_dict(), ["a"], "class")
    )
    tagger.save_pretrained(tmp_path / "classifier")
    BertConfig().save_pretrained(tmp_path / "bert")  # it is refused without weights
    for name in ("classifier", "bert"):
        what = rf"{name}: a {name} model is no encoder that can be trained\n  .*families .*, hubert, .*whisper"
        with pytest.raises(AudiokdError, match=what):
            load_trainable(str(tmp_path / name))
        s = ClassifierSettings()
        s.model.encoder, s.data.labels = str(tmp_path / name), (str(readers / "train"), str(readers / "dev"))
        with pytest.raises(AudiokdError, match=what):
            ClassifierRun(s, str(readers / "train"), str(readers / "dev")).build(tmp_path)
    with pytest.raises(AudiokdError, match="a bert model is no encoder that can be trained"):
        build_trainable(BertConfig().to_dict())
