"""Raw skeleton files of NTU RGB+D (`SsssCcccPpppRrrrAaaa.skeleton`), as the recorder of Kinect v2 wrote them.

Text. First line: number of frames. Per frame: number of bodies, and per body one line of 10 values that begins with the body's id,
the number of joints, and a line of 12 values per joint: `x y z` in metres, depth and colour pixel, orientation, tracking state.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...skeletons import get_layout
from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, make_recording
from .errors import RecordingError


_BODY_VALUES = 10
_JOINT_VALUES = 12


@dataclass(frozen=True, eq=False)
class NTURecording:
    """The observations of a file: one per body and frame, in the order of the file.

    Attributes:
        num_frames: frames of the file, those without bodies included.
        frames: int64 `(observations,)`, frame of each observation.
        slots: int64 `(observations,)`, place of the body in the list of its frame, from 0.
        body_ids: the recorder's ids of the bodies, one per observation. They have 17 digits and more, so they are Python integers.
        keypoints: float32 `(observations, joints, 3)` in metres.
        tracking_states: int8 `(observations, joints)`: 0 not tracked, 1 inferred, 2 tracked.
    """

    num_frames: int
    frames: np.ndarray
    slots: np.ndarray
    body_ids: tuple[int, ...]
    keypoints: np.ndarray
    tracking_states: np.ndarray


def read_ntu_skeleton(path: str | os.PathLike, num_joints: int = 25) -> NTURecording:
    """Read all bodies of a raw NTU RGB+D file.

    Args:
        path: the file.
        num_joints: joints that every body must have.

    Raises:
        RecordingError: if the file is cut off, goes on after its last frame, has another number of joints, or holds something that is
            not a finite number; the message names the line, the frame and the value.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror or error})") from error
    # Files that are written exactly as the recorder does (one blank between values) take the short way. Every surprise takes the
    # long one, which either copes with it or says where it is.
    recording = _read_regular(data.replace(b"\r\n", b"\n") if b"\r" in data else data, num_joints)
    return recording if recording is not None else _read_careful(path, data, num_joints)


def _read_regular(data: bytes, num_joints: int) -> NTURecording | None:
    """Read all joint lines at once with the parser of `np.loadtxt`, only the columns that are kept; None if anything is unusual."""
    frames: list[int] = []
    slots: list[int] = []
    body_lines: list[str] = []
    joint_lines: list[str] = []
    joint_count = str(num_joints)
    place = 1
    try:
        lines = data.decode("ascii").split("\n")
        if not lines[-1]:
            lines.pop()
        num_frames = int(lines[0])
        for frame in range(num_frames):
            count = int(lines[place])
            place += 1
            for slot in range(count):
                if lines[place + 1] != joint_count:
                    return None
                frames.append(frame)
                slots.append(slot)
                body_lines.append(lines[place])
                joint_lines += lines[place + 2 : place + 2 + num_joints]
                place += 2 + num_joints
        # Each body line has its 9 blanks, no joint line fewer than 12 values (loadtxt sees to that), and there is no blank more.
        blanks = len(body_lines) * (_BODY_VALUES - 1 + num_joints * (_JOINT_VALUES - 1))
        if place != len(lines) or np.count_nonzero(np.frombuffer(data, dtype=np.uint8) == ord(" ")) != blanks:
            return None
        if any(line.count(" ") != _BODY_VALUES - 1 for line in body_lines):
            return None
        body_ids = [int(line[: line.index(" ")]) for line in body_lines]
        values = np.zeros((0, 4))
        if joint_lines:
            values = np.loadtxt(joint_lines, usecols=(0, 1, 2, _JOINT_VALUES - 1), comments=None)
    except (ValueError, IndexError):
        return None
    states = values[:, 3]
    regular = len(values) == len(body_lines) * num_joints and np.isfinite(values).all()
    if not regular or not ((states == 0) | (states == 1) | (states == 2)).all() or min(body_ids, default=0) < 0:
        return None
    return _recording(num_frames, frames, slots, body_ids, values[:, :3], states, num_joints)


def _recording(
    num_frames: int,
    frames: Sequence[int],
    slots: Sequence[int],
    body_ids: Sequence[int],
    values: Sequence[float] | np.ndarray,
    states: Sequence[int] | np.ndarray,
    num_joints: int,
) -> NTURecording:
    return NTURecording(
        num_frames=num_frames,
        frames=np.array(frames, dtype=np.int64),
        slots=np.array(slots, dtype=np.int64),
        body_ids=tuple(body_ids),
        keypoints=np.array(values, dtype=np.float32).reshape(-1, num_joints, 3),
        tracking_states=np.array(states, dtype=np.int8).reshape(-1, num_joints),
    )


