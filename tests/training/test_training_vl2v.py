"""VL2V: what each step trains and what it leaves alone, black boxes, domains, and runs that learn and go on after a kill."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_backbones  # noqa: F401  registers them
import torch
import yaml
from method_settings import settings_of
from tiny_digits import NAMES, save_digits
from tiny_pairs import save_pair
from torch.nn import functional as F
from whole_runs import checkpoint, differences, rows

import audiokd
from audiokd.data.items import read_items, write_items
from audiokd.errors import AudiokdError
from audiokd.hub.auto import part
from audiokd.losses.embedding_cosine import embedding_cosine
from audiokd.methods.vl2v_adip.config import VL2VConfig
from audiokd.methods.vl2v_adip.model import Answer, VL2VModel
from audiokd.methods.vl2v_adip.module import LOSSES, Target, VL2VModule
from audiokd.methods.vl2v_adip.run import VL2VRun
from audiokd.methods.vl2v_adip.settings import VL2VLoss
from audiokd.nn.weights import weights_sha256
from audiokd.stages.export import export
from audiokd.stages.fit import build_settings, fit, flatten, read_config
from audiokd.teachers.black_box import CallableBlackBox
from audiokd.teachers.pair import load_pair
from audiokd.teachers.student_body import body_of_pair, timm_body
from audiokd.teachers.text_bank import TextBank, load_text_bank
from audiokd.tokens.store import StoreItem, StoreWriter

VIT, RESNET = "audiokd_tiny_vit", "audiokd_tiny_resnet"
CLASSES = sorted(NAMES)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits in three domains, a tiny CLIP, and class vectors of its weights that lie far apart."""
    folder = tmp_path_factory.mktemp("vl2v")
    save_digits(folder / "data")
    save_pair("clip", folder / "clip")
    save_bank(folder / "bank.safetensors", folder / "clip")
    return folder


def save_bank(path: Path, pair: Path, names: tuple[str, ...] = tuple(CLASSES)) -> None:
    vectors = torch.eye(24)[: len(names)]
    sha = weights_sha256(load_pair(str(pair)))
    TextBank(names, tuple((n,) for n in names), vectors, 10.0, sha).save(path)


def settings(root: Path, step: str = "align", **changes: Any) -> Any:
    """vl2v/debug with the tiny CLIP, the tiny ViT where the step takes one, and `changes` with __ for the dot."""
    flat: dict[str, Any] = {"step": step, "run.accelerator": "cpu", "data.leave_out": "turned"}
    if step != "erm":
        flat |= {"teacher.pair": str(root / "clip"), "teacher.bank": str(root / "bank.safetensors")}
    if step not in ("sd", "distill"):
        flat["model.backbone"] = VIT
    flat |= {k.replace("__", "."): v for k, v in changes.items()}
    return settings_of("vl2v", "debug", {k: v for k, v in flat.items() if v is not None or k.startswith("data.")})


def build(root: Path, folder: Path, step: str = "align", dev: Path | None = None, **changes: Any) -> Any:
    folder.mkdir(exist_ok=True)
    return VL2VRun(settings(root, step, **changes), str(root / "data"), str(dev or dev_of(root))).build(folder)


def dev_of(root: Path) -> Path:
    """The training folder itself where there is no other."""
    return root / "dev" if (root / "dev").is_dir() else root / "data"


def train(root: Path, exp: Path, step: str = "align", **changes: Any) -> dict[str, float]:
    return fit("vl2v", settings(root, step, **changes), str(root / "data"), str(dev_of(root)), str(exp))


@pytest.fixture(scope="module")
def aligned(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aligned")
    train(root, folder / "exp", optim__lr=1e-2)
    export(str(folder / "exp"), str(folder / "model"), "last")
    return folder


def weights(model: Any, prefix: str) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items() if k.startswith(prefix)}


