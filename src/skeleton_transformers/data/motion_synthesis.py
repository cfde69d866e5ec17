"""A labelled corpus of human motion made from nothing: the embedded test bed.

A performer is a kinematic tree with his own proportions and habits. An action is a row of [`ACTIONS`]: one or more scripts, each a few
keyframe poses (angles in degrees at named joints over a normalised phase) plus optional rhythmic terms. A recording is made in five steps:

1. **script**: keyframes and rhythms, perturbed by the style of subject and sequence, become joint angles `(frames, joints, 3)`;
2. **habit**: posture, sway, head turns, fidgeting of the idle arm are added to the angles;
3. **body**: forward kinematics, level by level of the tree, then the feet are put on the ground;
4. **camera**: positions are expressed in the frame of one of several cameras (Kinect convention: x to the left of the camera, y up, z away);
5. **sensor**: correlated noise, occlusion, lost persons and dropped frames.

Everything is a function of `(seed, index)`: any sequence can be made alone, in any order, on any machine. Nothing here was recorded from
people and nothing here is a published benchmark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from scipy.signal import lfilter

from ..skeletons import get_layout
from .storage import SkeletonSample


# ---------------------------------------------------------------------------------------------------------------------------------------
# Body: a tree rooted at the pelvis. Body frame: x to the person's left, y up, z forward. Rest pose: standing, arms hanging.

_CENTRE_BONES = {  # joint: (parent, offset from the parent in metres, for a person of 1.72 m)
    "spine_base": ("", (0.0, 0.0, 0.0)),
    "spine_mid": ("spine_base", (0.0, 0.29, 0.0)),
    "spine_shoulder": ("spine_mid", (0.0, 0.22, -0.01)),
    "neck": ("spine_shoulder", (0.0, 0.08, 0.01)),
    "head": ("neck", (0.0, 0.15, 0.03)),
}
_LEFT_BONES = {  # the right side mirrors x
    "shoulder": ("spine_shoulder", (0.17, -0.05, 0.0)),
    "elbow": ("shoulder", (0.02, -0.27, 0.0)),
    "wrist": ("elbow", (0.0, -0.24, 0.0)),
    "hand": ("wrist", (0.0, -0.08, 0.0)),
    "hand_tip": ("hand", (0.0, -0.08, 0.0)),
    "thumb": ("wrist", (-0.02, -0.08, 0.05)),
    "hip": ("spine_base", (0.085, -0.05, 0.0)),
    "knee": ("hip", (0.01, -0.42, 0.0)),
    "ankle": ("knee", (0.0, -0.40, 0.0)),
    "foot": ("ankle", (0.01, -0.07, 0.13)),
}


def _build_tree() -> dict[str, tuple[str, tuple[float, float, float]]]:
    tree = dict(_CENTRE_BONES)
    for name, (parent, (x, y, z)) in _LEFT_BONES.items():
        for side, sign in (("left", 1.0), ("right", -1.0)):
            tree[f"{side}_{name}"] = (f"{side}_{parent}" if parent in _LEFT_BONES else parent, (sign * x, y, z))
    return tree


_TREE = _build_tree()
_JOINTS = tuple(_TREE)
_J = {name: index for index, name in enumerate(_JOINTS)}
_PARENT = np.array([_J[parent] if parent else 0 for parent, _ in _TREE.values()])
_OFFSET = np.array([offset for _, offset in _TREE.values()], dtype=np.float64)
_SIDE = np.array([1.0 if n.startswith("left") else -1.0 if n.startswith("right") else 0.0 for n in _JOINTS])

# Two extra rows of a pose hold what is no joint angle: the place of the body and the direction it faces.
_MOVE = len(_JOINTS)  # (forward, left, up) in metres
_TURN = _MOVE + 1  # (turn to the left in degrees, 0, 0)
_ROWS = _TURN + 1


def _levels() -> list[tuple[np.ndarray, np.ndarray]]:
    """Joints of every level of the tree below the root and their parents."""
    depth = np.zeros(len(_JOINTS), dtype=int)
    for joint in range(1, len(_JOINTS)):
        depth[joint] = depth[_PARENT[joint]] + 1
    joints = [np.flatnonzero(depth == level) for level in range(1, depth.max() + 1)]
    return [(children, _PARENT[children]) for children in joints]


_LEVELS = _levels()


def _angle_signs() -> np.ndarray:
    """Signs that turn anatomical angles (flexion, abduction, outward twist) into rotations about x, z and y."""
    signs = np.ones((len(_JOINTS), 3))
    for name, row in zip(_JOINTS, signs):
        forward_flexing = name.endswith(("shoulder", "elbow", "wrist", "hip", "ankle")) and name != "spine_shoulder"
        row[0] = (
            -1.0 if forward_flexing else 1.0
        )  # a hanging limb swings forward, the trunk bows and the knee bends backward
        side = _SIDE[_J[name]]
        row[1], row[2] = (side, side) if side else (-1.0, 1.0)  # trunk: bend and turn to the left
    return signs


_SIGNS = _angle_signs()


def _mirror_rows() -> tuple[np.ndarray, np.ndarray]:
    """Row permutation and signs that turn a pose into its mirror image."""
    swap = {"left": "right", "right": "left"}
    order = np.arange(_ROWS)
    signs = np.ones((_ROWS, 3))
    for name, index in _J.items():
        side, _, rest = name.partition("_")
        if side in swap:
            order[index] = _J[f"{swap[side]}_{rest}"]
        else:
            signs[index] = (1.0, -1.0, -1.0)
    signs[_MOVE] = (1.0, -1.0, 1.0)
    signs[_TURN] = -1.0
    return order, signs


_MIRROR_ORDER, _MIRROR_SIGNS = _mirror_rows()


def _mirror(pose: np.ndarray) -> np.ndarray:
    """Mirror image of poses `(..., rows, 3)`."""
    return pose[..., _MIRROR_ORDER, :] * _MIRROR_SIGNS


# ---------------------------------------------------------------------------------------------------------------------------------------
# Language of the action table

Pose = Mapping[str, "float | tuple[float, float, float]"]

_ALIASES = {"pelvis": "spine_base", "waist": "spine_mid", "chest": "spine_shoulder"}


def _pose(pose: Pose) -> np.ndarray:
    """`(rows, 3)` array of a pose whose active side is the right one.

    Keys are joints, `main_*` (active side), `other_*`, `both_*`, `pelvis`, `waist`, `chest`, `move` (forward, left, up in metres), `turn`
    and `lean` (the trunk bows over the hips while the legs stay upright). A number is flexion; three are flexion, abduction, outward twist.
    """
    rows = np.zeros((_ROWS, 3))
    for key, value in pose.items():
        values = np.array(value if isinstance(value, tuple) else (value, 0.0, 0.0))
        kind, _, rest = key.partition("_")
        if key == "lean":
            rows[_J["spine_base"]] += values
            rows[[_J["left_hip"], _J["right_hip"]], 0] += values[0]
        elif key == "move":
            rows[_MOVE] += values
        elif key == "turn":
            rows[_TURN] += values
        elif kind == "both":
            rows[[_J[f"left_{rest}"], _J[f"right_{rest}"]]] += values
        elif kind in ("main", "other"):
            rows[_J[f"{'right' if kind == 'main' else 'left'}_{rest}"]] += values
        else:
            rows[_J[_ALIASES.get(key, key)]] += values
    return rows


def _arm(
    who: str,
    flexion: float,
    abduction: float = 0.0,
    twist: float = 0.0,
    elbow: float = 0.0,
    wrist: float = 0.0,
) -> dict[str, float | tuple[float, float, float]]:
    """Pose of an arm; `who` is main, other or both."""
    return {f"{who}_shoulder": (flexion, abduction, twist), f"{who}_elbow": elbow, f"{who}_wrist": wrist}


def _legs(hip: float, knee: float, who: str = "both") -> dict[str, float | tuple[float, float, float]]:
    """Pose of legs with the soles kept level."""
    return {f"{who}_hip": hip, f"{who}_knee": knee, f"{who}_ankle": knee - hip}


@dataclass(frozen=True)
class Rhythm:
    """A periodic term `amplitude * wave(2 pi (harmonic * cycles + shift))`, faded in and out over a window of the phase.

    `wave` is "sine", or "bump" (the positive half of a sine, for what bends one way only).
    """

    amplitude: Pose
    shift: float = 0.0
    harmonic: float = 1.0
    wave: str = "sine"
    window: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Script:
    """One way to perform an action.

    Attributes:
        seconds: range of the duration at normal speed.
        keys: (phase in 0..1, pose) pairs, the first at 0 and the last at 1.
        rhythms: periodic terms; `frequency` is the range of their rate in hertz.
        travel: metres walked in one cycle of the rhythm.
        repeats: range of the number of times that the keys are run through.
        planted: the feet stay where they are and the pelvis moves; otherwise the pelvis stays.
        legs_free: the legs are not part of the action, which may be done seated.
        partner: what the second person does.
        distance: range of the distance between the two persons in metres.
    """

    seconds: tuple[float, float]
    keys: tuple[tuple[float, Pose], ...]
    rhythms: tuple[Rhythm, ...] = ()
    frequency: tuple[float, float] = (1.0, 1.0)
    travel: float = 0.0
    repeats: tuple[int, int] = (1, 1)
    planted: bool = True
    legs_free: bool = False
    partner: Script | None = None
    distance: tuple[float, float] = (1.0, 1.3)


@dataclass(frozen=True)
class Action:
    """A class of the corpus: its scripts and who is on the active side ("dominant" hand, or always "left" or "right")."""

    scripts: tuple[Script, ...]
    side: str = "dominant"

    @property
    def num_persons(self) -> int:
        return 1 if self.scripts[0].partner is None else 2


REST: Pose = {}


def _there_and_back(*poses: Pose, rise: float = 0.3, fall: float = 0.7) -> tuple[tuple[float, Pose], ...]:
    """Keys that start and end at rest and spread `poses` over the phases `rise .. fall`."""
    phases = np.linspace(rise, fall, len(poses)) if len(poses) > 1 else [(rise + fall) / 2]
    return ((0.0, REST), *((float(p), pose) for p, pose in zip(phases, poses)), (1.0, REST))


def _hold(pose: Pose, rise: float = 0.3, fall: float = 0.7) -> tuple[tuple[float, Pose], ...]:
    """Keys that go to a pose, stay there, and go back to rest."""
    return _there_and_back(pose, pose, rise=rise, fall=fall)


# ---------------------------------------------------------------------------------------------------------------------------------------
# Poses

CROUCH: Pose = {"lean": 25.0, **_legs(55, 85), **_arm("both", -25, 10, 0, 25)}
DEEP_SQUAT: Pose = {"lean": 30.0, **_legs(88, 115), **_arm("both", 65, 5, 0, 15)}
SEATED: Pose = {"lean": 6.0, **_legs(80, 84), **_arm("both", 22, 4, -8, 50)}
HALF_SEATED: Pose = {"lean": 38.0, **_legs(40, 55), **_arm("both", 25, 8, 0, 30), "neck": -15.0}
STOOP: Pose = {
    "lean": 72.0,
    "waist": 15.0,
    **_legs(12, 28),
    **_arm("main", 75, 0, 0, 10),
    **_arm("other", 30, 5, 0, 25),
}
KNEEL: Pose = {
    "lean": 32.0,
    "waist": 15.0,
    **_legs(85, 110),
    **_arm("main", 40, 5, 0, 5),
    **_arm("other", 25, 10, 0, 50),
}
GUARD: Pose = {**_arm("both", 38, 12, -25, 120), "chest": 5.0}
WINDUP: Pose = {
    **_arm("main", 10, 92, 75, 95),
    **_arm("other", 40, 10, 0, 20),
    "chest": (0, 0, -22),
    "waist": (-5, 0, -14),
}
RELEASE: Pose = {
    **_arm("main", 100, 12, 10, 18),
    **_arm("other", 5, 15, 0, 30),
    "chest": (12, 0, 20),
    "waist": (8, 0, 12),
}
FOLLOW: Pose = {**_arm("main", 30, -12, -20, 30), "chest": (12, 0, 20), "waist": (10, 0, 8)}
HANDS_FRONT: Pose = {**_arm("both", 42, 2, -26, 72), "neck": 6.0}
AT_MOUTH: Pose = {**_arm("main", 48, 14, -40, 132, 10), "neck": -4.0}
AT_MOUTH_TILTED: Pose = {**_arm("main", 58, 24, -36, 136, 18), "neck": -16.0}
AT_EAR: Pose = {**_arm("main", 36, 36, -22, 146, 8), "neck": (4.0, -8.0, 0.0)}
AT_FOREHEAD: Pose = {**_arm("main", 58, 62, -12, 134, 8)}
AT_FACE: Pose = {**_arm("main", 56, 20, -38, 134, 5), "neck": 8.0}
WATCH: Pose = {**_arm("main", 44, 18, -58, 100), "neck": 22.0}
OVERHEAD: Pose = {**_arm("both", 165, 12, 0, 12), "waist": -8.0, "neck": -10.0}
REACH: Pose = {**_arm("main", 55, 4, -6, 30), "chest": (5, 0, 10), "lean": 6.0}

_STEP_FORWARD: Pose = {"main_hip": 22.0, "main_knee": 18.0, "other_hip": -12.0, "move": (0.18, 0.0, 0.0)}

# ---------------------------------------------------------------------------------------------------------------------------------------
# The action table. Rows that share a shape (drink, phone call, salute, wipe face; wave, throw; point, punch; squat, pick up, bow;
# hand over, handshake) are confusable by design.


def _gait(hip: float, knee: float, arm: float, trunk: float, bounce: float) -> tuple[Rhythm, ...]:
    return (
        Rhythm(
            {"right_hip": hip, "left_hip": -hip, "right_shoulder": -arm, "left_shoulder": arm, "chest": (0, 0, trunk)}
        ),
        Rhythm({"right_knee": knee, "right_ankle": knee * 0.3}, shift=0.32, wave="bump"),
        Rhythm({"left_knee": knee, "left_ankle": knee * 0.3}, shift=0.82, wave="bump"),
        Rhythm({"left_elbow": arm * 0.8}, wave="bump"),
        Rhythm({"right_elbow": arm * 0.8}, shift=0.5, wave="bump"),
        Rhythm({"move": (0.0, 0.0, bounce)}, harmonic=2.0, shift=0.1, wave="bump"),
    )


_RUN_ARMS: Pose = {**_arm("both", 5, 12, -8, 75), "lean": 8.0}

ACTIONS: dict[str, Action] = {
    # whole body
    "walk": Action((
        Script((2.0, 3.2), ((0.0, REST), (1.0, REST)), _gait(24, 42, 20, 5, 0.01), (0.75, 1.1), travel=1.0, planted=False),
        Script((2.0, 3.2), ((0.0, REST), (0.1, {"lean": 4.0}), (1.0, REST)), _gait(18, 32, 8, 3, 0.01), (0.65, 0.95), travel=0.7, planted=False),
    )),
    "run": Action((
        Script((1.4, 2.4), _hold(_RUN_ARMS, 0.12, 0.88), _gait(34, 75, 32, 9, 0.05), (1.15, 1.6), travel=1.1, planted=False),
        Script((1.6, 2.8), _hold(_RUN_ARMS, 0.12, 0.88), _gait(26, 80, 26, 8, 0.05), (1.1, 1.6), planted=False),
    )),
    "jump": Action((
        Script((1.4, 1.9), (
            (0.0, REST), (0.28, CROUCH), (0.53, {**OVERHEAD, "move": (0, 0, 0.34)}), (0.72, {"lean": 12.0, **_legs(28, 45), **_arm("both", 50, 15, 0, 20)}),
            (1.0, REST)), repeats=(1, 2)),
        Script((1.3, 1.8), (
            (0.0, REST), (0.28, {"lean": 12.0, **_legs(35, 55)}), (0.54, {"move": (0, 0, 0.26)}), (0.74, {"lean": 10.0, **_legs(24, 40)}),
            (1.0, REST)), repeats=(1, 2)),
    )),
    "hop": Action((
        Script((1.6, 2.6), _hold({"main_hip": 18.0, "main_knee": 70.0, **_arm("both", 5, 22, 0, 35)}, 0.15, 0.85), (
            Rhythm({"move": (0, 0, 0.18)}, wave="bump"),
            Rhythm({"other_hip": 20.0, "other_knee": 35.0, "other_ankle": 15.0}, shift=0.5, wave="bump"),
            Rhythm(_arm("both", 12, 12), shift=0.1)), (1.3, 1.9), travel=0.12, planted=False),
    )),
    "squat": Action((
        Script((1.6, 2.4), _there_and_back(DEEP_SQUAT), repeats=(1, 2)),
        Script((1.5, 2.3), _hold({"lean": 25.0, **_legs(70, 95), **_arm("both", 25, 12, -25, 80)}, 0.45, 0.55), repeats=(1, 2)),
    )),
    "sit_down": Action((Script((1.3, 2.1), ((0.0, REST), (0.5, HALF_SEATED), (1.0, SEATED))),)),
    "stand_up": Action((Script((1.2, 2.0), ((0.0, SEATED), (0.45, HALF_SEATED), (1.0, REST))),)),
    "pick_up": Action((
        Script((1.6, 2.5), ((0.0, REST), (0.45, STOOP), (0.55, STOOP), (0.85, _arm("main", 20, 5, 0, 70)), (1.0, REST))),
        Script((1.7, 2.6), ((0.0, REST), (0.45, KNEEL), (0.55, KNEEL), (1.0, REST))),
    )),
    "bow": Action((
        Script((1.5, 2.4), _hold({"lean": 45.0, "waist": 14.0, "neck": 14.0}, 0.4, 0.6)),
        Script((1.3, 2.0), _hold({"lean": 24.0, "waist": 10.0, "neck": 20.0, **_arm("main", 35, 5, -45, 95)}, 0.4, 0.6)),
    )),
    "kick": Action((
        Script((1.1, 1.7), (
            (0.0, REST), (0.32, {"main_hip": -18.0, "main_knee": 55.0, **_arm("both", 12, 20, 0, 35)}),
            (0.52, {"main_hip": 72.0, "main_knee": 8.0, "lean": -8.0, "main_shoulder": (-25, 20, 0), "other_shoulder": (35, 25, 0)}),
            (0.7, {"main_hip": 35.0, "main_knee": 45.0}), (1.0, REST)), planted=False),
        Script((1.2, 1.8), (
            (0.0, REST), (0.32, {"main_hip": (55.0, 10.0, 0.0), "main_knee": 95.0, **GUARD}),
            (0.52, {"main_hip": (25.0, 62.0, 0.0), "main_knee": 8.0, "waist": (0, 18, 0), **GUARD}),
            (0.72, {"main_hip": (35.0, 10.0, 0.0), "main_knee": 70.0}), (1.0, REST)), planted=False),
    )),
    "stretch": Action((
        Script((1.8, 3.0), _hold(OVERHEAD, 0.4, 0.7), legs_free=True),
        Script((1.8, 3.0), _hold({**_arm("both", 20, 105, 20, 60), "waist": -10.0}, 0.35, 0.7), legs_free=True),
    )),
    # arms
    "wave_left": Action((), side="left"),  # the scripts of wave_right, below
    "wave_right": Action((
        Script((1.4, 2.6), _hold(_arm("main", 18, 78, 72, 95), 0.25, 0.8),
               (Rhythm({"main_shoulder": (0, 0, 24), "main_elbow": 12.0}, window=(0.2, 0.85)),), (1.3, 2.4), legs_free=True),
        Script((1.3, 2.4), _hold(_arm("main", 42, 28, 18, 122), 0.25, 0.8),
               (Rhythm({"main_shoulder": (0, 0, 20), "main_wrist": (0, 15, 0)}, window=(0.2, 0.85)),), (1.5, 2.6), legs_free=True),
    ), side="right"),
    "throw": Action((
        Script((1.1, 1.7), ((0.0, REST), (0.4, WINDUP), (0.58, {**RELEASE, **_STEP_FORWARD}), (0.72, FOLLOW), (1.0, REST))),
        Script((1.1, 1.8), ((0.0, REST), (0.38, {**_arm("main", -45, 12, 0, 10), "lean": 10.0}), (0.6, {**_arm("main", 82, 5, 0, 10), "lean": 4.0}), (1.0, REST))),
        Script((1.0, 1.6), ((0.0, REST), (0.38, _arm("main", 42, 30, 25, 128)), (0.56, RELEASE), (1.0, REST)), legs_free=True),
    )),
    "punch": Action((
        Script((0.8, 1.3), ((0.0, REST), (0.32, GUARD), (0.52, {**GUARD, **_arm("main", 86, 4, 0, 8), "chest": (6, 0, 25)}), (0.68, GUARD), (1.0, REST)), repeats=(1, 2)),
        Script((0.9, 1.4), ((0.0, REST), (0.35, {**GUARD, **_arm("main", 15, 50, 0, 85)}), (0.54, {**GUARD, **_arm("main", 82, -18, -60, 75), "chest": (6, 0, 30)}), (1.0, REST))),
    )),
    "push": Action((
        Script((1.0, 1.7), ((0.0, REST), (0.35, _arm("both", 18, 14, -5, 122)), (0.58, {**_arm("both", 78, 6, 0, 18), "lean": 10.0}), (0.7, _arm("both", 74, 6, 0, 24)), (1.0, REST)), legs_free=True),
        Script((1.0, 1.6), ((0.0, REST), (0.35, _arm("main", 20, 12, -5, 118)), (0.6, {**REACH, **_arm("main", 80, 5, 0, 15)}), (1.0, REST)), legs_free=True),
    )),
    "point": Action((
        Script((1.2, 2.2), _hold(_arm("main", 80, 6, 0, 8), 0.35, 0.65), legs_free=True),
        Script((1.2, 2.2), _hold({**_arm("main", 40, 68, 0, 10), "chest": (0, 0, -10)}, 0.35, 0.65), legs_free=True),
    )),
    "clap": Action((
        Script((1.2, 2.4), _hold(HANDS_FRONT, 0.22, 0.8), (Rhythm({"both_shoulder": (0, 6, 15)}, window=(0.15, 0.85)),), (1.6, 3.0), legs_free=True),
        Script((1.2, 2.2), _hold(_arm("both", 110, 12, -12, 45), 0.25, 0.78), (Rhythm({"both_shoulder": (0, 10, 10)}, window=(0.2, 0.85)),), (1.4, 2.6), legs_free=True),
    )),
    "rub_hands": Action((
        Script((1.4, 2.6), _hold(HANDS_FRONT, 0.22, 0.8), (Rhythm({"main_shoulder": 8.0, "other_shoulder": -8.0, "main_elbow": -6.0, "other_elbow": 6.0}, window=(0.15, 0.85)),), (1.6, 3.0), legs_free=True),
    )),
    "drink": Action((
        Script((1.7, 2.9), ((0.0, REST), (0.32, AT_MOUTH), (0.5, AT_MOUTH_TILTED), (0.68, AT_MOUTH), (1.0, REST)), legs_free=True),
        Script((1.5, 2.6), ((0.0, _arm("main", 20, 5, -10, 85)), (0.3, AT_MOUTH), (0.55, AT_MOUTH_TILTED), (1.0, _arm("main", 20, 5, -10, 85))), legs_free=True),
    )),
    "phone_call": Action((
        Script((1.8, 3.0), _hold(AT_EAR, 0.3, 0.85), legs_free=True),
        Script((1.8, 3.0), ((0.0, REST), (0.25, _arm("main", 25, 5, -20, 95)), (0.55, AT_EAR), (0.85, AT_EAR), (1.0, _arm("main", 25, 10, -20, 95))), legs_free=True),
    )),
    "salute": Action((
        Script((1.2, 2.2), _hold(AT_FOREHEAD, 0.32, 0.7), legs_free=True),
        Script((1.1, 2.0), _hold({**AT_FOREHEAD, **_arm("main", 48, 45, -5, 140)}, 0.35, 0.65), legs_free=True),
    )),
    "wipe_face": Action((
        Script((1.4, 2.5), _hold(AT_FACE, 0.28, 0.75), (Rhythm({"main_shoulder": (4, 6, 9), "main_elbow": 5.0}, window=(0.25, 0.8)),), (1.0, 2.2), legs_free=True),
    )),
    "check_watch": Action((
        Script((1.3, 2.4), _hold(WATCH, 0.3, 0.7), legs_free=True),
        Script((1.5, 2.5), _hold({**WATCH, **_arm("other", 35, 8, -35, 85)}, 0.35, 0.7), legs_free=True),
    )),
    # two persons
    "hand_over": Action((
        Script((1.5, 2.5), _hold(REACH, 0.42, 0.56), distance=(0.85, 1.15),
               partner=Script((1.5, 2.5), ((0.0, REST), (0.42, REACH), (0.56, REACH), (0.8, _arm("main", 20, 5, -15, 90)), (1.0, REST)))),
        Script((1.6, 2.6), ((0.0, _arm("main", 15, 5, -10, 85)), (0.45, REACH), (0.55, REACH), (1.0, REST)), distance=(0.85, 1.15),
               partner=Script((1.5, 2.5), ((0.0, REST), (0.45, REACH), (0.55, REACH), (1.0, _arm("main", 15, 5, -10, 85))))),
    )),
    "handshake": Action((
        Script((1.6, 2.6), _hold(REACH, 0.35, 0.7), (Rhythm({"main_shoulder": 5.0, "main_elbow": 7.0}, window=(0.35, 0.72)),), (1.6, 2.6), distance=(0.85, 1.15),
               partner=Script((1.6, 2.6), _hold(REACH, 0.35, 0.7), (Rhythm({"main_shoulder": 5.0, "main_elbow": 7.0}, window=(0.35, 0.72)),), (1.6, 2.6))),
    )),
    "high_five": Action((
        Script((1.1, 1.8), ((0.0, REST), (0.35, _arm("main", 75, 30, 20, 100)), (0.52, _arm("main", 125, 8, 0, 28)), (1.0, REST)), distance=(0.8, 1.1),
               partner=Script((1.1, 1.8), ((0.0, REST), (0.35, _arm("main", 70, 30, 20, 100)), (0.52, _arm("main", 125, 8, 0, 28)), (1.0, REST)))),
    )),
    "punch_other": Action((
        Script((1.0, 1.6), ((0.0, REST), (0.32, GUARD), (0.5, {**GUARD, **_arm("main", 88, 4, 0, 8), "chest": (6, 0, 25), "move": (0.1, 0, 0)}), (1.0, REST)), distance=(0.85, 1.2),
               partner=Script((1.0, 1.6), ((0.0, REST), (0.42, REST), (0.66, {"lean": -16.0, "neck": -18.0, "chest": (-8, 0, 15), "move": (-0.16, 0, 0), **_arm("both", 15, 20, 0, 40)}), (1.0, {"move": (-0.12, 0, 0)})))),
        Script((1.0, 1.6), ((0.0, REST), (0.34, {**GUARD, **_arm("main", 15, 50, 0, 85)}), (0.5, {**GUARD, **_arm("main", 85, -15, -55, 70), "chest": (6, 0, 30)}), (1.0, REST)), distance=(0.7, 1.0),
               partner=Script((1.0, 1.6), ((0.0, REST), (0.42, REST), (0.68, {"lean": (-6.0, 14.0, 0.0), "neck": (0.0, 18.0, 0.0), "move": (-0.1, 0.08, 0)}), (1.0, REST)))),
    )),
    "push_other": Action((
        Script((1.1, 1.7), ((0.0, REST), (0.33, _arm("both", 18, 14, -5, 120)), (0.5, {**_arm("both", 78, 6, 0, 15), "lean": 12.0, "move": (0.15, 0, 0)}), (1.0, {"move": (0.05, 0, 0)})), distance=(0.75, 1.05),
               partner=Script((1.1, 1.7), ((0.0, REST), (0.42, REST), (0.70, {"lean": -14.0, "chest": -8.0, "move": (-0.3, 0, 0), "main_hip": -25.0, **_arm("both", 28, 18, 0, 40)}), (1.0, {"move": (-0.35, 0, 0)})))),
        Script((1.1, 1.7), ((0.0, REST), (0.33, _arm("main", 18, 14, -5, 115)), (0.5, {**_arm("main", 82, 5, 0, 12), "chest": (6, 0, 18)}), (1.0, REST)), distance=(0.75, 1.0),
               partner=Script((1.1, 1.7), ((0.0, REST), (0.42, REST), (0.70, {"lean": -10.0, "chest": (0, 0, -22), "move": (-0.18, 0, 0), "other_hip": -18.0}), (1.0, {"move": (-0.15, 0, 0)})))),
    )),
    "hug": Action((
        Script((1.8, 2.9), _hold({**_arm("main", 78, 12, -30, 62), **_arm("other", 58, 18, -35, 68), "lean": 12.0, "move": (0.25, 0.04, 0)}, 0.38, 0.68), distance=(0.85, 1.1),
               partner=Script((1.8, 2.9), _hold({**_arm("main", 76, 12, -30, 60), **_arm("other", 55, 18, -35, 65), "lean": 12.0, "move": (0.25, 0.04, 0)}, 0.4, 0.68))),
    )),
}  # fmt: skip
ACTIONS["wave_left"] = Action(ACTIONS["wave_right"].scripts, side="left")

SYNTHETIC_ACTIONS: tuple[str, ...] = tuple(ACTIONS)

# What the arm that has nothing to do may hold, and what a bored person does meanwhile.
_IDLE_HOLDS: tuple[Pose, ...] = (
    _arm("other", -12, 14, -10, 60),  # hand in the pocket
    _arm("other", -15, 42, -35, 88),  # hand on the hip
    _arm("other", 25, 4, -45, 85),  # forearm across the belly
    _arm("other", -22, 6, -30, 60),  # hand behind the back
)
_FIDGETS: tuple[Pose, ...] = (
    _arm("other", 45, 20, -30, 128),  # touch the chin
    _arm("other", 50, 50, -10, 140),  # scratch the head
    _arm("other", 25, 5, -30, 80),
    {"neck": (22, 8, 0), "waist": (6, 0, 10)},  # look at the floor
    {"chest": (0, 0, 28), "waist": (0, 0, 18)},  # look over the shoulder
    {"pelvis": (0, 7, 0), "other_hip": 14.0, "other_knee": 26.0, "other_ankle": 12.0},  # shift the weight
)


@dataclass(frozen=True)
class _CompiledScript:
    phases: np.ndarray  # (keys,)
    poses: np.ndarray  # (keys, rows, 3), active side right
    rhythms: tuple[tuple[Rhythm, np.ndarray], ...]
    uses_other_arm: bool
    partner: _CompiledScript | None
    script: Script


@cache
def _compile(action: str, variant: int) -> _CompiledScript:
    return _compile_script(ACTIONS[action].scripts[variant])


def _compile_script(script: Script) -> _CompiledScript:
    phases = np.array([phase for phase, _ in script.keys])
    poses = np.stack([_pose(pose) for _, pose in script.keys])
    rhythms = tuple((rhythm, _pose(rhythm.amplitude)) for rhythm in script.rhythms)
    other = [_J["left_shoulder"], _J["left_elbow"]]
    uses_other = bool(np.any(poses[:, other]) or any(np.any(amplitude[other]) for _, amplitude in rhythms))
    partner = None if script.partner is None else _compile_script(script.partner)
    return _CompiledScript(phases, poses, rhythms, uses_other, partner, script)


_IDLE_HOLD_POSES = np.stack([_pose(pose) for pose in _IDLE_HOLDS])
_FIDGET_POSES = np.stack([_pose(pose) for pose in _FIDGETS])
_SEATED_POSE = _pose({"lean": 6.0, **_legs(80, 84)})
_HINGES = np.array([i for n, i in _J.items() if n.endswith(("elbow", "knee"))])
_PELVIS = _J["spine_base"]
_LEG_ROWS = np.array([i for n, i in _J.items() if n.endswith(("hip", "knee", "ankle"))])


# ---------------------------------------------------------------------------------------------------------------------------------------
# People and cameras

# The last word of an entropy list tells the streams apart; it is never 0, because trailing zeros do not change a seed sequence.
_SUBJECT_STREAM, _HABIT_STREAM, _SETUP_STREAM, _SEQUENCE_STREAM, _TAKE_STREAM = 1, 2, 3, 4, 5


@dataclass(frozen=True)
class SubjectTraits:
    """Body and manner of one performer."""

    offsets: np.ndarray  # (joints, 3) bone offsets in metres
    right_handed: bool
    speed: float
    amplitude: float
    asymmetry: np.ndarray  # (rows, 1) factor on the movement of every joint
    posture: np.ndarray  # (rows, 3) degrees added to every pose
    lag: np.ndarray  # (rows,) seconds by which a joint follows
    sway: float
    restless: float


@lru_cache(maxsize=1024)
def subject_traits(subject: int, seed: int = 0) -> SubjectTraits:
    """Traits of performer `subject` in the corpus of `seed`."""
    rng = np.random.default_rng([seed, subject, _SUBJECT_STREAM])
    height = np.clip(rng.normal(1.0, 0.065), 0.84, 1.15)
    trunk, leg, arm, shoulder, hip = np.clip(rng.normal(1.0, 0.05, 5), 0.88, 1.12)
    offsets = _OFFSET * height
    for name, index in _J.items():
        part = name.rpartition("_")[2] if _SIDE[index] else name
        if part in ("knee", "ankle"):
            offsets[index] *= leg
        elif part in ("elbow", "wrist"):
            offsets[index] *= arm
        elif part == "shoulder":
            offsets[index, 0] *= shoulder
        elif part == "hip":
            offsets[index, 0] *= hip
        elif part in ("spine_mid", "spine_shoulder"):
            offsets[index] *= trunk
    slouch = rng.normal(4, 5)
    posture = _pose(
        {
            **_arm("both", rng.normal(3, 5), rng.normal(9, 4), rng.normal(-5, 8), np.abs(rng.normal(14, 8))),
            "both_hip": (0.0, rng.normal(4, 2.5), rng.normal(8, 6)),
            "waist": slouch * 0.4,
            "chest": slouch * 0.6,
            "neck": rng.normal(6, 5),
        }
    )
    posture += rng.normal(0, 1.2, posture.shape) * (np.arange(_ROWS) < _MOVE)[:, None]
    posture[_PELVIS] *= 0.3
    lag = np.clip(rng.normal(0.0, 0.025, _ROWS), -0.06, 0.06)
    lag[_LEG_ROWS] = lag[_PELVIS] = 0.0
    return SubjectTraits(
        offsets=offsets,
        right_handed=bool(rng.random() < 0.85),
        speed=float(np.exp(rng.normal(0, 0.14))),
        amplitude=float(np.clip(rng.normal(0.97, 0.1), 0.7, 1.2)),
        asymmetry=np.exp(rng.normal(0, 0.06, (_ROWS, 1))),
        posture=posture,
        lag=lag,
        sway=float(rng.uniform(0.5, 1.8)),
        restless=float(rng.uniform(0.1, 0.6)),
    )


@lru_cache(maxsize=8192)
def _habit(seed: int, subject: int, label: int) -> tuple[np.ndarray, float, float]:
    """How one performer does one action: factor on every joint, speed factor, and a number in 0..1 that prefers a script."""
    rng = np.random.default_rng([seed, subject, label, _HABIT_STREAM])
    return np.exp(rng.normal(0, 0.09, (_ROWS, 3))), float(np.exp(rng.normal(0, 0.08))), float(rng.random())


_CAMERA_YAWS = (0.0, 45.0, -45.0)  # degrees; further cameras are spread over the gaps


@lru_cache(maxsize=1024)
def camera_pose(camera: int, setup: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rotation `(3, 3)` and place `(3,)` of a camera: a world point `x` is seen at `rotation @ (x - place)`.

    The world has y up, the ground at y = 0 and the performers around the origin. Cameras stand around them (0, 45 and -45 degrees); the
    setup decides height, distance and tilt.

    Args:
        camera: number of the camera, from 1.
        setup: number of the setup, from 1.
        seed: seed of the corpus.
    """
    rng = np.random.default_rng([seed, setup, _SETUP_STREAM])
    height, distance = rng.uniform(0.7, 2.2), rng.uniform(2.8, 4.4)
    rng = np.random.default_rng([seed, setup, camera, _SETUP_STREAM])
    yaw = _CAMERA_YAWS[camera - 1] if camera <= len(_CAMERA_YAWS) else rng.uniform(-60, 60)
    yaw = np.radians(yaw + rng.normal(0, 4))
    tilt = np.arctan2(height - 0.95, distance) + np.radians(rng.normal(0, 2.5))
    ct, st, cy, sy = np.cos(tilt), np.sin(tilt), np.cos(yaw), np.sin(yaw)
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    bend = np.array([[1, 0, 0], [0, ct, st], [0, -st, ct]])
    rotation = bend @ turn
    place = turn.T @ np.array([rng.normal(0, 0.15), height, -distance])
    return rotation, place