def _read_careful(path: Path, data: bytes, num_joints: int) -> NTURecording:
    """Read line by line; raises `RecordingError` at the first fault."""
    lines = [(number, fields) for number, line in enumerate(data.splitlines(), 1) if (fields := line.split())]
    place = 0
    frame = -1

    def fail(message: str, number: int | None = None) -> RecordingError:
        where = (
            f"{path}"
            + (f", line {number}" if number is not None else "")
            + (f" (frame {frame})" if frame >= 0 else "")
        )
        return RecordingError(f"{where}: {message}")

    def take(count: int, what: str) -> tuple[int, list[bytes]]:
        nonlocal place
        if place >= len(lines):
            last = lines[-1][0] if lines else 0
            raise fail(f"the file ends after line {last}, expected {what}; it is cut off, copy it again")
        number, fields = lines[place]
        if len(fields) != count:
            raise fail(f"{len(fields)} values, expected {count} ({what})", number)
        place += 1
        return number, fields

    def integer(number: int, field: bytes, what: str) -> int:
        try:
            value = int(field)
        except ValueError:
            value = -1
        if value < 0:
            raise fail(f"{what} is {field.decode(errors='replace')!r}, expected a whole number from 0", number)
        return value

    number, fields = take(1, "the number of frames")
    num_frames = integer(number, fields[0], "the number of frames")
    frames, slots, body_ids, values, states = [], [], [], [], []
    for frame in range(num_frames):
        number, fields = take(1, "the number of bodies")
        for slot in range(integer(number, fields[0], "the number of bodies")):
            number, fields = take(_BODY_VALUES, "id and state of a body")
            frames.append(frame)
            slots.append(slot)
            body_ids.append(integer(number, fields[0], "the id of a body"))
            number, fields = take(1, "the number of joints")
            joints = integer(number, fields[0], "the number of joints")
            if joints != num_joints:
                raise fail(f"{joints} joints, expected {num_joints}", number)
            for joint in range(num_joints):
                number, fields = take(_JOINT_VALUES, f"joint {joint}")
                for field in fields[:3]:
                    try:
                        value = float(field)
                    except ValueError:
                        value = np.nan
                    if not np.isfinite(value):
                        text = field.decode(errors="replace")
                        raise fail(f"coordinate {text!r} of joint {joint} is not a finite number", number)
                    values.append(value)
                state = integer(number, fields[-1], "the tracking state")
                if state > 2:
                    raise fail(f"the tracking state of joint {joint} is {state}, expected 0, 1 or 2", number)
                states.append(state)
    if place < len(lines):
        number, frame = lines[place][0], -1
        raise fail(f"the file goes on after its {num_frames} frames; the number of frames in line 1 is wrong", number)
    return _recording(num_frames, frames, slots, body_ids, values, states, num_joints)


def detect(file: RecordingFile) -> bool:
    lines = [line.split() for line in file.start.split("\n", 3)[:3]]
    counts = len(lines) == 3 and all(len(line) == 1 and line[0].isdigit() for line in lines[:2])
    return file.suffix == ".skeleton" or (counts and len(lines[2]) == _BODY_VALUES)


def _read(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    from ..body_selection import select_bodies
    from ..tracking import assemble_tracks

    raw = read_ntu_skeleton(file.path)
    person_ids: tuple[str, ...] = ()
    try:
        if options.bodies == "all":
            keypoints, mask, person_ids = assemble_tracks(raw.num_frames, raw.frames, raw.body_ids, raw.keypoints)
        else:
            keypoints, mask = select_bodies(raw, options.bodies)
    except RecordingError as error:
        raise file.error(str(error)) from error
    return make_recording(
        file,
        keypoints,
        get_layout("ntu25"),
        frame_mask=mask,
        frame_rate=30.0,
        units="metre",
        person_ids=person_ids,
    )


FORMAT = FileFormat(
    name="ntu-skeleton",
    title="NTU RGB+D",
    suffixes=(".skeleton",),
    layout="ntu25",
    units="metre",
    detect=detect,
    read=_read,
)


__all__ = ["FORMAT", "NTURecording", "read_ntu_skeleton"]
