"""Stage 8 of pictures: labels of items by label and by name, base and novel classes, domains; from stores of known logits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pictures import BAD, NAMES, save_model, save_pictures

from audiokd.cli import main
from audiokd.data.classes import CLASSES, write_classes
from audiokd.data.items import read_items
from audiokd.errors import AudiokdError, ConfigError
from audiokd.stages.classify import classify
from audiokd.tokens.store import StoreItem, StoreWriter, open_store


@pytest.fixture(scope="module")
def data(coffee: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pictures(tmp_path_factory.mktemp("data") / "test", coffee)


def write_store(path: Path, data: Path, said: dict[str, list[float]], labels: list[str], task: str = "class") -> str:
    """Logits of the items that can be read: zeros where `said` does not say."""
    writer = StoreWriter(path, "features", {"layer": "logits", "labels": labels, "task": task, "media": "image"})
    ids = sorted(i.id for i in read_items(data) if i.id not in BAD)
    rows = [np.array([said.get(i, [0.0] * len(labels))], np.float32) for i in ids]
    writer.write_shard("00000", [StoreItem(i, x, 0, 1) for i, x in zip(ids, rows)])
    writer.finish(["00000"])
    return str(path)


def test_from_pictures_to_the_table(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands as they are typed; names of the model, labels of the data."""
    main(["validate", str(data), "--max_error_rate", "0.2"])
    store, out = str(tmp_path / "store"), str(tmp_path / "x.json")
    main(["extract", save_model(tmp_path / "model"), str(data), store, "--layer", "logits"])
    (data / "quarantine.txt").unlink()
    capsys.readouterr()
    main(["classify", store, "--data", f"[{data}]", "--out", out, "--base_novel", "true", "--system", "tiny"])
    found = json.loads(Path(out).read_text())
    label = {i.id: i.label for i in read_items(data)}
    items = list(open_store(store).items())
    right = [list(NAMES)[int(i.array[0].argmax())] == label[i.id] for i in items]
    assert found["test"]["mean"] == pytest.approx(sum(right) / 20)
    assert "3 base classes (5 pictures) and 2 novel classes (15 pictures)" in Path(out).with_suffix(".md").read_text()
    assert found["rows"] == found["base_novel"]["base"]["items"] + found["base_novel"]["novel"]["items"] == 20
    text = capsys.readouterr().out
    assert "| system | n | metric | test ↑ | chance | base ↑ | novel ↑ | harmonic mean ↑ |" in text
    assert "| mean over domains | 20 |" in text
    assert "5 labels, 20 pictures; 95% bootstrap interval over pictures" in text


def test_base_novel_and_domains_by_hand(data: Path, tmp_path: Path) -> None:
    """Base: the digits, 5 items, all said to be 0. Novel: 11 of the one and 4 of the other photograph, 9 and 0 right."""
    hopper = [9.0, 0.0, 0.0, 2.0, 1.0]  # 0 over all classes
    said = {i.id: hopper for i in read_items(data) if i.id.startswith(("hopper", "espresso"))}
    said |= {"cmyk": [0.0, 0, 0, 1, 2], "deep": [0.0, 0, 0, 1, 2]}
    found = classify(
        write_store(tmp_path / "s", data, said, list(NAMES)), [str(data)], str(tmp_path / "x.json"), "", True
    )
    base, novel, mean = (found["base_novel"][k] for k in ("base", "novel", "harmonic_mean"))
    assert (base["accuracy"], base["items"], base["classes"]) == (2 / 5, 5, 3)
    assert (novel["accuracy"], novel["items"], novel["classes"]) == (9 / 15, 15, 2)
    assert mean["value"] == pytest.approx(2 * 0.4 * 0.6 / (0.4 + 0.6))
    assert found["test"]["mean"] == pytest.approx(2 / 20)
    domains = found["by_domain"]["domains"]
    assert {k: (d["accuracy"], d["items"]) for k, d in domains.items()} == {"drawn": (2 / 5, 5), "photo": (0, 15)}
    assert found["by_domain"]["mean"] == pytest.approx(0.2)
    table = (tmp_path / "x.md").read_text()
    assert f"0.400 [{base['low']:.3f}, {base['high']:.3f}] | 0.600 [" in table
    assert "| drawn | 5 | 0.400 [" in table


def test_classes_that_differ(data: Path, tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", data, {}, [*list(NAMES)[:-1], "tea"])
    out = str(tmp_path / "x.json")
    with pytest.raises(AudiokdError, match=rf"{CLASSES}: nothing of tea; not in the list: espresso"):
        classify(store, [str(data)], out)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "items.jsonl").write_bytes((data / "items.jsonl").read_bytes())
    with pytest.raises(AudiokdError, match="espresso0: label espresso, which the classifier does not know"):
        classify(store, [str(tmp_path / "bare")], out)
    write_classes(tmp_path / "bare" / CLASSES, {**dict.fromkeys(list(NAMES)[:-1], "x"), "tea": "tea"})
    with pytest.raises(AudiokdError, match="espresso0: label espresso, which"):
        classify(store, [str(tmp_path / "bare" / "items.jsonl")], out)


def test_what_has_no_base_classes(data: Path, tmp_path: Path) -> None:
    tags = write_store(tmp_path / "tags", data, {}, list(NAMES), "tags")
    with pytest.raises(ConfigError, match="tags are not told apart"):
        classify(tags, [str(data)], str(tmp_path / "x.json"), base_novel=True)
    with pytest.raises(ConfigError, match="scored of one store"):
        classify([tags, tags], [str(data)], str(tmp_path / "x.json"), base_novel=True)
    assert classify(tags, [str(data)], str(tmp_path / "x.json"))["metric"] == "mAP"
