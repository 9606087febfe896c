"""Frames of a video by their times, decoded by PyAV (its wheel carries FFmpeg) or by torchcodec: the same pixels by either.

The frame at time t is the last whose presentation time is not after t, as a player shows it: a variable frame rate needs nothing
more. Times begin with 0 at a video's first frame. A video that says it is to be turned (a phone's) is turned.

PyAV comes first, since torchcodec (0.11) gives the frames of a damaged stream as if nothing were wrong with them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from audiokd.data.items import Item
from audiokd.errors import AudiokdError, ConfigError, VideoError

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".3gp")
Decoder: TypeAlias = Literal["pyav", "torchcodec", "auto"]
#: containers that say where a time begins; others (MPEG streams, AVI) are decoded from their first frame
INDEXED = ("mp4", "matroska", "webm", "flv")
#: of a frame interval: times of files are rounded to their time base
SLACK = 0.01
_AGAIN = "copy it again from its source, or take it out of the list"


@dataclass(frozen=True)
class VideoTimes:
    """When the frames of a video are shown.

    Attributes:
        first_s: presentation time of the first frame in the file, seconds.
        start_s: presentation time of each frame in rising order, from 0, [N] float64, seconds.
        duration_s: from the first frame to the end of the last.
        size: width and height in pixels, as they are stored.
        steady: whether all frames are shown equally long.
        indexed: whether the container says where a time begins.
    """

    first_s: float
    start_s: np.ndarray
    duration_s: float
    size: tuple[int, int]
    steady: bool
    indexed: bool

    @property
    def interval_s(self) -> float:
        """Between two frames, the median."""
        return float(np.median(np.diff(self.start_s))) if len(self.start_s) > 1 else self.duration_s

    def frames_at(self, times_s: np.ndarray) -> np.ndarray:
        """Number of the frame that is shown at each of the times [K], int64."""
        found = np.searchsorted(self.start_s, times_s + SLACK * self.interval_s, side="right") - 1
        return np.clip(found, 0, len(self.start_s) - 1)


def require_av() -> Any:
    """PyAV, its log silenced: what is wrong with a file is raised.

    Raises:
        AudiokdError: it is not installed.
    """
    try:
        import av
    except ImportError as e:
        raise AudiokdError(
            "videos are read by PyAV, which is not installed", fix="pip install 'audiokd[vision]'"
        ) from e
    av.logging.set_level(av.logging.PANIC)
    return av


def clip_times(
    times: VideoTimes, item: Item, frames: int, fps: float, where: np.random.Generator | float, least_s: float = 0.0
) -> np.ndarray:
    """Times of the frames of a clip.

    Args:
        times: of the video.
        item: for messages.
        frames: of the clip.
        fps: of the clip, which need not be the video's; 0 takes the video's own frames, one after another.
        where: draws where the clip begins, uniformly; or says it, from 0 at the beginning to 1 as late as it fits.
        least_s: shorter videos are refused, too.

    Returns:
        [frames] float64, seconds.

    Raises:
        VideoError: the video is shorter than the clip.
    """
    step = 1 / fps if fps else times.interval_s
    span = (frames - 1) * step
    last = float(times.start_s[-1])
    room = times.duration_s - frames * step
    short = room < -0.5 * step - 1e-6 if fps else len(times.start_s) < frames  # own frames: however long each is shown
    if short or times.duration_s < least_s:
        what = (
            f"{times.duration_s:.3g} s ({len(times.start_s)} frames) are shorter than the clip of {frames * step:.3g} s"
        )
        raise _error(item, f"{what} ({frames} frames at {1 / step:.4g} a second)", "a higher fps, or fewer frames")
    share = float(where.uniform()) if isinstance(where, np.random.Generator) else float(where)
    if fps:
        start = share * max(0.0, min(room, last - span + 1e-9)) if room > 0 else 0.0
        return start + np.arange(frames) * step
    first = min(int(share * (len(times.start_s) - frames + 1)), len(times.start_s) - frames)
    return times.start_s[first : first + frames]


def read_times(item: Item) -> VideoTimes:
    """When the frames of a video are shown, from its packets: nothing is decoded.

    Raises:
        VideoError: missing, empty, no video, or no frame in it.
    """
    with _opened(item) as (container, stream):
        shown, ends = [], []
        base = float(stream.time_base)
        try:
            for packet in container.demux(stream):
                if packet.pts is not None and not packet.is_discard:  # before an edit list's begin: decoded, not shown
                    shown.append(packet.pts * base)
                    ends.append((packet.pts + (packet.duration or 0)) * base)
        except Exception as e:
            raise _error(item, f"cut off or damaged: {_said(e)}", _AGAIN) from e
        if not shown:
            raise _error(item, "holds no frame", _AGAIN)
        order = np.unique(np.asarray(shown, np.float64))
        gaps = np.diff(order)
        usual = float(np.median(gaps)) if len(gaps) else float(1 / (stream.average_rate or 25))
        end = max(max(ends), order[-1] + usual)
        steady = bool(len(gaps) == 0 or (np.abs(gaps - usual) < max(0.1 * usual, 1.5 * base)).all())
        size, indexed = (stream.width, stream.height), any(k in container.format.name for k in INDEXED)
        return VideoTimes(float(order[0]), order - order[0], float(end - order[0]), size, steady, indexed)


def read_frames(item: Item, numbers: Sequence[int], times: VideoTimes, decoder: Decoder = "pyav") -> np.ndarray:
    """Decode frames of a video.

    Args:
        item: the video.
        numbers: of the frames, in the order that they are shown, any order and repeats.
        times: of the video.
        decoder: pyav; torchcodec, which needs FFmpeg's libraries; auto is torchcodec where it can be loaded, else PyAV. What has no
            index of times (MPEG streams, AVI) is PyAV's in any case: torchcodec numbers its frames otherwise.

    Returns:
        uint8 [len(numbers), H, W, 3], RGB.

    Raises:
        VideoError: a frame cannot be decoded, or is of another size than the others.
        ConfigError: no such decoder, or it is not installed.
    """
    if decoder not in get_args(Decoder):
        raise ConfigError(f"no decoder {decoder!r}", where="data.decoder", fix=f"one of {', '.join(get_args(Decoder))}")
    wanted = sorted(set(map(int, numbers)))
    other = None if decoder == "pyav" else torchcodec_decoder()
    if decoder == "torchcodec" and other is None:
        fix = "pip install 'audiokd[video]' and FFmpeg, or --data.decoder pyav"
        raise ConfigError("torchcodec cannot be used here", where="data.decoder", fix=fix)
    found = _by_torchcodec(item, wanted, other) if other and times.indexed else _by_pyav(item, wanted, times)
    return np.stack([found[int(n)] for n in numbers])


def _by_pyav(item: Item, wanted: list[int], times: VideoTimes) -> dict[int, np.ndarray]:
    found: dict[int, np.ndarray] = {}
    to_rgb = require_av().video.reformatter.VideoReformatter()  # a frame's own would be made anew for each
    with _opened(item) as (container, stream):
        base = float(stream.time_base)
        # an AVI's times are those of decoding: with B-frames not when a frame is shown
        counted = container.format.name == "avi"
        try:
            if wanted[0] and times.indexed:
                at = times.start_s[wanted[0]] + times.first_s
                container.seek(int(at / base), stream=stream, backward=True)
            for count, frame in enumerate(container.decode(stream)):
                if frame.pts is None and not counted:
                    continue
                number = (
                    count if counted else int(np.argmin(np.abs(times.start_s - (frame.pts * base - times.first_s))))
                )
                if frame.is_corrupt and wanted[0] <= number <= wanted[-1]:
                    raise _error(item, f"frame {number} is damaged", _AGAIN)
                if number in wanted and number not in found:
                    if (frame.width, frame.height) != times.size:
                        what = f"frame {number} is {frame.width} x {frame.height}, the video {times.size[0]} x {times.size[1]}"
                        raise _error(item, what, "encode it again in one size")
                    pixels = to_rgb.reformat(frame, format="rgb24").to_ndarray()
                    found[number] = np.rot90(pixels, round(frame.rotation / 90))
                if number >= wanted[-1] and len(found) == len(wanted):
                    break
        except VideoError:
            raise
        except Exception as e:  # of a damaged stream, whatever FFmpeg or numpy say
            missing = next((n for n in wanted if n not in found), wanted[-1])
            raise _error(item, f"frame {missing} cannot be decoded: {_said(e)}", _AGAIN) from e
    if lost := [n for n in wanted if n not in found]:
        raise _error(item, f"frame {lost[0]} of {len(times.start_s)} cannot be decoded", _AGAIN)
    return found


@cache
def torchcodec_decoder() -> Any:
    """torchcodec's VideoDecoder; None where it is not installed, or finds no FFmpeg that it knows."""
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, RuntimeError, OSError):  # RuntimeError: no FFmpeg beside it
        return None
    return VideoDecoder