# ---------------------------------------------------------------------------------------------------------------------------------------
# 1. Script: joint angles of an action


def _smooth_step(x: np.ndarray) -> np.ndarray:
    """Minimum-jerk ramp from 0 to 1."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * x * (10.0 + x * (6.0 * x - 15.0))


def _smooth_noise(rng: np.random.Generator, frames: int, shape: tuple[int, ...], period: float) -> np.ndarray:
    """Random curves `(frames, *shape)` of about unit variance that change on the time scale `period` (frames): cubic B-splines."""
    knots = int(np.ceil(frames / period)) + 3
    place = np.arange(frames) / period
    distance = np.abs(place[:, None] + 1.0 - np.arange(knots))  # (frames, knots)
    near, far = np.clip(1.0 - distance, 0, None), np.clip(2.0 - distance, 0, None)
    basis = (far**3 - 4.0 * near**3) / 6.0
    values = rng.standard_normal((knots, int(np.prod(shape)))) * 1.45
    return (basis @ values).reshape(frames, *shape)


@dataclass(frozen=True)
class Tempo:
    """Clock of one performance: seconds since its start and the normalised phase of every frame (below 0 before it, above 1 after it)."""

    seconds: np.ndarray  # (frames,)
    phase: np.ndarray  # (frames,)
    duration: float


def _tempo(frames: int, start: float, duration: float, frame_rate: float, rng: np.random.Generator | None) -> Tempo:
    seconds = np.arange(frames) / frame_rate - start
    phase = seconds / duration
    if rng is not None:  # hurry here, linger there; both terms vanish at the ends
        slow, slower = rng.uniform(-0.4, 0.4), rng.uniform(-0.2, 0.2)
        inside = np.clip(phase, 0.0, 1.0)
        phase = phase + (slow * np.sin(2 * np.pi * inside) + slower * np.sin(4 * np.pi * inside) / 2) / (2 * np.pi)
    return Tempo(seconds, phase, duration)


@dataclass(frozen=True)
class _Manner:
    """Factors of one performance, drawn once so that the two persons of an interaction can each have their own."""

    gain: np.ndarray  # (rows, 3) factor on key poses
    key_noise: np.ndarray | None  # (keys, rows, 3) factor on every key
    warp: np.ndarray | None  # (keys - 1,) factor on the time between two keys
    lag: np.ndarray  # (rows,) seconds
    repeats: int
    frequency: float
    shift: float


def _neutral_manner(script: Script) -> _Manner:
    return _Manner(
        np.ones((_ROWS, 3)), None, None, np.zeros(_ROWS), script.repeats[0], float(np.mean(script.frequency)), 0.0
    )


def _script_angles(compiled: _CompiledScript, tempo: Tempo, manner: _Manner) -> np.ndarray:
    """Angles `(frames, rows, 3)` in degrees of a script whose active side is the right one."""
    poses = compiled.poses * manner.gain
    if manner.key_noise is not None:
        poses = poses * manner.key_noise
        if np.array_equal(compiled.poses[0], compiled.poses[-1]):
            poses[-1] = poses[0]  # a repeated script has to close
    phases = compiled.phases
    if manner.warp is not None:
        steps = np.diff(phases) * manner.warp
        phases = np.concatenate([[0.0], np.cumsum(steps) / steps.sum()])
    clock = np.clip(tempo.phase[:, None] - manner.lag / tempo.duration, 0.0, 1.0)  # (frames, rows)
    if manner.repeats > 1:
        clock = np.where(clock < 1.0, (clock * manner.repeats) % 1.0, 1.0)
    weights = _smooth_step((clock[:, :, None] - phases[:-1]) / np.diff(phases))  # (frames, rows, keys - 1)
    angles = poses[0] + np.einsum("trk,krd->trd", weights, np.diff(poses, axis=0), optimize=False)
    if compiled.rhythms:
        # the rhythm follows the warped clock, so that hurrying changes its rate too
        cycles = manner.frequency * tempo.duration * np.clip(tempo.phase, 0.0, 1.0)
        for rhythm, amplitude in compiled.rhythms:
            low, high = rhythm.window
            ramp = min(0.12, (high - low) / 3)
            fade = _smooth_step((tempo.phase - low) / ramp) * _smooth_step((high - tempo.phase) / ramp)
            wave = np.sin(2 * np.pi * (rhythm.harmonic * cycles + rhythm.shift + manner.shift))
            if rhythm.wave == "bump":
                wave = np.maximum(wave, 0.0)
            angles += (fade * wave)[:, None, None] * (amplitude * manner.gain)
        if compiled.script.travel:
            fade = _smooth_step(tempo.phase / 0.12) * _smooth_step((1.0 - tempo.phase) / 0.12)
            angles[:, _MOVE, 0] += (
                np.cumsum(fade * np.gradient(cycles)) * compiled.script.travel * manner.gain[_MOVE, 0]
            )
    return angles


# ---------------------------------------------------------------------------------------------------------------------------------------
# 3. Body: forward kinematics


def _rotations(angles: np.ndarray) -> np.ndarray:
    """Rotation matrices `(..., joints, 3, 3)` of anatomical angles `(..., joints, 3)` in degrees: about x, then z, then y (intrinsic)."""
    radians = np.radians(angles) * _SIGNS
    sine, cosine = np.sin(radians), np.cos(radians)
    sx, sz, sy = sine[..., 0], sine[..., 1], sine[..., 2]
    cx, cz, cy = cosine[..., 0], cosine[..., 1], cosine[..., 2]
    matrix = np.empty((*angles.shape[:-1], 3, 3))
    matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 0, 2] = cz * cy, -sz, cz * sy
    middle_x, middle_z = sz * cy, sz * sy
    matrix[..., 1, 0], matrix[..., 1, 1], matrix[..., 1, 2] = cx * middle_x + sx * sy, cx * cz, cx * middle_z - sx * cy
    matrix[..., 2, 0], matrix[..., 2, 1], matrix[..., 2, 2] = sx * middle_x - cx * sy, sx * cz, sx * middle_z + cx * cy
    return matrix


def _forward_kinematics(angles: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Joint positions `(persons, frames, joints, 3)` relative to the pelvis.

    Args:
        angles: `(persons, frames, joints, 3)` degrees.
        offsets: `(persons, joints, 3)` metres.
    """
    rotation = _rotations(angles)
    position = np.zeros(angles.shape)
    for children, parents in _LEVELS:
        above = rotation[..., parents, :, :]  # (persons, frames, children, 3, 3)
        bone = offsets[:, None, children, :, None]  # (persons, 1, children, 3, 1)
        position[..., children, :] = position[..., parents, :] + (above @ bone)[..., 0]
        rotation[..., children, :, :] = above @ rotation[..., children, :, :]
    return position