def test_the_losses_by_hand() -> None:
    # cosines with (1, 0): of (3, 4) 0.6; with its class' text (0, 1): 0.8
    a = Answer(torch.tensor([[3.0, 4.0]]), torch.tensor([[math.log(3.0), 0.0]]))
    t = Target(torch.tensor([1]), torch.tensor([[1.0, 0.0]]), torch.eye(2), math.log(9.0))
    found = {k: {n: float(v) for n, v in of(a, t, VL2VLoss(share=0.25)).items()} for k, of in LOSSES.items()}
    for step in ("align", "distill", "sd"):
        assert found[step] == {"embedding_and_text": pytest.approx(-(0.25 * 0.6 + 0.75 * 0.8))}
    assert found["cosine"] == {"embedding": pytest.approx(-0.6)}
    assert found["erm"] == {"label": pytest.approx(math.log(4.0))}  # the class has a quarter
    kl = 0.9 * math.log(0.9 / 0.75) + 0.1 * math.log(0.1 / 0.25)  # zero-shot logits (log 9, 0)
    assert found["kd"] == {"label": pytest.approx(math.log(4.0)), "zero_shot": pytest.approx(kl, abs=1e-6)}
    softer = LOSSES["kd"](a, t, VL2VLoss(temperature=2.0))["zero_shot"]
    p, q = 0.75, math.sqrt(3) / (1 + math.sqrt(3))
    expected = 4 * (p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)))
    assert float(softer) == pytest.approx(expected, abs=1e-6)


def test_align_trains_the_projection_alone(root: Path, aligned: Path, tmp_path: Path) -> None:
    begun, _ = build(root, tmp_path / "run", optim__lr=1e-2)
    model = audiokd.load_model(aligned / "model")
    assert differences(weights(begun.model, "body"), weights(model, "body")) == []
    assert not torch.equal(begun.model.projection.weight, model.projection.weight)
    assert not torch.equal(begun.model.projection.bias, model.projection.bias)
    (group,) = begun.configure_optimizers().param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in begun.model.projection.parameters()}
    assert (group["lr"], group["weight_decay"]) == (1e-2, 0.0)
    found = {k: float(v) for k, v in rows(aligned / "exp").items()}
    losses = [found[s, "train", "loss"] for s in range(1, 13)]
    assert sum(losses[-3:]) < sum(losses[:3])


def test_distill_leaves_the_projection(root: Path, aligned: Path, tmp_path: Path) -> None:
    before = audiokd.load_model(aligned / "model")
    train(root, tmp_path / "exp", "distill", model__aligned=str(aligned / "model"), swad__n_converge=1)
    after = checkpoint(tmp_path / "exp", "last")["state_dict"]
    for name, of in before.state_dict().items():
        same = torch.equal(of, after[f"model.{name}"])
        assert same == name.startswith(("projection", "class_vectors")) or (name.endswith("bias") and same), name
    export(str(tmp_path / "exp"), str(tmp_path / "swad"), "swad")
    assert audiokd.load_model(tmp_path / "swad").config.left_out == "turned"


@pytest.mark.parametrize("step", ["erm", "kd", "cosine"])
def test_the_baselines_train_all_at_once(root: Path, tmp_path: Path, step: str) -> None:
    module, data = build(root, tmp_path / "run", step)
    parts = module.losses(data.collate([data.train_set[0, i] for i in (0, 1, 30, 50)]))
    assert parts.keys() == {"erm": {"label"}, "kd": {"label", "zero_shot"}, "cosine": {"embedding"}}[step]
    sum(parts.values()).backward()
    assert all(p.grad is not None for p in module.model.parameters())
    assert hasattr(module.model, "head") == (step != "cosine")


