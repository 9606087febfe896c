"""Prompts learnt from a few labelled items: the loss written out, what learns and what never does, the average, kill and resume."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_pairs import save_pair
from tiny_pictures import teach, write_digits
from torch.nn import functional as F
from whole_runs import assert_same_run, finish, kill_at, rows

from audiokd.data.images import load_image
from audiokd.data.items import read_items
from audiokd.errors import AudiokdError
from audiokd.hub.auto import load_model
from audiokd.methods.promptsrc.run import PromptSRCRun
from audiokd.methods.promptsrc.settings import PromptSRCSettings
from audiokd.nn.deep_prompts import prompted_images, prompted_texts
from audiokd.stages.classify import classify
from audiokd.stages.export import export
from audiokd.stages.extract import extract
from audiokd.teachers.pair import load_pair
from audiokd.teachers.prompted_pair import PromptedPair, PromptShape, load_any_pair, load_prompted
from audiokd.teachers.student_body import body_of_pair
from audiokd.teachers.text_bank import fill, load_text_bank, make_text_bank
from audiokd.teachers.zero_shot import load_zero_shot
from audiokd.tokens.remote import open_store
from audiokd.training.prompt_averaging import GaussianAverage
from audiokd.vision.transforms import plain_view, preprocess_of


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_digits(tmp_path_factory.mktemp("digits"), {"train": 40, "dev": 20, "test": 10})
    for family in ("clip", "siglip", "clap"):
        save_pair(family, root / family)
    teach(root / "clip", root / "train", 120)
    return root


def settings_of(corpus: Path, family: str = "clip", **changes: Any) -> PromptSRCSettings:
    s = PromptSRCSettings()
    s.model.pair, s.model.text_depth, s.model.visual_depth = str(corpus / family), 2, 2
    s.run.max_steps, s.optim.warmup_steps = 60, 2
    for key, value in changes.items():
        group, _, name = key.partition("__")
        setattr(getattr(s, group), name, value)
    return s


def build(corpus: Path, folder: Path, **changes: Any) -> tuple[Any, Any, PromptSRCRun]:
    run = PromptSRCRun(settings_of(corpus, **changes), str(corpus / "train"), str(corpus / "dev"))
    folder.mkdir(exist_ok=True)
    return *run.build(folder), run


def command(corpus: Path, *more: str) -> list[str]:
    options = f"--config promptsrc/debug --train {corpus}/train --dev {corpus}/dev --run.accelerator cpu"
    options += f" --model.pair {corpus}/clip --weights.text 1 --weights.image 1 --data.test [{corpus}/test]"
    return [str(Path(sys.executable).with_name("audiokd")), "fit", "promptsrc", *options.split(), *more]


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    exp = tmp_path_factory.mktemp("promptsrc") / "exp"
    finish(command(corpus), exp)
    return exp


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_the_loss_written_out(corpus: Path, tmp_path: Path, family: str) -> None:
    module, data, run = build(corpus, tmp_path, model__pair=str(corpus / family))
    assert run.taught == ("dog", "cat")  # the first half of the classes
    assert len(run.sets["train"]) == 2 * 16
    batch = data.collate([data.train_set[0, i] for i in (0, 5, 20)])
    pair = module.prompted.pair
    x = batch["media"]["pixel_values"]
    with torch.no_grad():
        for p in module.prompted.parameters():
            p += 0.1 * torch.randn_like(p)
        found = module.parts(batch)
        f0 = F.normalize(pair.net.get_image_features(pixel_values=x).pooler_output, dim=-1)
        g0 = make_text_bank(pair, fill(["dog", "cat"], "photo7"), 1.0).vectors
        f = prompted_images(pair.net, x, module.prompted.visual.tokens)
        words = pair.tokenize(["a photo of a dog.", "a photo of a cat."])["input_ids"]
        g = prompted_texts(pair.net, words, module.prompted.text.tokens)
        scale, bias = float(pair.scale), float(pair.bias)
        s, t = scale * f @ g.T + bias, scale * f0 @ g0.T + bias
    y = torch.tensor([module.labels[i] for i in batch["ids"]])
    kl = (s.softmax(-1) * 0 + t.softmax(-1) * (t.log_softmax(-1) - s.log_softmax(-1))).sum() / s.numel()
    expected = {
        "ce": F.cross_entropy(s, y),
        "text": (g - g0).abs().mean(),
        "image": (f - f0).abs().mean(),
        "logits": kl,
    }
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4)


def test_prompts_begin_as_the_model_without_them(corpus: Path) -> None:
    """The words of the context are its own tokens at first; with one layer of them nothing has changed yet."""
    pair = load_pair(str(corpus / "clip"))
    with torch.no_grad():
        prompted = PromptedPair(pair, PromptShape(text_depth=1, visual_depth=0))
        texts = prompted.texts_of(["dog", "cat"])
        assert texts == ["a photo of a dog.", "a photo of a cat."]
        torch.testing.assert_close(prompted.embed_texts(texts), pair.embed_texts(texts), atol=1e-5, rtol=1e-4)
        offset = PromptedPair(pair, PromptShape(text_depth=0, visual_depth=0, offset=True))
        torch.testing.assert_close(offset.embed_texts(texts), pair.embed_texts(texts))
    assert [n for n, _ in offset.named_parameters()] == ["offset"]
    other = PromptedPair(load_pair(str(save_pair("clip", corpus / "another", seed=7))), offset.shape)
    assert other.identity() != offset.identity()  # the prompts of both are zeros
    assert offset.identity() == PromptedPair(pair, offset.shape).identity()
    assert list(prompted.state_dict()) == ["text.tokens"]


def test_prompts_learn_and_nothing_else(corpus: Path, trained: Path) -> None:
    found = {k: float(v) for k, v in rows(trained).items()}
    losses = [found[s, "train", "ce"] for s in range(1, 61)]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert found[60, "val", "score"] > 0.6  # two digits
    assert (0, "val", "score") in found  # before the first step
    regime = json.loads((trained / "regime.json").read_text())
    assert (regime["setting"], regime["steps"][0]["labelled"]["count"]) == ("inductive", 32)
    assert regime["steps"][0]["labelled"]["labels"] == {"dog": 16, "cat": 16}
    label = {i.id: i.label for i in read_items(corpus / "train")}
    listed = dict(line.split() for line in (trained / "shots.txt").read_text().splitlines())
    assert len(listed) == 32
    assert listed == {i: label[i] for i in listed}
    other = PromptSRCRun(settings_of(corpus, run__seed=1), str(corpus / "train"), str(corpus / "dev"))
    assert {i.id for i in other.sets["train"].items} != listed.keys()  # drawn by the seed
    state = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert {k.split(".")[0] for k in state} == {"prompted", "average"}


def test_bfloat16(corpus: Path, trained: Path, tmp_path: Path) -> None:
    """Near the run in float32, and not the same."""
    finish(
        command(
            corpus,
            "--run.max_steps",
            "2",
            "--run.val_every",
            "2",
            "--run.precision",
            "bf16-mixed",
            "--average.points",
            "2",
        ),
        tmp_path / "exp",
    )
    found = {k: float(v) for k, v in rows(tmp_path / "exp").items()}
    whole = float(rows(trained)[1, "train", "ce"])
    assert found[1, "train", "ce"] == pytest.approx(whole, rel=0.05)
    assert found[1, "train", "ce"] != whole


def test_an_export_is_read_with_its_pair_model(corpus: Path, trained: Path, tmp_path: Path) -> None:
    export(str(trained), str(tmp_path / "prompts"), "last")
    prompted = load_any_pair(str(tmp_path / "prompts"))
    assert isinstance(prompted, PromptedPair)
    assert not [p for p in prompted.parameters() if p.requires_grad]
    bank = load_text_bank(tmp_path / "prompts" / "text_bank.safetensors")
    assert bank.names == ("dog", "cat", "rain", "clock")  # novel ones, too
    with torch.no_grad():
        torch.testing.assert_close(prompted.embed_texts(["a photo of a rain."])[0], bank.vectors[2])
    weights = load_file(tmp_path / "prompts" / "prompts.safetensors")
    assert {k: v.shape for k, v in weights.items()} == {
        "visual.tokens": (2, 4, 32), "text.tokens": (2, 4, 32)
    }  # fmt: skip
    save_pair("clip", corpus / "other", seed=5)
    with pytest.raises(AudiokdError, match="its prompts are of a pair model"):
        load_prompted(tmp_path / "prompts", pair=str(corpus / "other"))
    with pytest.raises(AudiokdError, match="does not begin with 'a photo of a'"):
        prompted.embed_texts(["this is the sound of rain"])


def test_an_export_names_items(corpus: Path, trained: Path, tmp_path: Path) -> None:
    """It is extracted and scored as any classifier: its logits are the prompted model's cosines with its bank's vectors."""
    export(str(trained), str(tmp_path / "prompts"), "last")
    logits, embeddings = str(tmp_path / "logits"), str(tmp_path / "embeddings")
    extract(str(tmp_path / "prompts"), str(corpus / "test"), logits, "logits", batch_size=4)
    extract(str(tmp_path / "prompts"), str(corpus / "test"), embeddings, "embedding")
    prompted, bank = load_prompted(tmp_path / "prompts"), load_text_bank(tmp_path / "prompts" / "text_bank.safetensors")
    store, said = open_store(logits), open_store(embeddings)
    assert store.meta["labels"] == list(bank.names) == ["dog", "cat", "rain", "clock"]
    for item in read_items(corpus / "test")[:3]:
        seen = plain_view(load_image(item), preprocess_of(prompted.processor))[None]
        media = prompted.embed_media({"pixel_values": seen})
        torch.testing.assert_close(torch.tensor(said[item.id].array), media, atol=1e-5, rtol=1e-4)
        due = prompted.logits(media, bank.vectors)
        torch.testing.assert_close(torch.tensor(store[item.id].array), due, atol=1e-3, rtol=1e-4)
    found = classify(logits, [str(corpus / "test")], str(tmp_path / "scores.json"), base_novel=True)
    assert found["base_novel"]["base"]["accuracy"] > 0.6

    student = body_of_pair(prompted.pair)
    of_media = sum(v.numel() for v in student.state_dict().values())
    visual = prompted.visual.tokens.numel()
    assert load_zero_shot(tmp_path / "prompts").num_parameters() == of_media + visual + bank.vectors.numel()

    bank_of = tmp_path / "prompts" / "text_bank.safetensors"
    make_text_bank(prompted.pair, fill(bank.names, "photo"), bank.scale).save(bank_of)
    with pytest.raises(AudiokdError, match="the text bank was made by model"):
        load_model(tmp_path / "prompts")
    bank_of.unlink()
    with pytest.raises(AudiokdError, match="prompts without vectors of class names"):
        load_model(tmp_path / "prompts")


def test_the_average(corpus: Path) -> None:
    """Of prompts that are 1, 2, ... 10 at ten points, weighted by a Gaussian; the last step gives it to the prompts."""
    prompts = torch.nn.Linear(2, 1, bias=False)
    average = GaussianAverage(prompts, 10, 0.75, 0.1, 40)
    each = [math.exp(-((k / 10 - 0.75) ** 2) / 0.02) for k in range(1, 11)]
    for done in range(1, 41):
        with torch.no_grad():
            prompts.weight.fill_(float(done))
        average.step(done, prompts)
    expected = sum(w * 4 * k for k, w in enumerate(each, 1)) / sum(each)
    torch.testing.assert_close(prompts.weight, torch.full((1, 2), expected))
    with pytest.raises(ValueError, match="10 points of 4 steps"):
        GaussianAverage(prompts, 10, 0.75, 0.1, 4)


def test_killed_and_resumed_is_never_killed(corpus: Path, trained: Path, tmp_path: Path) -> None:
    come = kill_at(25, command(corpus), tmp_path / "exp")
    assert 25 <= come < 60
    finish(command(corpus), tmp_path / "exp")
    assert_same_run(trained, tmp_path / "exp")


def test_sound_learns_an_offset(readers: Path, corpus: Path, tmp_path: Path) -> None:
    s = settings_of(corpus, "clap", model__context="this is a sound of", model__templates="sound", data__shots=5)
    s.model.text_depth, s.model.visual_depth, s.model.offset, s.data.base_only = 0, 0, True, False
    s.data.crop_s = s.data.val_crop_s = 0.5
    run = PromptSRCRun(s, str(readers / "train"), str(readers / "dev"))
    module, data = run.build(tmp_path)
    batch = data.collate([data.train_set[0, i] for i in (0, 7)])
    parts = module.parts(batch)
    assert parts["image"] == 0  # the sound side has nothing to learn
    sum(parts.values()).backward()
    assert module.prompted.offset.grad.abs().sum() > 0


def test_what_is_refused(corpus: Path, readers: Path, tmp_path: Path) -> None:
    train, dev = str(corpus / "train"), str(corpus / "dev")
    with pytest.raises(AudiokdError, match="no pair model"):
        PromptSRCRun(PromptSRCSettings(), train, dev)
    with pytest.raises(AudiokdError, match="an average of 20 points over a run of 4 steps"):
        build(corpus, tmp_path, run__max_steps=4)
    with pytest.raises(AudiokdError, match="60 shots are asked for: cat has 40, dog has 40"):
        build(corpus, tmp_path, data__shots=60)
    with pytest.raises(AudiokdError, match="visual prompts for 9 layers; its visual tower has 2"):
        build(corpus, tmp_path, model__visual_depth=9)
    with pytest.raises(AudiokdError, match="its visual tower has no layers that take them"):
        PromptedPair(load_pair(str(corpus / "clap")), PromptShape(text_depth=0, visual_depth=1))
    with pytest.raises(AudiokdError, match="a pair model of audio, and a set of image"):
        build(corpus, tmp_path, model__pair=str(corpus / "clap"))
    with pytest.raises(AudiokdError, match="no prompts to learn"):
        build(corpus, tmp_path, model__visual_depth=0, model__text_depth=0)
    with pytest.raises(AudiokdError, match="prompts saw 32 test items"):
        build(corpus, tmp_path, data__test=(train,))
