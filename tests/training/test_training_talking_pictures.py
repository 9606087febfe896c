"""Talking Models with picture models of transformers and timm: teachers with a head and without, students that are exported."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_backbones  # noqa: F401  registers them
import torch
from talking_runs import METHOD, OF_KINDS, build, save_talk, sets, settings
from transformers import (
    AutoModel,
    ConvNextConfig,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTModel,
)
from whole_runs import checkpoint, differences

import audiokd
from audiokd.data.items import read_items
from audiokd.errors import AudiokdError
from audiokd.stages.export import export
from audiokd.stages.extract import extract
from audiokd.stages.fit import fit


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits, and a teacher that this method trained."""
    return save_talk(tmp_path_factory.mktemp("talk"))


def test_transformers_and_timm(root: Path, tmp_path: Path) -> None:
    """A ViT of transformers that sees other sizes talks with timm's ResNet; it knows more classes, in another order."""
    names = ["zebra", *sorted({i.label or "" for i in read_items(root / "train")}, reverse=True)]
    config = ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=48)
    config.id2label, config.label2id = dict(enumerate(names)), {n: k for k, n in enumerate(names)}
    torch.manual_seed(0)
    vit = ViTForImageClassification(config)
    vit.save_pretrained(tmp_path / "vit")
    ViTImageProcessor(size={"height": 48, "width": 48}).save_pretrained(tmp_path / "vit")
    layers = {"teacher.low": "vit.layers.0", "teacher.high": "vit.layers.1", "model.low": "body.net.net.layer1",
              "model.high": "body.net.net.layer4", "model.backbone": "audiokd_tiny_resnet", "model.size": 0}  # fmt: skip
    changes = {k.replace(".", "__"): v for k, v in layers.items()} | {"teacher__model": str(tmp_path / "vit")}
    module, _, batch = build(root, tmp_path / "run", messages__form="tokens", loss__kd=1.0, loss__hint=1.0, **changes)
    assert batch["student"]["pixel_values"].shape == (4, 3, 32, 32)
    assert batch["teacher"]["pixel_values"].shape == (4, 3, 48, 48)
    assert module.columns == [3, 2, 1]
    parts = module.losses(batch)
    assert parts.keys() == OF_KINDS["base"] | {"kd", "hint"}
    torch.stack([*parts.values()]).sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    said = vit.eval()(batch["teacher"]["pixel_values"]).logits
    assert torch.equal(module.teacher.logits(batch["teacher"]), said)


SMALL = {"num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
PICTURES: dict[str, tuple[Any, tuple[str, str]]] = {
    "vit": (lambda: ViTModel(ViTConfig(hidden_size=32, intermediate_size=32, **SMALL)), ("layers.0", "layers.1")),
    "headed_vit": (
        lambda: ViTForImageClassification(ViTConfig(hidden_size=32, intermediate_size=32, **SMALL)),
        ("layers.0", "layers.1"),
    ),
    "dinov2": (lambda: Dinov2Model(Dinov2Config(hidden_size=32, mlp_ratio=1, **SMALL)), ("encoder.layer.0", "encoder.layer.1")),
    "convnext": (
        lambda: ConvNextModel(ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2)),
        ("encoder.stages.0", "encoder.stages.1"),
    ),
}  # fmt: skip


def save_pictures(folder: Path, name: str) -> tuple[str, tuple[str, str]]:
    """A transformers picture model with random weights, and its layers without a head."""
    make, layers = PICTURES[name]
    torch.manual_seed(0)
    make().save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder), layers


@pytest.mark.parametrize("name", ["vit", "dinov2", "convnext"])
def test_a_picture_model_without_a_head_talks_and_gives_hints(root: Path, tmp_path: Path, name: str) -> None:
    folder, (low, high) = save_pictures(tmp_path / "body", name)
    how = {"teacher__model": folder, "teacher__low": low, "teacher__high": high}
    module, _, batch = build(root, tmp_path / "run", loss__hint=1.0, **how)
    assert (module.teacher.labels, module.teacher.task, module.columns) == ((), "", None)
    parts = module.losses(batch)
    assert parts.keys() == OF_KINDS["base"] | {"hint"}
    torch.stack([*parts.values()]).sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    view = batch.get("teacher", batch["student"])
    with torch.no_grad():
        whole = AutoModel.from_pretrained(folder).eval()(pixel_values=view["pixel_values"]).last_hidden_state
    torch.testing.assert_close(module._taught(batch).output.last_hidden_state, whole)
    module.validate_batch(batch)
    with pytest.raises(AudiokdError, match=r"without a head says no classes\n.*--loss.kd 0"):
        build(root, tmp_path / "run", "kd", teacher__model=folder)
    (tmp_path / "body" / "preprocessor_config.json").unlink()
    with pytest.raises(AudiokdError, match=r"its folder needs preprocessor_config.json"):
        build(root, tmp_path / "run", **how)


@pytest.mark.parametrize("name", PICTURES)
def test_a_transformers_picture_model_learns_and_is_exported(root: Path, tmp_path: Path, name: str) -> None:
    folder, layers = save_pictures(tmp_path / "body", name)
    low, high = (f"body.net.{layer}" for layer in layers)
    how = {"model__backbone": folder, "model__low": low, "model__high": high, "run__max_steps": 2, "run__val_every": 2}
    module, _, batch = build(root, tmp_path / "run", **how)
    assert all(m.training for m in module.model.modules())
    before = AutoModel.from_pretrained(folder).state_dict()
    own = module.model.body.net.state_dict()
    assert differences(own, {k: before[k] for k in own}) == []  # its weights, and no pooler
    parts = module.losses(batch)
    torch.stack([*parts.values()]).sum().backward()
    assert all(p.grad is not None for p in module.parameters() if p.requires_grad)
    fit(METHOD, settings(root, **how), *sets(root), str(tmp_path / "exp"))
    export(str(tmp_path / "exp"), str(tmp_path / "model"), "last")
    shutil.rmtree(folder)  # the export stands alone
    model = audiokd.load_model(tmp_path / "model")
    module.load_state_dict(checkpoint(tmp_path / "exp", "last")["state_dict"])
    pixels = batch["student"]["pixel_values"]
    with torch.no_grad():
        assert torch.equal(model.extract(pixels, None, "logits")[0][:, 0], module.eval().model(pixel_values=pixels))
    store = extract(str(tmp_path / "model"), str(root / "dev"), str(tmp_path / "store"), layer="logits")
    assert store["frames"] == len(read_items(root / "dev"))
    save_pictures(tmp_path / "body", name)
    with pytest.raises(AudiokdError, match=r"it sees pictures of 32 x 32 pixels, not of 48"):
        build(root, tmp_path / "run", **how | {"model__size": 48})
