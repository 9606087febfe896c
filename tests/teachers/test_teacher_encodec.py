"""EnCodec as a tokenizer: through transformers and through the encodec package, in batches, and as what it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_encodec import published_size, save, tiny_encodec
from torch import Tensor

import audiokd
from audiokd.data.audio import load_at
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.stages.tokenize import tokenize
from audiokd.teachers.codes import load_code_teacher
from audiokd.teachers.encodec import EncodecTokenizer
from audiokd.tokens.store import open_store


@pytest.fixture(scope="module")
def speech(two_cities: Path) -> Tensor:
    return torch.from_numpy(load_at(Utterance("a", str(two_cities)), 24_000)[: 14 * 24_000])


@pytest.fixture(scope="module")
def full_size(speech: Tensor, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return published_size(speech[6 * 24_000 :], tmp_path_factory.mktemp("encodec"))


def test_both_packages_say_the_same(full_size: tuple[Path, Path], speech: Tensor) -> None:
    """Codes of the same weights, against each package's own encode too; every codebook is in use."""
    folder, file = full_size
    a, b = EncodecTokenizer.from_pretrained(str(folder)), EncodecTokenizer.from_pretrained(str(file))
    wav = speech[None, : 4 * 24_000]
    mine, other = a.encode(wav), b.encode(wav)
    assert mine.codes.shape == (1, 8, 300)
    used = [len(mine.codes[0, q].unique()) for q in range(8)]
    assert min(used) >= 100, used
    with torch.no_grad():
        theirs = a.net.encode(wav[:, None], bandwidth=6.0).audio_codes[0]
        b.net.set_target_bandwidth(6.0)
        packages = b.net.encode(wav[:, None])[0][0]
    assert torch.equal(theirs, mine.codes)
    assert torch.equal(packages, other.codes)
    # the two packages' convolutions may round apart, which moves a near tie and what is left over for the levels below it
    assert float((mine.codes == other.codes).float().mean()) > 0.999
    sound, n = a.decode(mine)
    again, _ = b.decode(mine)
    assert n.tolist() == [4 * 24_000]
    assert sound.shape == wav.shape
    torch.testing.assert_close(sound, again, atol=1e-4, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(sound, a.net.decode(theirs[None], [None])[0][:, 0], atol=1e-5, rtol=0)


def test_a_clip_does_not_hear_its_batch(speech: Tensor) -> None:
    model = EncodecTokenizer(net := tiny_encodec(), net.config)
    lengths = torch.tensor([48_000, 321, 24_000, 31_999])
    wav = torch.stack([speech[:48_000], speech[60_000:108_000], speech[:48_000].flip(0), speech[90_000:138_000]])
    batch = model.encode(wav, lengths)
    assert batch.lengths.tolist() == [150, 2, 75, 100]
    for i, n in enumerate(lengths.tolist()):
        alone = model.encode(wav[i : i + 1, :n])
        assert torch.equal(alone.codes[0], batch[i].codes[0])
        assert not batch.codes[i, :, int(batch.lengths[i]) :].any()
    sound, n = model.decode(batch)
    assert n.tolist() == lengths.tolist()
    assert not sound[1, 321:].any()


def test_as_a_tokenizer_and_a_teacher(two_cities: Path, speech: Tensor, tmp_path: Path) -> None:
    folder = save(tiny_encodec(), tmp_path / "encodec")
    model = audiokd.load_tokenizer(folder)
    assert (model.sample_rate, model.frame_rate, model.frame_size) == (24_000, 75.0, 320)
    assert (model.num_codebooks, model.cardinality) == (2, [64, 64])
    totals = tokenize(str(folder), str(two_cities), str(tmp_path / "store"))
    assert totals["utterances"] == 1
    store = open_store(tmp_path / "store")
    assert store.meta["model_type"] == "encodec"
    teacher = load_code_teacher(str(folder))
    whole = torch.from_numpy(load_at(Utterance("a", str(two_cities)), 24_000))
    said = teacher.targets({"wav": whole[None]})
    assert torch.equal(said["codes"][0], torch.from_numpy(next(store.items()).array))
    assert not list(teacher.parameters())
    assert not teacher.state_dict()
    model.set_num_codebooks(1)
    assert torch.equal(model.encode(speech[None, :9600]).codes, teacher.net.encode(speech[None, :9600]).codes[:, :1])


def test_what_is_refused(whisper_dir: Path, speech: Tensor, tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match="stereo, or not causal"):
        EncodecTokenizer(net := tiny_encodec(normalize=True), net.config)
    with pytest.raises(AudiokdError, match="a whisper model is no tokenizer"):
        load_code_teacher(str(whisper_dir))
    with pytest.raises(AudiokdError, match="no such folder"):
        load_code_teacher("nowhere/at/all")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudiokdError, match=r"(?s)cannot read its config: .*\n  give a folder with config.json"):
        load_code_teacher(str(tmp_path / "empty"))
    (tmp_path / "bad.th").write_bytes(b"nothing")
    with pytest.raises(AudiokdError, match="cannot be read"):
        EncodecTokenizer.from_pretrained(str(tmp_path / "bad.th"))
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.th")
    with pytest.raises(AudiokdError, match="cannot load the EnCodec: Error"):
        EncodecTokenizer.from_pretrained(str(tmp_path / "other.th"))
    model = EncodecTokenizer(net := tiny_encodec(), net.config)
    with pytest.raises(AudiokdError, match="3 codebooks asked of a model that has 2"):
        model.set_num_codebooks(3)
    with pytest.raises(AudiokdError, match="NaN or Inf"):
        model.encode(torch.full((1, 640), float("nan")))
    with pytest.raises(AudiokdError, match="no semantic stream"):
        model.decode(model.encode(speech[None, :640]), semantic_only=True)
