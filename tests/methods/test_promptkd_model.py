"""PromptKD's student: the tower of its pair model, what learns of it, and that it needs no text model once it is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_pairs import save_pair
from torch.nn import functional as F

from audiokd.data.audio import load_at
from audiokd.data.inputs import open_input
from audiokd.errors import AudiokdError
from audiokd.hub.auto import load_model
from audiokd.losses.logit_kl import logit_kl
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.methods.promptkd.config import PromptKDConfig
from audiokd.methods.promptkd.model import PromptKDModel, projector, student_of
from audiokd.nn.deep_prompts import prompted_images
from audiokd.teachers.pair import ContrastivePair, load_pair
from audiokd.teachers.pair_media import SCALES
from audiokd.teachers.student_body import body_of_pair, sound_body, timm_body
from audiokd.teachers.text_bank import TextBank, fill, make_text_bank
from audiokd.vision.transforms import preprocess_of


def of_pair(pair: ContrastivePair, bank: TextBank, **changes: Any) -> PromptKDModel:
    return student_of(body_of_pair(pair), bank, float(pair.scale), **changes)


NAMES = ["dog", "cat", "clock", "rain"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> ContrastivePair:
    return load_pair(str(save_pair("siglip", tmp_path_factory.mktemp("teacher"), seed=1)))


@pytest.fixture(scope="module")
def bank(teacher: ContrastivePair) -> TextBank:
    return make_text_bank(teacher, fill(NAMES, "photo"), float(teacher.scale))


@pytest.fixture(scope="module", params=["clip", "siglip", "lit_vit"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ContrastivePair:
    return load_pair(str(save_pair(request.param, tmp_path_factory.mktemp(request.param))))


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    """Eight parts of a photograph."""
    from matplotlib.cbook import get_sample_data
    from PIL import Image

    with get_sample_data("grace_hopper.jpg") as f:
        whole = torch.tensor(list(Image.open(f).convert("RGB").resize((128, 64)).getdata())).view(64, 128, 3)
    parts = [whole[i : i + 32, j : j + 32] for i in (0, 32) for j in (0, 32, 64, 96)]
    return torch.stack(parts).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_the_tower_is_the_pairs(pair: ContrastivePair, bank: TextBank, pictures: torch.Tensor) -> None:
    student = of_pair(pair, bank, prompt_depth=2)
    assert student.prompts is not None
    with torch.no_grad():
        seen = student.body({"pixel_values": pictures})
        torch.testing.assert_close(seen, pair.embed_media({"pixel_values": pictures}), atol=1e-6, rtol=1e-5)
        z = F.normalize(student.projector(prompted_images(pair.net, pictures, student.prompts.tokens)), dim=-1)
        expected = float(pair.scale) * z @ bank.vectors.T
        torch.testing.assert_close(student(pictures), expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(student(pictures[3:4]), student(pictures)[3:4], atol=1e-5, rtol=1e-4)
        bare = of_pair(pair, bank, prompts=0)
        assert list(bare.learning_parts()) == ["projector"]
        assert bare(pictures).shape == (8, 4)


def test_prompts_and_projector_learn_and_nothing_else(
    pair: ContrastivePair, teacher: ContrastivePair, bank: TextBank, pictures: torch.Tensor
) -> None:
    torch.manual_seed(0)
    student = of_pair(pair, bank, prompt_depth=2).train()
    student.config.scale = 20.0  # a tiny SigLIP's is 1, with which no class can be far ahead
    tower = {k: v.clone() for k, v in student.state_dict().items() if k.startswith("body.")}
    assert tower
    learning = {n for n, p in student.named_parameters() if p.requires_grad}
    assert learning == {f"{part}.{n}" for part, m in student.learning_parts().items() for n, _ in m.named_parameters()}
    with torch.no_grad():
        said = 20 * teacher.embed_media({"pixel_values": pictures}) @ bank.vectors.T
    optimizer = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    losses = []
    for _ in range(40):
        loss = logit_kl(student(pictures), said)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    after = student.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in tower.items())


def test_no_text_model_is_needed(
    pair: ContrastivePair, bank: TextBank, pictures: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved and loaded: the class vectors and names are there, no weight of a text tower is, and nothing else is read from disk."""
    torch.manual_seed(0)
    student = of_pair(pair, bank, prompt_depth=2)
    student.save_pretrained(tmp_path / "student")
    weights = load_file(tmp_path / "student" / "model.safetensors")
    assert not [k for k in weights if "text" in k or "token_embedding" in k]
    assert [k for k in weights if k.startswith("body.media.net.vision_model.")]

    def gone(name: str, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError(f"{name} is read")

    for at in ("transformers.AutoTokenizer", "transformers.AutoConfig", "transformers.AutoModel"):
        monkeypatch.setattr(f"{at}.from_pretrained", gone)
    again = PromptKDModel.from_pretrained(tmp_path / "student")
    monkeypatch.undo()
    assert all(torch.equal(v, again.get_buffer(k)) for k, v in student.named_buffers())  # those that are not saved, too
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(pictures), student(pictures))
    config = json.loads((tmp_path / "student" / "config.json").read_text())
    assert (config["labels"], config["bank_sha256"]) == (NAMES, bank.model_sha256)


