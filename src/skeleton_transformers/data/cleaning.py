"""Cleaning of recordings, in steps that can be switched one by one and that report what they did.

The steps, in this order: joints of low confidence are masked; the unit of length and the upright axis are told from the body; spikes
and bones of a length that changes are looked for; short gaps are filled; the frame rate is changed. Nothing is repaired unless the
switch says so, and what was not there or not believed is masked, never replaced by 0.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from ..skeletons import SkeletonLayout
from .formats.base import SkeletonRecording
from .formats.errors import RecordingError
from .geometry import axis_index, sample_frames
from .storage import SkeletonSample
from .tracking import body_sizes


# Typical lengths of an adult's bones in metres, between joints as cameras find them: good to a factor of 1.5 for everybody who walks.
_ADULT_BONES = {
    ("shoulder", "elbow"): 0.28,
    ("elbow", "wrist"): 0.25,
    ("hip", "knee"): 0.41,
    ("knee", "ankle"): 0.40,
}
_UNITS = {"metre": 1.0, "centimetre": 100.0, "millimetre": 1000.0}
_UNIT_FACTOR = 1.8
_UPRIGHT = 0.75  # share of the trunk's mean direction that one axis must have to be called the vertical
_LOWER_TRUNK = ("left_hip", "right_hip", "spine_base")
_UPPER_TRUNK = ("left_shoulder", "right_shoulder", "spine_shoulder")
_SPIKE_FRAMES = 3
_DEFAULT_RATE = 30.0
_SHOWN = 5


@dataclass(frozen=True)
class CleaningOptions:
    """The switches of [`clean`].

    Attributes:
        min_confidence: joints with less confidence are masked; 0 masks none. Without confidences the step does nothing.
        zeros: `"missing"` masks joints whose coordinates are all exactly 0, which is how many tools write a joint that was not found;
            `"keep"` only counts them (the root of centred data is 0, too).
        units: `"check"` tells the unit of length from the bones of arms and legs and warns where the recording says otherwise;
            `"convert"` also converts to metres; `"off"` does not look.
        up: `"check"` tells from the trunk which axis is up and warns where that is not y (the convention of depth cameras), or for
            2D not -y (rows of an image run down); `"y"` and `"z"` also turn 3D recordings so that this axis is up; `"off"` does not
            look.
        spikes: joints that jump away and are back within 3 frames, faster than `max_speed`: `"report"`, `"repair"` (they are masked,
            and filled if `max_gap_frames` allows) or `"off"`.
        max_speed: in body sizes (about the height of one who stands) per second. The fastest hands reach about 6.
        bones: frames where a bone is longer or shorter than the person's median by more than `bone_tolerance`: `"report"`,
            `"repair"` (the joint that explains most of it is masked, and filled if `max_gap_frames` allows) or `"off"`. Only 3D.
        bone_tolerance: as a share of the bone's length; changes under 5 % of the body size never count.
        max_gap_frames: gaps of up to so many frames are filled by linear interpolation, for each joint and person; 0 fills none.
            Nothing is filled before the first and after the last time that a joint was seen.
        max_gap_seconds: the same in seconds, which wins over `max_gap_frames`; needs the frame rate of the recording.
        frame_rate: change to this many frames per second; None keeps the rate.

    Raises:
        ValueError: if a switch has a value that it does not know.
    """

    min_confidence: float = 0.0
    zeros: Literal["keep", "missing"] = "keep"
    units: Literal["check", "convert", "off"] = "check"
    up: Literal["check", "y", "z", "off"] = "check"
    spikes: Literal["report", "repair", "off"] = "report"
    max_speed: float = 8.0
    bones: Literal["report", "repair", "off"] = "report"
    bone_tolerance: float = 0.5
    max_gap_frames: int = 5
    max_gap_seconds: float | None = None
    frame_rate: float | None = None

    def __post_init__(self) -> None:
        kinds = typing.get_type_hints(CleaningOptions)
        for name, kind in kinds.items():
            value = getattr(self, name)
            if typing.get_origin(kind) is Literal:
                if value not in typing.get_args(kind):
                    choices = ", ".join(map(repr, typing.get_args(kind)))
                    raise ValueError(f"cleaning: {name} must be one of {choices}; got {value!r}")
                continue
            if value is None and isinstance(kind, types.UnionType):
                continue
            numeric = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
            positive = name in ("max_speed", "bone_tolerance", "frame_rate")
            if not numeric or not math.isfinite(value) or value < 0 or (positive and value == 0):
                what = "a whole number" if kind is int else "a number"
                bound = "above 0" if positive else "of at least 0"
                raise ValueError(f"cleaning: {name} must be {what} {bound}; got {value!r}")
        if self.min_confidence > 1:
            raise ValueError(f"cleaning: min_confidence must be from 0 to 1; got {self.min_confidence!r}")

    def longest_gap(self, frame_rate: float | None) -> int:
        """Frames of the longest gap to fill; the frame rate counts with `max_gap_seconds` only."""
        if self.max_gap_seconds is None or frame_rate is None:
            return self.max_gap_frames
        return int(self.max_gap_seconds * frame_rate + 1e-6)  # 0.29 s of 100 frames are 29, not 28.999999999999996

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CleaningOptions:
        """Switches by their names.

        Raises:
            ValueError: for an unknown name or value.
        """
        known = [attribute.name for attribute in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"cleaning: unknown switches {unknown}; known are {', '.join(known)}")
        return cls(**values)

    @classmethod
    def from_words(cls, words: Sequence[str]) -> CleaningOptions:
        """Switches as they are written in a command, such as `["spikes=repair", "max_gap_frames=10"]`; "default" changes none.

        Raises:
            ValueError: for a word that is no `switch=value`, and for an unknown name or value.
        """
        values: dict[str, Any] = {}
        for word in words:
            if word == "default":
                continue
            name, equals, text = (part.strip() for part in word.partition("="))
            if not equals:
                raise ValueError(f"cleaning: {word!r} is no switch=value, such as spikes=repair")
            values[name] = text
            for kind in (float, int):  # what is a whole number becomes one
                try:
                    values[name] = kind(text)
                except ValueError:
                    continue
        return cls.from_dict(values)


class Fault(NamedTuple):
    """A place of a recording that looks wrong.

    Attributes:
        person, frame: where.
        joint: name of the joint; of a bone, the outer one.
        amount: of a spike, how far the joint is off, in body sizes; of a bone, its length over the person's median.
    """

    person: int
    frame: int
    joint: str
    amount: float


@dataclass
class CleaningReport:
    """What [`clean`] found and did; `print` shows it in words.

    Attributes:
        source: the recording.
        persons, frames: size of the recording before cleaning.
        options: the switches.
        missing_before, missing_after: joints of people who are present that have no value, before and after cleaning.
        low_confidence: joints masked for their confidence.
        zero_joints: joints whose coordinates are all exactly 0.
        unit: unit of length told from the bones, "" where it cannot be told.
        bone_scale: median over arms and legs of the length of a bone over that of an adult in metres, None without such bones.
        declared_unit: what the recording says.
        up: axis that is up, such as "+y", "" where it cannot be told.
        turned: the recording was turned.
        spikes, bones: places that look wrong.
        repaired: joints masked because of them.
        filled: values of joints that interpolation filled; filled_frames: frames in which a person was absent before.
        dropped_frames: frames of a person in which a joint is still missing, and which a store without confidences leaves out.
        frame_rates: before and after; (None, None) where the recording does not know.
        warnings: what a user should look at.
    """

    source: str
    persons: int
    frames: int
    options: CleaningOptions
    missing_before: int = 0
    missing_after: int = 0
    low_confidence: int = 0
    zero_joints: int = 0
    unit: str = ""
    bone_scale: float | None = None
    declared_unit: str = ""
    up: str = ""
    turned: bool = False
    spikes: list[Fault] = field(default_factory=list)
    bones: list[Fault] = field(default_factory=list)
    repaired: int = 0
    filled: int = 0
    filled_frames: int = 0
    dropped_frames: int = 0
    frame_rates: tuple[float | None, float | None] = (None, None)
    warnings: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Numbers that can be added up over recordings."""
        return {
            "missing joints before": self.missing_before,
            "missing joints after": self.missing_after,
            "joints of low confidence": self.low_confidence,
            "joints exactly 0": self.zero_joints,
            "spikes": len(self.spikes),
            "bones of odd length": len(self.bones),
            "joints masked to repair them": self.repaired,
            "joints filled": self.filled,
            "frames filled": self.filled_frames,
            "frames left out for a missing joint": self.dropped_frames,
            "warnings": len(self.warnings),
        }

    def to_dict(self) -> dict[str, Any]:
        """The report as plain lists, numbers and text, fit for JSON."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        options = self.options
        lines = [f"{self.source or 'recording'}: persons {self.persons}, frames {self.frames}"]

        def add(step: str, text: str) -> None:
            lines.append(f"  {step:<11} {text}")

        if options.min_confidence:
            add("confidence", f"{self.low_confidence} joints below {options.min_confidence:g} masked")
        if self.zero_joints:
            add(
                "zeros",
                f"{self.zero_joints} joints are exactly 0, {_done(options.zeros, missing='masked', keep='kept')}",
            )
        if options.units != "off":
            said = f"the recording says {self.declared_unit or 'nothing'}"
            scale = (
                "" if self.bone_scale is None else f", bones {self.bone_scale:.3g} times those of an adult in metres"
            )
            converted = options.units == "convert" and self.unit in _UNITS
            add("units", f"{self.unit or 'cannot be told'} ({said}{scale})" + ("; metre now" if converted else ""))
        if options.up != "off":
            add("up", (self.up or "cannot be told") + (f"; turned, +{options.up} now" if self.turned else ""))
        for step, faults in (("spikes", self.spikes), ("bones", self.bones)):
            switch = getattr(options, step)
            if switch != "off":
                done = _done(switch, report="reported", repair="masked")
                add(step, _in_words(faults, done, ratios=step == "bones"))
        if options.max_gap_frames or options.max_gap_seconds:
            limit = (
                f"{options.max_gap_frames} frames"
                if options.max_gap_seconds is None
                else f"{options.max_gap_seconds:g} s"
            )
            add("gaps", f"{self.filled} joints filled, {self.filled_frames} frames (gaps up to {limit})")
        if options.frame_rate is not None:
            add("frame rate", " -> ".join(f"{rate:g}" for rate in self.frame_rates if rate is not None))
        add("missing", f"{self.missing_before} joints before, {self.missing_after} after")
        lines += [f"  warning: {text}" for text in self.warnings]
        return "\n".join(lines)


def _done(value: str, **words: str) -> str:
    return words[value]


def _in_words(faults: list[Fault], done: str, ratios: bool) -> str:
    if not faults:
        return "none"
    joints = Counter(fault.joint for fault in faults).most_common(_SHOWN)
    # a bone of a third of its length is as wrong as one of three times
    worst = max(faults, key=lambda fault: max(fault.amount, 1 / fault.amount) if ratios else fault.amount)
    return (
        f"{len(faults)} {done}: "
        + ", ".join(f"{count} {joint}" for joint, count in joints)
        + (", ..." if len({fault.joint for fault in faults}) > _SHOWN else "")
        + f"; worst {worst.joint} of person {worst.person} in frame {worst.frame} ({worst.amount:.2f})"
    )


def clean(
    recording: SkeletonRecording, options: CleaningOptions | Mapping[str, Any] | None = None
) -> tuple[SkeletonRecording, CleaningReport]:
    """Clean a recording; it is not changed itself.

    What cannot be told about unit and axis, or contradicts the recording, is also issued as a `UserWarning`.

    Args:
        recording: what a reader returned.
        options: the switches; the default fills gaps of up to 5 frames and only reports everything else.

    Returns:
        The cleaned recording and the report. A frame in which no joint is left counts as one without the person; confidences of
        filled joints are 0.

    Raises:
        ValueError: for an unknown switch, or if a switch needs a frame rate that the recording does not have.
    """
    if not isinstance(options, CleaningOptions):
        options = CleaningOptions.from_dict(options or {})
    persons, frames = recording.frame_mask.shape
    report = CleaningReport(recording.source, persons, frames, options, declared_unit=recording.units)
    points = recording.keypoints.astype(np.float32)
    known = recording.frame_mask[..., None] & recording.present_joints  # (persons, frames, joints)
    report.missing_before = int((recording.frame_mask[..., None] & ~known).sum())
    confidence = None if recording.confidence is None else recording.confidence.astype(np.float32)

    if options.min_confidence and confidence is not None:
        weak = known & (confidence < options.min_confidence)
        report.low_confidence = int(weak.sum())
        known &= ~weak
    zeros = known & ~points.any(axis=-1)
    report.zero_joints = int(zeros.sum())
    if options.zeros == "missing":
        known &= ~zeros

    points, units = _units(points, known, recording, report)
    points = _upright(points, known, recording.layout, report)

    before = known.sum()
    sizes = _person_sizes(points, known)
    if options.spikes != "off":
        limits = options.max_speed * sizes / (recording.frame_rate or _DEFAULT_RATE)
        amounts = find_spikes(points, known, limits)
        report.spikes = _faults(amounts / np.maximum(sizes, 1e-9)[:, None, None], recording.layout)
        if options.spikes == "repair":
            known &= ~(amounts > 0)
    if options.bones != "off" and points.shape[3] == 3:
        ratios, blamed = find_bone_faults(points, known, recording.layout, options.bone_tolerance, 0.05 * sizes)
        report.bones = _faults(ratios, recording.layout)
        if options.bones == "repair":
            known &= ~blamed
    report.repaired = int(before - known.sum())

    limit = options.longest_gap(None if options.max_gap_seconds is None else _rate(recording, "max_gap_seconds"))
    points, filled = fill_gaps(points, known, limit)
    report.filled = int((filled & ~known).sum())
    report.filled_frames = int((filled.any(axis=2) & ~known.any(axis=2)).sum())
    if confidence is not None:
        confidence = np.where(filled & ~known, np.float32(0), confidence)
    known = filled

    rate, labels = recording.frame_rate, recording.frame_labels
    if options.frame_rate is not None:
        source_rate = _rate(recording, "frame_rate")
        if source_rate != options.frame_rate:
            points, known, confidence, labels = _resample(
                points, known, confidence, labels, source_rate, options.frame_rate
            )
        rate = options.frame_rate
    report.frame_rates = (recording.frame_rate, rate)

    mask: np.ndarray = np.any(known, axis=2)
    report.missing_after = int((mask[..., None] & ~known).sum())
    complete = recording.joint_mask is None and not report.missing_after
    cleaned = dataclasses.replace(
        recording,
        keypoints=np.where(known[..., None], points, np.float32(0)),
        frame_mask=mask,
        joint_mask=None if complete else known,
        confidence=confidence,
        frame_rate=rate,
        frame_labels=labels,
        units=units,
    )
    for text in report.warnings:
        warnings.warn(f"{recording.source or 'recording'}: {text}", stacklevel=2)
    return cleaned, report


def clean_sample(
    sample: SkeletonSample, layout: SkeletonLayout, frame_rate: float, units: str, options: CleaningOptions
) -> tuple[SkeletonSample, CleaningReport]:
    """Clean a sample on its way into a store, whose samples have one unit, one upright axis and one frame rate.

    A store has no mask for single joints. Where a joint is still missing, its confidence is 0; without a channel for the confidence the person
    counts as absent from that frame, for a 0 among real coordinates would pass as a place.

    Args:
        sample: the sample. Its last channel is a confidence where it has more channels than coordinates (2 for "pixel" and "image
            fraction", else 3).
        layout, frame_rate, units: of the corpus.
        options: the switches. Joints that are exactly 0 in the sample are counted as missing only with `zeros="missing"`.

    Raises:
        RecordingError: if nothing is left, or the sample would not fit to others because its unit or upright axis cannot be told.
    """
    coordinates = min(2 if _plain(units) in ("pixel", "imagefraction") else 3, sample.keypoints.shape[3])
    confidence = sample.keypoints[..., coordinates] if sample.keypoints.shape[3] > coordinates else None
    recording = SkeletonRecording(
        sample.keypoints[..., :coordinates],
        sample.frame_mask,
        layout,
        confidence=confidence,
        frame_rate=frame_rate,
        units=units,
        source=sample.name,
        frame_labels=sample.frame_labels,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are in the report
        cleaned, report = clean(recording, options)
    if options.units == "convert" and report.unit not in _UNITS:
        raise RecordingError("its unit cannot be told from the length of arms and legs (cleaning: units=convert)")
    if options.up in ("y", "z") and not report.up:
        raise RecordingError(f"which axis is up cannot be told (cleaning: up={options.up})")
    mask, keypoints = cleaned.frame_mask, cleaned.keypoints
    if cleaned.confidence is None:
        mask = mask & cleaned.present_joints.all(axis=-1)
        keypoints = np.where(mask[..., None, None], keypoints, np.float32(0))
        report.dropped_frames = int((cleaned.frame_mask & ~mask).sum())
    present = mask.any(axis=1)
    if not present.any():
        raise RecordingError(
            "after cleaning a joint is missing in every frame; fill longer gaps (cleaning: max_gap_frames), or use a layout without it"
        )
    if cleaned.confidence is not None:
        keypoints = np.concatenate(
            [keypoints, cleaned.confidence[..., None] * cleaned.present_joints[..., None]], axis=-1
        )
    sample = dataclasses.replace(
        sample, keypoints=keypoints[present], frame_mask=mask[present], frame_labels=cleaned.frame_labels
    )
    return sample, report


def _rate(recording: SkeletonRecording, switch: str) -> float:
    if recording.frame_rate is None:
        raise ValueError(
            f"{recording.source or 'recording'}: the cleaning switch {switch} needs the frame rate, which the file does not tell; "
            "give it to the reader, or set it on the recording"
        )
    return recording.frame_rate


def _faults(amounts: np.ndarray, layout: SkeletonLayout) -> list[Fault]:
    return [
        Fault(int(person), int(frame), layout.joints[joint], float(amounts[person, frame, joint]))
        for person, frame, joint in np.argwhere(amounts > 0)
    ]


# -- unit and axis ----------------------------------------------------------------------------------------------------
def bone_scale(points: np.ndarray, known: np.ndarray, layout: SkeletonLayout) -> float | None:
    """How many times as long as those of an adult in metres the bones of arms and legs are; None without such bones.

    Args:
        points: `(persons, frames, joints, 3)`.
        known: bool `(persons, frames, joints)`.
        layout: the joints' names.
    """
    ratios = []
    for side in ("left", "right"):
        for (inner, outer), typical in _ADULT_BONES.items():
            names = f"{side}_{inner}", f"{side}_{outer}"
            if not set(names) <= set(layout.joints):
                continue
            a, b = (layout.index(name) for name in names)
            both = known[..., a] & known[..., b]
            if both.any():
                length = np.linalg.norm(points[..., a, :][both] - points[..., b, :][both], axis=-1)
                ratios.append(float(np.median(length)) / typical)
    return float(np.median(ratios)) if ratios else None


def _units(
    points: np.ndarray, known: np.ndarray, recording: SkeletonRecording, report: CleaningReport
) -> tuple[np.ndarray, str]:
    """Points and their unit; converted to metres where the switch says so."""
    declared, switch = recording.units, report.options.units
    if switch == "off" or not known.any():
        return points, declared
    if points.shape[3] != 3:
        inside = np.abs(points[known]).max() <= 2
        report.unit = "image fraction" if inside else "pixel"
        if _plain(declared) in ("imagefraction", "pixel") and _plain(declared) != _plain(report.unit):
            report.warnings.append(f"coordinates look like {report.unit}, the recording says {declared}")
        return points, declared
    report.bone_scale = scale = bone_scale(points, known, recording.layout)
    if scale is None or scale <= 0:
        return points, declared
    nearest = min(_UNITS, key=lambda name: abs(math.log(scale / _UNITS[name])))
    if abs(math.log(scale / _UNITS[nearest])) > math.log(_UNIT_FACTOR):
        report.warnings.append(
            f"bones are {scale:.3g} times as long as those of an adult in metres, which fits neither metre nor centimetre nor "
            "millimetre; normalised data, or a joint layout that is not that of the file"
        )
        return points, declared
    report.unit = nearest
    if _plain(declared) != _plain(nearest) and declared:
        report.warnings.append(f"by the length of arms and legs the unit is {nearest}, the recording says {declared}")
    if switch == "convert":
        return points / np.float32(_UNITS[nearest]), "metre"
    if nearest != "metre":
        report.warnings.append(f"the unit is {nearest}; models expect metres (units=convert)")
    return points, declared


def _plain(unit: str) -> str:
    """A unit without spelling: "Metres" and "metre" are one."""
    letters = "".join(letter for letter in unit.lower() if letter.isalpha())
    short = {"m": "metre", "cm": "centimetre", "mm": "millimetre", "px": "pixel"}
    return short.get(letters, letters.replace("meter", "metre").removesuffix("s"))


def upright_axis(points: np.ndarray, known: np.ndarray, layout: SkeletonLayout) -> str:
    """Axis and sign along which the trunk points from the hips to the shoulders, such as "+y"; "" where it cannot be told.

    Args:
        points: `(persons, frames, joints, coordinates)`.
        known: bool `(persons, frames, joints)`.
        layout: the joints' names; its `spine` where it has neither hips nor shoulders.
    """
    groups = [
        [layout.index(name) for name in names if name in layout.joints] for names in (_LOWER_TRUNK, _UPPER_TRUNK)
    ]
    if not all(groups):
        if layout.spine is None:
            return ""
        groups = [[joint] for joint in layout.spine]
    lower, upper = groups
    there = known[..., lower].any(axis=-1) & known[..., upper].any(axis=-1)
    if not there.any():
        return ""
    ends = []
    for group in (lower, upper):
        weights = known[there][:, group, None]  # (n, group, 1)
        ends.append((points[there][:, group] * weights).sum(axis=1, dtype=np.float64) / weights.sum(axis=1))
    trunk = ends[1] - ends[0]
    lengths = np.linalg.norm(trunk, axis=1, keepdims=True)
    direction = (trunk / np.maximum(lengths, 1e-12)).mean(axis=0)
    axis = int(np.abs(direction).argmax())
    if abs(direction[axis]) < _UPRIGHT:
        return ""
    return ("-" if direction[axis] < 0 else "+") + "xyz"[axis]


def _upright(points: np.ndarray, known: np.ndarray, layout: SkeletonLayout, report: CleaningReport) -> np.ndarray:
    switch = report.options.up
    if switch == "off" or not known.any():
        return points
    report.up = up = upright_axis(points, known, layout)
    flat = points.shape[3] != 3
    wanted = "-y" if flat else f"+{switch if switch != 'check' else 'y'}"
    if not up:
        report.warnings.append("the trunk points along no axis, so which one is up cannot be told")
        return points
    if up == wanted:
        return points
    if switch == "check" or flat:
        remedy = "" if flat else " (up=y turns the recording)"
        report.warnings.append(f"{up} is up, usual is {wanted}{remedy}")
        return points
    report.turned = True
    return points @ _turn(up, wanted).T


def _turn(source: str, target: str) -> np.ndarray:
    """The rotation by a multiple of 90 degrees that takes one axis with its sign to another, float32 `(3, 3)`."""
    a, b = np.zeros(3), np.zeros(3)
    a[axis_index(source[1])] = 1 if source[0] == "+" else -1
    b[axis_index(target[1])] = 1 if target[0] == "+" else -1
    if abs(a @ b) > 0.5:  # half a turn about the next axis, under which the other two change their sign
        turn = -np.eye(3)
        other = (axis_index(target[1]) + 1) % 3
        turn[other, other] = 1
        return turn.astype(np.float32)
    # b a^T - a b^T turns a into b and b into -a; the third axis stays
    third = np.cross(a, b)
    return (np.outer(b, a) - np.outer(a, b) + np.outer(third, third)).astype(np.float32)


# -- faults -----------------------------------------------------------------------------------------------------------
def _person_sizes(points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Median body size of each person, `(persons,)`; 0 for one of whom nothing is known."""
    sizes = body_sizes(points, known)  # (persons, frames)
    there: np.ndarray = np.any(known, axis=2)
    return np.array([np.median(size[seen]) if seen.any() else 0.0 for size, seen in zip(sizes, there)])


def find_spikes(points: np.ndarray, known: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Joints that jump away and are back within 3 frames.

    A joint is a spike where it is farther from its places before and after the spike than the limit allows for the frames between,
    and these two places are less than half as far from each other.

    Args:
        points: `(persons, frames, joints, coordinates)`.
        known: bool `(persons, frames, joints)`.
        limits: the way that a joint can make from one frame to the next, `(persons,)`.

    Returns:
        float `(persons, frames, joints)`: how far a spike is from the place before it, 0 elsewhere.
    """
    persons, frames, joints = known.shape
    amounts = np.zeros(known.shape)
    step = np.maximum(limits, 1e-12)[:, None, None]
    for length in range(1, min(_SPIKE_FRAMES, frames - 2) + 1):
        starts = frames - length - 1
        before, after = points[:, :starts], points[:, length + 1 :]
        fault = known[:, :starts] & known[:, length + 1 :]
        back = np.linalg.norm(after - before, axis=-1)
        away = []
        for inside in range(1, length + 1):
            here = points[:, inside : inside + starts]
            out, home = np.linalg.norm(here - before, axis=-1), np.linalg.norm(here - after, axis=-1)
            nearer = np.minimum(out, home)
            fault &= known[:, inside : inside + starts] & (nearer > 2 * back)
            fault &= nearer > step * min(inside, length + 1 - inside)
            away.append(out)
        for inside in range(1, length + 1):
            window = amounts[:, inside : inside + starts]
            np.maximum(window, np.where(fault, away[inside - 1], 0), out=window)
    return amounts


def find_bone_faults(
    points: np.ndarray, known: np.ndarray, layout: SkeletonLayout, tolerance: float, slack: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bones that are longer or shorter than the same person's median.

    Args:
        points: `(persons, frames, joints, 3)`.
        known: bool `(persons, frames, joints)`.
        layout: its `parents` are the bones.
        tolerance: as a share of the median.
        slack: changes of length that never count, `(persons,)`.

    Returns:
        float `(persons, frames, joints)`, length over median where the bone that ends in the joint is wrong, 0 elsewhere; and bool of
        the same shape, the fewest joints without which no bone is wrong, as a greedy search finds them: first the one with most wrong
        bones, of several the outermost.
    """
    parents = np.array(layout.parents)
    bones = np.flatnonzero(parents != np.arange(len(parents)))
    both = known[..., bones] & known[..., parents[bones]]  # (persons, frames, bones)
    length = np.linalg.norm(points[:, :, bones] - points[:, :, parents[bones]], axis=-1)
    ratios, blamed = np.zeros(known.shape), np.zeros(known.shape, dtype=bool)
    for person in range(len(points)):
        usual = np.zeros(len(bones))
        for bone in np.flatnonzero(both[person].any(axis=0)):
            usual[bone] = np.median(length[person, both[person, :, bone], bone])
        wrong = both[person] & (np.abs(length[person] - usual) > np.maximum(tolerance * usual, slack[person]))
        ratio = length[person] / np.maximum(usual, 1e-12)
        ratios[person][:, bones] = np.where(wrong, np.maximum(ratio, 1e-6), 0)
        for frame in np.flatnonzero(wrong.any(axis=1)):
            blamed[person, frame] = _blame(bones[wrong[frame]], parents)
    return ratios, blamed


def _blame(children: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """The joints to leave out so that none of the bones, named by their outer joints, is left: bool `(joints,)`."""
    blamed = np.zeros(len(parents), dtype=bool)
    left = {(int(child), int(parents[child])) for child in children}
    while left:
        counts = Counter(joint for bone in left for joint in bone)
        most = max(counts.values())
        heaviest = sorted(joint for joint, count in counts.items() if count == most)
        # of the two ends of a bone the outer one
        joint = next((joint for joint in heaviest if parents[joint] in heaviest), heaviest[0])
        blamed[joint] = True
        left = {bone for bone in left if joint not in bone}
    return blamed


# -- time -------------------------------------------------------------------------------------------------------------
def fill_gaps(points: np.ndarray, known: np.ndarray, max_gap: int) -> tuple[np.ndarray, np.ndarray]:
    """Fill gaps of up to `max_gap` frames by linear interpolation, each joint of each person by itself.

    Args:
        points: `(persons, frames, joints, coordinates)`.
        known: bool `(persons, frames, joints)`.
        max_gap: frames of the longest gap to fill. Before the first and after the last known frame nothing is filled.

    Returns:
        New points, and what is known of them, `(persons, frames, joints)`.
    """
    frames = known.shape[1]
    if max_gap < 1 or known.all():
        return points.copy(), known.copy()
    time = np.arange(frames)[None, :, None]
    before = np.maximum.accumulate(np.where(known, time, -1), axis=1)
    after = np.minimum.accumulate(np.where(known, time, frames)[:, ::-1], axis=1)[:, ::-1]
    fill = ~known & (before >= 0) & (after < frames) & (after - before - 1 <= max_gap)
    person, frame, joint = np.nonzero(fill)
    first, last = before[fill], after[fill]
    share = ((frame - first) / (last - first)).astype(points.dtype)[:, None]
    start = points[person, first, joint]
    filled = points.copy()
    filled[person, frame, joint] = start + share * (points[person, last, joint] - start)
    return filled, known | fill


def _resample(
    points: np.ndarray,
    known: np.ndarray,
    confidence: np.ndarray | None,
    labels: np.ndarray | None,
    source_rate: float,
    target_rate: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Everything of a recording at another frame rate; a joint that is missing in a frame is interpolated on its own."""
    persons, frames, joints, channels = points.shape
    positions = np.arange(max(1, round(frames * target_rate / source_rate))) * (source_rate / target_rate)

    def sample(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # (M, T, V, C) -> (M * V, T, 1, C): each joint a person of its own, because each has its own gaps
        rows = values.swapaxes(1, 2).reshape(persons * joints, frames, 1, -1)
        new, there = sample_frames(rows, known.swapaxes(1, 2).reshape(persons * joints, frames), positions)
        new = new.reshape(persons, joints, len(positions), -1).swapaxes(1, 2)  # (M * V, T', 1, C) -> (M, T', V, C)
        return new, there.reshape(persons, joints, len(positions)).swapaxes(1, 2)

    new_points, new_known = sample(points)
    if confidence is not None:
        confidence = sample(confidence[..., None])[0][..., 0]
    if labels is not None:
        labels = labels[np.minimum(np.floor(positions + 0.5).astype(np.int64), frames - 1)]
    return new_points, new_known, confidence, labels


__all__ = [
    "CleaningOptions",
    "CleaningReport",
    "Fault",
    "bone_scale",
    "clean",
    "clean_sample",
    "fill_gaps",
    "find_bone_faults",
    "find_spikes",
    "upright_axis",
]
