"""Reading the audio of an utterance: whole, resampled, or a crop; from a file, a shard's tar, an array or a pipe.

Samples come as float32 as libsndfile gives them (integers divided by 2^(bits-1), floats as they are, also above 1).
Channel policy: `utt.channel` wins where it is set; else "mix" is the mean of the channels and "first" the first one.
"""

from __future__ import annotations

import io
import math
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import soundfile as sf

from audiokd import objects
from audiokd.data import containers
from audiokd.data.utterance import Utterance
from audiokd.errors import AudioError
from audiokd.files import write_bytes

PAST_END_S = 0.1  # a segment may end this much after its recording and is cut there; more is an error
INEXACT_SEEK = {"MP3", "OGG"}  # seeking gives other samples than decoding from the start (measured: up to 3e-3)
UNKNOWN_LENGTH = 1 << 62  # libsndfile: "no idea"
CACHE_BYTES = 512 << 20  # the last recording of such a format is kept decoded up to this size


@dataclass(frozen=True)
class AudioInfo:
    """What an utterance's audio is: `num_samples` counts the stretch, the rest is the recording's."""

    sample_rate: int
    num_samples: int
    channels: int
    subtype: str
    format: str


def load(utt: Utterance, channels: str = "mix") -> tuple[np.ndarray, int]:
    """Read the samples of an utterance's stretch as one channel.

    Args:
        utt: the utterance; `utt.channel` wins over the policy.
        channels: "mix" is the mean of all channels, "first" the first one.

    Returns:
        Samples, float32 `[T]`, and their sample rate.

    Raises:
        AudioError: missing, unreadable, empty, truncated, NaN or Inf, or a segment past the end.
    """
    x, sample_rate = load_channels(utt)
    return one_channel(x, channels), sample_rate


def load_channels(utt: Utterance) -> tuple[np.ndarray, int]:
    """Read the samples of an utterance's stretch, float32 `[T, C]` (C = 1 where `utt.channel` is set), and the rate."""
    with _open(utt) as source:
        start, stop = _stretch(utt, source)
        x = pick(utt, source.read(start, stop))
        check_finite(utt, x, source.sample_rate)
        return x, source.sample_rate


def load_at(utt: Utterance, sample_rate: int, channels: str = "mix") -> np.ndarray:
    """Read an utterance at another sample rate (windowed sinc of torchaudio, each utterance by itself).

    Returns:
        Samples, float32 `[T]`, `T = ceil(T_recorded * sample_rate / rate_recorded)`.
    """
    x, recorded = load(utt, channels)
    y = resample(x, recorded, sample_rate)
    check_finite(utt, y[:, None], sample_rate)  # sums of samples near float32's end overflow
    return y