def _by_torchcodec(item: Item, wanted: list[int], decoder: Any) -> dict[int, np.ndarray]:
    try:
        frames = decoder(item.path, seek_mode="exact", dimension_order="NHWC").get_frames_at(wanted).data
    except Exception as e:
        raise _error(item, f"frames {wanted[0]} to {wanted[-1]} cannot be decoded: {_said(e)}", _AGAIN) from e
    return dict(zip(wanted, frames.cpu().numpy()))


def decode_whole(item: Item, times: VideoTimes) -> str:
    """Decode every frame, and forget it; FFmpeg's names of codec and pixels, such as "h264 yuv420p".

    Raises:
        VideoError: one cannot be, or is of another size than the others.
    """
    with _opened(item) as (container, stream):
        number = 0
        try:
            for number, frame in enumerate(container.decode(stream)):
                if frame.is_corrupt:
                    raise _error(item, f"frame {number} is damaged", _AGAIN)
                if (frame.width, frame.height) != times.size:
                    what = (
                        f"frame {number} is {frame.width} x {frame.height}, the video {times.size[0]} x {times.size[1]}"
                    )
                    raise _error(item, what, "encode it again in one size")
        except VideoError:
            raise
        except Exception as e:
            raise _error(item, f"what follows frame {number} cannot be decoded: {_said(e)}", _AGAIN) from e
        if number + 1 < len(times.start_s):
            raise _error(item, f"{number + 1} of {len(times.start_s)} frames can be decoded", _AGAIN)
        return f"{stream.codec_context.name} {stream.codec_context.pix_fmt}"