def test_the_teacher_stays_and_is_nobodys(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = []

    def kept(name: str) -> Any:
        pairs.append(load_pair(name))
        return pairs[-1]

    monkeypatch.setattr("audiokd.teachers.pair.load_pair", kept)
    before = load_pair(str(root / "clip")).state_dict()
    train(root, tmp_path / "exp", "sd", optim__lr=1e-3, run__max_steps=4)
    (pair,) = pairs
    assert differences(before, pair.state_dict()) == []
    assert all(p.grad is None for p in pair.parameters())
    assert not any("teacher" in k or "text_model" in k for k in checkpoint(tmp_path / "exp", "last")["state_dict"])
    student = checkpoint(tmp_path / "exp", "last")["state_dict"]
    assert not torch.equal(
        student["model.body.media.net.visual_projection.weight"], before["net.visual_projection.weight"]
    )


def test_a_black_box_is_called_and_nothing_else(root: Path, tmp_path: Path) -> None:
    class OnlyCalls:
        def __call__(self, views: dict[str, torch.Tensor]) -> torch.Tensor:
            assert not torch.is_grad_enabled()
            assert not any(v.requires_grad for v in views.values())
            return views["pixel_values"].flatten(1)[:, :24] + 5

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"asked for {name}")

    for step in ("align", "kd", "cosine"):
        module, data = build(root, tmp_path / "run", step)
        module.teacher = CallableBlackBox(OnlyCalls())
        batch = data.collate([data.train_set[0, i] for i in (0, 30)])
        assert batch.keys() == {"ids", "student", "teacher"}
        sum(module.losses(batch).values()).backward()
        assert module.teacher.queries == 2
    real, _ = build(root, tmp_path / "run")  # of a pair model, too, the module has its answers and no more
    assert type(real.teacher) is CallableBlackBox
    assert not [p for n, p in real.named_parameters() if not n.startswith("model.")]


def test_sd_begins_as_the_pair_model(root: Path, tmp_path: Path) -> None:
    module, data = build(root, tmp_path / "run", "sd")
    batch = data.collate([data.train_set[3, i] for i in range(4)])
    pair = load_pair(str(root / "clip"))
    with torch.no_grad():
        z = module.model.answer(**batch["student"]).embedding
        torch.testing.assert_close(F.normalize(z, dim=-1), pair.embed_media(batch["student"]), atol=1e-5, rtol=1e-4)
        logits = module.model(**batch["student"])
        mine = 10 * pair.embed_media(batch["student"]) @ torch.eye(24)[:3].T
        torch.testing.assert_close(logits, mine, atol=1e-4, rtol=1e-4)
    assert float(module.losses(batch)["embedding_and_text"].detach()) == pytest.approx(
        float(embedding_cosine(z, pair.embed_media(batch["student"]), module.texts[module._labels(batch["ids"])])),
        abs=1e-5,
    )


@pytest.fixture(scope="module")
def store(root: Path) -> Path:
    """Embeddings of all items."""
    return save_store(root, root / "store")


def save_store(root: Path, path: Path, **meta: str) -> Path:
    out = StoreWriter(path, "features", {"layer": "clip", **meta})
    found = torch.randn(108, 1, 24, generator=torch.Generator().manual_seed(0))
    items = read_items(root / "data")
    out.write_shard("00000", [StoreItem(i.id, x.numpy(), 1, 1) for i, x in zip(items, found)])
    out.finish(["00000"])
    return path


def test_whose_embeddings_they_are(root: Path, tmp_path: Path) -> None:
    """A store says which model made it: another one than the class vectors' is refused."""
    own = save_store(root, tmp_path / "own", model_sha256=weights_sha256(load_pair(str(root / "clip"))))
    build(root, tmp_path / "run", teacher__pair=None, teacher__embeddings=str(own))
    other = save_store(root, tmp_path / "other", model_sha256="0" * 64)
    with pytest.raises(AudiokdError, match=r"other: made by 000000000000, the class vectors by \w{12}"):
        build(root, tmp_path / "run", teacher__pair=None, teacher__embeddings=str(other))


def test_a_store_in_the_place_of_the_pair(root: Path, store: Path, tmp_path: Path) -> None:
    module, data = build(root, tmp_path / "run", teacher__pair=None, teacher__embeddings=str(store))
    batch = data.collate([data.train_set[0, i] for i in (0, 30)])
    assert batch.keys() == {"ids", "student"}
    assert module.losses(batch).keys() == {"embedding_and_text"}
    with pytest.raises(AudiokdError, match="VL2V-SD needs the teacher's weights"):
        build(root, tmp_path / "run", "sd", teacher__pair=None, teacher__embeddings=str(store))
    with pytest.raises(AudiokdError, match="VL2V-SD needs the teacher's weights"):
        build(root, tmp_path / "run", "sd", teacher__pair=None, teacher__bank=None, teacher__embeddings=str(store))