_SOLES = np.array([_J["left_foot"], _J["right_foot"]])
_ANKLES = np.array([_J["left_ankle"], _J["right_ankle"]])


def _world_positions(angles: np.ndarray, offsets: np.ndarray, planted: np.ndarray) -> np.ndarray:
    """Positions `(persons, frames, joints, 3)` in the scene, the ground at y = 0.

    Args:
        angles: `(persons, frames, rows, 3)`, places in the axes of the scene.
        offsets: `(persons, joints, 3)` metres.
        planted: `(persons, frames)`: 1 where the feet keep their place, 0 where the pelvis does.
    """
    body = _forward_kinematics(angles[:, :, :_MOVE], offsets)
    move, turn = angles[:, :, _MOVE], np.radians(angles[:, :, _TURN, 0])
    body[..., 1] -= body[:, :, _SOLES, 1].min(axis=-1, keepdims=True)
    body[..., 1] += np.maximum(move[:, :, None, 2], 0.0)
    feet = body[:, :, _ANKLES].mean(axis=2, keepdims=True) * np.array([1.0, 0.0, 1.0])
    body -= feet * planted[:, :, None, None]
    cosine, sine = np.cos(turn)[..., None], np.sin(turn)[..., None]
    x, z = body[..., 0], body[..., 2]
    body[..., 0], body[..., 2] = (
        cosine * x + sine * z + move[:, :, None, 1],
        cosine * z - sine * x + move[:, :, None, 0],
    )
    return body


