"""LiT: digits and seconds of two readers find their captions; what is locked stays; stopped, exported and refused runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from method_settings import settings_of
from tiny_pairs import bert, tokenizer
from whole_runs import assert_same_run, checkpoint, finish, kill_at, rows

from audiokd.data.images import load_image
from audiokd.data.items import Item, read_items, write_items
from audiokd.errors import AudiokdError, ConfigError
from audiokd.losses.embedding_cosine import embedding_cosine
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.methods.lit.run import LitRun, build_model, write_model
from audiokd.stages.export import export
from audiokd.teachers.pair import load_pair
from audiokd.teachers.text_bank import make_text_bank

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
WORDS = ["the", "digit", *NUMBERS, "a", "reader", "of", "dickens", "beckett"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, readers: Path) -> Path:
    """scikit-learn's digits as pictures with captions, the readers' seconds with texts, and towers with random weights."""
    from PIL import Image
    from sklearn.datasets import load_digits
    from transformers import AutoConfig, AutoModel

    root = tmp_path_factory.mktemp("captioned")
    digits = load_digits()
    for split, numbers in (("train", range(300)), ("dev", range(300, 400))):
        (root / split).mkdir()
        items = []
        for k in numbers:
            path = root / split / f"{k:03d}.png"
            Image.fromarray((digits.images[k] * 15).astype("uint8")).resize((32, 32)).save(path)
            items.append(Item(f"{k:03d}", str(path), caption=f"the digit {NUMBERS[digits.target[k]]}"))
        write_items(root / split, items)
        sound = root / f"sound_{split}"
        sound.mkdir()
        for name in ("wav.scp", "segments"):
            (sound / name).write_text((readers / split / name).read_text())
        ids = [line.split()[0] for line in (sound / "segments").read_text().splitlines()]
        texts = {i: f"a reader of {'beckett' if i.startswith('beckett') else 'dickens'}" for i in ids}
        (sound / "text").write_text("".join(f"{i} {t}\n" for i, t in texts.items()))
    torch.manual_seed(0)
    text = AutoModel.from_config(AutoConfig.for_model(**bert()))
    text.save_pretrained(root / "text")
    tokenizer(20, WORDS).save_pretrained(root / "text")
    ATSTModel(ATSTConfig(kind="clip", dim=32, depth=2, heads=2)).save_pretrained(root / "encoder")
    return root


def settings(corpus: Path, **changes: Any) -> Any:
    flat = {"model.text": str(corpus / "text"), "run.accelerator": "cpu"}
    return settings_of("lit", "debug", flat | {k.replace("__", "."): v for k, v in changes.items()})


def command(corpus: Path, *more: str, sets: str = "") -> list[str]:
    options = f"--config lit/debug --train {corpus}/{sets}train --dev {corpus}/{sets}dev --run.accelerator cpu"
    options += f" --model.text {corpus}/text"
    return [str(Path(sys.executable).with_name("audiokd")), "fit", "lit", *options.split(), *more]


def timm_weights(folder: Path) -> Path:
    """Of a tiny backbone, as timm writes them."""
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(1)
    save_file(timm.create_model("test_efficientnet").state_dict(), folder / "weights.safetensors")
    return folder / "weights.safetensors"


def locked_keys(weights: dict[str, torch.Tensor], *prefixes: str) -> dict[str, torch.Tensor]:
    return {k: v for k, v in weights.items() if k.startswith(prefixes)}


@pytest.fixture(scope="module")
def digits(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT from scratch beside a locked text encoder, exported."""
    root = tmp_path_factory.mktemp("digits")
    steps = "--run.max_steps 240 --run.val_every 120 --run.ckpt_every 120 --data.batch_size 32 --data.view plain"
    finish(command(corpus, *steps.split(), "--model.text_hidden", "32"), root / "exp")
    export(str(root / "exp"), str(root / "model"))
    return root


def test_digits_find_their_captions(corpus: Path, digits: Path) -> None:
    found = {k: float(v) for k, v in rows(digits / "exp").items()}
    losses = [found[s, "train", "loss"] for s in range(1, 241)]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    assert found[240, "val", "loss"] < found[0, "val", "loss"]
    for way in ("media_to_text_r1", "text_to_media_r1"):
        assert found[0, "val", way] < 0.35
        assert found[240, "val", way] > 0.6
    begun, _ = build_model(settings(corpus, model__text_hidden=32))
    before = locked_keys(begun.state_dict(), "text_model.")
    after = checkpoint(digits / "exp", "last")["state_dict"]
    assert before
    assert all(torch.equal(v, after[f"model.{k}"]) for k, v in before.items())
    state = begun.state_dict()["vision_model.embeddings.patch_embedding.weight"]
    assert not torch.equal(state, after["model.vision_model.embeddings.patch_embedding.weight"])


