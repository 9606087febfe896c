"""Frames of real videos by number and time, and videos that are not as they should be."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from audiokd.data.items import Item
from audiokd.data.video import clip_times, decode_whole, read_frames, read_times, torchcodec_decoder, write_video
from audiokd.errors import ConfigError, VideoError


@pytest.fixture(scope="module")
def real(carphone: Path) -> tuple[Item, np.ndarray]:
    """A real video and all of its frames, decoded one after another."""
    with av.open(str(carphone)) as container:
        frames = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
    return Item("carphone", str(carphone)), frames


def test_times_of_a_real_video(real: tuple[Item, np.ndarray]) -> None:
    times = read_times(real[0])
    assert len(times.start_s) == len(real[1]) == 120
    assert times.size == (176, 144)
    assert times.start_s[0] == 0
    assert times.duration_s == pytest.approx(120 / 29.97, abs=0.01)
    assert times.steady
    assert decode_whole(real[0], times) == "h264 yuv420p"


@pytest.mark.parametrize("numbers", [[0], [119], [57, 3, 57], [30, 31, 32, 90]])
def test_frames_are_those_of_decoding_from_the_start(real: tuple[Item, np.ndarray], numbers: list[int]) -> None:
    item, frames = real
    assert np.array_equal(read_frames(item, numbers, read_times(item)), frames[numbers])


def test_what_is_written_is_read_to_the_byte(tmp_path: Path, real: tuple[Item, np.ndarray]) -> None:
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mkv", real[1][:5, :41, :37], fps=8)  # odd sides
    item = Item("a", str(tmp_path / "a.mkv"))
    times = read_times(item)
    assert times.start_s.tolist() == [0, 0.125, 0.25, 0.375, 0.5]
    assert times.size == (37, 41)
    assert np.array_equal(read_frames(item, range(5), times), real[1][:5, :41, :37])
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()


def variable(path: Path, frames: np.ndarray, at_ms: list[int]) -> Item:
    """A video whose frames are shown from these times on."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "bgr0"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for ms, picture in zip(at_ms, frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Item("variable", str(path))


def test_a_variable_frame_rate_goes_by_time(tmp_path: Path, real: tuple[Item, np.ndarray]) -> None:
    shown = real[1][[0, 20, 40, 60, 80], :32, :32]
    item = variable(tmp_path / "v.mkv", shown, [500, 540, 1100, 1140, 1500])
    times = read_times(item)
    assert times.start_s == pytest.approx([0, 0.04, 0.6, 0.64, 1.0], abs=2e-3)
    assert not times.steady
    at = clip_times(times, item, 4, 4.0, 0.0)  # 0, 0.25, 0.5, 0.75 s
    assert times.frames_at(at).tolist() == [0, 1, 1, 3]
    assert np.array_equal(read_frames(item, [0, 1, 1, 3], times), shown[[0, 1, 1, 3]])


def encoded(path: Path, frames: np.ndarray, codec: str, b_frames: int, container: str | None = None) -> Item:
    """25 frames a second, a key frame in twelve."""
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=25, options={"g": "12"})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.codec_context.max_b_frames = b_frames
        for picture in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        out.mux(stream.encode(None))
    return Item(path.name, str(path))


def check_frames(item: Item, numbers: list[int]) -> None:
    """That frames of these numbers are those of decoding from the start, and there are as many as that gives."""
    with av.open(item.path) as container:
        shown = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
    times = read_times(item)
    assert len(times.start_s) == len(shown)
    assert times.duration_s == pytest.approx(len(shown) / 25, abs=0.01)
    assert np.array_equal(read_frames(item, numbers, times), shown[numbers])
    decode_whole(item, times)


@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [
        ("a.ts", "libx264", "mpegts"),
        ("a.mpg", "mpeg2video", "mpeg"),
        ("a.avi", "mpeg4", None),
        ("b.avi", "libx264", None),
    ],
)
def test_containers_that_have_no_index_of_times(
    tmp_path: Path, real: tuple[Item, np.ndarray], name: str, codec: str, container: str | None
) -> None:
    item = encoded(tmp_path / name, real[1][:40], codec, 2, container)
    for numbers in ([0], [5, 20], [39], list(range(40))):
        check_frames(item, numbers)