# ---------------------------------------------------------------------------------------------------------------------------------------
# 2. Habit: what every person does besides the action


def _draw_manner(
    compiled: _CompiledScript,
    traits: SubjectTraits,
    habit: np.ndarray,
    repeats: int,
    frequency: float,
    shift: float,
    rng: np.random.Generator,
) -> _Manner:
    size = traits.amplitude * np.exp(rng.normal(0, 0.08))
    gain = size * traits.asymmetry * habit * np.exp(rng.normal(0, 0.05, (_ROWS, 3)))
    # pelvis and legs balance each other, so they share their size and their timing but for a little
    gain[_LEG_ROWS] = gain[_PELVIS, 0] * np.exp(rng.normal(0, 0.03, (len(_LEG_ROWS), 3)))
    key_noise = np.exp(rng.normal(0, 0.06, compiled.poses.shape))
    key_noise[:, _LEG_ROWS] = key_noise[:, _PELVIS, :1, None]
    key_noise[:, _PELVIS] = key_noise[:, _PELVIS, :1]
    return _Manner(
        gain=np.clip(gain, 0.6, 1.28),
        key_noise=key_noise,
        warp=np.exp(np.clip(rng.normal(0, 0.17, len(compiled.phases) - 1), -0.35, 0.35)),
        lag=traits.lag,
        repeats=repeats,
        frequency=frequency,
        shift=shift,
    )


