"""PromptKD's student: the tower of its pair model, what learns of it, and that it needs no text model once it is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_pairs import save_pair
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.losses.logit_kl import logit_kl
from audiokd.methods.promptkd.config import PromptKDConfig
from audiokd.methods.promptkd.model import PromptKDModel, projector, student_of
from audiokd.nn.deep_prompts import prompted_images
from audiokd.teachers.pair import ContrastivePair, load_pair
from audiokd.teachers.text_bank import TextBank, fill, make_text_bank

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
    student = student_of(pair, bank, prompt_depth=2)
    assert student.prompts is not None
    with torch.no_grad():
        seen = prompted_images(student, pictures, None)
        torch.testing.assert_close(seen, pair.embed_media({"pixel_values": pictures}), atol=1e-6, rtol=1e-5)
        z = F.normalize(student.projector(prompted_images(pair.net, pictures, student.prompts.tokens)), dim=-1)
        expected = float(pair.scale) * z @ bank.vectors.T
        torch.testing.assert_close(student(pictures), expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(student(pictures[3:4]), student(pictures)[3:4], atol=1e-5, rtol=1e-4)
        bare = student_of(pair, bank, prompts=0)
        assert list(bare.learning_parts()) == ["projector"]
        assert bare(pictures).shape == (8, 4)


def test_prompts_and_projector_learn_and_nothing_else(
    pair: ContrastivePair, teacher: ContrastivePair, bank: TextBank, pictures: torch.Tensor
) -> None:
    torch.manual_seed(0)
    student = student_of(pair, bank, prompt_depth=2).train()
    student.config.scale = 20.0  # a tiny SigLIP's is 1, with which no class can be far ahead
    tower = {k: v.clone() for k, v in student.state_dict().items() if k.startswith(("vision_model", "visual_proj"))}
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


def test_no_text_model_is_needed(pair: ContrastivePair, bank: TextBank, pictures: torch.Tensor, tmp_path: Path) -> None:
    """Saved and loaded: the class vectors and names are there, no weight of a text tower is."""
    torch.manual_seed(0)
    student = student_of(pair, bank, prompt_depth=2)
    student.save_pretrained(tmp_path / "student")
    weights = load_file(tmp_path / "student" / "model.safetensors")
    assert not [k for k in weights if "text" in k or "token_embedding" in k]
    again = PromptKDModel.from_pretrained(tmp_path / "student")
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(pictures), student(pictures))
    config = json.loads((tmp_path / "student" / "config.json").read_text())
    assert (config["names"], config["bank_sha256"]) == (NAMES, bank.model_sha256)


def test_the_projectors_of_the_ablation() -> None:
    assert [len(projector(8, (16,) * depth, 4)) for depth in (0, 1, 2)] == [1, 4, 7]
    assert projector(8, (16, 12), 4)(torch.randn(3, 8)).shape == (3, 4)


def test_what_is_refused(pair: ContrastivePair, bank: TextBank, tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match="prompts for 9 layers, the tower has 2"):
        student_of(pair, bank)
    with pytest.raises(AudiokdError, match="prompts stand among the patches"):
        student_of(load_pair(str(save_pair("clap", tmp_path / "clap"))), bank)
    with pytest.raises(AudiokdError, match="an image tower of patches with a linear head"):
        student_of(load_pair(str(save_pair("lit_timm", tmp_path / "lit"))), bank)
    for changes in ({"names": []}, {"tower": {"model_type": "resnet"}}):
        with pytest.raises(AudiokdError, match="needs classes and a tower"):
            PromptKDModel(PromptKDConfig(**{"names": NAMES, "tower": {}, **changes}))