def test_a_tower_learns_from_another_pair_model(corpus: Path, digits: Path, tmp_path: Path) -> None:
    """A ViT is drawn to the embeddings that the first one has of the same view; that one stays as it is and in no checkpoint."""
    goal = str(digits / "model")
    words = (
        f"--run.max_steps 60 --run.val_every 30 --data.batch_size 32 --teacher.pair {goal} --teacher.weight 5".split()
    )
    finish(command(corpus, *words), tmp_path / "exp")
    found = {k: float(v) for k, v in rows(tmp_path / "exp").items()}
    first, last = (sum(found[s, "train", "embedding"] for s in of) / 5 for of in (range(1, 6), range(56, 61)))
    assert last < 0.5 * first
    for step in (1, 60):
        parts = found[step, "train", "contrastive"] + found[step, "train", "embedding"]
        assert found[step, "train", "loss"] == pytest.approx(parts, rel=1e-5)
    state = checkpoint(tmp_path / "exp", "last")["state_dict"]
    begun, _ = build_model(settings(corpus))
    assert {k.removeprefix("model.") for k in state} == set(begun.state_dict())

    s = settings(corpus, teacher__pair=goal, teacher__weight=5.0, data__batch_size=8)
    module, data = LitRun(s, str(corpus / "train"), str(corpus / "dev")).build(tmp_path)
    module.on_fit_start()
    batch = data.collate([data.train_set[0, i] for i in range(8)])
    assert torch.equal(batch["media"]["pixel_values"], batch["teacher"]["pixel_values"])  # one size, one random view
    pair = load_pair(goal)
    with torch.no_grad():
        media = module.embed(batch)[0]
        due = 5 * (1 - (media * pair.embed_media(batch["teacher"])).sum(-1).mean())
        said = module.teacher.embed(batch["ids"], batch["teacher"])
    assert due == pytest.approx(float(5 * (1 + embedding_cosine(media, said, said, 1.0))), rel=1e-4)
    for changes, message in (
        ({"model__projection_dim": 16}, "embeddings have 32 numbers, model.projection_dim is 16"),
        ({"teacher__pair": str(digits / "nothing")}, "nothing"),
    ):
        s = settings(corpus, **({"teacher__pair": goal} | changes))
        with pytest.raises(AudiokdError, match=message):
            LitRun(s, str(corpus / "train"), str(corpus / "dev")).build(tmp_path)
    s = settings(corpus, model__media=str(corpus / "encoder"), model__lock_media=False, teacher__pair=goal)
    with pytest.raises(AudiokdError, match="the teacher is of image, the data of audio"):
        LitRun(s, str(corpus / "sound_train"), str(corpus / "sound_dev")).build(tmp_path)


@torch.no_grad()
def test_the_exported_folder_is_a_pair_model(corpus: Path, digits: Path) -> None:
    """Without the text encoder's own folder; it classifies digits that it has not seen by their names."""
    pair = load_pair(str(digits / "model"))
    assert (pair.kind, pair.dim, pair.max_tokens) == ("image", 32, 20)
    run = LitRun(settings(corpus, model__text_hidden=32), str(corpus / "train"), str(corpus / "dev"))
    module, data = run.build(digits)
    state = checkpoint(digits / "exp", "best")["state_dict"]
    module.load_state_dict(state)
    module.eval().on_fit_start()
    batch = data.collate([data.dev_set[0, i] for i in range(6)])
    media, texts, _ = module.embed(batch)
    items = read_items(corpus / "dev")[:6]
    torch.testing.assert_close(pair.embed_texts([str(i.caption) for i in items]), texts, atol=1e-5, rtol=1e-4)
    seen = pair.embed_media(pair.preprocess([load_image(i) for i in items]))
    torch.testing.assert_close(seen, media, atol=1e-4, rtol=1e-3)
    bank = make_text_bank(pair, {n: [f"the digit {n}"] for n in NUMBERS}, float(pair.scale))
    items = read_items(corpus / "dev")
    said = pair.embed_media(pair.preprocess([load_image(i) for i in items])) @ bank.vectors.T
    right = [bank.names[k] == str(i.caption).split()[-1] for k, i in zip(said.argmax(-1).tolist(), items)]
    assert sum(right) / len(right) > 0.6