def _distraction(
    frames: int, frame_rate: float, traits: SubjectTraits, free_arm: bool, rng: np.random.Generator
) -> np.ndarray:
    """Angles `(frames, rows, 3)`: posture, sway, small movements of everything, and what the free arm (the left one) does."""
    amount = np.full((_ROWS, 3), 1.6)
    amount[_MOVE] = (0.015, 0.015, 0.0)
    amount[_TURN] = (2.5, 0.0, 0.0)
    amount[_LEG_ROWS] = 0.8
    amount[_J["neck"]] = (5.0, 3.0, 6.0)
    amount[_J["spine_base"]] = (0.8, 0.8, 1.5)
    angles = _smooth_noise(rng, frames, (_ROWS, 3), 0.6 * frame_rate) * (amount * traits.sway)
    angles += traits.posture
    if free_arm and rng.random() < 0.35:
        angles += _IDLE_HOLD_POSES[rng.integers(len(_IDLE_HOLD_POSES))] * rng.uniform(0.6, 1.2)
        free_arm = False
    if rng.random() < traits.restless:
        choices = np.arange(len(_FIDGET_POSES)) if free_arm else np.arange(3, len(_FIDGET_POSES))
        pose = _FIDGET_POSES[rng.choice(choices)] * rng.uniform(0.4, 1.1)
        middle, width = rng.uniform(0, frames), rng.uniform(0.35, 0.9) * frame_rate
        shape = _smooth_step(1.5 - np.abs(np.arange(frames) - middle) / width)
        angles += shape[:, None, None] * pose
    return angles


