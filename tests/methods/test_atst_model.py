"""ATST's encoders: the official code's numbers on speech, and a clip's features whatever stands beside it."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from safetensors.torch import load_file
from torch import Tensor

import audiokd
from audiokd.errors import AudiokdError
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.convert import convert_atst, convert_atst_official
from audiokd.methods.atst.model import ATSTModel
from audiokd.nn.features import layers_in

DATA = Path(__file__).parent / "data" / "atst"
#: frames of clips that the official encoders were given under their downstream rule with chunks of 601
LENGTHS_601 = [500, 601, 605, 903, 1202, 1400, 3500]
LENGTHS = [1001, 1002, 1003, 1004, 1005, 1400, 1502, 2002, 2003, 3500]


@pytest.fixture(scope="module")
def speech(two_cities: Path) -> Tensor:
    x, _ = sf.read(two_cities, dtype="float32")
    return torch.from_numpy(x[::3].copy())  # 44 s at 16 kHz, as the official code was given


def tiny(kind: str, chunks: str = "weighted", dim: int = 32) -> ATSTModel:
    torch.manual_seed(0)
    model = ATSTModel(ATSTConfig(kind=kind, dim=dim, depth=3, heads=4, chunks=chunks))
    for p in model.parameters():  # so that every part counts
        torch.nn.init.normal_(p, std=0.3 if p.ndim > 1 else 1.0)
    return model.eval().requires_grad_(False)


@pytest.fixture(params=["frame", "clip"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def converted(kind: str, folder: Path, **options: str) -> ATSTModel:
    """All 1,001 positions at once, which ATST-Clip's official code does on demand alone."""
    convert_atst(DATA / f"{kind}.ckpt", folder, num_heads=3, **options)
    assert audiokd.load_model(folder).config.chunk_frames == (601 if kind == "clip" else 0)
    return ATSTModel.from_pretrained(folder, chunk_frames=1001).eval()


@pytest.mark.parametrize("branch", ["teacher", "student"])
def test_equals_the_official_encoder(kind: str, branch: str, speech: Tensor, tmp_path: Path) -> None:
    gold = {k.removeprefix(f"{branch}."): v for k, v in load_file(DATA / f"{kind}.safetensors").items() if branch in k}
    model = converted(kind, tmp_path / "model", branch=branch)
    assert model.config.kind == kind
    f = model.extract_features(speech[None, : 160 * 1000])
    frames = torch.cat(f.hidden_states, -1)[0]
    torch.testing.assert_close(frames[::5], gold["frames"], atol=1e-5, rtol=0)
    if kind == "frame":
        torch.testing.assert_close(f.clip[0], gold["scene"], atol=1e-5, rtol=0)
    else:
        assert f.cls is not None
        torch.testing.assert_close(torch.cat(f.cls, -1)[0], gold["cls"], atol=1e-5, rtol=0)
        torch.testing.assert_close(f.clip[0], gold["scene1001"], atol=1e-5, rtol=0)


def test_masked_tokens_equal_the_official_students(speech: Tensor, tmp_path: Path) -> None:
    model = converted("frame", tmp_path / "model", branch="student")
    mel, frames = model.frontend(speech[None, : 160 * 1000])
    mask = torch.zeros(1, 250, dtype=torch.bool)
    mask[0, 10:60] = mask[0, 200:230] = True
    tokens, _ = model(mel, frames, mask)
    gold = load_file(DATA / "frame.safetensors")["student.masked"]
    torch.testing.assert_close(tokens[mask], gold, atol=1e-5, rtol=0)


@pytest.mark.parametrize("frames", LENGTHS)
def test_long_clips_by_the_official_rule(kind: str, frames: int, speech: Tensor, tmp_path: Path) -> None:
    """ATST-Clip's downstream rule, and ATST-Frame's `get_scene_embedding`."""
    rule, name = {"clip": ("official_half", "scene"), "frame": ("official_all", "all")}[kind]
    convert_atst(DATA / f"{kind}.ckpt", tmp_path / "model", num_heads=3)
    model = ATSTModel.from_pretrained(tmp_path / "model", chunks=rule, chunk_frames=1001).eval()
    gold = load_file(DATA / f"{kind}.safetensors")[f"teacher.{name}{frames}"]
    clip = model.extract_features(speech[None, : 160 * (frames - 1)]).clip[0]
    torch.testing.assert_close(clip, gold, atol=1e-5, rtol=0)