def test_two_ways_to_preprocess(root: Path, tmp_path: Path) -> None:
    _, own = build(root, tmp_path / "run")
    batch = own.collate([own.train_set[0, 0]])
    assert not torch.equal(batch["student"]["pixel_values"], batch["teacher"]["pixel_values"])
    _, theirs = build(root, tmp_path / "run", teacher__preprocess="student")
    again = theirs.collate([theirs.train_set[0, 0]])
    assert again.keys() == {"ids", "student"}
    assert torch.equal(batch["student"]["pixel_values"], again["student"]["pixel_values"])


def test_pictures_of_another_size_that_are_not_mirrored(root: Path, tmp_path: Path) -> None:
    """The student sees them so in training, in validation and from its folder; the teacher sees its own size, unmirrored too."""
    change = {"model__backbone": RESNET, "model__size": 48, "data__view": "unflipped"}
    module, data = build(root, tmp_path / "run", **change)
    assert module.model.preprocess.size == (48, 48)
    views = data.train_set.views
    assert {(k, v.preprocess.size, v.view) for k, v in views.items()} == {
        ("student", (48, 48), "unflipped"),
        ("teacher", (32, 32), "unflipped"),
    }
    assert data.dev_set.views["student"].preprocess.size == (48, 48)


def test_every_domain_in_every_batch_and_one_never(root: Path, tmp_path: Path) -> None:
    module, data = build(root, tmp_path / "run", data__batch_size=5)
    data.trainer = SimpleNamespace(
        global_rank=0, world_size=1, strategy=SimpleNamespace(root_device=torch.device("cpu"))
    )
    batches = [[data.train_set.items[i].domain for _, i in keys] for keys in data.steps(0, 30).batch_sampler]
    assert all(b == ["inverted"] * 5 + ["plain"] * 5 for b in batches)
    again = [*data.steps(7, 9).batch_sampler]
    assert again == [*data.steps(0, 30).batch_sampler][7:9]
    seen = [i for keys in data.steps(0, 6).batch_sampler for _, i in keys]
    assert len(set(seen)) == len(seen) == 60  # thirty of each domain: an epoch of each
    used = {*data.train_set.items, *data.dev_set.items}
    assert {i.domain for i in used} == {"inverted", "plain"}
    assert (len(data.train_set), len(data.dev_set)) == (60, 12)
    about = json.loads((tmp_path / "run" / "regime.json").read_text())
    assert about["test"]["count"] == 36
    assert about["steps"][0]["name"] == "align"
    assert set(module.labels) == {i.id for i in used}
    _, data = build(root, tmp_path / "all", data__leave_out="")
    assert len(data.groups) == 3
    assert json.loads((tmp_path / "all" / "regime.json").read_text())["test"]["count"] == 0


def test_another_dev_and_leaks(root: Path, tmp_path: Path) -> None:
    items = read_items(root / "data")
    dev = tmp_path / "dev"
    dev.mkdir()
    write_items(dev, [i.with_(id=f"other-{i.id}", path=str(root / "bank.safetensors")) for i in items[:60]])
    _, data = build(root, tmp_path / "run", dev=dev)
    assert len(data.train_set) == 72
    assert not {i.domain for i in data.dev_set.items} & {"turned"}
    write_items(dev, [i.with_(id=f"other-{i.id}") for i in items])  # the training pictures under other names
    with pytest.raises(AudiokdError, match="selects by 72 items that were learnt from"):
        build(root, tmp_path / "run", dev=dev)
    turned = [i for i in items if i.domain == "turned"]
    write_items(dev, [turned[0].with_(id="x", domain="plain"), *(i for i in items if i.domain == "plain")])
    with pytest.raises(AudiokdError, match="align saw 1 test items"):
        build(root, tmp_path / "run", dev=dev)


def test_the_bank_is_made_once_and_kept(root: Path, tmp_path: Path) -> None:
    module, _ = build(root, tmp_path / "run", teacher__bank=None)
    bank = load_text_bank(tmp_path / "run" / "text_bank.safetensors")
    assert bank.names == tuple(CLASSES)
    assert bank.prompts[0] == ("a photo of a cat.",)
    assert module.text_queries == 3
    assert torch.equal(module.model.class_vectors, bank.vectors)
    made = (tmp_path / "run" / "text_bank.safetensors").stat().st_mtime_ns
    build(root, tmp_path / "run", teacher__bank=None)
    assert (tmp_path / "run" / "text_bank.safetensors").stat().st_mtime_ns == made
    assert build(root, tmp_path / "run")[0].text_queries == 0