@contextmanager
def _opened(item: Item) -> Iterator[tuple[Any, Any]]:
    av = require_av()
    if not os.path.isfile(item.path):
        raise _error(item, "no such file", "correct its path, or take it out of the list")
    if not os.path.getsize(item.path):
        raise _error(item, "the file is empty (0 bytes)", _AGAIN)
    try:
        container = av.open(item.path)
    except Exception as e:
        raise _error(item, f"no video, or cut off in its header: {_said(e)}", _AGAIN) from e
    with container:
        if not container.streams.video:
            raise _error(item, "holds no video stream", "is it what it is named?")
        stream = container.streams.video[0]
        stream.thread_count = 1  # readers are processes
        yield container, stream


def _said(e: Exception) -> str:
    return f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}".removesuffix(": ")


def _error(item: Item, what: str, fix: str) -> VideoError:
    if item.where:  # `where` names the line that lists it: say which file it is, too
        what = f"{what} ({item.path})"
    return VideoError(what, where=item.where or item.path, fix=fix)


def write_video(path: str | os.PathLike[str], frames: np.ndarray, fps: int = 8) -> None:
    """Write uint8 [T, H, W, 3] without loss (FFV1 in Matroska), so that it is read back to the byte."""
    av = require_av()
    with av.open(os.fspath(path), "w", format="matroska", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("ffv1", rate=fps)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "bgr0"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode(None))
