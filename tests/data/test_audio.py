"""Reading audio: exact samples, crops that equal slices, and an error that names what is wrong with a file."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiokd.data.audio import info, load, load_at, load_crop, read_bytes
from audiokd.data.utterance import Utterance
from audiokd.errors import AudioError


@pytest.fixture(scope="module")
def speech(two_cities: Path) -> tuple[np.ndarray, int]:
    x, sample_rate = sf.read(two_cities, dtype="float32")
    return x[2 * sample_rate : 8 * sample_rate], sample_rate


@pytest.fixture(scope="module")
def files(speech, tmp_path_factory) -> dict[str, Path]:
    """The same speech in every container; the float file peaks above 1, the 24-bit one uses all its bits."""
    x, sample_rate = speech
    root = tmp_path_factory.mktemp("formats")
    stereo = np.stack([x, np.roll(x, 4800) * 0.5], axis=1)
    fine = x * np.float32(0.7654321)
    loud = x / np.abs(x).max() * np.float32(2.5)
    for name, data, options in [
        ("16.wav", x, {"subtype": "PCM_16"}),
        ("24.wav", fine, {"subtype": "PCM_24"}),
        ("float.wav", loud, {"subtype": "FLOAT"}),
        ("16.flac", x, {"subtype": "PCM_16"}),
        ("a.ogg", x, {"format": "OGG", "subtype": "VORBIS"}),
        ("a.opus", x, {"format": "OGG", "subtype": "OPUS"}),
        ("a.mp3", x, {"format": "MP3"}),
        ("a.aiff", x, {"subtype": "PCM_16"}),
        ("stereo.wav", stereo, {"subtype": "PCM_16"}),
        ("big.wav", x, {"format": "RF64"}),
        ("a.au", x, {"subtype": "PCM_16"}),
        ("a.sph", x, {"format": "NIST"}),
    ]:
        sf.write(root / name, data, sample_rate, **options)
    return {p.name: p for p in root.iterdir()}


NAMES = [
    "16.wav",
    "24.wav",
    "float.wav",
    "16.flac",
    "a.ogg",
    "a.opus",
    "a.mp3",
    "a.aiff",
    "stereo.wav",
    "big.wav",
    "a.au",
    "a.sph",
]


@pytest.mark.parametrize("name", NAMES)
def test_segment_is_a_slice_of_the_whole(files, name):
    whole, sample_rate = sf.read(files[name], dtype="float32", always_2d=True)
    x, rate = load(Utterance(id="u", path=str(files[name])))
    assert rate == sample_rate
    assert x.dtype == np.float32
    assert np.array_equal(x, whole.mean(axis=1))
    start, end = round(1.23457 * rate), round(3.1 * rate)
    cut = Utterance(id="u", path=str(files[name]), start_s=1.23457, end_s=3.1)
    assert np.array_equal(load(cut)[0], x[start:end])
    assert np.array_equal(load(cut)[0], x[start:end])  # from the cache, for those that have one
    assert info(cut).num_samples == end - start


def test_float_is_not_clipped(files):
    assert np.abs(load(Utterance(id="u", path=str(files["float.wav"])))[0]).max() == pytest.approx(2.5)


def test_bytes_inside_another_file(files, tmp_path):
    blob = tmp_path / "blob"
    parts = [files[name].read_bytes() for name in NAMES]
    blob.write_bytes(b"".join(parts))
    at = 0
    for name, part in zip(NAMES, parts):
        utt = Utterance(id="u", path=str(blob), offset=at, nbytes=len(part))
        assert np.array_equal(load(utt)[0], load(Utterance(id="u", path=str(files[name])))[0])
        crop = load_crop(utt, 16000, 1.0, 0.5)
        assert np.array_equal(crop, load_crop(Utterance(id="u", path=str(files[name])), 16000, 1.0, 0.5))
        assert read_bytes(utt) == part
        at += len(part)
    with pytest.raises(AudioError, match="truncated"):  # what comes after its bytes is not its own
        load(Utterance(id="u", path=str(blob), nbytes=len(parts[0]) // 2))


def test_channel_policy(files):
    utt = Utterance(id="u", path=str(files["stereo.wav"]))
    both, _ = sf.read(files["stereo.wav"], dtype="float32")
    assert np.array_equal(load(utt)[0], both.mean(axis=1))
    assert np.array_equal(load(utt, "first")[0], both[:, 0])
    assert np.array_equal(load(utt.with_(channel=1))[0], both[:, 1])
    assert np.array_equal(load_crop(utt.with_(channel=1), 48000, 1, 1), both[48000:96000, 1])
    with pytest.raises(AudioError, match="channel 2"):
        load(utt.with_(channel=2))
    with pytest.raises(ValueError, match="left"):
        load(utt, "left")


@pytest.mark.parametrize("name", ["16.wav", "16.flac", "a.ogg", "a.mp3", "stereo.wav"])
@pytest.mark.parametrize("rate", [48000, 16000, 24000, 22050])
def test_crop_is_a_slice_of_load_at(files, name, rate):
    """With the resampler's state right at both edges; beyond the end there are zeros."""
    for utt in (
        Utterance(id="u", path=str(files[name])),
        Utterance(id="u", path=str(files[name]), start_s=1.5, end_s=4),
    ):
        whole = load_at(utt, rate)
        for start_s, duration_s in ((0, 1), (0.3337, 0.5), (2.2, 1.1), (2.00001, 0.02), (50, 0.1)):
            crop = load_crop(utt, rate, start_s, duration_s)
            want = whole[round(start_s * rate) :][: len(crop)]
            assert crop.shape == (round(duration_s * rate),)
            assert np.abs(crop[: len(want)] - want).max(initial=0) < 2e-6
            assert not crop[len(want) :].any()
            assert np.array_equal(crop, load_crop(utt, rate, start_s, duration_s))