def test_a_video_that_was_cut_without_decoding(tmp_path: Path, real: tuple[Item, np.ndarray]) -> None:
    """What lies before the cut is in the file, and an edit list hides it."""
    whole, cut = encoded(tmp_path / "whole.mp4", real[1][:40], "libx264", 2), tmp_path / "cut.mp4"
    with av.open(whole.path) as source, av.open(str(cut), "w") as out:
        stream = source.streams.video[0]
        to = out.add_stream_from_template(stream)
        begin = int(0.7 / stream.time_base)
        for packet in source.demux(stream):
            if packet.dts is not None and packet.pts >= int(0.48 / stream.time_base):  # from the key frame before it
                packet.pts, packet.dts, packet.stream = packet.pts - begin, packet.dts - begin, to
                out.mux(packet)
    check_frames(Item("cut", str(cut)), [0, 5, 15])


def turned(path: Path, source: Path, quarters: int) -> Item:
    """An MP4 that is shown turned to the left by so many quarters: its matrix, as a phone writes it, and nothing else."""
    a, b = ((1, 0), (0, -1), (-1, 0), (0, 1))[quarters]
    data = bytearray(source.read_bytes())
    at = data.index(b"tkhd") + 44  # behind its version, times, number, duration, layer and volume (ISO/IEC 14496-12)
    one, w = 1 << 16, 1 << 30
    assert struct.unpack(">9i", data[at : at + 36]) == (one, 0, 0, 0, one, 0, 0, 0, w)
    data[at : at + 36] = struct.pack(">9i", a * one, b * one, 0, -b * one, a * one, 0, 0, 0, w)
    path.write_bytes(data)
    return Item(path.stem, str(path))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_phones_video_is_turned_as_a_player_turns_it(
    tmp_path: Path, carphone: Path, real: tuple[Item, np.ndarray], quarters: int
) -> None:
    item = turned(tmp_path / "turned.mp4", carphone, quarters)
    times = read_times(item)
    assert times.size == (176, 144)
    found = read_frames(item, [0, 60], times)
    assert np.array_equal(found, np.rot90(real[1][[0, 60]], quarters, (1, 2)))
    decode_whole(item, times)


def libraries(folder: Path) -> str:
    """Where torchcodec finds FFmpeg: PyAV's own libraries by their usual names, and what they need."""
    theirs = Path(av.__file__).parents[1] / "av.libs"
    for path in theirs.glob("lib*-*.so.*"):
        name, _, rest = path.name.partition("-")
        if name in (
            "libavcodec",
            "libavdevice",
            "libavfilter",
            "libavformat",
            "libavutil",
            "libswresample",
            "libswscale",
        ):
            (folder / f"{name}.so.{rest.split('.')[2]}").symlink_to(path)
    return f"{folder}:{theirs}"


