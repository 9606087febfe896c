"""TiUE's teachers of texts: Stable Diffusion's layout and AudioLDM's, from prompts alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_settings import settings_of
from tiny_diffusion import save_audioldm, save_audioldm2, stable_diffusion
from tiny_pairs import save_pair
from whole_runs import differences, rows

from audiokd.methods.tiue.memory import item_bytes
from audiokd.methods.tiue.run import TiUERun
from audiokd.stages.export import export
from audiokd.stages.fit import fit
from audiokd.training.memory import saved_bytes
from audiokd.vision.load_pipeline import load_pipeline
from audiokd.vision.lora import lora_off


def settings(teacher: Path, **changes: Any) -> Any:
    flat = {"run.accelerator": "cpu", "step": "distill", "distill.teacher": str(teacher)}
    return settings_of("tiue", "debug", flat | {k.replace("__", "."): v for k, v in changes.items()})


def test_a_stable_diffusion_teacher(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prompts alone, CLIP texts, latents; checkpointing, bf16 and the CLIP term."""
    stable_diffusion().save_pretrained(tmp_path / "teacher")
    save_pair("clip", tmp_path / "clip")
    (tmp_path / "p.txt").write_bytes(b"a photo of a dog\n\nrain in the clock\n" + b"\xff\xfe\nthe bad cat\n")
    s = settings(
        tmp_path / "teacher", distill__checkpointing=True, run__precision="bf16-mixed",
        loss__clip=0.1, loss__clip_model=str(tmp_path / "clip"), run__max_steps=2, distill__size=12,
    )  # fmt: skip
    fit("tiue", s, str(tmp_path / "p.txt"), str(tmp_path / "p.txt"), str(tmp_path / "exp"))
    assert "2 lines without a prompt are left out" in capsys.readouterr().err
    found = rows(tmp_path / "exp")
    assert {n for _, split, n in found if split == "train"} >= {"vsd", "kl", "clip", "fake", "spread"}
    export(str(tmp_path / "exp"), str(tmp_path / "student"), "last")
    student = load_pipeline(str(tmp_path / "student"))
    assert student(["a dog"], steps=4).shape == (1, 24, 24, 3)  # of the size that it learnt
    assert (student.config.sampler, student.vae is not None) == ("tiue", True)
    again = settings(tmp_path / "teacher", distill__init=str(tmp_path / "student"))
    module, _ = TiUERun(again, str(tmp_path / "p.txt"), str(tmp_path / "p.txt")).build(tmp_path / "exp")
    assert differences(dict(module.student.state_dict()), dict(student.unet.state_dict())) == []


def test_memory_of_the_clip_term(tmp_path: Path) -> None:
    """What autograd keeps of the decoded sample and of CLIP is in it, and no weight."""
    stable_diffusion().save_pretrained(tmp_path / "teacher")
    save_pair("clip", tmp_path / "clip")
    (tmp_path / "p.txt").write_text("a dog\n")
    (tmp_path / "run").mkdir()
    of_clip = {"loss__clip": 0.1, "loss__clip_model": str(tmp_path / "clip")}
    s = settings(tmp_path / "teacher", **of_clip)
    module, _ = TiUERun(s, str(tmp_path / "p.txt"), str(tmp_path / "p.txt")).build(tmp_path / "run")
    weights = [p for part in (module, *module.frozen()) for p in part.parameters()]
    told = module.pipeline.conditions([None])

    def seen() -> torch.Tensor:
        return module.clip.pictures(
            module.pipeline.decode(module.sample(module.student, torch.randn(1, 4, 8, 8), told)[0])
        )

    found = item_bytes(module, module.made, module.shape, module.judged)
    assert found == pytest.approx(saved_bytes(seen, weights), rel=0.05)
    student = saved_bytes(lambda: module.sample(module.student, torch.randn(1, 4, 8, 8), told), weights)
    assert found > 1.2 * student
    plain = item_bytes(module, module.made, module.shape)
    four = item_bytes(module, module.made, (4, 16, 16), module.judged) - (found - plain)
    assert four == pytest.approx(4 * plain, rel=0.1)  # CLIP sees no more of a larger picture


@pytest.mark.parametrize("save", [save_audioldm, save_audioldm2])
def test_the_empty_prompt_is_read_once(
    tmp_path: Path, save: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says what it says a batch of it; AudioLDM2's is shorter than its batch mates."""
    teacher = save(tmp_path / "teacher")
    (tmp_path / "p.txt").write_text("rain\n")
    (tmp_path / "run").mkdir()
    s = settings(teacher)
    module, _ = TiUERun(s, str(tmp_path / "p.txt"), str(tmp_path / "p.txt")).build(tmp_path / "run")
    prompts = ["rain on the roof", "a cat", "dog"]
    told, null = module.pipeline.conditions(prompts), module.pipeline.conditions([None] * 3)
    x, t = torch.randn(3, *module.shape), torch.tensor([20, 500, 900])
    read, conditions = [], module.pipeline.conditions
    monkeypatch.setattr(module.pipeline, "conditions", lambda of: read.append(of) or conditions(of))
    with torch.no_grad(), lora_off(module.pipeline.unet):
        theirs, _ = module.noises(x, t, told)
        module.noises(x[:2], t[:2], conditions(prompts[:2]))
        w = module.settings.distill.guidance
        of = [module.answer(x, t, c) for c in (null, told)]
    torch.testing.assert_close(theirs, of[0] + w * (of[1] - of[0]), rtol=1e-4, atol=1e-4)
    assert read == [[None]]


@pytest.mark.parametrize("save", [save_audioldm, save_audioldm2])
def test_a_teacher_of_sounds_of_texts(tmp_path: Path, save: Callable[[Path], Path]) -> None:
    """AudioLDM and AudioLDM2, from prompts alone; the student says what it heard of, through the teacher's vocoder."""
    teacher = save(tmp_path / "teacher")
    (tmp_path / "p.txt").write_text("a dog\nrain on the roof of a house\na cat\n")
    s = settings(teacher, distill__size=12, run__max_steps=2)
    fit("tiue", s, str(tmp_path / "p.txt"), str(tmp_path / "p.txt"), str(tmp_path / "exp"))
    assert {n for _, split, n in rows(tmp_path / "exp") if split == "train"} >= {"vsd", "kl", "fake", "spread"}
    export(str(tmp_path / "exp"), str(tmp_path / "student"), "last")
    student, before = load_pipeline(str(tmp_path / "student")), load_pipeline(str(teacher))
    assert differences(dict(student.unet.state_dict()), dict(before.unet.state_dict()))
    assert (student.sample_shape, student.unet.config.sample_size) == ((4, 12, 4), 12)  # longer, of as many bands
    wavs = student(["a dog", "rain"])
    assert wavs.shape == (2, 12 * 2 * 16)
    assert np.isfinite(wavs).all()