@dataclass(frozen=True)
class _Performance:
    """One action of one or two persons, before the scene is turned and filmed; places are in the axes of the scene."""

    angles: np.ndarray  # (persons, frames, rows, 3)
    planted: np.ndarray  # (persons, frames) weights
    active: slice


def _perform(
    label: int,
    actions: Sequence[str],
    subjects: Sequence[int],
    seed: int,
    frame_rate: float,
    rng: np.random.Generator,
    max_seconds: float,
    may_sit: bool,
) -> _Performance:
    """Draws one performance of an action: timing, scripts, styles and distractions of everybody taking part."""
    name = actions[label]
    action = ACTIONS[name]
    kind = SYNTHETIC_ACTIONS.index(name)
    people = [subject_traits(subject, seed) for subject in subjects]
    habit, pace, preference = _habit(seed, subjects[0], kind)
    count = len(action.scripts)
    # people have a favourite way to do a thing, and now and then choose another
    variant = int(preference * count) if rng.random() < 0.6 else int(rng.integers(count))
    compiled = _compile(name, variant)
    script = compiled.script

    repeats = int(rng.integers(script.repeats[0], script.repeats[1] + 1))
    speed = people[0].speed * pace * np.exp(rng.normal(0, 0.1))
    duration = rng.uniform(*script.seconds) * (1.0 + 0.85 * (repeats - 1)) / speed
    before, after = rng.uniform(0.0, 0.5, 2) ** 1.5
    room = max_seconds - 0.1
    duration = float(np.clip(duration, 0.8, room))
    idle = min(1.0, (room - duration) / max(before + after, 1e-6))
    before, after = before * idle, after * idle
    frames = int(
        np.clip(
            round((before + duration + after) * frame_rate), np.ceil(frame_rate), np.floor(max_seconds * frame_rate)
        )
    )
    tempo = _tempo(frames, before, duration, frame_rate, rng)
    frequency = rng.uniform(*script.frequency) * speed**0.5
    shift = float(rng.random()) if name in ("walk", "run") else 0.0

    mirrored = not people[0].right_handed if rng.random() < 0.88 else people[0].right_handed
    if action.side != "dominant":
        mirrored = action.side == "left"
    seated = may_sit and script.legs_free and rng.random() < 0.12

    performance = _Performance(
        angles=np.empty((len(subjects), frames, _ROWS, 3)),
        planted=np.full((len(subjects), frames), float(script.planted)),
        active=slice(round(before * frame_rate), round((before + duration) * frame_rate)),
    )
    for person, (subject, traits) in enumerate(zip(subjects, people)):
        role: _CompiledScript | None = compiled if person == 0 else compiled.partner
        clock, flip = tempo, mirrored
        if person > 0:
            habit = _habit(seed, subject, kind)[0]
            clock = Tempo(tempo.seconds, tempo.phase - rng.uniform(-0.02, 0.08), tempo.duration)
            if name not in ("hug", "hand_over", "handshake", "high_five"):
                flip = not traits.right_handed
        angles = _distraction(frames, frame_rate, traits, role is None or not role.uses_other_arm, rng)
        if role is not None:
            manner = _draw_manner(role, traits, habit, repeats, frequency, shift, rng)
            angles += _script_angles(role, clock, manner)
        angles[:, _HINGES, 0] = np.clip(angles[:, _HINGES, 0], 0.0, 150.0)  # elbows and knees bend one way
        if flip:
            angles = _mirror(angles)
        if seated:
            angles[:, _LEG_ROWS] = _SEATED_POSE[_LEG_ROWS] + traits.posture[_LEG_ROWS]
            angles[:, _J["spine_base"]] += _SEATED_POSE[_J["spine_base"]]
        performance.angles[person] = angles
    if len(subjects) == 2:
        _face_each_other(performance.angles, rng.uniform(*script.distance), rng)
    _to_scene(performance.angles)
    return performance


def _face_each_other(angles: np.ndarray, distance: float, rng: np.random.Generator) -> None:
    """Puts two persons on both sides of the origin, each looking roughly at the other."""
    for person, turn in enumerate((0.0, 180.0)):
        angles[person, :, _TURN, 0] += turn + rng.normal(0, 7)
        angles[person, :, _MOVE] += (-distance / 2, rng.normal(0, 0.05), 0.0)


def _to_scene(angles: np.ndarray) -> None:
    """Turns the places of persons from their own axes (forward, left) to those of the scene (z, x), in place."""
    turn = np.radians(angles[..., _TURN, 0])
    forward, left = angles[..., _MOVE, 0].copy(), angles[..., _MOVE, 1].copy()
    angles[..., _MOVE, 0] = np.cos(turn) * forward - np.sin(turn) * left
    angles[..., _MOVE, 1] = np.sin(turn) * forward + np.cos(turn) * left


# ---------------------------------------------------------------------------------------------------------------------------------------
# 4. Camera and 5. sensor


@cache
def _layout_order() -> np.ndarray:
    """Where every joint of the ntu25 layout stands in the tree."""
    return np.array([_J[name] for name in get_layout("ntu25").joints])


_NOISE_METRES = {
    "hand_tip": 0.018,
    "thumb": 0.018,
    "hand": 0.012,
    "wrist": 0.009,
    "elbow": 0.007,
    "foot": 0.014,
    "ankle": 0.009,
    "knee": 0.007,
}
_NOISE = np.array([_NOISE_METRES.get(name.partition("_")[2], 0.005) for name in _JOINTS])


def _chain(*names: str) -> tuple[np.ndarray, ...]:
    return tuple(np.array([_J[f"{side}_{name}"] for name in names]) for side in ("left", "right"))


_ARM_CHAINS = _chain("elbow", "wrist", "hand", "hand_tip", "thumb")
_LEG_CHAINS = _chain("knee", "ankle", "foot")
_SHOULDERS = (_J["left_shoulder"], _J["right_shoulder"])
_HANDS = _chain("wrist", "hand", "hand_tip", "thumb")