def load_crop(utt: Utterance, sample_rate: int, start_s: float, duration_s: float, channels: str = "mix") -> np.ndarray:
    """Read a piece of an utterance without reading the rest (but for mp3 and ogg, which are decoded from the start).

    The piece is the same as that slice of `load_at`: the resampler sees the samples on both sides of the cut.

    Args:
        utt: the utterance.
        sample_rate: of what is returned.
        start_s: where the piece starts, seconds from the start of the utterance.
        duration_s: its length in seconds.
        channels: as for `load`.

    Returns:
        Samples, float32 `[round(duration_s * sample_rate)]`, zeros on the right where the utterance is shorter.

    Raises:
        AudioError: a negative start, no duration, or audio that `load` refuses.
    """
    if start_s < 0 or duration_s <= 0:
        raise _error(utt, f"cannot crop {duration_s} s at {start_s} s", "start_s >= 0 and duration_s > 0 are needed")
    first, count = round(start_s * sample_rate), round(duration_s * sample_rate)
    with _open(utt) as source:
        start, stop = _stretch(utt, source)
        common = math.gcd(source.sample_rate, sample_rate)
        step_in, step_out = source.sample_rate // common, sample_rate // common
        margin = 0 if step_in == step_out else math.ceil(filter_width(step_in, step_out) / step_in) + 1
        block = max(first // step_out - margin, 0)  # whole blocks keep the resampler's phase
        last_block = -(-(first + count) // step_out) + margin
        piece_start, piece_stop = start + block * step_in, min(start + last_block * step_in, stop)
        out = np.zeros(count, dtype=np.float32)
        if piece_start >= piece_stop:
            return out
        x = pick(utt, source.read(piece_start, piece_stop))
        check_finite(utt, x, source.sample_rate)
    skip = first - block * step_out
    y = resample(one_channel(x, channels), step_in, step_out)[skip : skip + count]
    out[: len(y)] = y
    return out


def write_wav(path: str | os.PathLike[str], wav: np.ndarray, sample_rate: int) -> None:
    """Write `wav` [T] as 16-bit wav: the file is whole or absent. What lies beyond [-1, 1] is clipped."""
    buffer = io.BytesIO()
    sf.write(buffer, wav, sample_rate, format="WAV", subtype="PCM_16")
    write_bytes(path, buffer.getvalue())


def info(utt: Utterance) -> AudioInfo:
    """Read the header: sample rate, length of the stretch, channels, subtype and format."""
    with _open(utt) as source:
        start, stop = _stretch(utt, source)
        return AudioInfo(source.sample_rate, stop - start, source.channels, source.subtype, source.format)


def read_bytes(utt: Utterance) -> bytes:
    """The bytes of the whole recording as they are stored (for a pipe: what the command prints)."""
    with _raw(utt) as raw:
        return raw.read()


def is_whole(utt: Utterance) -> bool:
    """Whether the utterance is its recording from the first to the last sample, with all its channels."""
    with _open(utt) as source:
        one = utt.channel is None or source.channels == 1
        return one and _stretch(utt, source) == (0, source.num_samples)


def one_channel(x: np.ndarray, channels: str) -> np.ndarray:
    """`[T, C]` -> `[T]` by the channel policy, "mix" (their mean) or "first"; another one is a ValueError."""
    if channels not in ("mix", "first"):
        raise ValueError(f"channels is {channels!r}; it can be 'mix' or 'first'")
    return x[:, 0].copy() if x.shape[1] == 1 or channels == "first" else x.mean(axis=1, dtype=np.float32)


def resample(x: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Resample float32 `[T]` with torchaudio's default windowed sinc."""
    if rate_in == rate_out:
        return x
    import torch
    import torchaudio

    return torchaudio.functional.resample(torch.from_numpy(x), rate_in, rate_out).numpy()


def filter_width(step_in: int, step_out: int) -> int:
    """Half width in input samples of torchaudio's default filter (lowpass_filter_width 6, rolloff 0.99)."""
    return math.ceil(6 * step_in / (min(step_in, step_out) * 0.99))


# --- sources: a recording that can be read from sample to sample ---


class _SoundFile:
    """A recording that libsndfile reads."""

    def __init__(self, utt: Utterance, raw: BinaryIO):
        self.utt, self.raw = utt, raw
        if not raw.seek(0, os.SEEK_END):
            raise _error(utt, "the file is empty (0 bytes)", "make it again, or take it out of the list")
        problem = containers.truncated(raw)
        if problem:
            raise _error(utt, f"truncated: {problem}", "copy it again from its source")
        raw.seek(0)
        part = utt.codec or utt.nbytes is not None or utt.offset
        by_name = not (part or objects.is_url(utt.path))  # libsndfile's own file access is faster
        try:
            self.file = sf.SoundFile(utt.path if by_name else raw)
        except (RuntimeError, TypeError, ValueError) as e:
            reason = getattr(e, "error_string", str(e)).rstrip(".")
            raise _error(
                utt, f"not readable as audio: {reason}", "wav, flac, ogg, opus, mp3 and aiff can be read"
            ) from e
        self.sample_rate, self.num_samples, self.channels = self.file.samplerate, self.file.frames, self.file.channels
        self.subtype, self.format = self.file.subtype, self.file.format
        if self.num_samples >= UNKNOWN_LENGTH:
            what = "the header has no length (a flac that was written to a pipe)"
            raise _error(utt, what, "write it again to a file: flac -d IN.flac -o OUT.wav")

    def read(self, start: int, stop: int) -> np.ndarray:
        if self.format not in INEXACT_SEEK:
            return self._decode(start, stop)
        if (start, stop) == (0, self.num_samples):
            return self._decode_whole()
        key = _cache_key(self.utt)
        held, x = _decoded.get("last", (None, None))
        if held != key or x is None:
            _decoded.clear()  # before decoding, so that there are never two
            x = self._decode_whole()
            if x.nbytes <= CACHE_BYTES:
                _decoded["last"] = (key, x)
        return x[start:stop].copy()

    def forward(self, start: int, stop: int, size: int) -> Iterator[np.ndarray]:
        """Blocks of `size` samples from `start` on, decoded from the recording's start where seeking is not exact."""
        if self.format in INEXACT_SEEK:
            self._check_length()
        at = 0 if self.format in INEXACT_SEEK else start
        while at < stop:
            end = min(at + size, start if at < start else stop)
            x = self._decode(at, end)
            if at >= start:
                yield x
            at = end

    def _decode_whole(self) -> np.ndarray:
        self._check_length()
        return self._decode(0, self.num_samples)

    def _check_length(self) -> None:
        if self.format == "MP3":
            real = containers.mp3_num_samples(self.raw)
            if real > self.num_samples + 8 * 1152:  # no Xing header: libsndfile guesses the length and stops there
                what = f"mp3 without a length header: {self.num_samples} samples expected, about {real} there"
                raise _error(self.utt, what, "convert it to flac (ffmpeg -i in.mp3 out.flac)")

    def _decode(self, start: int, stop: int) -> np.ndarray:
        try:
            if self.file.tell() != start:
                self.file.seek(start)
            x = self.file.read(stop - start, dtype="float32", always_2d=True)
        except RuntimeError as e:
            reason = getattr(e, "error_string", str(e)).rstrip(".")
            raise _error(self.utt, f"truncated or damaged: {reason}", "copy it again from its source") from e
        if len(x) < stop - start:
            what = f"truncated: {start + len(x)} samples read where the header promises {self.num_samples}"
            raise _error(self.utt, what, "copy it again from its source")
        return x

    def close(self) -> None:
        self.file.close()


class _Array:
    """A recording kept as an uncompressed float32 .npy array, `[T]` or `[C, T]`."""

    subtype, format = "FLOAT", "NPY"

    def __init__(self, utt: Utterance, raw: BinaryIO):
        if utt.sample_rate is None:
            raise _error(utt, "an array without a sample rate", "the manifest must state it")
        try:
            version = np.lib.format.read_magic(raw)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = header(raw)
        except ValueError as e:
            raise _error(utt, f"not a .npy array: {e}", "make the shard again") from e
        if dtype != np.dtype("<f4") or fortran or len(shape) not in (1, 2):
            raise _error(utt, f"array of {dtype} {shape}, not float32 [T] or [C, T]", "make the shard again")
        self.utt, self.raw, self.data_at = utt, raw, raw.tell()
        self.sample_rate, self.num_samples = utt.sample_rate, shape[-1]
        self.channels = shape[0] if len(shape) == 2 else 1

    def read(self, start: int, stop: int) -> np.ndarray:
        x = np.empty((stop - start, self.channels), dtype=np.float32)
        for c in range(self.channels):
            self.raw.seek(self.data_at + 4 * (c * self.num_samples + start))
            row = self.raw.read(4 * (stop - start))
            if len(row) < 4 * (stop - start):
                raise _error(self.utt, "truncated array", "make the shard again")
            x[:, c] = np.frombuffer(row, dtype="<f4")
        return x

    def forward(self, start: int, stop: int, size: int) -> Iterator[np.ndarray]:
        """Blocks of `size` samples from `start` on."""
        for at in range(start, stop, size):
            yield self.read(at, min(at + size, stop))

    def close(self) -> None:
        pass


@contextmanager
def _open(utt: Utterance) -> Iterator[_SoundFile | _Array]:
    with _raw(utt) as raw:
        source = _Array(utt, raw) if utt.codec == "npy" else _SoundFile(utt, raw)
        try:
            yield source
        finally:
            source.close()


@contextmanager
def open_stretch(utt: Utterance) -> Iterator[tuple[_SoundFile | _Array, int, int]]:
    """The recording, and the first and one past the last sample of the utterance in it."""
    with _open(utt) as source:
        yield source, *_stretch(utt, source)


@contextmanager
def _raw(utt: Utterance) -> Iterator[BinaryIO]:
    """The recording's bytes as a file."""
    if utt.codec == "pipe":
        yield io.BytesIO(_run(utt))
        return
    if utt.codec not in ("", "npy"):
        raise _error(utt, f"unknown codec {utt.codec!r}", "it can be '', 'npy' or 'pipe'")
    part = utt.nbytes is not None or bool(utt.offset)
    try:
        if objects.is_url(utt.path):
            f = objects.open_range(utt.path, utt.offset, utt.nbytes)
            part = part and utt.nbytes is None
        else:
            f = open(utt.path, "rb")  # noqa: SIM115 - closed below; the try is for opening alone
    except OSError as e:
        what = "no such file" if isinstance(e, FileNotFoundError) else f"cannot be opened ({e.strerror or e})"
        raise _error(utt, what, "correct its path, or take it out of the list") from e
    with f:
        yield containers.Window(f, utt.offset, utt.nbytes) if part else f  # type: ignore


def _run(utt: Utterance) -> bytes:
    held, out = _piped.get("last", ("", b""))
    if held != utt.path:
        done = subprocess.run(utt.path, shell=True, stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode != 0:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
            raise _error(utt, f"command ends with status {done.returncode}: {last[0]}", f"run it by hand: {utt.path}")
        out = done.stdout
        _piped["last"] = (utt.path, out)  # segments of one recording come one after another
    return out


_decoded: dict[str, tuple[tuple, np.ndarray]] = {}
_piped: dict[str, tuple[str, bytes]] = {}


def _cache_key(utt: Utterance) -> tuple:
    if utt.codec == "pipe":
        return ("pipe", utt.path)
    if objects.is_url(utt.path):
        return (utt.path, utt.offset, utt.nbytes)
    stat = os.stat(utt.path)
    return (utt.path, utt.offset, utt.nbytes, stat.st_size, stat.st_mtime_ns, stat.st_ino)


# --- checks ---


def _stretch(utt: Utterance, source: _SoundFile | _Array) -> tuple[int, int]:
    """First and one past the last sample of the utterance in its recording."""
    n, rate = source.num_samples, source.sample_rate
    if n == 0:
        raise _error(utt, "the audio is empty (0 samples)", "make it again, or take it out of the list")
    if utt.channel is not None and utt.channel >= source.channels:
        what = f"channel {utt.channel} is asked for, the recording has {source.channels} (counted from 0)"
        raise _error(utt, what, "correct the segments or the manifest")
    start = round(utt.start_s * rate)
    stop = n if utt.end_s is None else round(utt.end_s * rate)
    if stop > n + PAST_END_S * rate or start >= n:
        what = f"the segment {utt.start_s:g}-{'end' if utt.end_s is None else f'{utt.end_s:g}'} s"
        raise _error(
            utt, f"{what} lies past the end of the recording ({n / rate:.3f} s)", "correct the segment's times"
        )
    stop = min(stop, n)
    if start < 0 or stop <= start:
        raise _error(utt, f"the segment {utt.start_s:g}-{utt.end_s} s is empty", "correct the segment's times")
    return start, stop


def pick(utt: Utterance, x: np.ndarray) -> np.ndarray:
    """The utterance's channel of `x` [T, C], where it names one."""
    return x if utt.channel is None else x[:, utt.channel : utt.channel + 1]


def check_finite(utt: Utterance, x: np.ndarray, rate: int, first: int = 0) -> None:
    """That samples [T, C] of `utt`, the first of them its `first`, are all numbers; an AudioError where they are not."""
    finite = np.isfinite(x).all(axis=1)
    if not finite.all():
        at = first + int(np.argmin(finite))
        what = f"NaN or Inf in {len(finite) - int(finite.sum())} samples, the first {at / rate:.3f} s in"
        raise _error(utt, what, "make the file again, or take it out of the list")


def _error(utt: Utterance, what: str, fix: str) -> AudioError:
    if utt.where:  # `where` names the line that lists it: say which file it is, too
        what = f"{what} ({utt.path})"
    return AudioError(what, where=f"{utt.where or utt.path}: utterance {utt.id}", fix=fix)
