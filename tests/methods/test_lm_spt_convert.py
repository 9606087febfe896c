"""Official LM-SPT checkpoints: the same codes and sound as the official code gave, there and back, and files that are none."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
from pathlib import Path

import pytest
import soundfile as sf
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

import audiokd
from audiokd.cli import main
from audiokd.errors import AudiokdError
from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.methods.lm_spt.convert import convert_lm_spt, convert_lm_spt_official
from audiokd.methods.lm_spt.model import LMSPTModel

DATA = Path(__file__).parent / "data" / "lm_spt"
NAMES = ["released", "shared", "causal", "fsq"]
PIECES = [(0, 2400), (20_000, 1603)]
COUNTERS = {"quantizer.semantic_vocab_usage", "quantizer.acoustic_vocab_usage"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each official checkpoint of the data folder, converted."""
    out = {name: tmp_path_factory.mktemp("converted") / name for name in NAMES}
    for name, folder in out.items():
        convert_lm_spt(DATA / name, folder)
    return out


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(name: str, folders: dict[str, Path]) -> LMSPTModel:
    return audiokd.load_tokenizer(folders[name])


@pytest.fixture
def official(name: str) -> dict[str, Tensor]:
    """What the official code gave: data/lm_spt/README.md."""
    return load_file(DATA / f"{name}.safetensors")


@pytest.fixture
def speech(model: LMSPTModel, two_cities: Path) -> Tensor:
    """The two seconds [T] that the official code was given."""
    step = 48_000 // model.sample_rate
    x, _ = sf.read(two_cities, dtype="float32", start=48_000, frames=96_000)
    return torch.from_numpy(x[::step].copy())


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A copy of the released form, to break."""
    return Path(shutil.copytree(DATA / "released", tmp_path / "checkpoint"))


def _edit(folder: Path, **changes: object) -> None:
    """Change arguments of the yaml's model block; ... takes one out."""
    path = next(folder.glob("*.yaml"))
    tree = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        if value is ...:
            del tree["model"][key]
        else:
            tree["model"][key] = value
    path.write_text(yaml.safe_dump(tree))


def _weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "tiny.safetensors")


# the same as the official code


@pytest.mark.parametrize("piece_s", [60.0, 0.3])
def test_codes_are_the_official_ones(
    piece_s: float, model: LMSPTModel, official: dict[str, Tensor], speech: Tensor
) -> None:
    model.piece_s = piece_s
    codes = model.encode(speech[None]).codes[0]
    assert torch.equal(codes, official["codes"].long())
    assert all(c.unique().numel() > 8 for c in codes)  # random weights, but not collapsed ones


def test_codes_and_sound_in_a_batch(model: LMSPTModel, official: dict[str, Tensor], speech: Tensor) -> None:
    lengths = [n for _, n in PIECES]
    batch = torch.stack([speech[start : start + max(lengths)] for start, _ in PIECES])  # the second goes on: garbage
    codes = model.encode(batch, torch.tensor(lengths))
    for semantic_only, kind in ((False, "wav"), (True, "aux")):
        sound, n = model.decode(codes, semantic_only)
        for i, length in enumerate(lengths):
            assert torch.equal(codes[i].codes[0], official[f"codes{i}"].long())
            want = official[f"{kind}{i}"] / 32767
            size = min(len(want), int(n[i]))
            assert want.std() > 0.05
            assert (n[i] - len(want)).abs() <= 120  # the official sound is whole frames, less what odd strides lose
            torch.testing.assert_close(sound[i, :size], want[:size], rtol=0, atol=1e-4)
            assert not sound[i, size:].any()
            assert semantic_only or n[i] == length


def test_frames_are_the_official_floor_until_asked_otherwise(folders: dict[str, Path]) -> None:
    model = audiokd.load_tokenizer(folders["released"])
    assert model.config.pad_to_frame is False
    wav = torch.zeros(1, 20 * 120 + 60)
    assert model.encode(wav).lengths.tolist() == [20]
    model.config.pad_to_frame = True
    assert model.encode(wav).lengths.tolist() == [21]


# there and back