def test_both_towers_locked(corpus: Path, tmp_path: Path) -> None:
    """Heads alone learn, batch norms keep their statistics, each caption is read once, and validation wakes nothing."""
    options = ["--model.media", "test_efficientnet", "--model.media_weights", str(timm_weights(tmp_path))]
    few = "--model.lock_media true --run.max_steps 4 --run.val_every 2 --data.batch_size 8 --data.val_items 16"
    finish(command(corpus, *options, "--model.media_size", "64", *few.split()), tmp_path / "exp")
    s = settings(
        corpus,
        model__media="test_efficientnet",
        model__media_weights=options[3],
        model__media_size=64,
        model__lock_media=True,
        data__batch_size=8,
    )
    begun, _ = build_model(s)
    after = checkpoint(tmp_path / "exp", "last")["state_dict"]
    towers = locked_keys(begun.state_dict(), "text_model.", "vision_model.")
    assert any("running_mean" in k for k in towers)
    assert all(torch.equal(v, after[f"model.{k}"]) for k, v in towers.items())
    changed = {k for k, v in begun.state_dict().items() if not torch.equal(v, after[f"model.{k}"])}
    assert changed == {"text_projection.weight", "visual_projection.weight", "logit_scale"}

    module, data = LitRun(s, str(corpus / "train"), str(corpus / "dev")).build(tmp_path)
    module.eval()
    module.train()
    module.on_fit_start()
    assert not any(m.training for tower in module.locked for m in tower.modules())
    assert module.model.visual_projection.training
    read: list[int] = []
    module.model.text_model.register_forward_hook(lambda *_: read.append(1))
    batch = data.collate([data.train_set[0, i] for i in range(4)])
    assert batch["media"]["pixel_values"].shape[-2:] == (64, 64)
    media, texts, _ = module.embed(batch)
    (media @ texts.T).sum().backward()
    assert read == []
    takes = {n for n, p in module.model.named_parameters() if p.grad is not None}
    assert takes == {"text_projection.weight", "visual_projection.weight"}
    optimised = {id(p) for g in module.configure_optimizers().param_groups for p in g["params"]}
    assert not optimised & {id(p) for tower in module.locked for p in tower.parameters()}


def test_no_tower_locked(corpus: Path, tmp_path: Path) -> None:
    """The text encoder learns too, and reads its captions in every step."""
    run = LitRun(settings(corpus, model__lock_text=False), str(corpus / "train"), str(corpus / "dev"))
    module, data = run.build(tmp_path)
    module.train()
    module.on_fit_start()
    assert module.locked == []
    media, texts, _ = module.embed(data.collate([data.train_set[0, i] for i in range(8)]))
    (media @ texts.T).diagonal().sum().backward()
    assert module.model.text_model.embeddings.word_embeddings.weight.grad.any()
    assert module.model.vision_model.pre_layrnorm.weight.grad.any()