def test_the_whole_student_learns_but_what_never_does(pair: ContrastivePair, bank: TextBank) -> None:
    student = of_pair(pair, bank, prompt_depth=2)
    student.train_body(True)
    still = {n.rsplit(".", 1)[-1] for n, p in student.body.named_parameters() if not p.requires_grad}
    assert still <= set(SCALES)
    assert "logit_scale" in still
    student.train_body(False)
    assert not [p for p in student.body.parameters() if p.requires_grad]


def test_the_projectors_of_the_ablation() -> None:
    assert [len(projector(8, (16,) * depth, 4)) for depth in (0, 1, 2)] == [1, 4, 7]
    assert projector(8, (16, 12), 4)(torch.randn(3, 8)).shape == (3, 4)


def test_what_is_refused(pair: ContrastivePair, bank: TextBank, tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match="prompts for 9 layers, the student has 2"):
        of_pair(pair, bank)
    with pytest.raises(AudiokdError, match="needs classes"):
        PromptKDModel(PromptKDConfig({"body": "timm", "name": "test_resnet"}))
    with pytest.raises(AudiokdError, match="body is one of pair, timm, sound, not tower"):
        PromptKDModel(PromptKDConfig({"body": "tower"}, NAMES))
    with pytest.raises(AudiokdError, match="the student has none that takes some"):
        student_of(timm_body("test_resnet"), bank, 100.0)


def test_a_network_without_tokens_has_a_projector_alone(bank: TextBank, pictures: torch.Tensor, tmp_path: Path) -> None:
    """A CNN of timm: frozen, batch norms and all; an encoder of sound with and without tokens."""
    torch.manual_seed(0)
    student = student_of(timm_body("test_resnet"), bank, 100.0, prompts=0).train()
    before = {k: v.clone() for k, v in student.state_dict().items() if k.startswith("body.")}
    logit_kl(student(pictures), torch.randn(8, 4)).backward()
    assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items() if k.startswith("body."))
    assert not [n for n, p in student.body.named_parameters() if p.grad is not None]
    student.eval().save_pretrained(tmp_path)
    again = load_model(tmp_path)
    assert again.preprocess == student.preprocess
    torch.testing.assert_close(again(pictures), student(pictures))
    student.train_body(True)
    assert (student.train().body.training, "body" in student.learning_parts()) == (True, True)


def test_a_pair_model_with_a_cnn(bank: TextBank, pictures: torch.Tensor, tmp_path: Path) -> None:
    pair = load_pair(str(save_pair("lit_timm", tmp_path / "lit")))
    student = of_pair(pair, bank, prompts=0)
    with torch.no_grad():
        seen = student.body({"pixel_values": pictures})
        torch.testing.assert_close(seen, pair.embed_media({"pixel_values": pictures}), atol=1e-6, rtol=1e-5)
        student.save_pretrained(tmp_path / "student")
        torch.testing.assert_close(load_model(tmp_path / "student")(pictures), student(pictures))
    assert pair.net.text_model is not None  # the pair model keeps what the student left out


def test_an_encoder_of_sound_as_student(bank: TextBank, two_cities: Path, tmp_path: Path) -> None:
    wav, n = (
        torch.from_numpy(load_at(open_input(two_cities).utterances()[0], 16_000)[None, :32_000]),
        torch.tensor([24_000]),
    )
    torch.manual_seed(0)
    ATSTModel(ATSTConfig(kind="frame", dim=32, depth=2, heads=2)).save_pretrained(tmp_path / "atst")
    student = student_of(sound_body(str(tmp_path / "atst")), bank, 100.0, prompt_depth=2)
    with torch.no_grad():
        for p in student.prompts.parameters():
            p *= 20
        heard = student(wav=wav, lengths=n)
        torch.testing.assert_close(student(wav=wav[:, :24_000]), heard, atol=1e-5, rtol=1e-4)
        both = student(wav=torch.cat([wav, wav.flip(1)]), lengths=torch.tensor([24_000, 32_000]))
        torch.testing.assert_close(both[:1], heard, atol=1e-4, rtol=1e-4)
        student.save_pretrained(tmp_path / "student")
        again = load_model(tmp_path / "student")
        assert (again.kind, again.sample_rate) == ("audio", 16_000)
        torch.testing.assert_close(again.extract(wav, n, "logits")[0][:, 0], heard)
        bare = student_of(student.body, bank, 100.0, prompts=0)
        bare.projector.load_state_dict(student.projector.state_dict())
        assert (bare(wav=wav, lengths=n) - heard).abs().max() > 1e-3


def test_the_face_that_extract_knows(pair: ContrastivePair, bank: TextBank, tmp_path: Path) -> None:
    """A saved student says how it sees pictures and what its logits are; layers are one frame a picture."""
    of_pair(pair, bank, prompt_depth=2).save_pretrained(tmp_path)
    student = load_model(tmp_path)
    assert (student.kind, student.labels) == ("image", NAMES)
    assert student.preprocess == preprocess_of(pair.processor)
    x = torch.randn(3, 3, 32, 32)
    for layer, dim in (("logits", 4), ("embedding", 32)):
        found, frames = student.extract(x, None, layer)
        assert (found.shape, frames.tolist()) == ((3, 1, dim), [1, 1, 1])
    assert torch.equal(student.extract(x, None, "logits")[0][:, 0], student(x))
