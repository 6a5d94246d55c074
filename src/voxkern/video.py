"""Frames of a video file, one after another, through PyAV."""

import stat
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter


class Video:
    """A video file; iterating gives ``(seconds, frame)`` with frames ``(H, W, 3)`` RGB uint8.

    Memory does not grow with the number of frames, and libav decodes the next frames on threads
    of its own while the caller works on one. Iterate once.

    Parameters
    ----------
    path : str or path
        A regular file in any container and codec that PyAV's libav reads.

    Attributes
    ----------
    width, height : int
    rate : float
        Average frames per second, 0 where the file does not say.
    expected_frames : int
        What the container says or its duration suggests; 0 where neither is known.

    Raises
    ------
    ValueError
        From the constructor, where the file is missing, empty, not a video or has no picture
        stream; while iterating, where it is truncated or damaged or holds no frame.
    """

    def __init__(self, path):
        self.path = Path(path)
        self._container = open_container(self.path)
        try:
            self._stream = picture_stream(self._container, self.path)
        except ValueError:
            self._container.close()
            raise
        self._stream.thread_type = "AUTO"
        self.width, self.height = self._stream.width, self._stream.height
        self.rate = float(self._stream.average_rate or 0)
        self._length = declared_seconds(self._container, self._stream)
        self.expected_frames = self._stream.frames or round(self._length * self.rate)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._container.close()

    def __iter__(self):
        count, end = 0, 0.0
        reformatter = VideoReformatter()  # one for all frames: it keeps its tables
        try:
            for packet in self._container.demux():
                if packet.pts is not None:
                    reach = (packet.pts + (packet.duration or 0)) * packet.time_base
                    end = max(end, float(reach))
                if packet.stream is not self._stream:
                    continue
                decoded = packet.decode()
                if packet.is_corrupt or any(frame.is_corrupt for frame in decoded):
                    raise self._damaged(count)
                for frame in decoded:
                    yield self._seconds_of(frame, count), _rgb(frame, reformatter)
                    count += 1
        except av.FFmpegError as error:
            raise self._damaged(count) from error
        if count == 0:
            raise ValueError(f"{self.path} has no video frames")
        # Matroska ends without a word where the file was cut; only its declared length tells.
        if self._stream.duration is None and end < self._length - 0.5:
            raise self._damaged(count)

    def _seconds_of(self, frame, number):
        """Presentation time of a frame; its number over the rate in streams without any."""
        return number / (self.rate or 25) if frame.time is None else float(frame.time)

    def _damaged(self, count):
        expected = f" of about {self.expected_frames}" if self.expected_frames else ""
        return ValueError(
            f"{self.path} is truncated or damaged: {count}{expected} frames could be decoded "
            "before the fault"
        )


def open_container(path):
    """The file's container; what is wrong with it in one line otherwise."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise ValueError(f"{path} is {kind}; it must be a video file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty; it must be a video file")
    try:
        # The prefix keeps libav from reading a name with a colon as the name of a protocol.
        # A playlist may name files, and nothing on the network; a title may be in no encoding.
        options = {"protocol_whitelist": "file"}
        container = av.open(f"file:{path}", options=options, metadata_errors="replace")
    except av.PermissionError:
        raise ValueError(f"{path} cannot be read: Permission denied") from None
    except av.FFmpegError:
        raise ValueError(f"{path} is not a video, or its index is cut off") from None
    if container.format.name == "tty":  # libav renders any text file as a terminal's picture
        container.close()
        raise ValueError(f"{path} is a text file; it must be a video file")
    return container


def picture_stream(container, path):
    """The first video stream that is not a cover picture."""
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & av.stream.Disposition.attached_pic
    ]
    if not streams:
        raise ValueError(f"{path} has no video stream")
    if streams[0].codec_context is None:
        raise ValueError(f"{path} holds a video whose codec this PyAV cannot decode")
    return streams[0]


def declared_seconds(container, stream):
    """Length that a file declares, 0 where there is none."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


def _rgb(frame, reformatter):
    """The frame as ``(H, W, 3)`` RGB uint8, by the matrix and range it declares (else BT.601)."""
    return np.ascontiguousarray(reformatter.reformat(frame, format="rgb24").to_ndarray())
