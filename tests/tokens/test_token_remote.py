"""Corpora and stores in an S3 that runs here: the same bytes as on a disk, whatever is killed, and what is not there is said."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from token_stores import META, tree, write_store

from audiokd import objects
from audiokd.data.audio import info, load, load_crop
from audiokd.data.inputs import open_input
from audiokd.errors import AudioError, AudiokdError
from audiokd.stages import store as stage
from audiokd.stages.decode import decode
from audiokd.stages.shard import shard
from audiokd.tokens.compare import merge_stores
from audiokd.tokens.store import StoreItem, open_store, open_writer, verify_store


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An empty bucket, for this process and those that it starts."""
    settings = {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AUDIOKD_CACHE": str(tmp_path / "cache"),
    }
    for key, value in settings.items():
        monkeypatch.setenv(key, value)
    fs = fsspec.filesystem("s3", skip_instance_cache=True)
    name = f"b{abs(hash(str(tmp_path))):x}"
    fs.mkdir(name)
    return f"s3://{name}"


def put_folder(folder: Path, url: str) -> str:
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        objects.put(file, f"{url}/{file.relative_to(folder).as_posix()}")
    return url


def fetched(url: str, to: Path) -> dict[str, bytes]:
    for name in objects.list_files(url):
        objects.fetch(f"{url}/{name}", to / name)
    return tree(to)


@pytest.fixture
def data(tmp_path: Path, beckett: Path) -> Path:
    """Twelve segments of a recording."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "wav.scp").write_text(f"beckett {beckett}\n")
    (folder / "segments").write_text("".join(f"u{i:02d} beckett {i / 2:g} {i / 2 + 1:g}\n" for i in range(12)))
    return folder


def test_a_store_is_written_and_read(bucket: str, tmp_path: Path, speech_items: list[StoreItem]) -> None:
    url = f"{bucket}/some/tokens"
    writer = open_writer(url, "codes", META)
    names = ["00000", "00001", "00002"]
    for name, items in zip(names, (speech_items[:4], speech_items[4:8], speech_items[8:])):
        assert not writer.done(name)
        writer.write_shard(name, items, input_sha256=name)
        assert writer.done(name, name)
        assert not writer.done(name, "other")
        assert not (writer.path / name).exists()
    again = open_writer(url, "codes", META)  # another process, later
    assert all(again.done(n) for n in names)
    with pytest.raises(AudiokdError, match="shards not finished: 00003"):
        again.finish([*names, "00003"])
    again.finish(names)

    store = open_store(url)
    assert store.complete
    assert list(store) == [i.id for i in speech_items]
    fresh = open_store(url)
    got = fresh[speech_items[5].id]
    np.testing.assert_array_equal(got.array, speech_items[5].array)
    assert sorted(p.name for p in fresh.path.glob("0*/codes.npy")) == ["codes.npy"]  # of its own shard alone
    for a, b in zip(pickle.loads(pickle.dumps(store)).items(), speech_items):
        np.testing.assert_array_equal(a.array, b.array)
    assert verify_store(url) == []

    local = open_writer(tmp_path / "local", "codes", META)
    for name, items in zip(names, (speech_items[:4], speech_items[4:8], speech_items[8:])):
        local.write_shard(name, items, input_sha256=name)
    local.finish(names)
    assert fetched(url, tmp_path / "copy") == tree(tmp_path / "local")


def test_a_shard_that_changed_is_fetched_anew(bucket: str, speech_items: list[StoreItem]) -> None:
    url = f"{bucket}/tokens"
    writer = open_writer(url, "codes", META)
    writer.write_shard("00000", speech_items[:2])
    writer.finish(["00000"])
    assert len(list(open_store(url).items())) == 2
    writer = open_writer(url, "codes", META)
    writer.write_shard("00000", speech_items[2:5])
    assert "complete.json" not in objects.list_files(url)
    assert [u.id for u in open_store(url).items()] == [i.id for i in speech_items[2:5]]
    assert "lookup" not in str(verify_store(url))


def test_another_model_is_refused(bucket: str, speech_items: list[StoreItem]) -> None:
    url = f"{bucket}/tokens"
    open_writer(url, "codes", META)
    with pytest.raises(AudiokdError, match="made by another model: model_sha256 differs"):
        open_writer(url, "codes", META | {"model_sha256": "f" * 64})


def test_what_is_not_there(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AudiokdError, match=r"nowhere: not a token store"):
        open_store(f"{bucket}/nowhere")
    with pytest.raises(AudiokdError, match="nothing there"):
        open_input(f"{bucket}/nowhere")
    utt = open_input(f"{bucket}/gone.wav").utterances()[0]
    with pytest.raises(AudioError, match=r"s3://.*gone\.wav: utterance gone: no such file"):
        load(utt)
    with pytest.raises(AudiokdError, match="no such kind of store"):
        open_input("nope://bucket/x")
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url: (_ for _ in ()).throw(ImportError("gcsfs")))
    with pytest.raises(AudiokdError, match=r"gs:// needs gcsfs(.|\n)*pip install gcsfs"):
        open_input("gs://bucket/x")


def test_names_that_lead_out_are_refused(bucket: str, tmp_path: Path, speech_items: list[StoreItem]) -> None:
    """A key of an object store may be any text; nothing is written outside of the cache."""
    (tmp_path / "evil.txt").write_text("evil")
    fsspec.filesystem("s3").put_file(str(tmp_path / "evil.txt"), f"{bucket}/in/../../evil.txt")
    for use in (open_input, open_store):
        with pytest.raises(AudiokdError, match=r"the name '\.\./\.\./evil\.txt' leads out of its folder"):
            use(f"{bucket}/in")
    assert not list((tmp_path / "cache").rglob("*evil*"))


def test_stores_are_merged_here(bucket: str, tmp_path: Path, speech_items: list[StoreItem]) -> None:
    """By copies, which need neither the bucket nor the cache afterwards."""
    a = put_folder(write_store(tmp_path / "a", speech_items[:6]), f"{bucket}/a")
    b = write_store(tmp_path / "b", speech_items[6:])
    assert merge_stores(a, b, tmp_path / "out")["copied"] == 3
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(b)
    assert verify_store(tmp_path / "out") == []
    assert list(open_store(tmp_path / "out")) == [i.id for i in speech_items]


def test_what_is_written_here_only(
    bucket: str, tmp_path: Path, data: Path, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to a folder that is named "s3:"."""
    monkeypatch.chdir(tmp_path)
    url, before = f"{bucket}/out", sorted(os.listdir(tmp_path))
    for write in (
        lambda: stage.merge(str(store_path), str(store_path), url),
        lambda: stage.export(str(store_path), f"{url}.jsonl", "jsonl"),
        lambda: stage.import_(str(tmp_path), url, "kaldi", 256),
        lambda: shard(str(data), url),
        lambda: decode("model", str(store_path), url),
    ):
        with pytest.raises(AudiokdError, match=r"s3://.*/out.*: .* is not written to an object store"):
            write()
    assert sorted(os.listdir(tmp_path)) == before