def test_round_trip(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    convert_lm_spt_official(folders[name], tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"model.safetensors", "model.yaml"}
    theirs, ours = _weights(DATA / name), load_file(tmp_path / "model.safetensors")
    assert ours.keys() == theirs.keys()  # loading is strict there, counters included
    for key, tensor in theirs.items():
        assert (ours[key].dtype, ours[key].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(ours[key], torch.zeros_like(tensor) if key in COUNTERS else tensor), key
    block = yaml.safe_load((tmp_path / "model.yaml").read_text())["model"]
    given = yaml.safe_load((DATA / name / "tiny.yaml").read_text())["model"]
    both = {"codebook_size", "codebook_dim"}  # of both quantisers at once; written for each
    aux = given.pop("aux_decoder", {})
    assert {k: v for k, v in given.items() if k not in both} == {k: block[k] for k in given if k not in both}
    assert aux == {k: block["aux_decoder"][k] for k in aux}
    for key in both & given.keys():
        assert block[f"semantic_{key}"] == block[f"acoustic_{key}"] == given[key]


def test_round_trip_of_ours(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    convert_lm_spt_official(folders[name], tmp_path / "official")
    convert_lm_spt(tmp_path / "official", tmp_path / "ours")
    for file in ("config.json", "model.safetensors", "preprocessor_config.json"):
        assert (tmp_path / "ours" / file).read_bytes() == (folders[name] / file).read_bytes()


def test_commands(checkpoint: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    main(["convert", "lm_spt", str(checkpoint), str(tmp_path / "model")])
    main(["convert", "lm_spt_official", str(tmp_path / "model"), str(tmp_path / "official")])
    assert audiokd.load_tokenizer(tmp_path / "model").cardinality == [64] + [16] * 7
    with pytest.raises(SystemExit) as e:
        main(["convert", "lm_spt", str(tmp_path), str(tmp_path / "out")])
    assert e.value.code == 1


def _new_spelling(name: str) -> str:
    name = name.replace("weight_g", "parametrizations.weight.original0")
    return name.replace("weight_v", "parametrizations.weight.original1")


@pytest.mark.parametrize(
    ("suffix", "nest"), [(".safetensors", None), (".pt", "generator"), (".pth", None), (".bin", "state_dict")]
)
def test_other_spellings_give_the_same_folder(
    suffix: str, nest: str | None, checkpoint: Path, folders: dict[str, Path], tmp_path: Path
) -> None:
    state = _weights(checkpoint)
    (checkpoint / "tiny.safetensors").unlink()
    if suffix == ".safetensors":
        save_file({_new_spelling(k): v.double() for k, v in state.items()}, checkpoint / "tiny.safetensors")
    else:
        state = {f"module.{_new_spelling(k)}": v for k, v in state.items() if k not in COUNTERS}
        torch.save({nest: state, "step": 7} if nest else state, checkpoint / f"model_1{suffix}")
    tree = yaml.safe_load((checkpoint / "tiny.yaml").read_text())
    (checkpoint / "tiny.yaml").unlink()
    tree = {"trainer": {"exp_name": "x"}, "model": {"SAMPLE_RATE": 24000, **tree}} if nest else tree["model"]
    (checkpoint / "config.yml").write_text(yaml.safe_dump(tree))
    convert_lm_spt(checkpoint, tmp_path / "out")
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "out" / file).read_bytes() == (folders["released"] / file).read_bytes()


def test_a_shared_encoder_under_both_its_names(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(DATA / "shared", tmp_path / "in")
    state = _weights(tmp_path / "in")
    both = {k.replace("acoustic_encoder", "semantic_encoder"): v.clone() for k, v in state.items()}
    save_file(state | both, tmp_path / "in" / "tiny.safetensors")
    convert_lm_spt(tmp_path / "in", tmp_path / "out")
    name = "model.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (folders["shared"] / name).read_bytes()
    both["semantic_encoder.block.0.bias"] += 1
    save_file(state | both, tmp_path / "in" / "tiny.safetensors")
    with pytest.raises(AudiokdError, match=r"\w+_encoder\.block\.0\.bias and \w+_encoder\.block\.0\.bias .* differ"):
        convert_lm_spt(tmp_path / "in", tmp_path / "out")


# whole or not at all


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_a_model_folder_that_is_half_written_does_not_load(
    moved: int, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, replace, left = Path(shutil.copytree(folders["shared"], tmp_path / "out")), os.replace, moved

    def power_cut(src: Path, dst: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        replace(src, dst)

    monkeypatch.setattr(os, "replace", power_cut)
    if moved == 3:
        convert_lm_spt(DATA / "released", out)
        assert audiokd.load_tokenizer(out).config.shared_encoder is False
        return
    with pytest.raises(KeyboardInterrupt):
        convert_lm_spt(DATA / "released", out)
    with pytest.raises(AudiokdError, match=r"no config\.json"):
        audiokd.load_tokenizer(out)
    assert not list(out.glob(".*"))


def test_an_error_half_way_writes_nothing(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("half-way")

    monkeypatch.setattr("transformers.EncodecFeatureExtractor.save_pretrained", fail)  # when the weights are there
    monkeypatch.setattr(yaml, "safe_dump", fail)
    for convert, src in ((convert_lm_spt, DATA / "released"), (convert_lm_spt_official, folders["released"])):
        with pytest.raises(RuntimeError, match="half-way"):
            convert(src, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_a_full_disk(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(AudiokdError, match=r"out: no space left while writing \(File too large\)"):
            convert_lm_spt(DATA / "released", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "out").exists()


# bad input


def _refused(src: Path, tmp_path: Path, *message: str, convert=convert_lm_spt) -> None:
    """`convert` fails with all of `message` and writes nothing."""
    with pytest.raises(AudiokdError) as e:
        convert(src, tmp_path / "out")
    assert all(m in str(e.value) for m in message), str(e.value)
    assert "\n  " in str(e.value)  # what to do
    assert not (tmp_path / "out").exists()


def test_every_key_that_does_not_fit_is_named(checkpoint: Path, tmp_path: Path) -> None:
    state = _weights(checkpoint)
    gone = [k for k in state if k.startswith("decoder.model.1.")]
    for k in gone:
        del state[k]
    state |= {f"discriminator.{i}.weight": torch.zeros(1) for i in range(40)}
    state["decoder.model.0.bias"] = torch.zeros(9)
    save_file(state, checkpoint / "tiny.safetensors")
    message = [
        str(checkpoint / "tiny.safetensors"),
        "tiny.yaml: ",
        f"{len(gone)} keys not found",
        "40 keys not used",
        *gone,
    ]
    message += [f"discriminator.{i}.weight" for i in range(40)]
    _refused(checkpoint, tmp_path, *message, "decoder.model.0.bias is [9], by tiny.yaml [8]")


def test_another_architecture(checkpoint: Path, whisper_dir: Path, tmp_path: Path) -> None:
    shutil.copy(whisper_dir / "model.safetensors", checkpoint / "tiny.safetensors")
    names = (
        "another architecture's weights",
        "quantizer.rvq_first.quantizers.0.codebook.weight",
        "not used: model.decoder",
    )
    _refused(checkpoint, tmp_path, *names)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_target_": "dac.model.dac.DAC"}, "_target_ is dac.model.dac.DAC, not lmspt.model_codec.lmspt_model.LMSPT"),
        ({"n_filters": 32, "norm": "x"}, "LMSPT: no argument n_filters; no argument norm"),
        ({"sample_rate": "${..SAMPLE_RATE}"}, "sample_rate is ${..SAMPLE_RATE}: write its value"),
        ({"encoder_rates": "4,5,6"}, "encoder_rates cannot be '4,5,6'"),
        ({"encoder_rates": [4, 5.0, 6]}, "encoder_rates cannot be [4, 5.0, 6]"),
        ({"encoder_dim": 0}, "encoder_dim cannot be 0"),
        ({"semantic_subtraction": 1}, "semantic_subtraction cannot be 1"),
        ({"latent_dim": True}, "latent_dim cannot be True"),
        ({"semantic_encoder_dim": 2}, "not supported: encoders of 2 and 1 channels"),
        ({"output_sample_rate": 16000}, "not supported: output_sample_rate 16000 beside sample_rate 24000"),
        ({"n_semantic_codebooks": 2}, "not supported: n_semantic_codebooks 2 (the official code builds one level"),
        ({"dilation": [1, 3]}, "not supported: dilation [1, 3]"),
        ({"acoustic_codebook_dim": [4, 4, 4, 4, 4, 4, 8]}, "not supported: acoustic codebook dims [4, 8]"),
        ({"semantic_quantizer": "ema"}, "not supported: semantic_quantizer ema"),
        ({"is_causal": True}, "not supported: aux_decoder.is_causal False where ours has True"),
        ({"semantic_quantizer": "fsq"}, "semantic_quantizer fsq with levels None"),
        ({"semantic_quantizer": "fsq", "semantic_quantizer_kwargs": {"levels": [8, 1]}}, "fsq with levels [8, 1]"),
        ({"semantic_quantizer": "fsq", "semantic_quantizer_kwargs": {"levels": [8, 26]}}, "not supported: 26 levels"),
        (
            {"semantic_quantizer": "fsq", "semantic_quantizer_kwargs": {"levels": [8, 5], "num_codebooks": 2}},
            "not supported: semantic_quantizer_kwargs.num_codebooks 2",
        ),
        ({"encoder_rates": [4, 5]}, "encoder_rates give 20 samples a frame, decoder_rates 120"),
        ({"latent_dim": ..., "encoder_dim": 3}, "aux_decoder.input_channel 8 where ours has 24"),
        (
            {"aux_decoder": {"channels": 8, "rates": [5, 4, 4]}},
            "Decoder: input_channel is missing; sample_rate is missing",
        ),
        ({"aux_decoder": "${aux_decoder.model}"}, "aux_decoder is ${aux_decoder.model}: write its value"),
        (
            {"aux_decoder": {"_target_": "vocos.Vocos", "dim": 8}},
            "_target_ is vocos.Vocos, not lmspt.model_codec.dac_model.Decoder",
        ),
    ],
)
def test_yaml_of_another_model(changes: dict, message: str, checkpoint: Path, tmp_path: Path) -> None:
    _edit(checkpoint, **changes)
    _refused(checkpoint, tmp_path, str(checkpoint / "tiny.yaml"), message)


def test_files_that_are_missing_or_too_many(checkpoint: Path, tmp_path: Path) -> None:
    path = checkpoint / "tiny.yaml"
    text = path.read_text()
    path.unlink()
    _refused(
        checkpoint, tmp_path, f"{checkpoint}: no yaml", "lmspt_12d5hz_16384_4096_8vq.yaml of github.com/kakao/lmspt"
    )
    path.write_text(text)
    (checkpoint / "other.yml").write_text(text)
    _refused(checkpoint, tmp_path, "2 yamls: other.yml, tiny.yaml")
    (checkpoint / "other.yml").unlink()
    torch.save({}, checkpoint / "x.pt")
    _refused(checkpoint, tmp_path, "2 weights files: tiny.safetensors, x.pt")
    (checkpoint / "x.pt").unlink()
    (checkpoint / "tiny.safetensors").unlink()
    _refused(checkpoint, tmp_path, "no weights file")
    _refused(tmp_path / "nowhere", tmp_path, "nowhere: no such folder")
    with pytest.raises(AudiokdError, match="among its sources"):
        convert_lm_spt(checkpoint, checkpoint)


@pytest.mark.parametrize("text", ["a: [", "model: lm_spt", "optimizer: {lr: 1}", "- 1", ""])
def test_yaml_without_a_model(text: str, checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "tiny.yaml").write_text(text)
    _refused(checkpoint, tmp_path, "not YAML" if text == "a: [" else "no model: block of LM-SPT")


def test_files_that_hold_no_weights(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "tiny.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    _refused(checkpoint, tmp_path, "not a safetensors file")
    (checkpoint / "tiny.safetensors").unlink()
    path = checkpoint / "tiny.pt"
    torch.save({"x": torch.zeros(1)}, path)
    whole = path.read_bytes()
    for data in (b"", b"not a checkpoint", whole[:-400]):
        path.write_bytes(data)
        _refused(checkpoint, tmp_path, "no checkpoint of torch, or not whole")
    path.write_bytes(pickle.dumps(Path("x"), protocol=2))
    _refused(checkpoint, tmp_path, "holds an object of pathlib.", "save its state dict alone")
    torch.save(LMSPTConfig(), path)  # a whole object, as torch.save(model) writes it
    _refused(
        checkpoint,
        tmp_path,
        "holds an object of audiokd.methods.lm_spt.config.LMSPTConfig",
        "save its state dict alone",
    )
    for tree, message in (
        ({"epoch": 1, "optimizer": {}}, "no state dict, or more than one, in epoch, optimizer"),
        ({"model": {"x": torch.zeros(1)}, "generator": {}}, "no state dict, or more than one, in model, generator"),
        ([torch.zeros(1)], "a list, not a state dict"),
        ({}, "a dict, not a state dict"),
    ):
        torch.save(tree, path)
        _refused(checkpoint, tmp_path, message)


def test_models_that_have_no_official_form(folders: dict[str, Path], whisper_dir: Path, tmp_path: Path) -> None:
    def refused(src: Path, *message: str) -> None:
        _refused(src, tmp_path, *message, convert=convert_lm_spt_official)

    refused(tmp_path, "no config.json")
    refused(whisper_dir, "a whisper model, not lm_spt")
    folder = Path(shutil.copytree(folders["released"], tmp_path / "ours"))
    config = json.loads((folder / "config.json").read_text())
    odd = {"n_semantic_codebooks": 2, "bottleneck_layers": 1, "decoder_type": "vocos", "aux_type": "vocos"}
    vocos = {"decoder_rates": [2], "aux_rates": [2]}  # half of 120 and of 80 samples a frame
    (folder / "config.json").write_text(json.dumps({**config, **vocos, **odd}))
    named = (f"{k} {v}" for k, v in odd.items())
    refused(folder, str(folder / "config.json"), "not supported: n_semantic_codebooks 2; bottleneck_layers 1", *named)
    (folder / "config.json").write_text(json.dumps({**config, "n_codebooks": 7}))
    refused(folder, "7 keys not used: quantizer.acoustic.quantizers.6", "config.json")
    (folder / "config.json").write_text("{")
    refused(folder, "not JSON")
    (folder / "model.safetensors").unlink()
    refused(folder, "no model.safetensors")