def test_array(speech, tmp_path):
    x, sample_rate = speech
    for array, mixed in ((x, x), (np.stack([x, -0.5 * x]), np.stack([x, -0.5 * x]).T.mean(axis=1))):
        np.save(tmp_path / "x.npy", array)
        utt = Utterance(id="u", path=str(tmp_path / "x.npy"), codec="npy", sample_rate=sample_rate)
        assert np.array_equal(load(utt)[0], mixed)
        assert np.array_equal(load_crop(utt, sample_rate, 1, 2), mixed[sample_rate : 3 * sample_rate])
    np.save(tmp_path / "x.npy", x.astype(np.float64))
    with pytest.raises(AudioError, match="float64"):
        load(utt)


def test_pipe(files):
    utt = Utterance(id="u", path=f"cat {files['16.wav']}", codec="pipe", where="wav.scp:1")
    assert np.array_equal(load(utt)[0], load(Utterance(id="u", path=str(files["16.wav"])))[0])
    with pytest.raises(AudioError, match=r"wav.scp:1: utterance u: command ends with status 3: no luck"):
        load(utt.with_(path="echo no luck >&2; exit 3"))


def bad_files(files: dict[str, Path]) -> dict[str, tuple[bytes, str]]:
    """Name -> content and a word of the message."""
    whole = {name: files[name].read_bytes() for name in files}
    zero_channels = bytearray(whole["16.wav"])
    zero_channels[22:24] = b"\0\0"
    bad = {
        "empty.wav": (b"", "0 bytes"),
        "nothing.wav": (whole["16.wav"][:40] + struct.pack("<I", 0), "0 samples"),
        "text.wav": (b"This is no audio at all.\n" * 99, "not readable as audio"),
        "samples.raw": (whole["16.wav"][44:], "not readable as audio"),
        "no_channels.wav": (bytes(zero_channels), "(?i)channel"),
        "stub.wav": (whole["16.wav"][:30], "not readable as audio|0 samples"),
    }
    for name in ("16.wav", "float.wav", "16.flac", "a.ogg", "a.opus", "a.mp3", "a.aiff", "big.wav", "a.au", "a.sph"):
        bad[f"truncated_{name}"] = (whole[name][: len(whole[name]) * 6 // 10], "truncated")
    return bad


def test_bad_audio_is_named(files, tmp_path):
    for name, (content, message) in bad_files(files).items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AudioError, match=message) as e:
            load(Utterance(id="u7", path=str(tmp_path / name), where="data/wav.scp:7"))
        assert str(e.value).startswith("data/wav.scp:7: utterance u7: "), name
        assert name in str(e.value)
        assert e.value.fix, name


def test_missing_and_folder(tmp_path):
    with pytest.raises(AudioError, match="no such file"):
        load(Utterance(id="u", path=str(tmp_path / "nope.wav")))
    with pytest.raises(AudioError, match="cannot be opened"):
        load(Utterance(id="u", path=str(tmp_path)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(speech, tmp_path, value):
    x, sample_rate = speech
    y = x.copy()
    y[sample_rate] = value
    sf.write(tmp_path / "n.wav", y, sample_rate, subtype="FLOAT")
    utt = Utterance(id="u", path=str(tmp_path / "n.wav"))
    with pytest.raises(AudioError, match=r"NaN or Inf in 1 samples, the first 1.000 s in"):
        load(utt)
    with pytest.raises(AudioError, match="NaN or Inf"):
        load_crop(utt, 16000, 0.9, 0.2)
    assert len(load(utt.with_(start_s=1.1))[0]) == len(x) - round(1.1 * sample_rate)  # the rest is good


def test_one_sample_is_audio(speech, tmp_path):
    sf.write(tmp_path / "one.wav", speech[0][:1], 48000)
    assert load(Utterance(id="u", path=str(tmp_path / "one.wav")))[0].shape == (1,)
    assert load_at(Utterance(id="u", path=str(tmp_path / "one.wav")), 16000).shape == (1,)


def test_segment_past_the_end(files):
    utt = Utterance(id="u", path=str(files["16.wav"]))  # 6 s
    assert len(load(utt.with_(start_s=5, end_s=6.09))[0]) == 48000  # within 0.1 s: cut
    for change in ({"end_s": 6.2}, {"start_s": 6.0}, {"start_s": 9.0, "end_s": 10.0}):
        with pytest.raises(AudioError, match="past the end"):
            load(utt.with_(**change))
    with pytest.raises(AudioError, match="empty"):
        load(utt.with_(start_s=2, end_s=1))


def test_header_of_a_stream(files, tmp_path):
    """sox and ffmpeg write a length of 0xFFFFFFFF or so to a pipe: that is no truncated file."""
    data = bytearray(files["16.wav"].read_bytes())
    data[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "s.wav").write_bytes(data)
    got = load(Utterance(id="u", path=str(tmp_path / "s.wav")))[0]
    assert np.array_equal(got, load(Utterance(id="u", path=str(files["16.wav"])))[0])


def test_flac_that_was_written_to_a_pipe(files, tmp_path):
    """Its header has no length: libsndfile says 2^63 - 1."""
    data = bytearray(files["16.flac"].read_bytes())
    data[21] &= 0xF0
    data[22:26] = b"\0\0\0\0"
    (tmp_path / "s.flac").write_bytes(data)
    with pytest.raises(AudioError, match="the header has no length"):
        info(Utterance(id="u", path=str(tmp_path / "s.flac")))


def test_mp3_whose_length_libsndfile_guesses(files, tmp_path):
    """Without its Xing frame a variable-rate mp3 would silently lose its end."""
    data = files["a.mp3"].read_bytes()
    second = data.find(data[:2], 4)
    (tmp_path / "x.mp3").write_bytes(data[second:])
    assert sf.info(tmp_path / "x.mp3").frames < 6 * 48000 * 0.9
    with pytest.raises(AudioError, match="without a length header"):
        load(Utterance(id="u", path=str(tmp_path / "x.mp3")))
