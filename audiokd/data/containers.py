"""What libsndfile does not tell of a file: data cut off short, and the length of an mp3 without a header."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import BinaryIO

STREAMED = 0x7FFF0000  # a chunk size from here on is a writer's "length not known": sox, ffmpeg and arecord to a pipe


class Window(io.RawIOBase):
    """`nbytes` bytes of an open file from `offset` on, as a file of their own (None: up to the end)."""

    def __init__(self, f: BinaryIO, offset: int, nbytes: int | None):
        self._f, self._offset, self._pos = f, offset, 0
        self._size = os.fstat(f.fileno()).st_size - offset if nbytes is None else nbytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._pos

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._pos, os.SEEK_END: self._size}[whence]
        self._pos = max(base + offset, 0)
        return self._pos

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = max(min(len(buffer), self._size - self._pos), 0)
        self._f.seek(self._offset + self._pos)
        got = self._f.readinto(memoryview(buffer).cast("B")[:count])  # type: ignore[attr-defined]
        self._pos += got
        return got


def truncated(f: BinaryIO) -> str | None:
    """Say what is missing where a file is shorter than its own headers state; None where it is whole.

    For wav, rf64, aiff, au, sphere and ogg: libsndfile shortens them without a word. (A short flac or mp3 gives fewer
    samples than it promises.)
    """
    size = f.seek(0, os.SEEK_END)
    f.seek(0)
    head = f.read(12)
    if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
        return _short_chunk(f, size, b"data", "little")
    if head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        return _short_chunk(f, size, b"SSND", "big")
    if head[:4] == b"OggS":
        return _short_page(f, size)
    if head[:4] == b".snd":
        promised, there = int.from_bytes(head[8:12], "big"), size - int.from_bytes(head[4:8], "big")
        return _missing(promised, there) if promised < STREAMED else None
    if head[:8] == b"NIST_1A\n":
        return _short_sphere(f, size)
    return None


def _short_chunk(f: BinaryIO, size: int, wanted: bytes, order: str) -> str | None:
    at, long_size = 12, None
    while at + 8 <= size:
        f.seek(at)
        name, length = f.read(4), int.from_bytes(f.read(4), order)  # type: ignore[arg-type]
        if name == b"ds64":  # RF64: 64-bit sizes
            f.seek(at + 16)
            long_size = int.from_bytes(f.read(8), "little")
        if name == wanted:
            length = long_size if long_size is not None and length == 0xFFFFFFFF else length
            return _missing(length, size - at - 8) if length < STREAMED or long_size is not None else None
        at += 8 + length + (length & 1)
    return None


def _short_sphere(f: BinaryIO, size: int) -> str | None:
    f.seek(0)
    fields = {}
    for row in f.read(1024).decode("latin-1").splitlines():
        parts = row.split()
        if len(parts) == 3 and parts[1] == "-i" and parts[2].isdigit():
            fields[parts[0]] = int(parts[2])
    promised = fields.get("sample_count", 0) * fields.get("channel_count", 1) * fields.get("sample_n_bytes", 0)
    return _missing(promised, size - 1024)


def _missing(promised: int, there: int) -> str | None:
    return f"the header promises {promised} bytes of samples, the file holds {there}" if promised > there else None


def _short_page(f: BinaryIO, size: int) -> str | None:
    tail_at = max(size - (1 << 17), 0)  # a page has at most 65307 bytes
    f.seek(tail_at)
    tail = f.read(size - tail_at)
    at = tail.rfind(b"OggS")
    if at < 0:
        return None
    segments = tail[at + 26] if at + 26 < len(tail) else 0
    table = tail[at + 27 : at + 27 + segments]
    if at + 27 > len(tail) or len(table) < segments or at + 27 + segments + sum(table) > len(tail):
        return "the last ogg page is cut off"
    return None


_BITRATES_1 = {  # kbit/s by layer, MPEG 1 (ISO 11172-3 table in 2.4.2.3)
    1: (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_BITRATES_2 = {  # MPEG 2 and 2.5 (ISO 13818-3)
    1: (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    3: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def mp3_num_samples(f: BinaryIO) -> int:
    """Count the samples in the frames of an MPEG audio file up to the first byte that is no frame: a lower bound."""
    before = f.tell()
    try:
        return sum(_mpeg_frames(f))
    finally:
        f.seek(before)  # a decoder may be reading it


def _mpeg_frames(f: BinaryIO) -> Iterator[int]:
    """Samples of each frame. A mebibyte of the file is in memory."""
    f.seek(0)
    data, first = f.read(1 << 20), 0  # `first`: where in the file the data begin
    at = 10 + (data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9]) if data[:3] == b"ID3" and len(data) > 10 else 0
    while True:
        if at - first + 4 > len(data):
            f.seek(at)
            data, first = f.read(1 << 20), at
            if len(data) < 4:
                return
        _, b1, b2, _ = header = data[at - first : at - first + 4]
        if header[0] != 0xFF or b1 & 0xE0 != 0xE0:
            return
        version, layer = b1 >> 3 & 3, 4 - (b1 >> 1 & 3)
        bitrate_index, rate_index, padding = b2 >> 4, b2 >> 2 & 3, b2 >> 1 & 1
        if version == 1 or layer == 4 or rate_index == 3 or bitrate_index in (0, 15):
            return
        mpeg1 = version == 3
        bitrate = 1000 * (_BITRATES_1 if mpeg1 else _BITRATES_2)[layer][bitrate_index - 1]
        rate = (44100, 48000, 32000)[rate_index] // {3: 1, 2: 2, 0: 4}[version]
        samples = 384 if layer == 1 else 576 if layer == 3 and not mpeg1 else 1152
        at += (12 * bitrate // rate + padding) * 4 if layer == 1 else samples // 8 * bitrate // rate + padding
        yield samples