def _correlated_noise(rng: np.random.Generator, shape: tuple[int, ...], memory: float) -> np.ndarray:
    """First-order autoregressive noise `(frames, ...)` of unit variance."""
    white = rng.standard_normal(shape, dtype=np.float32)
    white[0] /= np.sqrt(1 - memory**2)
    return np.sqrt(1 - memory**2) * lfilter([1.0], [1.0, -memory], white, axis=0)


def _occlusions(
    positions: np.ndarray, frame_rate: float, rng: np.random.Generator
) -> list[tuple[np.ndarray, int, int]]:
    """Draws (joints, first frame, end frame) that one person hides: limbs of the side turned away from the camera most of all."""
    frames = len(positions)
    away = float(
        (positions[:, _SHOULDERS[0], 2] - positions[:, _SHOULDERS[1], 2]).mean()
    )  # > 0: the left side is farther
    far = 0 if away > 0 else 1
    events = []
    for chains, turned, facing in ((_ARM_CHAINS, 0.35, 0.08), (_LEG_CHAINS, 0.2, 0.05), (_HANDS, 0.15, 0.15)):
        if rng.random() < (turned if abs(away) > 0.12 else facing):
            side = far if rng.random() < 0.85 else 1 - far
            start = int(rng.integers(frames))
            length = int(rng.uniform(0.15, 0.9) * frame_rate)
            events.append((chains[side], start, min(frames, start + max(length, 2))))
    return events


