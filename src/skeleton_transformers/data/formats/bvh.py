"""BVH motion capture: a hierarchy of joints with offsets, and per frame the channels of each.

Positions follow by forward kinematics: the place of a joint is that of its parent plus the parent's orientation times its offset. Its
orientation is the parent's times the rotations about its axes in the order of its channels, each by its angle in degrees. Position
channels take the place of the offset. The layout is the file's own tree; joints of the limbs get the names that layouts use, and
the end of a chain is a joint `<name>_end`. BVH has no unit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...skeletons import SkeletonLayout
from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, make_recording
from .joint_names import canonical_joint_name, make_layout


_CHANNELS = {f"{axis}{kind}": (kind, number) for number, axis in enumerate("XYZ") for kind in ("position", "rotation")}
_MOST_JOINTS = 1000


@dataclass
class _Joint:
    name: str
    parent: int
    offset: np.ndarray
    channels: list[tuple[str, int]] = field(default_factory=list)


def read_bvh(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    """Read a take of one skeleton.

    Raises:
        RecordingError: naming the line of what is out of place, or how many values are missing.
    """
    header, mark, motion = file.text.partition("MOTION")
    if not mark:
        raise file.error("no MOTION after the hierarchy; the file is cut off")
    joints = _Hierarchy(file, header).joints
    first_line = header.count("\n") + 1
    values, frame_time = _motion(file, motion, sum(len(joint.channels) for joint in joints), first_line)
    keypoints = _positions(joints, values)[None]  # (1, T, V, 3)
    frame_mask = np.ones(keypoints.shape[:2], dtype=bool)
    return make_recording(file, keypoints, _layout(joints), frame_mask=frame_mask, frame_rate=1 / frame_time)


class _Hierarchy:
    """Parser of the words between HIERARCHY and MOTION."""

    def __init__(self, file: RecordingFile, text: str):
        self.file = file
        self.words = [(word, line) for line, row in enumerate(text.splitlines(), 1) for word in row.split()]
        self.place = 0
        self.joints: list[_Joint] = []
        self._expect("HIERARCHY")
        self._expect("ROOT")
        self._tree()
        if self.place < len(self.words):
            word, line = self.words[self.place]
            raise self._fail(
                f"{word!r} after the end of the skeleton; files with several skeletons are not supported", line
            )

    def _fail(self, message: str, line: int | None = None) -> Exception:
        if line is None:
            line = self.words[min(self.place, len(self.words) - 1)][1] if self.words else 1
        return self.file.error(message, f"line {line}")

    def _next(self) -> str:
        if self.place >= len(self.words):
            raise self._fail("the hierarchy ends in the middle; the file is cut off")
        self.place += 1
        return self.words[self.place - 1][0]

    def _expect(self, word: str) -> None:
        line = self.words[self.place][1] if self.place < len(self.words) else None
        found = self._next()
        if found.upper() != word:
            raise self._fail(f"{found!r}, expected {word}", line)

    def _number(self) -> float:
        line = self.words[self.place][1] if self.place < len(self.words) else None
        word = self._next()
        try:
            value = float(word)
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise self._fail(f"{word!r} is no finite number", line)
        return value

    def _tree(self) -> None:
        """The root and all joints below it; a stack, as skeletons may be deeper than Python's calls."""
        open_joints: list[int] = []
        self._joint(self._name(), -1, open_joints)
        while open_joints:
            word = self._next().upper()
            joint = self.joints[open_joints[-1]]
            if word == "}":
                open_joints.pop()
            elif word == "JOINT":
                self._joint(self._name(), open_joints[-1], open_joints)
            elif word == "END":
                self._next()  # "Site"
                self._joint(f"{joint.name}_end", open_joints[-1], open_joints)
            elif word == "OFFSET":
                joint.offset = np.array([self._number() for _ in range(3)])
            elif word == "CHANNELS":
                self._channels(joint)
            else:
                raise self._fail(
                    f"{word!r}, expected JOINT, OFFSET, CHANNELS, End Site or a brace", self.words[self.place - 1][1]
                )

    def _name(self) -> str:
        """A name, which may hold blanks: all words up to the brace."""
        words = []
        while self.place < len(self.words) and self.words[self.place][0] != "{":
            words.append(self._next())
        return "_".join(words) or f"joint_{len(self.joints)}"

    def _joint(self, name: str, parent: int, open_joints: list[int]) -> None:
        self._expect("{")
        if len(self.joints) >= _MOST_JOINTS:
            raise self._fail(f"more than {_MOST_JOINTS} joints")
        open_joints.append(len(self.joints))
        self.joints.append(_Joint(name, parent, np.zeros(3)))

    def _channels(self, joint: _Joint) -> None:
        count = self._number()
        if count not in range(7):
            raise self._fail(f"{count:g} channels, expected 0 to 6")
        for _ in range(int(count)):
            word = self._next()
            channel = _CHANNELS.get(word[:1].upper() + word[1:].lower())
            if channel is None or channel in joint.channels:
                raise self._fail(f"channel {word!r} is unknown or repeated; known are {', '.join(_CHANNELS)}")
            joint.channels.append(channel)