def test_torchcodec_gives_the_same_pixels(tmp_path: Path, carphone: Path, real: tuple[Item, np.ndarray]) -> None:
    """Whatever the container; in a process of its own, which finds FFmpeg as it starts."""
    made = tmp_path / "made"
    made.mkdir()
    write_video(made / "odd.mkv", real[1][:20, :41, :37], fps=8)
    variable(made / "variable.mkv", real[1][:5, :32, :32], [500, 540, 1100, 1140, 1500])
    encoded(made / "b_frames.mp4", real[1][:40], "libx264", 2)
    encoded(made / "a.avi", real[1][:40], "mpeg4", 2)
    encoded(made / "a.ts", real[1][:40], "libx264", 2, "mpegts")
    for quarters in (1, 2, 3):
        turned(made / f"turned{quarters}.mp4", carphone, quarters)
    (made / "plain.mp4").symlink_to(carphone)
    (tmp_path / "libraries").mkdir()
    code = """if True:
        import sys
        import numpy as np
        from pathlib import Path
        from audiokd.data import video
        from audiokd.data.items import Item
        from audiokd.data.video import read_frames, read_times, torchcodec_decoder
        assert torchcodec_decoder()
        by_torchcodec, asked = video._by_torchcodec, []
        video._by_torchcodec = lambda item, *args: asked.append(item.id) or by_torchcodec(item, *args)
        for path in sorted(Path(sys.argv[1]).iterdir()):
            item = Item(path.stem, str(path))
            times = read_times(item)
            numbers = [len(times.start_s) - 1, 0, 3, 3]
            want = read_frames(item, numbers, times)
            same = [np.array_equal(read_frames(item, numbers, times, d), want) for d in ("torchcodec", "auto")]
            print(path.name, *same, asked.count(item.id))
    """
    env = os.environ | {"LD_LIBRARY_PATH": libraries(tmp_path / "libraries")}
    ran = subprocess.run([sys.executable, "-c", code, str(made)], env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = dict(line.split(maxsplit=1) for line in ran.stdout.splitlines())
    by_pyav = ("a.avi", "a.ts")
    assert found == {path.name: f"True True {0 if path.name in by_pyav else 2}" for path in made.iterdir()}


def test_own_frames_of_a_variable_rate_are_enough_or_not(tmp_path: Path, real: tuple[Item, np.ndarray]) -> None:
    item = variable(tmp_path / "v.mkv", real[1][:5, :32, :32], [0, 40, 600, 640, 1000])
    times = read_times(item)
    assert clip_times(times, item, 5, 0.0, 0.5).tolist() == times.start_s.tolist()
    with pytest.raises(VideoError, match=r"5 frames\) are shorter than the clip"):
        clip_times(times, item, 6, 0.0, 0.5)


def test_clips_begin_where_the_generator_says(real: tuple[Item, np.ndarray]) -> None:
    item, times = real[0], read_times(real[0])
    at = [clip_times(times, item, 16, 8.0, np.random.default_rng(k)) for k in range(40)]
    assert all(a == pytest.approx(a[0] + np.arange(16) / 8) for a in at)
    assert min(a[0] for a in at) < 0.5
    assert max(a[-1] for a in at) <= times.duration_s
    assert clip_times(times, item, 16, 8.0, np.random.default_rng(3)).tolist() == at[3].tolist()
    own = times.frames_at(clip_times(times, item, 6, 0.0, 1.0))
    assert own.tolist() == [114, 115, 116, 117, 118, 119]
    every = times.frames_at(clip_times(times, item, 120, 0.0, 0.5))
    assert every.tolist() == list(range(120))


@pytest.mark.parametrize(("frames", "fps"), [(121, 0.0), (16, 2.0)])
def test_a_video_shorter_than_the_clip(real: tuple[Item, np.ndarray], frames: int, fps: float) -> None:
    with pytest.raises(VideoError, match=r"4 s \(120 frames\) are shorter than the clip of"):
        clip_times(read_times(real[0]), real[0], frames, fps, 0.0)


def test_damage_is_named(tmp_path: Path, carphone: Path, real: tuple[Item, np.ndarray]) -> None:
    data = carphone.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match="cut off") as e:
        read_times(Item("cut", str(cut), where="items.jsonl:3"))
    assert e.value.where == "items.jsonl:3"
    assert "cut.mp4" in str(e.value)
    bad = bytearray(data)
    start = data.index(b"mdat") + len(data) // 3
    bad[start : start + 60_000] = bytes(60_000)
    (tmp_path / "bad.mp4").write_bytes(bad)
    item = Item("bad", str(tmp_path / "bad.mp4"))
    times = read_times(item)
    with pytest.raises(VideoError, match=r"frame \d+|frames can be decoded"):
        decode_whole(item, times)
    with pytest.raises(VideoError, match=r"frame \d+"):
        read_frames(item, range(120), times)


@pytest.mark.parametrize(
    ("content", "said"), [(b"", r"empty \(0 bytes\)"), (b"no video at all" * 99, "no video"), (None, "no such file")]
)
def test_files_that_are_no_videos(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "x.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VideoError, match=said):
        read_times(Item("x", str(path)))


def test_sound_alone_is_no_video(beckett: Path) -> None:
    with pytest.raises(VideoError, match="no video stream"):
        read_times(Item("x", str(beckett)))


def test_a_decoder_that_is_not_there(monkeypatch: pytest.MonkeyPatch, real: tuple[Item, np.ndarray]) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    torchcodec_decoder.cache_clear()
    with pytest.raises(ConfigError, match="torchcodec cannot be used here"):
        read_frames(real[0], [0], read_times(real[0]), "torchcodec")
    assert np.array_equal(read_frames(real[0], [7], read_times(real[0]), "auto"), real[1][[7]])
    torchcodec_decoder.cache_clear()
    with pytest.raises(ConfigError, match="no decoder 'vlc'"):
        read_frames(real[0], [0], read_times(real[0]), "vlc")  # type: ignore[arg-type]
