"""Class vectors: computed once, kept in a file, and refused for another model or other classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tiny_pairs import save_pair
from torch import Tensor
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.nn.weights import weights_sha256
from audiokd.teachers.pair import ContrastivePair, load_pair
from audiokd.teachers.text_bank import BATCH, TEMPLATES, fill, load_text_bank, make_text_bank

NAMES = ["dog", "cat", "large_clock"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> ContrastivePair:
    return load_pair(str(save_pair("clip", tmp_path_factory.mktemp("clip"))))


class Counted:
    """The same encoder, that keeps what it was asked."""

    def __init__(self, pair: ContrastivePair):
        self.pair, self.asked = pair, []
        self.state_dict = pair.state_dict

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        self.asked += [list(texts)]
        return self.pair.embed_texts(texts)


def test_the_mean_of_the_prompts_directions(pair: ContrastivePair, tmp_path: Path) -> None:
    encoder = Counted(pair)
    prompts = fill(NAMES, "photo7")
    assert prompts["large_clock"][1] == "a bad photo of the large clock."
    assert fill({"n01": "large_clock", "n02": "large_clock"}, "photo")["n02"] == ["a photo of a large clock."]
    bank = make_text_bank(encoder, prompts, float(pair.scale))
    assert len(encoder.asked) == 1
    assert len(encoder.asked[0]) == 21
    with torch.no_grad():
        for name, vector in zip(bank.names, bank.vectors):
            each = [pair.embed_texts([t])[0] for t in prompts[name]]
            torch.testing.assert_close(vector, F.normalize(torch.stack(each).mean(0), dim=0), atol=1e-5, rtol=1e-4)
    assert not bank.vectors.requires_grad
    bank.save(tmp_path / "bank.safetensors")
    again = load_text_bank(tmp_path / "bank.safetensors")
    assert torch.equal(again.vectors, bank.vectors)
    assert (again.names, again.prompts, again.model_sha256) == (bank.names, bank.prompts, weights_sha256(pair))
    assert again.scale == pytest.approx(float(pair.scale))
    first = (tmp_path / "bank.safetensors").read_bytes()
    again.save(tmp_path / "bank.safetensors")
    assert (tmp_path / "bank.safetensors").read_bytes() == first


def test_a_text_of_several_classes_is_asked_once(pair: ContrastivePair) -> None:
    encoder = Counted(pair)
    many = {f"c{i}": ["rain", f"{'dog ' * (i % 15)}cat"] for i in range(BATCH)}
    bank = make_text_bank(encoder, many, 1.0)
    assert [len(a) for a in encoder.asked] == [16]
    assert torch.equal(bank.vectors[0], bank.vectors[15])
    torch.testing.assert_close(bank.vectors.norm(dim=1), torch.ones(BATCH))


def test_some_classes_of_it(pair: ContrastivePair) -> None:
    bank = make_text_bank(pair, fill(NAMES, "photo"), 1.0)
    some = bank.of(["large_clock", "dog"])
    assert some.names == ("large_clock", "dog")
    assert torch.equal(some.vectors, bank.vectors[[2, 0]])
    assert some.prompts[0] == ("a photo of a large clock.",)
    with pytest.raises(AudiokdError, match="no text vectors of 2 of 3 classes: rain, sea"):
        bank.of(["rain", "dog", "sea"])
    with pytest.raises(AudiokdError, match="1 of the names come twice: dog"):
        bank.of(["dog", "cat", "dog"])


def test_what_is_refused(pair: ContrastivePair, tmp_path: Path) -> None:
    bank = make_text_bank(pair, fill(NAMES, ["{}"]), 1.0)
    bank.check_model(weights_sha256(pair))
    other = load_pair(str(save_pair("clip", tmp_path / "other", seed=1)))
    with pytest.raises(AudiokdError, match=f"made by model {bank.model_sha256[:12]}, this one is [0-9a-f]{{12}}"):
        bank.check_model(weights_sha256(other), "bank")
    for names, said in (([], "no classes"), (["a", " "], "an empty name"), (["a", "b", "a"], "come twice: a")):
        with pytest.raises(AudiokdError, match=said):
            fill(names, "photo")
    with pytest.raises(AudiokdError, match="no templates 'photos'"):
        fill(NAMES, "photos")
    for template, places in (("a photo", 0), ("{} {}", 2)):
        with pytest.raises(AudiokdError, match=f"has {places} places for a name"):
            fill(NAMES, [template])
    with pytest.raises(AudiokdError, match="class 'cat' has no prompts"):
        make_text_bank(pair, {"dog": ["a"], "cat": []}, 1.0)
    with pytest.raises(AudiokdError, match="no such file"):
        load_text_bank(tmp_path / "nothing")
    (tmp_path / "text").write_text("no bank")
    with pytest.raises(AudiokdError, match="damaged, or no text bank"):
        load_text_bank(tmp_path / "text")
    with pytest.raises(AudiokdError, match="not a text bank"):
        load_text_bank(tmp_path / "other" / "model.safetensors")
    assert all(t.count("{}") == 1 for of in TEMPLATES.values() for t in of)
