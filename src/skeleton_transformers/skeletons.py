"""Skeleton layouts: which joints a recording has, how they hang together, and how to go from one layout to another.

A layout is data, not code: streams, flips, graphs, pictures and conversions read it, and no joint number is written
anywhere else in the package.

Vocabulary. Two layouts share a joint name where the joints mark the same place of the body to within about 10 cm, or
where the makers of the sensors equate them; conversion between layouts goes by these names:

* `spine_base`: middle of the pelvis ("hip centre" of Kinect v1, "pelvis" of Human3.6M and SMPL);
* `spine_mid`: the trunk between pelvis and chest ("spine" of Kinect v1 and Human3.6M, the second spine joint of SMPL).
  Kinect v1 puts it only 6 cm above the hip centre, Kinect v2 about 26 cm above;
* `spine_shoulder`: middle between the shoulders ("shoulder centre" of Kinect v1, "thorax" of Human3.6M, and the joint
  that OpenPose calls "neck", which it computes as the middle of the shoulders);
* `neck`: above the shoulder line, below the head (Kinect v2, SMPL; the "neck/nose" joint of Human3.6M);
* `head`: the centre or the top of the skull; face points (`nose`, `left_eye`, ...) are joints of their own;
* `<side>_hand`: the palm; `<side>_hand_tip`, `<side>_thumb`, `<side>_index`, `<side>_pinky`: fingers;
* `<side>_foot`: the front of the foot ("foot" of Kinect, "foot index" of MediaPipe, "foot" or toe base of SMPL, "big
  toe" of OpenPose, AlphaPose and COCO-WholeBody).

Left and right are those of the person, not of the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np


# What follows "left_" or "right_" in the name of a joint of a limb.
_ARM_WORDS = (
    "collar",
    "shoulder",
    "arm",
    "elbow",
    "wrist",
    "hand",
    "thumb",
    "index",
    "middle",
    "ring",
    "pinky",
    "finger",
)
_LEG_WORDS = ("hip", "leg", "knee", "ankle", "heel", "foot", "toe")


@dataclass(frozen=True)
class SkeletonLayout:
    """The joints of a skeleton and how they belong together.

    Only `name`, `joints` and `parents` are needed; everything else is derived from them where it is left out.

    Args:
        name: short name, such as `"ntu25"`.
        joints: names of the joints in the order of the joint axis, `"left_shoulder"` style; see the module's
            vocabulary.
        parents: index of the parent of each joint. Exactly one joint, the root, is its own parent. The bone stream is
            `x[v] - x[parents[v]]`.
        edges: `(child, parent)` pairs of the graph that convolutions and pictures use; the bones of `parents` if
            empty.
        left_right: `(left, right)` pairs of joints that a mirror exchanges; from the names `left_...` and `right_...`
            if empty.
        body_parts: part name to joint indices, each joint in exactly one part; from the names if empty (`"trunk"`,
            `"left_arm"`, `"right_arm"`, `"left_leg"`, `"right_leg"`, or one part `"body"` if no limb is recognised).
        center: joint that centring subtracts; the root if -1.
        graph_center: joint from which graph distances to the centre of gravity are counted; the root if -1.
        spine: `(lower, upper)` joints that give the vertical of a person, None where the layout has none.
        shoulders: `(left, right)` joints that give the lateral direction, None where the layout has none.

    Raises:
        ValueError: if the fields contradict each other; the message names the layout, the field and the value.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    edges: tuple[tuple[int, int], ...] = ()
    left_right: tuple[tuple[int, int], ...] = ()
    body_parts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    center: int = -1
    graph_center: int = -1
    spine: tuple[int, int] | None = None
    shoulders: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        def put(attribute: str, value: Any) -> None:
            object.__setattr__(self, attribute, value)

        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"A skeleton layout needs a name, a non-empty text; got {self.name!r}.")
        if isinstance(self.joints, str) or not all(isinstance(joint, str) and joint for joint in self.joints):
            raise self._error("joints", self.joints, "give a list of joint names")
        put("joints", tuple(self.joints))
        if not self.joints:
            raise self._error("joints", self.joints, "a layout has at least one joint")
        repeated = sorted({joint for joint in self.joints if self.joints.count(joint) > 1})
        if repeated:
            raise self._error("joints", repeated, "each joint name may be used once")
        put("parents", self._integers("parents", self.parents))
        self._check_tree()

        put("edges", self._pairs("edges", self.edges) or self._bones())
        for a, b in self.edges:
            if a == b:
                raise self._error("edges", (a, b), "an edge joins two different joints")
        if len({frozenset(edge) for edge in self.edges}) < len(self.edges):
            raise self._error("edges", self.edges, "each edge may be listed once")

        put("left_right", self._pairs("left_right", self.left_right) or self._pairs_from_names())
        paired = [joint for pair in self.left_right for joint in pair]
        if len(set(paired)) < len(paired):
            twice = sorted({self.joints[joint] for joint in paired if paired.count(joint) > 1})
            raise self._error("left_right", twice, "a joint may be in one left/right pair only")

        parts = self.body_parts or self._parts_from_names()
        put("body_parts", {str(part): self._integers(f"body_parts[{part!r}]", group) for part, group in parts.items()})
        in_parts = sorted(joint for group in self.body_parts.values() for joint in group)
        if in_parts != list(range(self.num_joints)):
            missing = [joint for index, joint in enumerate(self.joints) if index not in in_parts]
            twice = sorted({self.joints[joint] for joint in in_parts if in_parts.count(joint) > 1})
            raise self._error(
                "body_parts", {"missing": missing, "repeated": twice}, "each joint must be in exactly one body part"
            )

        for attribute in ("center", "graph_center"):
            index = getattr(self, attribute)
            put(attribute, self.root if index == -1 else self._integers(attribute, (index,))[0])
        put("spine", self._two("spine", self.spine) or self._named("spine_base", "spine_mid"))
        put("shoulders", self._two("shoulders", self.shoulders) or self._named("left_shoulder", "right_shoulder"))

    def __hash__(self) -> int:
        return hash((self.name, self.joints, self.parents))

    # -- checks ------------------------------------------------------------------------------------------------------
    def _error(self, attribute: str, value: object, remedy: str) -> ValueError:
        return ValueError(f"Skeleton layout {self.name!r}, field {attribute!r}: {remedy}; got {value!r}.")

    def _integers(self, attribute: str, values: Sequence[int]) -> tuple[int, ...]:
        try:
            numbers = tuple(int(value) for value in values)
            exact = all(number == value for number, value in zip(numbers, values))
        except (TypeError, ValueError):
            exact = False
        if not exact:
            raise self._error(attribute, values, "give whole numbers, the indices of joints")
        for number in numbers:
            if not 0 <= number < len(self.joints):
                raise self._error(attribute, number, f"joint indices run from 0 to {len(self.joints) - 1}")
        return numbers

    def _two(self, attribute: str, values: Sequence[int] | None) -> tuple[int, int] | None:
        if values is None:
            return None
        numbers = self._integers(attribute, values)
        if len(numbers) != 2 or numbers[0] == numbers[1]:
            raise self._error(attribute, values, "give two different joints")
        return numbers[0], numbers[1]

    def _pairs(self, attribute: str, values: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
        pairs = []
        for value in values:
            numbers = self._integers(attribute, value)
            if len(numbers) != 2:
                raise self._error(attribute, value, "give pairs of joints")
            pairs.append((numbers[0], numbers[1]))
        return tuple(pairs)

    def _check_tree(self) -> None:
        if len(self.parents) != len(self.joints):
            raise self._error(
                "parents", f"{len(self.parents)} parents", f"give one parent for each of the {len(self.joints)} joints"
            )
        roots = [joint for joint, parent in enumerate(self.parents) if joint == parent]
        if len(roots) != 1:
            names = [self.joints[joint] for joint in roots]
            raise self._error("parents", names, "exactly one joint, the root, must be its own parent")
        for joint in range(len(self.joints)):
            ancestor = joint
            for _ in self.joints:
                ancestor = self.parents[ancestor]
            if ancestor != roots[0]:
                raise self._error(
                    "parents", self.joints[joint], "following the parents must end at the root, not in a cycle"
                )

    # -- what the names tell -----------------------------------------------------------------------------------------
    def _bones(self) -> tuple[tuple[int, int], ...]:
        return tuple((joint, parent) for joint, parent in enumerate(self.parents) if joint != parent)

    def _named(self, first: str, second: str) -> tuple[int, int] | None:
        if first in self.joints and second in self.joints:
            return self.joints.index(first), self.joints.index(second)
        return None

    def _pairs_from_names(self) -> tuple[tuple[int, int], ...]:
        lefts = [joint for joint in self.joints if joint.startswith("left_")]
        pairs = [self._named(joint, "right_" + joint.removeprefix("left_")) for joint in lefts]
        return tuple(pair for pair in pairs if pair is not None)

    def _parts_from_names(self) -> dict[str, tuple[int, ...]]:
        groups: dict[str, list[int]] = {
            part: [] for part in ("trunk", "left_arm", "right_arm", "left_leg", "right_leg")
        }
        for index, joint in enumerate(self.joints):
            side, _, word = joint.partition("_")
            limb = "arm" if word.startswith(_ARM_WORDS) else "leg" if word.startswith(_LEG_WORDS) else ""
            groups[f"{side}_{limb}" if limb and side in ("left", "right") else "trunk"].append(index)
        if len(groups["trunk"]) == len(self.joints):
            return {"body": tuple(groups["trunk"])}
        return {part: tuple(group) for part, group in groups.items() if group}

    # -- reading -----------------------------------------------------------------------------------------------------
    @property
    def num_joints(self) -> int:
        """Number of joints."""
        return len(self.joints)

    @property
    def root(self) -> int:
        """Index of the joint that is its own parent."""
        return next(joint for joint, parent in enumerate(self.parents) if joint == parent)

    @property
    def mirror_permutation(self) -> np.ndarray:
        """Joints with left and right exchanged, int64 `(joints,)`: the mirrored pose is `x[..., permutation, :]`."""
        permutation = np.arange(self.num_joints)
        for left, right in self.left_right:
            permutation[left], permutation[right] = right, left
        return permutation

    def index(self, name: str) -> int:
        """Index of the joint called `name`.

        Raises:
            ValueError: if the layout has no such joint; the message lists the ones it has.
        """
        if name not in self.joints:
            raise ValueError(f"Layout {self.name!r} has no joint {name!r}; its joints are {', '.join(self.joints)}.")
        return self.joints.index(name)

    def to_dict(self) -> dict[str, Any]:
        """The layout as plain lists, numbers and text, fit for JSON; `from_dict` gives back an equal layout."""
        return {
            "name": self.name,
            "joints": list(self.joints),
            "parents": list(self.parents),
            "edges": [list(edge) for edge in self.edges],
            "left_right": [list(pair) for pair in self.left_right],
            "body_parts": {part: list(group) for part, group in self.body_parts.items()},
            "center": self.center,
            "graph_center": self.graph_center,
            "spine": None if self.spine is None else list(self.spine),
            "shoulders": None if self.shoulders is None else list(self.shoulders),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SkeletonLayout:
        """Builds a layout from the fields that `to_dict` writes; only `name`, `joints` and `parents` are needed.

        Raises:
            ValueError: for an unknown or missing field, or fields that contradict each other.
        """
        known = [attribute.name for attribute in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"Unknown fields of a skeleton layout: {unknown}; the fields are {', '.join(known)}.")
        missing = [key for key in ("name", "joints", "parents") if key not in values]
        if missing:
            raise ValueError(f"A skeleton layout needs the fields name, joints and parents; missing: {missing}.")
        return cls(**values)


_LAYOUTS: dict[str, SkeletonLayout] = {}
_BUILT_IN: dict[str, SkeletonLayout] = {}


def _sides(*joints: str) -> list[str]:
    return [f"{side}_{joint}" for side in ("left", "right") for joint in joints]


def _built_in(name: str, joints: Sequence[str], bones: Mapping[str, str], **options: Any) -> None:
    """Registers a layout whose bones are named, child to parent; the joint without an entry is the root."""
    index = {joint: position for position, joint in enumerate(joints)}
    parents = tuple(index[bones.get(joint, joint)] for joint in joints)
    for option in ("center", "graph_center"):
        if option in options:
            options[option] = index[options[option]]
    for option in ("spine", "shoulders"):
        if option in options:
            options[option] = tuple(index[joint] for joint in options[option])
    if "edges" in options:
        options["edges"] = tuple((index[child], index[parent]) for child, parent in options["edges"])
    _LAYOUTS[name] = _BUILT_IN[name] = SkeletonLayout(name, tuple(joints), parents, **options)


def _limbs(chains: Sequence[Sequence[str]]) -> dict[str, str]:
    """Bones of both sides: each chain goes from the outermost joint inwards; a last joint of the trunk has no side."""
    trunk = ("spine_base", "spine_shoulder", "spine_upper", "nose")
    bones: dict[str, str] = {}
    for side in ("left", "right"):
        for chain in chains:
            named = [joint if joint in trunk else f"{side}_{joint}" for joint in chain]
            bones.update(zip(named[:-1], named[1:]))
    return bones


_ARM = ("hand", "wrist", "elbow", "shoulder")
_LEG = ("foot", "ankle", "knee", "hip")

# Kinect v2 as in NTU RGB+D, PKU-MMD and GTU-3D. The bone list is that of Shi et al. (2s-AGCN, CVPR 2019): hand tips
# hang on the thumbs.
_built_in(
    "ntu25",
    [
        *("spine_base", "spine_mid", "neck", "head"),
        *_sides("shoulder", "elbow", "wrist", "hand"),
        *_sides("hip", "knee", "ankle", "foot"),
        "spine_shoulder",
        *_sides("hand_tip", "thumb"),
    ],
    {
        **{"spine_base": "spine_mid", "spine_mid": "spine_shoulder", "neck": "spine_shoulder", "head": "neck"},
        **_limbs([(*_ARM, "spine_shoulder"), (*_LEG, "spine_base"), ("hand_tip", "thumb", "hand")]),
    },
    center="spine_mid",
    graph_center="spine_shoulder",
    spine=("spine_base", "spine_mid"),
)

_KINECT_V1_BONES = {
    **{"spine_base": "spine_mid", "spine_mid": "spine_shoulder", "head": "spine_shoulder"},
    **_limbs([(*_ARM, "spine_shoulder"), (*_LEG, "spine_base")]),
}

# Kinect v1 in the order of its SDK, as in Northwestern-UCLA. Its `spine_mid` lies within centimetres of its
# `spine_base`, so the vertical is taken over the whole trunk.
_built_in(
    "kinect20",
    [
        *("spine_base", "spine_mid", "spine_shoulder", "head"),
        *_sides("shoulder", "elbow", "wrist", "hand"),
        *_sides("hip", "knee", "ankle", "foot"),
    ],
    _KINECT_V1_BONES,
    center="spine_mid",
    graph_center="spine_shoulder",
    spine=("spine_base", "spine_shoulder"),
)

# The same 20 joints in the order of the MSR-Action3D files. Sides often found in print are exchanged: in the
# recordings, joints 2, 6, 9, 11, 13, 15, 17 and 19, counted from 1, are the right ones, both by the direction of
# the feet and by the arm and leg that do the one-sided actions, for which the subjects were told to use the right.
_built_in(
    "msr20",
    [
        *("left_shoulder", "right_shoulder", "spine_shoulder", "spine_mid", "left_hip", "right_hip", "spine_base"),
        *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand"),
        *("left_knee", "right_knee", "left_ankle", "right_ankle", "left_foot", "right_foot", "head"),
    ],
    _KINECT_V1_BONES,
    center="spine_mid",
    graph_center="spine_shoulder",
    spine=("spine_base", "spine_shoulder"),
)

# OpenPose, 18 joints (Kinetics-Skeleton). Graph of ST-GCN (Yan et al., AAAI 2018), bones of 2s-AGCN.
_OPENPOSE_LIMBS = {
    **_limbs([("wrist", "elbow", "shoulder", "spine_shoulder"), ("ankle", "knee", "hip", "shoulder")]),
    **_limbs([("ear", "eye", "nose")]),
}
_built_in(
    "openpose18",
    [
        *("nose", "spine_shoulder", "right_shoulder", "right_elbow", "right_wrist"),
        *("left_shoulder", "left_elbow", "left_wrist", "right_hip", "right_knee", "right_ankle"),
        *("left_hip", "left_knee", "left_ankle", "right_eye", "left_eye", "right_ear", "left_ear"),
    ],
    {**_OPENPOSE_LIMBS, "spine_shoulder": "nose"},
    edges=[*_OPENPOSE_LIMBS.items(), ("nose", "spine_shoulder")],
    center="spine_shoulder",
    graph_center="spine_shoulder",
)

# What OpenPose (BODY_25), AlphaPose (Halpe) and COCO-WholeBody mark on the feet: big toe, small toe and heel.
_FEET = [("small_toe", "foot", "ankle"), ("heel", "ankle")]

# OpenPose, 25 joints (BODY_25): the default of OpenPose, with the middle of the hips and the feet. Bones of its paper
# (Cao et al., TPAMI 2021), turned to hang on the middle of the hips.
_built_in(
    "openpose25",
    [
        *("nose", "spine_shoulder", "right_shoulder", "right_elbow", "right_wrist"),
        *("left_shoulder", "left_elbow", "left_wrist", "spine_base", "right_hip", "right_knee", "right_ankle"),
        *("left_hip", "left_knee", "left_ankle", "right_eye", "left_eye", "right_ear", "left_ear"),
        *("left_foot", "left_small_toe", "left_heel", "right_foot", "right_small_toe", "right_heel"),
    ],
    {
        **{"spine_shoulder": "spine_base", "nose": "spine_shoulder"},
        **_limbs([("wrist", "elbow", "shoulder", "spine_shoulder"), ("ankle", "knee", "hip", "spine_base")]),
        **_limbs([("ear", "eye", "nose"), *_FEET]),
    },
    graph_center="spine_shoulder",
    spine=("spine_base", "spine_shoulder"),
)

# COCO keypoints. Graph and bones of PYSKL (Duan et al., 2022): in the graph the hips hang on the shoulders, in the
# bone list on the nose.
_COCO_LIMBS = _limbs(
    [("wrist", "elbow", "shoulder", "nose"), ("ankle", "knee", "hip", "shoulder"), ("ear", "eye", "nose")]
)
_built_in(
    "coco17",
    [
        *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
        *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
        *("left_knee", "right_knee", "left_ankle", "right_ankle"),
    ],
    {**_COCO_LIMBS, "left_hip": "nose", "right_hip": "nose"},
    edges=list(_COCO_LIMBS.items()),
)

_COCO_JOINTS = _LAYOUTS["coco17"].joints

# Halpe body joints of AlphaPose (Fang et al., TPAMI 2022): COCO, the top of the head, the middles of shoulders ("neck")
# and hips, and the feet.
_built_in(
    "halpe26",
    [
        *(*_COCO_JOINTS, "head", "spine_shoulder", "spine_base", "left_foot", "right_foot"),
        *("left_small_toe", "right_small_toe", "left_heel", "right_heel"),
    ],
    {
        **{"spine_shoulder": "spine_base", "nose": "spine_shoulder", "head": "nose"},
        **_limbs([("wrist", "elbow", "shoulder", "spine_shoulder"), ("ankle", "knee", "hip", "spine_base")]),
        **_limbs([("ear", "eye", "nose"), *_FEET]),
    },
    graph_center="spine_shoulder",
    spine=("spine_base", "spine_shoulder"),
)

# COCO-WholeBody (Jin et al., ECCV 2020) without face and hands: COCO and the feet.
_built_in(
    "wholebody23",
    [*_COCO_JOINTS, *_sides("foot", "small_toe", "heel")],
    {**_COCO_LIMBS, "left_hip": "nose", "right_hip": "nose", **_limbs(_FEET)},
    edges=[*_COCO_LIMBS.items(), *_limbs(_FEET).items()],
)

# Human3.6M, the 17 joints in common use; `neck` is its "neck/nose" joint, `head` the top of the head.
_built_in(
    "h36m17",
    [
        *("spine_base", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
        *("spine_mid", "spine_shoulder", "neck", "head"),
        *("left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist"),
    ],
    {
        **{"spine_mid": "spine_base", "spine_shoulder": "spine_mid", "neck": "spine_shoulder", "head": "neck"},
        **_limbs([("wrist", "elbow", "shoulder", "spine_shoulder"), ("ankle", "knee", "hip", "spine_base")]),
    },
    spine=("spine_base", "spine_shoulder"),
)

# Human3.6M, the 25 distinct points of the 32 nodes of its exponential maps.
_built_in(
    "h36m25",
    [
        *("spine_base", "right_hip", "right_knee", "right_ankle", "right_foot", "right_toe"),
        *("left_hip", "left_knee", "left_ankle", "left_foot", "left_toe"),
        *("spine_mid", "spine_shoulder", "neck", "head"),
        *("left_shoulder", "left_elbow", "left_wrist", "left_thumb", "left_hand"),
        *("right_shoulder", "right_elbow", "right_wrist", "right_thumb", "right_hand"),
    ],
    {
        **{"spine_mid": "spine_base", "spine_shoulder": "spine_mid", "neck": "spine_shoulder", "head": "neck"},
        **_limbs([(*_ARM, "spine_shoulder"), ("thumb", "wrist"), ("toe", *_LEG, "spine_base")]),
    },
    spine=("spine_base", "spine_shoulder"),
)

# CMU motion capture, the 28 distinct points of the 38 nodes of its exponential maps. The arms hang on `spine_mid`, the
# last joint of its back; `head` is the middle of the head.
_built_in(
    "cmu28",
    [
        *("spine_base", "left_hip", "left_knee", "left_ankle", "left_foot", "left_toe"),
        *("right_hip", "right_knee", "right_ankle", "right_foot", "right_toe"),
        *("spine_lower", "spine_mid", "neck", "head", "head_top"),
        *("left_shoulder", "left_elbow", "left_wrist", "left_hand", "left_hand_tip", "left_thumb"),
        *("right_shoulder", "right_elbow", "right_wrist", "right_hand", "right_hand_tip", "right_thumb"),
    ],
    {
        **{"spine_lower": "spine_base", "spine_mid": "spine_lower", "neck": "spine_mid", "head": "neck"},
        **{"head_top": "head", "left_shoulder": "spine_mid", "right_shoulder": "spine_mid"},
        **_limbs([("hand_tip", *_ARM), ("thumb", "wrist"), ("toe", *_LEG, "spine_base")]),
    },
)

# MediaPipe pose landmarks. They have no joint on the spine: the tree starts at the nose as in COCO, with the shoulders
# on the nose and the hips on the shoulders of their side; the graph also closes the trunk across shoulders and hips,
# as MediaPipe draws it. Without a spine there is no vertical to normalise the view by.
_MEDIAPIPE_BONES = {
    **_limbs(
        [("wrist", "elbow", "shoulder", "nose"), ("foot", "ankle", "knee", "hip", "shoulder"), ("heel", "ankle")]
    ),
    **_limbs([("thumb", "wrist"), ("index", "wrist"), ("pinky", "wrist"), ("mouth", "nose")]),
    **_limbs([("ear", "eye_outer", "eye", "eye_inner", "nose")]),
}
_built_in(
    "mediapipe33",
    [
        *("nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer"),
        *("left_ear", "right_ear", "left_mouth", "right_mouth", "left_shoulder", "right_shoulder"),
        *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky"),
        *("left_index", "right_index", "left_thumb", "right_thumb", "left_hip", "right_hip"),
        *(
            "left_knee",
            "right_knee",
            "left_ankle",
            "right_ankle",
            "left_heel",
            "right_heel",
            "left_foot",
            "right_foot",
        ),
    ],
    _MEDIAPIPE_BONES,
    edges=[*_MEDIAPIPE_BONES.items(), ("right_shoulder", "left_shoulder"), ("right_hip", "left_hip")],
)

# SMPL body joints without the two hands.
_built_in(
    "smpl22",
    [
        *("spine_base", "left_hip", "right_hip", "spine_lower", "left_knee", "right_knee", "spine_mid"),
        *("left_ankle", "right_ankle", "spine_upper", "left_foot", "right_foot", "neck"),
        *("left_collar", "right_collar", "head", "left_shoulder", "right_shoulder"),
        *("left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    ],
    {
        **{"spine_lower": "spine_base", "spine_mid": "spine_lower", "spine_upper": "spine_mid"},
        **{"neck": "spine_upper", "head": "neck"},
        **_limbs([("wrist", "elbow", "shoulder", "collar", "spine_upper"), (*_LEG, "spine_base")]),
    },
)


def list_layouts() -> list[str]:
    """Names of all known layouts, built-in ones first."""
    return list(_LAYOUTS)


def is_built_in_layout(layout: SkeletonLayout) -> bool:
    """Whether the package itself carries this very layout, so that its name is enough to find it anywhere."""
    return _BUILT_IN.get(layout.name) == layout


def get_layout(layout: str | Mapping[str, Any] | SkeletonLayout) -> SkeletonLayout:
    """Finds a layout.

    Args:
        layout: the name of a built-in or registered layout, the fields of a layout (see `SkeletonLayout.from_dict`),
            or a layout, which is returned as it is.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
    """
    if isinstance(layout, SkeletonLayout):
        return layout
    if isinstance(layout, Mapping):
        return SkeletonLayout.from_dict(layout)
    if isinstance(layout, str) and layout in _LAYOUTS:
        return _LAYOUTS[layout]
    raise ValueError(
        f"Unknown skeleton layout {layout!r}; known are {', '.join(_LAYOUTS)}. "
        "Add your own with `register_layout(SkeletonLayout(name=..., joints=..., parents=...))`."
    )


def register_layout(layout: SkeletonLayout, exist_ok: bool = False) -> SkeletonLayout:
    """Makes a layout known by its name, in this process.

    A feature extractor or a model that uses the layout saves all of it, so loading needs no registration.

    Args:
        layout: the layout.
        exist_ok: replace a registered layout of the same name. Built-in layouts cannot be replaced.

    Returns:
        The layout.

    Raises:
        ValueError: if another layout of this name is known and may not be replaced.
    """
    if not isinstance(layout, SkeletonLayout):
        raise ValueError(f"register_layout takes a SkeletonLayout; got {type(layout).__name__}.")
    known = _LAYOUTS.get(layout.name)
    if known is not None and known != layout:
        if layout.name in _BUILT_IN:
            raise ValueError(
                f"{layout.name!r} is a built-in skeleton layout and cannot be replaced; choose another name."
            )
        if not exist_ok:
            raise ValueError(
                f"Another skeleton layout {layout.name!r} is already registered; choose another name or pass "
                "exist_ok=True."
            )
    _LAYOUTS[layout.name] = layout
    return layout


def convert_layout(
    keypoints: np.ndarray,
    source: str | Mapping[str, Any] | SkeletonLayout,
    target: str | Mapping[str, Any] | SkeletonLayout,
) -> tuple[np.ndarray, np.ndarray]:
    """Reorders joints from one layout to another, by joint name.

    Args:
        keypoints: `(..., joints of source, channels)`.
        source: layout of `keypoints`.
        target: wanted layout.

    Returns:
        The keypoints `(..., joints of target, channels)`, 0 for a joint that `source` lacks, and a bool array
        `(joints of target,)`, True for the joints that `source` has.

    Raises:
        ValueError: if `keypoints` does not have the joints of `source`, or the layouts share no joint.
    """
    source, target = get_layout(source), get_layout(target)
    keypoints = np.asarray(keypoints)
    if keypoints.ndim < 2 or keypoints.shape[-2] != source.num_joints:
        raise ValueError(
            f"Layout {source.name!r} has {source.num_joints} joints, but the keypoints have shape {keypoints.shape}; "
            "the joint axis is the last but one."
        )
    position = {joint: index for index, joint in enumerate(source.joints)}
    joint_mask = np.array([joint in position for joint in target.joints])
    if not joint_mask.any():
        raise ValueError(f"The layouts {source.name!r} and {target.name!r} have no joint name in common.")
    converted = keypoints[..., [position.get(joint, 0) for joint in target.joints], :]
    converted[..., ~joint_mask, :] = 0
    return converted, joint_mask


def nearest_joints(source: SkeletonLayout, target: SkeletonLayout) -> list[int]:
    """For every joint of `target` the joint of `source` that stands in for it.

    That is the joint of the same name; where `source` has none, the one of the nearest ancestor in `target` that it has (a bone of
    length 0), and above all joints that it has, of the nearest descendant.

    Raises:
        ValueError: the layouts share no joint.
    """
    position = {joint: index for index, joint in enumerate(source.joints)}
    if not position.keys() & set(target.joints):
        raise ValueError(f"The layouts {source.name!r} and {target.name!r} have no joint name in common.")

    def known_above(joint: int) -> int | None:
        while target.joints[joint] not in position and joint != target.root:
            joint = target.parents[joint]
        return position.get(target.joints[joint])

    def known_below(joint: int) -> int:
        level = [joint]
        while True:
            for one in level:
                if target.joints[one] in position:
                    return position[target.joints[one]]
            level = [child for child, parent in enumerate(target.parents) if parent in level and child not in level]

    return [
        known_below(joint) if (found := known_above(joint)) is None else found for joint in range(target.num_joints)
    ]


__all__ = [
    "SkeletonLayout",
    "convert_layout",
    "get_layout",
    "is_built_in_layout",
    "list_layouts",
    "nearest_joints",
    "register_layout",
]