def _motion(file: RecordingFile, text: str, width: int, first_line: int) -> tuple[np.ndarray, float]:
    """Values of the channels, float64 `(frames, channels)`, and the seconds of a frame."""
    lines = text.splitlines()
    fields = {}
    start = 0
    for number, line in enumerate(lines):
        name, colon, value = line.partition(":")
        if colon:
            fields[name.strip().lower()] = value.strip()
        elif line.strip():
            start = number
            break
    else:
        start = len(lines)
    try:
        frames, frame_time = int(fields["frames"]), float(fields["frame time"])
    except (KeyError, ValueError):
        raise file.error(
            "expected 'Frames: <number>' and 'Frame Time: <seconds>' below MOTION", f"line {first_line}"
        ) from None
    if frames < 1 or not (np.isfinite(frame_time) and frame_time > 0):
        raise file.error(f"{frames} frames of {frame_time} seconds; both must be above 0", f"line {first_line}")
    words = " ".join(lines[start:]).split()
    if len(words) != frames * width or not width:
        raise file.error(
            f"{len(words)} values, expected {frames} frames x {width} channels = {frames * width}; the file is cut off or its head is wrong"
        )
    try:
        values = np.array(list(map(float, words))).reshape(frames, width)
    except ValueError as error:
        raise file.error(f"the motion holds a word that is no number ({error})") from error
    if not np.isfinite(values).all():
        frame, channel = (int(place) for place in np.argwhere(~np.isfinite(values))[0])
        raise file.error(f"{values[frame, channel]} is not finite", f"frame {frame}, channel {channel}")
    return values, frame_time


def _positions(joints: list[_Joint], values: np.ndarray) -> np.ndarray:
    """Forward kinematics: float64 `(frames, joints, 3)`."""
    frames = len(values)
    places = np.zeros((frames, len(joints), 3))
    turns: list[np.ndarray] = []  # orientation of each joint, (frames, 3, 3)
    column = 0
    for number, joint in enumerate(joints):
        offset = np.tile(joint.offset, (frames, 1))
        turn = np.tile(np.eye(3), (frames, 1, 1))
        for kind, axis in joint.channels:
            if kind == "position":
                offset[:, axis] = values[:, column]
            else:
                turn = turn @ _rotation(axis, np.radians(values[:, column]))
            column += 1
        if joint.parent < 0:
            places[:, number] = offset
        else:
            above = turns[joint.parent]
            places[:, number] = places[:, joint.parent] + np.einsum("tij,tj->ti", above, offset)
            turn = above @ turn
        turns.append(turn)
    return places


def _rotation(axis: int, angles: np.ndarray) -> np.ndarray:
    """Rotations about one axis by `angles` in radians, `(frames, 3, 3)`."""
    second, third = (axis + 1) % 3, (axis + 2) % 3
    turn = np.zeros((len(angles), 3, 3))
    turn[:, axis, axis] = 1
    turn[:, second, second] = turn[:, third, third] = np.cos(angles)
    turn[:, third, second] = np.sin(angles)
    turn[:, second, third] = -np.sin(angles)
    return turn


def _layout(joints: list[_Joint]) -> SkeletonLayout:
    own = [joint.name for joint in joints]
    names = _joint_names(own)
    parents = [max(joint.parent, 0) for joint in joints]
    return make_layout(f"bvh{len(joints)}", names, parents)


def _joint_names(own: list[str]) -> list[str]:
    """Names of the joints in the words of layouts.

    A joint is the near end of its segment: where a skeleton has a forearm, its "arm" begins at the shoulder, its "shoulder" is the
    collar bone, its "hand" begins at the wrist, and its "foot" at the ankle.
    """
    plain = [name.lower() for name in own]
    by_segment = any("forearm" in name or "lowerarm" in name for name in plain)
    feet_are_ankles = not any("ankle" in name for name in plain)
    segments = {"shoulder": "collar", "hand": "wrist"} if by_segment else {}
    if feet_are_ankles:
        segments["foot"] = "ankle"
    found = []
    for name in own:
        joint = canonical_joint_name(name)
        side, _, part = joint.partition("_")
        text = "".join(c for c in name.lower() if c.isalpha())
        if side in ("left", "right") and text.endswith(("upperarm", "uparm")):
            joint = f"{side}_shoulder"
        elif side in ("left", "right") and part == "shoulder" and by_segment and text.endswith("arm"):
            joint = f"{side}_shoulder"
        elif side in ("left", "right") and part in segments and not text.endswith(("toe", "toebase", "toes", "end")):
            joint = f"{side}_{segments[part]}"
        elif joint in ("spine_mid", "spine_shoulder"):
            joint = "_".join(name.lower().split())  # "Spine" is anywhere in the trunk
        found.append(joint)
    own_names = ["_".join(name.lower().replace(":", "_").split()) for name in own]
    found = [name if found.count(name) == 1 else own_names[place] for place, name in enumerate(found)]
    return [name if found.count(name) == 1 else f"{name}_{place}" for place, name in enumerate(found)]


FORMAT = FileFormat(
    name="bvh",
    title="BVH motion capture",
    suffixes=(".bvh",),
    layout="the file's own tree",
    units="yours",
    detect=lambda file: file.start[:9].upper() == "HIERARCHY",
    read=read_bvh,
)


__all__ = ["FORMAT", "read_bvh"]