def test_sound(corpus: Path, tmp_path: Path) -> None:
    """An audio encoder that learns, and one that is locked; the exported folder hears waveforms."""
    for lock in ("true", "false"):
        options = f"--model.media {corpus}/encoder --model.lock_media {lock} --run.max_steps 30 --run.val_every 15"
        options += " --data.crop_s 1 --data.batch_size 8 --optim.lr 0.001"
        finish(command(corpus, *options.split(), sets="sound_"), tmp_path / lock)
        found = {k: float(v) for k, v in rows(tmp_path / lock).items()}
        assert found[30, "val", "loss"] < found[0, "val", "loss"]
        begun, _ = build_model(settings(corpus, model__media=f"{corpus}/encoder"))
        after = checkpoint(tmp_path / lock, "last")["state_dict"]
        same = {k for k, v in begun.audio_model.state_dict().items() if torch.equal(v, after[f"model.audio_model.{k}"])}
        assert (len(same) == len(begun.audio_model.state_dict())) == (lock == "true")
    assert found[30, "val", "media_to_text_r1"] >= 0.75
    export(str(tmp_path / "false"), str(tmp_path / "model"))
    pair = load_pair(str(tmp_path / "model"))
    assert (pair.kind, pair.sample_rate) == ("audio", 16_000)
    clips = [torch.randn(16_000), torch.randn(9_000)]
    with torch.no_grad():
        together = pair.embed_media(pair.preprocess(clips))
        alone = pair.embed_media(pair.preprocess(clips[1:]))
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("lock", ["true", "false"])
def test_killed_and_started_again_equals_never_killed(corpus: Path, tmp_path: Path, lock: str) -> None:
    """Random views and, of a text encoder that learns, dropout; killed between two checkpoints and in mid-epoch."""
    short = f"--run.max_steps 13 --run.val_every 6 --run.ckpt_every 4 --data.num_workers 2 --model.lock_text {lock}"
    whole = command(corpus, *short.split(), "--data.batch_size", "48")
    finish(whole, tmp_path / "undisturbed")
    exp = tmp_path / "killed"
    assert 7 <= kill_at(7, whole, exp) < 13
    finish(whole, exp)
    assert_same_run(exp, tmp_path / "undisturbed")


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(corpus: Path, tmp_path: Path) -> None:
    """A pair's negatives are those of both."""
    options = ["--run.max_steps", "6", "--data.view", "plain", "--model.lock_media", "false"]
    finish(command(corpus, *options, "--data.batch_size", "16"), tmp_path / "one")
    finish(command(corpus, *options, "--data.batch_size", "8", "--run.devices", "2"), tmp_path / "two")
    finish(command(corpus, *options, "--data.batch_size", "8"), tmp_path / "alone")
    weights = {}
    for name in ("one", "two", "alone"):
        state = checkpoint(tmp_path / name, "last")["state_dict"]
        weights[name] = torch.cat([v.flatten().float() for k, v in sorted(state.items()) if v.is_floating_point()])
    far = (weights["alone"] - weights["one"]).norm()
    assert (weights["two"] - weights["one"]).norm() < 0.05 * far


def test_what_is_refused(corpus: Path, tmp_path: Path) -> None:
    train, dev = str(corpus / "train"), str(corpus / "dev")
    for changes, said in (
        ({"model__text": ""}, "no model.text given"),
        ({"model__media": ""}, "no model.media given"),
        ({"model__lock_media": True}, "vit would be locked with random weights"),
        ({"model__media": "resnet18", "model__lock_media": True}, "resnet18 would be locked with random weights"),
        ({"model__media_weights": "x.pth"}, "model.media_weights are of timm's backbones"),
        (
            {"teacher__pair": "x", "model__media": "resnet18", "model__media_weights": "y", "model__lock_media": True},
            "a teacher of a media tower that is locked",
        ),
        ({"model__media_size": 64}, "model.media_size is of timm's backbones"),
        ({"vit__patch_size": 7}, r"vit.image_size 32 is no multiple of vit.patch_size 7"),
    ):
        with pytest.raises(ConfigError, match=said):
            LitRun(settings(corpus, **changes), train, dev)
    with pytest.raises(AudiokdError, match="vit takes image, and this is audio"):
        LitRun(settings(corpus), str(corpus / "sound_train"), dev)
    silent = [i.with_(caption=None) if k < 2 else i for k, i in enumerate(read_items(train))]
    write_items(tmp_path / "silent", silent)
    with pytest.raises(AudiokdError, match="2 of 300 items have no caption: 000, 001"):
        LitRun(settings(corpus), str(tmp_path / "silent"), dev)
    write_items(tmp_path / "other", [i.with_(caption="the digit") for i in read_items(train)])
    with pytest.raises(AudiokdError, match="two captions for it"):
        LitRun(settings(corpus), train, str(tmp_path / "other"))


def test_towers_that_cannot_be_loaded(corpus: Path, tmp_path: Path) -> None:
    from transformers import AutoModel

    bare = tmp_path / "bare"
    AutoModel.from_pretrained(corpus / "text").save_pretrained(bare)
    with pytest.raises(AudiokdError, match="cannot read its tokenizer"):
        build_model(settings(corpus, model__text=str(bare)))
    with pytest.raises(AudiokdError, match="no text encoder built as BERT is"):
        build_model(settings(corpus, model__text=str(corpus / "encoder")))
    weights = timm_weights(tmp_path)
    with pytest.raises(AudiokdError, match="weights of another model"):
        build_model(settings(corpus, model__media="test_resnet", model__media_weights=str(weights)))
    with pytest.raises(AudiokdError, match="is no encoder that can be trained"):
        build_model(settings(corpus, model__media=str(corpus / "text")))
    with pytest.raises(AudiokdError, match="a lit has no init checkpoint"):
        write_model(tmp_path, settings(corpus), None, tmp_path / "out", "init")