def _sense(positions: np.ndarray, frame_rate: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What a depth camera makes of true positions: noisy `(persons, frames, joints, 3)` and the mask `(persons, frames)`."""
    persons, frames, joints, _ = positions.shape
    seen = positions.copy()
    mask = np.ones((persons, frames), dtype=bool)
    for person in range(persons):
        truth = positions[person]
        distance = np.clip(truth[:, :1, 2:] / 3.0, 0.7, 1.6) ** 2
        shaking = _correlated_noise(rng, (frames, joints, 3), 0.75) * (_NOISE[:, None] * rng.uniform(0.7, 1.4))
        shaking += (
            rng.standard_normal((joints, 3)) * _NOISE[:, None]
        )  # the sensor puts a joint of this person a little off
        for hidden, start, end in _occlusions(truth, frame_rate, rng):
            # a hidden limb stays where it was seen last relative to the trunk, or follows loosely, and jitters
            trunk = truth[start:end, :1]
            last = truth[start, hidden] - truth[start, 0]
            follow = rng.uniform(0.0, 0.6)
            seen[person, start:end, hidden] = (
                follow * truth[start:end, hidden] + (1 - follow) * (trunk + last)
            ).swapaxes(0, 1)
            jitter = _correlated_noise(rng, (end - start, len(hidden), 3), 0.6) * rng.uniform(0.02, 0.06)
            shaking[start:end, hidden] += jitter
        seen[person] += shaking * distance
        if rng.random() < 0.06:  # the tracker loses a person for a while
            length = int(rng.uniform(0.1, 0.4) * frame_rate)
            start = int(rng.integers(1, frames))
            mask[person, start : start + length] = False
    if rng.random() < 0.2:  # the recorder drops a few frames
        dropped = rng.integers(0, frames, rng.integers(1, 4))
        mask[:, dropped] = False
    mask[:, frames // 2] |= ~mask.any(axis=1)
    return seen, mask


def _film(
    performance_positions: np.ndarray,
    camera: int,
    setup: int,
    seed: int,
    frame_rate: float,
    rng: np.random.Generator,
    noise: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints `(persons, frames, joints of ntu25, 3)` float32 in the camera frame and the mask `(persons, frames)`."""
    rotation, place = camera_pose(camera, setup, seed)
    seen = (performance_positions - place) @ rotation.T
    mask = np.ones(seen.shape[:2], dtype=bool)
    if noise:
        seen, mask = _sense(seen, frame_rate, rng)
    keypoints = np.where(mask[..., None, None], seen[:, :, _layout_order()], 0.0).astype(np.float32)
    return keypoints, mask


# ---------------------------------------------------------------------------------------------------------------------------------------
# Recordings


def _check_actions(actions: Sequence[str]) -> tuple[str, ...]:
    actions = tuple(actions)
    unknown = [name for name in actions if name not in ACTIONS]
    if unknown or not actions:
        raise ValueError(f"unknown synthetic actions {unknown}; choose one or more of {list(SYNTHETIC_ACTIONS)}")
    if len(set(actions)) != len(actions):
        raise ValueError(f"synthetic actions must differ from each other, got {list(actions)}")
    return actions


def _at_least_one(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def reference_motion(action: str, variant: int = 0, mirrored: bool = False, num_frames: int = 60) -> np.ndarray:
    """The bare script of an action: an average person (two for interactions), no style, no distraction, no camera, no noise.

    Args:
        action: one of [`SYNTHETIC_ACTIONS`].
        variant: which of the action's scripts.
        mirrored: left and right exchanged; without it the active side is the one that the action names, else the right one.
        num_frames: frames from the first to the last key, at least 2.

    Returns:
        float32 `(persons, num_frames, 25, 3)` in metres: x to the first person's left, y up, z where the first person looks, ground at y = 0.

    Raises:
        ValueError: for an unknown action or variant.
    """
    (action,) = _check_actions([action])
    if not 0 <= variant < len(ACTIONS[action].scripts):
        raise ValueError(
            f"action {action!r} has {len(ACTIONS[action].scripts)} variants, there is no variant {variant}"
        )
    compiled = _compile(action, variant)
    script = compiled.script
    seconds = float(np.mean(script.seconds))
    tempo = _tempo(num_frames, 0.0, seconds, (num_frames - 1) / seconds, None)
    roles = [compiled] if compiled.partner is None else [compiled, compiled.partner]
    angles = np.stack([_script_angles(role, tempo, _neutral_manner(role.script)) for role in roles])
    if mirrored != (ACTIONS[action].side == "left"):
        angles = _mirror(angles)
    if len(roles) == 2:
        angles[1, :, _TURN, 0] += 180.0
        angles[:, :, _MOVE, 0] -= np.mean(script.distance) / 2
    _to_scene(angles)
    planted = np.full(angles.shape[:2], float(script.planted))
    positions = _world_positions(angles, np.stack([_OFFSET] * len(roles)), planted)
    return positions[:, :, _layout_order()].astype(np.float32)


def synthesize_sequence(
    index: int,
    seed: int = 0,
    *,
    actions: Sequence[str] = SYNTHETIC_ACTIONS,
    num_subjects: int = 20,
    num_cameras: int = 3,
    num_setups: int = 6,
    frame_rate: float = 30.0,
    noise: bool = True,
) -> SkeletonSample:
    """Makes recording `index` of the corpus of `seed`, independently of all others.

    Classes take turns (`label = index % len(actions)`); within a class, subjects take turns, then cameras, then setups, so that every
    factor is balanced and names are unique. A recording has about 30 to 110 frames at 30 frames per second.

    Args:
        index: number of the recording, from 0.
        seed: seed of the corpus; subjects and setups depend on it too.
        actions: class names; the label is the place in this list.
        num_subjects: performers, numbered from 1.
        num_cameras: cameras, numbered from 1: frontal, 45 degrees to either side, further ones anywhere between -60 and 60 degrees.
        num_setups: heights and distances of the cameras, numbered from 1.
        frame_rate: frames per second.
        noise: False gives exact positions and no lost frames.

    Returns:
        A sample in layout ntu25: keypoints float32 `(1 or 2, frames, 25, 3)` in metres in the frame of the camera (x to the left of the
        camera, y up, z away from it), named like the recordings of NTU RGB+D (`SsssCcccPpppRrrrAaaa`).

    Raises:
        ValueError: for unknown actions, negative indices, or counts below 1.
    """
    actions = _check_actions(actions)
    _at_least_one(num_subjects=num_subjects, num_cameras=num_cameras, num_setups=num_setups)
    if index < 0:
        raise ValueError(f"index must be 0 or larger, got {index}")
    if frame_rate < 5:
        raise ValueError(f"frame_rate must be at least 5 frames per second, got {frame_rate}")
    rest, label = divmod(index, len(actions))
    rest, subject = divmod(rest, num_subjects)
    cameras, camera = divmod(rest, num_cameras)
    replication, setup = divmod(cameras, num_setups)
    # turned like a Latin square, so that a small corpus sees every camera and setup with every class and subject
    camera = (camera + label + subject) % num_cameras
    setup = (setup + label // num_cameras + subject // num_cameras + camera) % num_setups
    subject, camera, setup, replication = subject + 1, camera + 1, setup + 1, replication + 1

    rng = np.random.default_rng([seed, index, _SEQUENCE_STREAM])
    persons = ACTIONS[actions[label]].num_persons
    partner = subject + int(rng.integers(1, num_subjects)) if num_subjects > 1 else subject + 1
    partner = (partner - 1) % num_subjects + 1 if num_subjects > 1 else partner
    subjects = [subject, partner][:persons]
    performance = _perform(label, actions, subjects, seed, frame_rate, rng, max_seconds=110 / 30, may_sit=True)

    angles = performance.angles
    heading = 180.0 + rng.normal(0, 22) if persons == 1 else rng.choice((-90.0, 90.0)) + rng.normal(0, 22)
    angles[..., _TURN, 0] += heading
    scene = angles[..., _MOVE, :2]
    scene -= scene.mean(axis=(0, 1))  # a walk passes the middle of the room
    _turn_places(angles, heading)
    angles[..., _MOVE, :2] += rng.normal(0, 0.2, 2)
    if persons == 2 and rng.random() < 0.5:  # a tracker numbers people as it finds them
        angles, subjects = angles[::-1], subjects[::-1]
    offsets = np.stack([subject_traits(number, seed).offsets for number in subjects])
    positions = _world_positions(angles, offsets, performance.planted)
    keypoints, mask = _film(positions, camera, setup, seed, frame_rate, rng, noise)
    name = f"S{setup:03d}C{camera:03d}P{subject:03d}R{replication:03d}A{label + 1:03d}"
    return SkeletonSample(
        keypoints=keypoints,
        frame_mask=mask,
        label=label,
        name=name,
        subject=subject,
        camera=camera,
        setup=setup,
        replication=replication,
    )


def _turn_places(angles: np.ndarray, heading: float) -> None:
    """Turns the places `(..., rows, 3)` of persons about the origin of the scene by `heading` degrees, in place."""
    cosine, sine = np.cos(np.radians(heading)), np.sin(np.radians(heading))
    z, x = angles[..., _MOVE, 0].copy(), angles[..., _MOVE, 1].copy()
    angles[..., _MOVE, 0], angles[..., _MOVE, 1] = cosine * z - sine * x, sine * z + cosine * x


def synthesize_corpus(
    num_sequences: int,
    seed: int = 0,
    *,
    start: int = 0,
    actions: Sequence[str] = SYNTHETIC_ACTIONS,
    num_subjects: int = 20,
    num_cameras: int = 3,
    num_setups: int = 6,
    frame_rate: float = 30.0,
    noise: bool = True,
) -> Iterator[SkeletonSample]:
    """Recordings `start .. start + num_sequences - 1` of the corpus of `seed`; see [`synthesize_sequence`] for the arguments.

    `num_subjects * len(actions)` recordings hold every subject and class once (600 with the defaults).
    """
    for index in range(start, start + num_sequences):
        yield synthesize_sequence(
            index,
            seed,
            actions=actions,
            num_subjects=num_subjects,
            num_cameras=num_cameras,
            num_setups=num_setups,
            frame_rate=frame_rate,
            noise=noise,
        )


def synthesize_take(
    seed: int,
    num_actions: int,
    *,
    index: int = 0,
    actions: Sequence[str] | None = None,
    num_persons: int = 1,
    subject: int | None = None,
    camera: int | None = None,
    setup: int = 1,
    num_subjects: int = 20,
    num_cameras: int = 3,
    frame_rate: float = 30.0,
    noise: bool = True,
) -> tuple[SkeletonSample, np.ndarray]:
    """Makes one continuous, untrimmed take: actions one after another, with pauses in which the body moves smoothly from one to the next.

    Args:
        seed: seed of the corpus.
        num_actions: actions in the take.
        index: number of the take in the corpus.
        actions: class names, default all that the number of persons can do: single-person actions for one person; for two, those and the
            interactions, without walking and running about.
        num_persons: 1 or 2.
        subject, camera: performer and camera, from 1; drawn when not given.
        setup: setup, from 1.
        num_subjects, num_cameras: ranges of the drawn numbers.
        frame_rate: frames per second.
        noise: False gives exact positions and no lost frames.

    Returns:
        The take as a sample (label -1, keypoints float32 `(num_persons, frames, 25, 3)`) and int64 labels of its frames `(frames,)`: the
        place in [`SYNTHETIC_ACTIONS`] of the action going on, -1 for none.

    Raises:
        ValueError: for unknown actions, more persons than 2, or an interaction in a take of one person.
    """
    _at_least_one(num_actions=num_actions, setup=setup, num_subjects=num_subjects, num_cameras=num_cameras)
    if num_persons not in (1, 2):
        raise ValueError(f"num_persons must be 1 or 2, got {num_persons}")
    if actions is None:
        actions = [n for n, a in ACTIONS.items() if a.num_persons == 1 or num_persons == 2]
        actions = [n for n in actions if num_persons == 1 or n not in ("walk", "run", "hop")]
    actions = _check_actions(actions)
    pairs = [name for name in actions if ACTIONS[name].num_persons > num_persons]
    if pairs:
        raise ValueError(f"{pairs} need two persons; pass num_persons=2 or leave them out")
    rng = np.random.default_rng([seed, index, num_actions, _TAKE_STREAM])
    drawn_subject, drawn_camera = int(rng.integers(1, num_subjects + 1)), int(rng.integers(1, num_cameras + 1))
    subject = drawn_subject if subject is None else subject
    camera = drawn_camera if camera is None else camera
    subjects = [subject, subject % num_subjects + 1 if num_subjects > 1 else subject + 1][:num_persons]
    traits = [subject_traits(number, seed) for number in subjects]

    pieces: list[np.ndarray] = []  # angles (persons, frames, rows, 3)
    planted: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    place = np.zeros(2)  # where in the scene (z, x) the next action starts
    pair_heading = rng.choice((-90.0, 90.0)) + rng.normal(0, 15)
    for step in range(num_actions):
        label = int(rng.integers(len(actions)))
        performance = _perform(label, actions, subjects, seed, frame_rate, rng, max_seconds=110 / 30, may_sit=False)
        angles = performance.angles
        if num_persons == 2:
            heading = pair_heading + rng.normal(0, 5)
        elif np.hypot(*place) > 0.8:
            heading = np.degrees(np.arctan2(-place[1], -place[0])) + rng.normal(
                0, 10
            )  # back towards the middle of the room
        else:
            heading = 180.0 + rng.normal(0, 25)
        angles[..., _TURN, 0] += heading
        _turn_places(angles, heading)
        if num_persons == 1:
            angles[..., _MOVE, :2] += place
            place = angles[0, -1, _MOVE, :2].copy()
        frame_labels = np.full(angles.shape[1], -1, dtype=np.int64)
        frame_labels[performance.active] = SYNTHETIC_ACTIONS.index(actions[label])
        if step == 0:
            pieces.append(np.repeat(angles[:, :1], round(rng.uniform(0.2, 0.8) * frame_rate), axis=1))
        else:
            pieces.append(_transition(pieces[-1][:, -1], angles[:, 0], round(rng.uniform(0.7, 1.6) * frame_rate)))
        planted.append(np.ones(pieces[-1].shape[:2]))
        labels.append(np.full(pieces[-1].shape[1], -1, dtype=np.int64))
        pieces.append(angles)
        planted.append(performance.planted)
        labels.append(frame_labels)
    whole = np.concatenate(pieces, axis=1)
    frames = whole.shape[1]
    # pauses are alive too, and a pelvis does not jump when the feet let go
    restless = _smooth_noise(rng, frames, (num_persons, _MOVE, 3), 0.7 * frame_rate).swapaxes(
        0, 1
    )  # (persons, frames, joints, 3)
    whole[:, :, :_MOVE] += restless * np.array([trait.sway for trait in traits]).reshape(-1, 1, 1, 1)
    width = max(3, round(0.4 * frame_rate))
    kernel = np.hanning(width + 2)[1:-1]
    padded = np.pad(np.concatenate(planted, axis=1), ((0, 0), (width // 2, (width - 1) // 2)), mode="edge")
    weights = np.stack([np.convolve(row, kernel / kernel.sum(), mode="valid") for row in padded])
    positions = _world_positions(whole, np.stack([trait.offsets for trait in traits]), weights)
    keypoints, mask = _film(positions, camera, setup, seed, frame_rate, rng, noise)
    sample = SkeletonSample(
        keypoints=keypoints,
        frame_mask=mask,
        label=-1,
        name=f"S{setup:03d}C{camera:03d}P{subject:03d}T{index:05d}",
        subject=subject,
        camera=camera,
        setup=setup,
        replication=1,
    )
    return sample, np.concatenate(labels)


def _transition(last: np.ndarray, first: np.ndarray, frames: int) -> np.ndarray:
    """Poses `(persons, frames, rows, 3)` that lead from `last` to `first` `(persons, rows, 3)`; bodies turn the short way round.

    `first` is the start of a piece whose direction may differ by full turns; the pose eases in at its own direction modulo 360 degrees.
    """
    weight = _smooth_step(np.arange(1, frames + 1) / (frames + 1))[:, None, None]  # (frames, 1, 1)
    start = last.copy()
    start[:, _TURN, 0] = first[:, _TURN, 0] + (last[:, _TURN, 0] - first[:, _TURN, 0] + 180.0) % 360.0 - 180.0
    return start[:, None] * (1 - weight) + first[:, None] * weight


__all__ = [
    "ACTIONS",
    "SYNTHETIC_ACTIONS",
    "Action",
    "Rhythm",
    "Script",
    "SubjectTraits",
    "camera_pose",
    "reference_motion",
    "subject_traits",
    "synthesize_corpus",
    "synthesize_sequence",
    "synthesize_take",
]