def test_audio_of_any_kind_of_input(bucket: str, tmp_path: Path, beckett: Path, data: Path) -> None:
    """A data dir with relative paths, shards, tars, a folder and a file: the samples that they have on a disk."""
    here = [load(u)[0] for u in open_input(data).utterances()]
    shard(str(data), str(tmp_path / "dump"), shard_size=5)
    url = put_folder(tmp_path / "dump", f"{bucket}/dump")
    there = open_input(url)
    assert there.kind == "shar"
    assert [s.known_size for s in there.shards] == [5, 5, 2]
    for part in there.shards:
        part = pickle.loads(pickle.dumps(part))
        for utt in part.load():
            np.testing.assert_array_equal(load(utt)[0], here.pop(0))
        assert list((tmp_path / "cache").rglob("recording*.tar"))
        part.release()
        assert not list((tmp_path / "cache").rglob("recording*.tar"))
    assert not here

    kaldi = tmp_path / "kaldi"
    (kaldi / "wav").mkdir(parents=True)
    shutil.copy(beckett, kaldi / "wav" / "b.wav")
    (kaldi / "wav.scp").write_text("b wav/b.wav\n")
    (kaldi / "segments").write_text("x b 1 2\ny b 2 3.5\n")
    whole, _ = load(open_input(beckett).utterances()[0])
    for url, ids in ((put_folder(kaldi, f"{bucket}/kaldi"), ["x", "y"]), (f"{bucket}/kaldi/wav", ["b"])):
        utts = open_input(url).utterances()
        assert [u.id for u in utts] == ids
        assert all(u.path == f"{bucket}/kaldi/wav/b.wav" for u in utts)
        a = round((utts[-1].start_s or 0) * 16000)
        x = load(utts[-1])[0]
        np.testing.assert_array_equal(x, whole[a : a + len(x)])
        np.testing.assert_array_equal(load_crop(utts[-1], 16000, 0.1, 0.5), x[1600:9600])
    assert info(open_input(f"{bucket}/kaldi/wav/b.wav").utterances()[0]).num_samples == len(whole)

    tars = tmp_path / "tars"
    tars.mkdir()
    subprocess.run(["tar", "cf", str(tars / "a.tar"), "-C", str(kaldi / "wav"), "b.wav"], check=True)
    packed = open_input(put_folder(tars, f"{bucket}/tars"))
    assert (packed.kind, packed.shards[0].known_size) == ("webdataset", None)
    np.testing.assert_array_equal(load(packed.utterances()[0])[0], whole)


@pytest.mark.slow
def test_tokenize_from_and_to_a_bucket(bucket: str, tmp_path: Path, data: Path, capsys: Any) -> None:
    """By the command: killed, gone on with by two processes, and the bytes of a run on a disk."""
    shard(str(data), str(tmp_path / "dump"), shard_size=2)
    url = put_folder(tmp_path / "dump", f"{bucket}/dump")
    command = [str(Path(sys.executable).with_name("audiokd")), "extract", "log_mel"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    store, words = f"{bucket}/features", ["--layer", "frames", "--threads", "1"]
    running = subprocess.Popen([*command, url, store, *words], env=env)
    while not any(n.endswith("/shard.json") for n in objects.list_files(store)) and running.poll() is None:
        pass
    running.kill()
    running.wait()
    assert "complete.json" not in objects.list_files(store)
    done = subprocess.run([*command, url, store, "--nj", "2", *words], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "12 utterances" in done.stdout
    subprocess.run([*command, str(tmp_path / "dump"), str(tmp_path / "here"), *words], env=env, check=True)
    assert fetched(store, tmp_path / "copy") == tree(tmp_path / "here")
    stage.verify(store, url)
    assert f"{store}: sound, 12 utterances, all that {url} has" in capsys.readouterr().out
    stage.ls(store)
    assert "features, 12 utterances of 0.00 h, complete" in capsys.readouterr().out
    stage.export(store, str(tmp_path / "npz"), "npz")
    assert list((tmp_path / "npz").iterdir())