def test_batch_norm(root: Path, tmp_path: Path) -> None:
    for freeze in (True, False):
        module, data = build(root, tmp_path / "run", "erm", model__backbone=RESNET, model__freeze_bn=freeze)
        batch = data.collate([data.train_set[0, i] for i in (0, 1, 30, 31)])
        before = weights(module.model, "body")
        sum(module.losses(batch).values()).backward()
        moved = differences(before, weights(module.model, "body"))
        assert bool(moved) != freeze
        assert all("running" in name or "tracked" in name for name in moved)
    module, data = build(root, tmp_path / "run", model__backbone=RESNET, model__freeze_bn=False)
    module.eval()
    module.train()
    before = weights(module.model, "body")
    module.losses(data.collate([data.train_set[0, i] for i in (0, 1)]))
    assert differences(before, weights(module.model, "body")) == []  # align never moves them


def interrupted(root: Path, exp: Path, at: int, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Begin a run, stop it before step `at`, and start it again."""
    step = VL2VModule.training_step

    def stop(self: Any, batch: Any, batch_idx: int) -> None:
        if self.iteration == at:
            raise RuntimeError("killed")
        step(self, batch, batch_idx)

    with monkeypatch.context() as m:
        m.setattr(VL2VModule, "training_step", stop)
        with pytest.raises(RuntimeError, match="killed"):
            train(root, exp, "sd", **changes)
    train(root, exp, "sd", **changes)


@pytest.mark.slow
def test_it_learns_and_goes_on_after_a_kill(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss, accuracy, SWAD, queries: a run that was killed between two checkpoints and validations equals one that was not."""
    changes = {
        "optim__lr": 3e-3, "run__max_steps": 60, "run__val_every": 10, "run__ckpt_every": 4, "loss__share": 0.2,
        "data__batch_size": 8, "swad__n_converge": 1, "swad__n_tolerance": 9,
    }  # fmt: skip
    train(root, tmp_path / "whole", "sd", **changes)
    found = {k: float(v) for k, v in rows(tmp_path / "whole").items()}
    losses = [found[s, "train", "loss"] for s in range(1, 61)]
    assert sum(losses[-10:]) < sum(losses[:10])
    assert found[60, "val", "score"] > max(found[0, "val", "score"], 0.34)
    assert found[60, "val", "score"] == pytest.approx(
        (found[60, "val", "accuracy/plain"] + found[60, "val", "accuracy/inverted"]) / 2, abs=1e-6
    )
    assert found[60, "train", "queries"] == 60 * 16
    interrupted(root, tmp_path / "killed", 47, monkeypatch, **changes)
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    for name in ("last", "best"):
        mine, theirs = (checkpoint(tmp_path / e, name) for e in ("killed", "whole"))
        for key in ("state_dict", "optimizer_states", "iteration", "callbacks", "swad", "queries"):
            assert differences(mine[key], theirs[key], key) == [], name
    out = {}
    for name in ("last", "best", "swad"):
        export(str(tmp_path / "whole"), str(tmp_path / name), name)  # type: ignore[arg-type]
        out[name] = audiokd.load_model(tmp_path / name)
    batch = torch.randn(3, 3, 32, 32)
    for model in out.values():
        assert (model.kind, model.labels, model.feature_layers) == ("image", CLASSES, ("logits", "embedding"))
        assert model.preprocess.size == (32, 32)
        assert torch.equal(model.body.media.net.vision_model.embeddings.position_ids, torch.arange(17)[None])
        logits, n = model.extract(batch, None, "logits")
        assert (logits.shape, n.tolist()) == ((3, 1, 3), [1, 1, 1])
        torch.testing.assert_close(logits[1:2], model.extract(batch[1:2], None, "logits")[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(logits[:, 0], model(pixel_values=batch))
        assert model.extract(batch, None, "embedding")[0].norm(dim=-1).flatten().tolist() == pytest.approx([1] * 3)


@pytest.mark.parametrize("kind", ["clip", "siglip", "test_vit_relpos"])
def test_what_is_not_saved_is_there_after_loading(tmp_path: Path, kind: str) -> None:
    """Tables of positions, which transformers leaves empty."""
    pair = None if kind == "test_vit_relpos" else load_pair(str(save_pair(kind, tmp_path / "pair")))
    body = timm_body(kind) if pair is None else body_of_pair(pair)
    model = VL2VModel(VL2VConfig(body.shape, labels=["a", "b"], embed_dim=pair.dim if pair else 4), body).eval()
    model.class_vectors.copy_(torch.randn_like(model.class_vectors))
    model.save_pretrained(tmp_path / "model")
    again = audiokd.load_model(tmp_path / "model")
    assert list(model.named_non_persistent_buffers())
    assert differences(dict(model.named_buffers()), dict(again.named_buffers())) == []
    x = torch.randn(1, 3, 160, 160) if pair is None else torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(again(pixel_values=x), model(pixel_values=x).detach(), atol=1e-5, rtol=1e-4)


def test_bf16_mixed(root: Path, tmp_path: Path) -> None:
    found = train(root, tmp_path / "exp", "kd", run__precision="bf16-mixed", run__max_steps=2, run__val_every=2)
    assert math.isfinite(found["loss"])
    assert checkpoint(tmp_path / "exp", "last")["state_dict"]["model.head.weight"].dtype == torch.float32


@pytest.fixture(scope="module")
def sound(readers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The readers with two rooms for domains, a tiny CLAP, and an encoder."""
    from audiokd.methods.atst.config import ATSTConfig
    from audiokd.methods.atst.model import ATSTModel

    folder = tmp_path_factory.mktemp("sound")
    for split, out in (("train", "data"), ("dev", "dev")):  # one recording a reader: no part of one is held out
        shutil.copytree(readers / split, folder / out)
        ids = [line.split()[0] for line in (folder / out / "segments").read_text().splitlines()]
        (folder / out / "utt2domain").write_text("".join(f"{i} room{k % 2}\n" for k, i in enumerate(ids)))
    save_pair("clap", folder / "clip")
    save_bank(folder / "bank.safetensors", folder / "clip", ("beckett", "two_cities"))
    torch.manual_seed(0)
    ATSTModel(ATSTConfig(kind="clip", dim=32, depth=1, heads=2)).save_pretrained(folder / "encoder")
    return folder


@pytest.mark.parametrize("step", ["align", "sd"])
def test_sound(sound: Path, tmp_path: Path, step: str) -> None:
    student = {"model__backbone": None, "model__encoder": str(sound / "encoder")} if step == "align" else {}
    changes = {"data__leave_out": "", "run__max_steps": 2, "run__val_every": 1, "data__batch_size": 2, **student}
    found = train(sound, tmp_path / "exp", step, **changes)
    assert math.isfinite(found["loss"])
    assert {"accuracy/room0", "accuracy/room1"} <= found.keys()
    export(str(tmp_path / "exp"), str(tmp_path / "model"), "last")
    model = audiokd.load_model(tmp_path / "model")
    assert (model.kind, model.sample_rate, model.labels) == ("audio", 16_000, ["beckett", "two_cities"])
    wav, lengths = torch.randn(2, 40_000) * 0.1, torch.tensor([40_000, 16_000])
    for layer, dim in (("logits", 2), ("embedding", 24)):
        both, n = model.extract(wav, lengths, layer)
        alone, _ = model.extract(wav[1:, :16_000], lengths[1:], layer)
        assert (both.shape, n.tolist()) == ((2, 1, dim), [1, 1])
        torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-3)


def test_sound_is_changed_alike_for_both(sound: Path, tmp_path: Path) -> None:
    student = {"model__backbone": None, "model__encoder": str(sound / "encoder"), "data__leave_out": ""}
    _, data = build(sound, tmp_path / "run", **student)
    _, same = build(sound, tmp_path / "run", **student, data__gain_db=0.0, data__snr_db=None)
    a, b = data.collate([data.train_set[2, 0]]), same.collate([same.train_set[2, 0]])
    changed, wav = a["student"]["wav"][0], b["student"]["wav"][0]
    gain = float((changed @ wav) / (wav @ wav))
    assert gain != pytest.approx(1, abs=0.01)
    noise = changed - gain * wav
    ratio = 10 * math.log10(float((gain * wav).square().mean() / noise.square().mean()))
    assert 19 < ratio < 41
    assert not torch.equal(a["teacher"]["input_features"], b["teacher"]["input_features"])
    assert torch.equal(a["student"]["wav"], data.collate([data.train_set[2, 0]])["student"]["wav"])


@pytest.mark.parametrize(
    ("step", "changes", "said"),
    [
        ("erm", {"teacher__pair": "clip"}, "ERM has none"),
        ("align", {"teacher__embeddings": "store"}, "one teacher is due"),
        ("kd", {"teacher__pair": None}, "one teacher is due"),
        ("align", {"teacher__pair": None, "teacher__embeddings": "s", "teacher__bank": None}, "no class vectors"),
        ("align", {"teacher__templates": "photo"}, "a bank has its prompts already"),
        ("align", {"model__backbone": None}, "one student is due"),
        ("align", {"model__encoder": "e"}, "one student is due"),
        (
            "align",
            {"model__backbone": None, "model__encoder": "e", "model__weights": "w"},
            "weights without a backbone",
        ),
        ("sd", {"model__size": 64}, "a size without a backbone"),
        ("align", {"model__backbone": None, "model__encoder": "e"}, "model.encoder is of audio, the data of image"),
        ("distill", {}, "the student is not given"),
        ("distill", {"model__backbone": VIT, "model__aligned": "a"}, "the student is backbone and aligned given"),
        ("sd", {"model__backbone": VIT}, "the pair's own tower"),
        ("align", {"data__leave_out": "cartoon"}, "one of inverted, plain, turned"),
        ("align", {"data__hold_out": 1.0}, "a share of 1.0 cannot be held out"),
        ("cosine", {"teacher__pair": None, "teacher__embeddings": "s", "teacher__preprocess": "student"}, "of stored"),
    ],
)
def test_what_is_refused(root: Path, step: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AudiokdError, match=said):
        VL2VRun(settings(root, step, **changes), str(root / "data"), str(root / "data"))


def test_what_is_refused_of_models(root: Path, aligned: Path, sound: Path, tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match="the teacher is of audio, the data of image"):
        build(root, tmp_path / "run", teacher__pair=str(sound / "clip"))
    save_pair("clip", tmp_path / "other", seed=1)
    with pytest.raises(AudiokdError, match="the text bank was made by model"):
        build(root, tmp_path / "run", teacher__pair=str(tmp_path / "other"))
    model = {"model__aligned": str(aligned / "model")}
    with pytest.raises(AudiokdError, match="aligned without the domain turned, this run leaves out plain"):
        build(root, tmp_path / "run", "distill", data__leave_out="plain", **model)
    with pytest.raises(AudiokdError, match="aligned on other items: some that this run selects by"):
        build(root, tmp_path / "run", "distill", run__seed=1, **model)  # which holds other items out
    with pytest.raises(AudiokdError, match="aligned to other class vectors"):
        build(root, tmp_path / "run", "distill", teacher__bank=None, **model)
    folder = save_pair("clip", tmp_path / "smaller")
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    processor["crop_size"] = {"height": 24, "width": 24}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    with pytest.raises(AudiokdError, match=r"the student sees \(32, 32\) pixels, the teacher"):
        build(root, tmp_path / "run", teacher__preprocess="student", teacher__pair=str(folder))


@pytest.mark.parametrize("name", ["base", "debug"])
def test_every_packaged_config_is_read(name: str) -> None:
    known = flatten(dataclasses.asdict(part("vl2v", "settings")()))
    flat = read_config(f"vl2v/{name}")
    assert flat.keys() <= known.keys()
    if name == "base":
        assert {k: known[k] for k in flat} == flat
    tree = dataclasses.asdict(settings_of("vl2v", name))
    assert build_settings(part("vl2v", "settings"), yaml.safe_load(yaml.safe_dump(tree))) == settings_of("vl2v", name)
