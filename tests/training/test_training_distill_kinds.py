"""Which parts each kind of distillation teaches, in a real step with a real Whisper encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from debug_runs import data_dir, debug_settings
from method_settings import settings_of
from transformers import AutoModel, HubertConfig, Wav2Vec2BertConfig

from audiokd.data.crops import CropDataset, collate
from audiokd.data.inputs import open_input
from audiokd.errors import AudiokdError, ConfigError
from audiokd.methods.lm_spt.module import LMSPTModule
from audiokd.stages.fit import build_module
from audiokd.teachers.auto import load_teacher
from audiokd.teachers.ssl import SSLTeacher
from audiokd.teachers.w2v_bert import W2VBertTeacher
from audiokd.teachers.whisper import WhisperTeacher


@pytest.fixture(scope="module")
def teacher(whisper_dir: Path) -> WhisperTeacher:
    return WhisperTeacher.from_pretrained(str(whisper_dir), "crop")


@pytest.fixture(scope="module")
def batch(two_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = data_dir(tmp_path_factory.mktemp("corpus"), two_cities, 0, 4)
    data = CropDataset(open_input(folder).utterances(), 24000, 0.96, 0)
    return collate([data[0, 0], data[0, 1]])


def reached(net: torch.nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


@pytest.mark.parametrize(("kind", "distance"), [("pooled", "mse"), ("pooled", "cosine"), ("time_axis", "mse")])
def test_feature_matching_teaches_the_stream_and_not_the_auxiliary_decoder(
    whisper_dir: Path, teacher: WhisperTeacher, batch: dict[str, Any], kind: str, distance: str
) -> None:
    module = LMSPTModule(debug_settings(whisper_dir, distill__kind=kind, distill__distance=distance), teacher)
    g = module.generator
    losses = module.rebuild(batch).losses
    losses["feature"].backward(retain_graph=True)
    assert reached(g.semantic_encoder)
    assert reached(g.quantizer.semantic)
    assert reached(module.projector)
    for untouched in (g.aux_decoder, g.decoder, g.acoustic_encoder, teacher.net):
        assert not reached(untouched)
    module.zero_grad()
    losses["distill"].backward()  # the auxiliary decoder's own, cut from the stream
    assert reached(g.aux_decoder)
    for untouched in (g.semantic_encoder, g.quantizer, module.projector):
        assert not reached(untouched)


def test_none_cuts_the_stream_from_the_teacher(
    whisper_dir: Path, teacher: WhisperTeacher, batch: dict[str, Any]
) -> None:
    module = LMSPTModule(debug_settings(whisper_dir, distill__kind="none"), teacher)
    losses = module.rebuild(batch).losses
    assert "feature" not in losses
    losses["distill"].backward()
    assert reached(module.generator.aux_decoder)
    assert not reached(module.generator.semantic_encoder)
    assert not reached(module.generator.quantizer)


def test_the_small_config_takes_a_step(whisper_dir: Path, teacher: WhisperTeacher, batch: dict[str, Any]) -> None:
    """debug trains in other tests, the full sizes step on the meta device."""
    settings = settings_of("lm_spt", "small")
    module = LMSPTModule(settings, teacher)
    before = [p.detach().clone() for p in module.generator.parameters()]
    optimiser = module.configure_optimizers()[0]
    out = module.rebuild(batch)
    module.total({**out.losses, "mel": module.mel_loss(out.wav, batch["wav"])}).backward()
    optimiser.step()
    assert all(torch.isfinite(p).all() for p in module.generator.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, module.generator.parameters()))


def test_no_teacher_is_loaded_where_none_is_asked(batch: dict[str, Any]) -> None:
    module = build_module("lm_spt", debug_settings(Path("/nowhere"), distill__kind="none", loss__distill=0.0))
    assert module.teacher is None
    losses = module.rebuild(batch).losses
    assert "distill" not in losses
    assert "feature" not in losses


def test_the_optimiser_moves_the_projector_and_the_export_lacks_it(whisper_dir: Path, teacher: WhisperTeacher) -> None:
    module = LMSPTModule(debug_settings(whisper_dir, distill__kind="pooled"), teacher)
    held = {id(p) for group in module.configure_optimizers()[0].param_groups for p in group["params"]}
    assert held == {id(p) for p in [*module.generator.parameters(), *module.projector.parameters()]}
    assert not [k for k in module.generator.state_dict() if "projector" in k]


@pytest.mark.parametrize("kind", ["resynthesis", "pooled", "time_axis"])
@pytest.mark.parametrize("name", ["hama", "hubert", "w2v-bert"])
def test_teachers_that_are_no_whisper(hama_file: Path, batch: dict[str, Any], kind: str, name: str) -> None:
    """24 kHz in, 16 kHz for the teacher, features of other lengths: the loss is finite and teaches the stream."""
    if name == "hama":
        teacher = load_teacher(str(hama_file), layer=2)
    else:
        torch.manual_seed(0)
        tiny = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
        conv = {"conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
        if name == "hubert":
            teacher = SSLTeacher(AutoModel.from_config(HubertConfig(**tiny, **conv)), normalize=True, layer="mean")
        else:
            teacher = W2VBertTeacher(AutoModel.from_config(Wav2Vec2BertConfig(**tiny)))
    settings = debug_settings(Path("/nowhere"), distill__kind=kind, loss__distill=500.0 * (kind == "resynthesis"))
    module = LMSPTModule(settings, teacher)
    short = {**batch, "lengths": torch.tensor([batch["wav"].shape[1], batch["wav"].shape[1] // 2])}
    loss = module.rebuild(short).losses["distill" if kind == "resynthesis" else "feature"]
    assert torch.isfinite(loss)
    loss.backward()
    assert reached(module.generator.semantic_encoder)
    assert not reached(teacher.net)


def test_a_teacher_of_another_size_cannot_take_over(whisper_dir: Path, teacher: WhisperTeacher) -> None:
    module = LMSPTModule(debug_settings(whisper_dir, distill__kind="pooled"), teacher)
    state = module.state_dict() | {"projector.weight": torch.zeros(512, 64)}
    checkpoint = {"state_dict": state, "iteration": 3, "monitor": {"counts": module.usage.counts, "moved": 0}}
    with pytest.raises(AudiokdError, match="the run's teacher has 512 features, this one 384"):
        module.on_load_checkpoint(checkpoint)


def test_one_encoder_for_both(whisper_dir: Path, teacher: WhisperTeacher, batch: dict[str, Any]) -> None:
    module = LMSPTModule(debug_settings(whisper_dir, model__shared_encoder=True), teacher)
    g = module.generator
    assert not [k for k in g.state_dict() if k.startswith("acoustic_encoder")]
    out = module.rebuild(batch)
    out.losses["commit_acoustic"].backward()
    assert reached(g.semantic_encoder)
    g.eval()
    codes = g.encode(batch["wav"])
    z = g.extract(batch["wav"], layer="acoustic_latent")[0]
    assert torch.equal(z, g.extract(batch["wav"], layer="semantic_latent")[0])
    g.set_num_codebooks(1)
    assert torch.equal(g.encode(batch["wav"]).codes, codes.codes[:, :1])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"distill__distance": "cosine"}, "resynthesis has no distance cosine"),
        ({"distill__kind": "time_axis", "distill__distance": "l1"}, "time_axis has no distance l1"),
        ({"loss__distill": 0.0}, "learns nothing"),
    ],
)
def test_choices_that_do_not_fit(whisper_dir: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_module("lm_spt", debug_settings(whisper_dir, **changes))