@pytest.mark.parametrize("frames", LENGTHS_601)
def test_chunks_of_the_official_length(kind: str, frames: int, speech: Tensor, tmp_path: Path) -> None:
    """6 s: ATST-Clip's by default, as officially; ATST-Frame's crop is in its hyperparameters (tests of the forms)."""
    convert_atst(DATA / f"{kind}.ckpt", tmp_path / "model", num_heads=3)
    size = {"chunk_frames": 601} if kind == "frame" else {}
    model = ATSTModel.from_pretrained(tmp_path / "model", chunks="official_half", **size).eval()
    gold = load_file(DATA / f"{kind}.safetensors")[f"teacher.scene601.{frames}"]
    clip = model.extract_features(speech[None, : 160 * (frames - 1)]).clip[0]
    torch.testing.assert_close(clip, gold, atol=1e-5, rtol=0)


def test_all_chunks_count_the_same_by_the_other_official_rule(speech: Tensor) -> None:
    """embedding.py: the mean over chunks, where a tail of 1 to 3 frames is a vector of zeros."""
    model = tiny("frame", "official_all")

    for frames in (2002, 1002):
        wav = speech[None, : 160 * (frames - 1)]
        mel, _ = model.frontend(wav)
        parts = [
            model(mel[..., i : i + 1001], torch.tensor([min(1001, frames - i)]))[0]
            for i in (0, 1001)[: 2 if frames > 1005 else 1]
        ]
        expected = sum(p[0].mean(0) for p in parts) / 2
        got = model.extract_features(wav, clip_blocks=1).clip[0]
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("chunks", ["weighted", "official_half", "official_all"])
def test_a_clip_alone_equals_in_a_batch(kind: str, chunks: str, speech: Tensor) -> None:
    model = tiny(kind, chunks)
    lengths = torch.tensor([2 * 16_000, 35 * 16_000, *(160 * (t - 1) for t in (*LENGTHS[:5], 2002, 2003))])
    wav = torch.full((len(lengths), int(lengths.max())), 0.1)
    for i, n in enumerate(lengths.tolist()):
        wav[i, :n] = speech[i * 1000 : i * 1000 + n]
    together = model.extract_features(wav, lengths)
    for i, n in enumerate(lengths.tolist()):
        alone = model.extract_features(wav[i : i + 1, :n])
        assert int(alone.lengths) == int(together.lengths[i])
        if chunks == "weighted":
            assert int(alone.lengths) == (n // 160 + 1) // 4
        torch.testing.assert_close(together.clip[i], alone.clip[0], atol=2e-5, rtol=1e-4)
        for a, b in zip(alone.hidden_states, together.hidden_states):
            torch.testing.assert_close(b[i, : a.shape[1]], a[0], atol=2e-5, rtol=1e-4)
            assert not b[i, a.shape[1] :].any()


def test_chunks_count_by_their_frames(kind: str, speech: Tensor) -> None:
    """12 s: 250 tokens and 50; the whole clip's mean is the mean of its 300 frames."""
    model = tiny(kind)
    f = model.extract_features(speech[None, : 12 * 16_000], clip_blocks=1)
    frames = f.hidden_states[-1][0]
    assert frames.shape == (300, 32)
    torch.testing.assert_close(f.clip[0, -32:], frames.mean(0), atol=1e-5, rtol=0)
    if kind == "clip":
        assert f.cls is not None
        mel, n = model.frontend(speech[None, : 12 * 16_000])
        own = [model(mel[..., i : i + 1000], (n - i).clamp(max=1000))[0][0, 0] for i in (0, 1000)]
        torch.testing.assert_close(f.cls[-1][0], (5 * own[0] + own[1]) / 6, atol=1e-5, rtol=0)


def test_extract_gives_each_layer(kind: str, speech: Tensor) -> None:
    model, wav = tiny(kind), speech[None, :48_000]
    f = model.extract_features(wav)
    last = model.extract_features(wav, clip_blocks=1).clip[:, None]
    wanted = {
        "frames": f.hidden_states[2],
        "layer1": f.hidden_states[0],
        "clip": f.clip[:, None],
        "clip3": f.clip[:, None],
        "layers": torch.cat(f.hidden_states, -1),
    }
    counts = {n: layers_in(n, model.feature_layers, model.cls_tokens) for n in ("frames", "layers", "clip", "clip2")}
    # ATST-Clip's clip embedding has the tokens of all blocks before all their means: no block's own part
    assert counts == {
        "frames": 1,
        "layers": 3,
        **({"clip": 1, "clip2": 1} if kind == "clip" else {"clip": 3, "clip2": 2}),
    }
    for layer, expected in {**wanted, "clip1": last}.items():
        got, n = model.extract(wav, None, layer)
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
        assert int(n) == got.shape[1]
    with pytest.raises(AudiokdError, match="layer4"):
        model.extract(wav, None, "layer4")
    with pytest.raises(AudiokdError, match="clip4"):
        model.extract(wav, None, "clip4")


def test_there_and_back(kind: str, speech: Tensor, tmp_path: Path) -> None:
    model = converted(kind, tmp_path / "a")
    convert_atst_official(tmp_path / "a", tmp_path / "back.ckpt")
    convert_atst(tmp_path / "back.ckpt", tmp_path / "b")  # the heads are in its hyperparameters
    again = audiokd.load_model(tmp_path / "b")
    wav = speech[None, :32_000]
    assert torch.equal(model.extract_features(wav).clip, again.extract_features(wav).clip)
    theirs = torch.load(DATA / f"{kind}.ckpt", weights_only=True)["state_dict"]
    ours = torch.load(tmp_path / "back.ckpt", weights_only=True)["state_dict"]
    prefix = "model.teacher.encoder."
    assert {k for k in theirs if k.startswith(prefix)} == {k for k in ours if k.startswith(prefix)}
    assert all(torch.equal(ours[k], theirs[k]) for k in ours if k.startswith(prefix))


def test_back_as_the_official_modules_are(kind: str, tmp_path: Path) -> None:
    """Their `load_from_checkpoint` is strict and hands every hyperparameter on: names and sizes as of the official classes."""
    model = ATSTModel(ATSTConfig(kind=kind, dim=384, depth=1, heads=6, win_length=640, chunk_frames=601))
    model.save_pretrained(tmp_path / "model")
    convert_atst_official(tmp_path / "model", tmp_path / "back.ckpt")
    tree = torch.load(tmp_path / "back.ckpt", weights_only=True)
    length = "train_len" if kind == "clip" else "anchor_len"
    assert tree["hyper_parameters"] == {"arch": "small", "win_length": 640, "n_mels": 64, length: 6.0}
    norm = {f"1.{k}": (4096,) for k in ("weight", "bias", "running_mean", "running_var")} | {
        "1.num_batches_tracked": ()
    }
    projector, predictor = ({"0.weight": (4096, n), **norm, "3.weight": (256, 4096)} for n in (384, 256))
    heads = {
        **{f"{b}.projector.{k}": s for b in ("student", "teacher") for k, s in projector.items()},
        **{f"student.predictor.{k}": s for k, s in predictor.items()},
    }
    state = {k.removeprefix("model."): tuple(v.shape) for k, v in tree["state_dict"].items()}
    assert {k: s for k, s in state.items() if ".encoder." not in k} == heads
    convert_atst(tmp_path / "back.ckpt", tmp_path / "again")
    config = audiokd.load_model(tmp_path / "again").config
    assert (config.kind, config.heads, config.win_length, config.chunk_frames) == (kind, 6, 640, 601)


def test_other_forms_of_a_checkpoint(kind: str, tmp_path: Path) -> None:
    """Weights only, one branch only, and the bare encoder."""
    weights = torch.load(DATA / f"{kind}.ckpt", weights_only=True)["state_dict"]
    teacher = {k: v for k, v in weights.items() if "teacher" in k}
    bare = {k.removeprefix("model.teacher.encoder."): v for k, v in teacher.items() if ".encoder." in k}
    models = []
    for i, form in enumerate((weights, teacher, bare)):
        torch.save(form, tmp_path / f"{i}.pt")
        convert_atst(tmp_path / f"{i}.pt", tmp_path / str(i), num_heads=3)
        models.append(audiokd.load_model(tmp_path / str(i)).state_dict())
    assert all(torch.equal(m[k], models[0][k]) for m in models for k in m)
    with pytest.raises(AudiokdError, match="no student"):
        convert_atst(tmp_path / "1.pt", tmp_path / "x", branch="student", num_heads=3)
    with pytest.raises(AudiokdError, match="width 24"):
        convert_atst(tmp_path / "2.pt", tmp_path / "x")


def test_what_the_official_training_leaves_in_a_checkpoint(kind: str, tmp_path: Path) -> None:
    """Rates and decays of numpy's in the optimiser's groups; the first code's dict of networks with its arguments; a fine-tuned
    model's encoder."""
    tree = torch.load(DATA / f"{kind}.ckpt", weights_only=True)
    weights = tree["state_dict"]
    group = {"lr": np.float64(1e-3), "weight_decay": np.float64(0.1), "step": np.int64(3)}
    length = {"anchor_len": 8.0} if kind == "frame" else {"train_len": 8.0}
    full = {**tree, "optimizer_states": [{"state": {}, "param_groups": [group]}], "hyper_parameters": {**length}}
    of = {b: {k.removeprefix(f"model.{b}."): v for k, v in weights.items() if b in k} for b in ("student", "teacher")}
    first: dict[str, Any] = {
        b: {k.replace("encoder.", "module.backbone."): v for k, v in w.items() if "encoder" in k} for b, w in of.items()
    }
    first["args"] = argparse.Namespace(arch="ast", anchor_len=[8.0, 8.0])
    tuned = {f"encoder.{k}": v for k, v in of["teacher"].items() if "encoder" in k} | {
        "head.linear.bias": torch.zeros(3)
    }
    plain = converted(kind, tmp_path / "plain").state_dict()
    raw = io.BytesIO()
    torch.save(full, raw, _use_new_zipfile_serialization=False)
    (tmp_path / "numpy1").write_bytes(raw.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert (tmp_path / "numpy1").read_bytes() != raw.getvalue()
    for name, form in (("full", full), ("first", first), ("tuned", {"state_dict": tuned, "hyper_parameters": length})):
        torch.save(form, tmp_path / name)
    for name in ("full", "first", "tuned", "numpy1"):
        convert_atst(tmp_path / name, tmp_path / f"{name}-model", num_heads=3)
        model = audiokd.load_model(tmp_path / f"{name}-model")
        assert all(torch.equal(v, plain[k]) for k, v in model.state_dict().items()), name
        assert model.config.chunk_frames == 801, name


def test_a_frame_small_that_does_not_say_its_window(tmp_path: Path) -> None:
    """Bare weights: 640 samples and 1,024 give other features, and nothing in the file tells them apart."""
    model = ATSTModel(ATSTConfig(kind="frame", dim=384, depth=1, heads=6))
    model.save_pretrained(tmp_path / "model")
    convert_atst_official(tmp_path / "model", tmp_path / "back.ckpt")
    torch.save(torch.load(tmp_path / "back.ckpt", weights_only=True)["state_dict"], tmp_path / "bare.pt")
    with pytest.raises(AudiokdError, match="win_length 640"):
        convert_atst(tmp_path / "bare.pt", tmp_path / "x")
    convert_atst(tmp_path / "bare.pt", tmp_path / "x", win_length=640)
    assert audiokd.load_model(tmp_path / "x").config.win_length == 640


def test_checkpoints_that_are_none(tmp_path: Path) -> None:
    weights = torch.load(DATA / "frame.ckpt", weights_only=True)["state_dict"]
    bare = {k.removeprefix("model.teacher.encoder."): v for k, v in weights.items() if "teacher.encoder" in k}
    lacking = {k: v for k, v in bare.items() if k != "blocks.1.norm1.bias"}
    for name, tree, what in (
        ("missing", lacking, "missing: blocks.1.norm1.bias"),
        ("extra", bare | {"blocks.1.gate": torch.zeros(2)}, "unknown: blocks.1.gate"),
        ("size", bare | {"blocks.0.attn.proj.bias": torch.zeros(7)}, r"proj.bias: \[7\] there, \[24\] expected"),
        ("other", {"conv1.weight": torch.zeros(3)}, "no ATST encoder: it has conv1.weight"),
        ("empty", {}, "no tensors"),
    ):
        torch.save(tree, tmp_path / name)
        with pytest.raises(AudiokdError, match=what):
            convert_atst(tmp_path / name, tmp_path / "out", num_heads=3)
        assert not (tmp_path / "out").exists()
    (tmp_path / "text").write_text("not a checkpoint")
    with pytest.raises(AudiokdError, match="no checkpoint of torch, or not whole"):
        convert_atst(tmp_path / "text", tmp_path / "out")
    with pytest.raises(AudiokdError, match="no such file"):
        convert_atst(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(AudiokdError, match=r"no config\.json"):
        convert_atst_official(tmp_path, tmp_path / "out")


def test_weights_of_another_size(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for dim in (16, 32):
        tiny("frame", dim=dim).save_pretrained(tmp_path / str(dim))
    (tmp_path / "32" / "model.safetensors").replace(tmp_path / "16" / "model.safetensors")
    capfd.readouterr()
    with pytest.raises(
        AudiokdError, match=r"weights are of other shapes: \S+ is \[.*32.*\] there, \[.*16.*\] by its config"
    ):
        audiokd.load_model(tmp_path / "16")
    assert "LOAD REPORT" not in "".join(capfd.readouterr())


def test_what_the_encoder_refuses(speech: Tensor) -> None:
    model = tiny("frame")
    with pytest.raises(AudiokdError, match="1004 frames are more than the 1001"):
        model(torch.zeros(1, 64, 1004), torch.tensor([1004]))
    with pytest.raises(AudiokdError, match="item 1 has 500 samples"):
        model.extract_features(speech[None, :16_000].repeat(2, 1), torch.tensor([16_000, 500]))
    with pytest.raises(AudiokdError, match="clip_blocks 4"):
        model.extract_features(speech[None, :16_000], clip_blocks=4)
    with pytest.raises(AudiokdError, match="30 does not split into 4"):
        ATSTConfig(dim=30, heads=4)
    with pytest.raises(AudiokdError, match="chunk_frames 1002 is none of 4 to 1001"):
        ATSTConfig(chunk_frames=1002)
