"""From the joint names that a file uses to the names of the layouts, and to a layout of the joints that it holds."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...skeletons import SkeletonLayout, get_layout, list_layouts


# What is left of a name without its side, letters and digits only, and what layouts call it.
_ALIASES = {
    **dict.fromkeys(("hips", "pelvis", "hipcenter", "hipcentre", "midhip", "spinebase", "hipcentral"), "spine_base"),
    **dict.fromkeys(("spine", "spinemid", "torso", "spinenavel"), "spine_mid"),
    **dict.fromkeys(("shouldercenter", "shouldercentre", "spineshoulder", "thorax", "midshoulder"), "spine_shoulder"),
    **dict.fromkeys(("headtop", "tophead"), "head"),
    **dict.fromkeys(("upperarm", "uparm"), "shoulder"),
    **dict.fromkeys(("forearm", "lowerarm"), "elbow"),
    **dict.fromkeys(("bigtoe", "footindex", "toe", "toebase", "toes"), "foot"),
    **dict.fromkeys(("clavicle", "collar"), "collar"),
    **{"smalltoe": "small_toe", "handtip": "hand_tip", "upleg": "hip", "upperleg": "hip", "thigh": "hip"},
    **{"eyeinner": "eye_inner", "eyeouter": "eye_outer", "spineupper": "spine_upper", "spinelower": "spine_lower"},
}
# Names that stand for a limb only with a side: "left leg" is the shin, which begins at the knee.
_SIDED_ALIASES = {"leg": "knee", "lowerleg": "knee", "shin": "knee", "calf": "knee", "arm": "shoulder"}
_LIMBS = (
    *("shoulder", "elbow", "wrist", "hand", "hand_tip", "thumb", "index", "pinky", "hip", "knee", "ankle", "foot"),
    *("heel", "small_toe", "eye", "eye_inner", "eye_outer", "ear", "mouth", "collar"),
)
# On which joint each hangs; where that is missing, on the next one up.
_ABOVE = {
    **{"spine_lower": "spine_base", "spine_mid": "spine_lower", "spine_upper": "spine_mid"},
    **{"spine_shoulder": "spine_upper", "neck": "spine_shoulder", "head": "neck", "nose": "head"},
    **{"hip": "spine_base", "knee": "hip", "ankle": "knee", "foot": "ankle", "heel": "ankle", "small_toe": "foot"},
    **{"collar": "spine_shoulder", "shoulder": "collar", "elbow": "shoulder", "wrist": "elbow", "hand": "wrist"},
    **{"hand_tip": "hand", "thumb": "hand", "index": "hand", "pinky": "hand"},
    **{"eye_inner": "nose", "eye": "eye_inner", "eye_outer": "eye", "ear": "eye_outer", "mouth": "nose"},
}
_ROOTS = ("spine_base", "spine_lower", "spine_mid", "spine_upper", "spine_shoulder", "neck", "nose", "head")
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}


def canonical_joint_name(name: str) -> str:
    """What layouts call a joint: `"ShoulderLeft"`, `"LShoulder"`, `"l_shoulder"` and `"Left Shoulder"` are `"left_shoulder"`.

    A name that says nothing known stays, in lower case with underscores.
    """
    words = [word.lower() for word in _WORD.findall(name.rsplit(":", 1)[-1])]
    if words[:1] == ["bip"]:  # "Bip01 L Thigh" of 3ds Max
        words = [word for word in words[1:] if not word.isdigit()]
    side = next((_SIDES[word] for word in words if word in _SIDES), "")
    rest = [word for word in words if _SIDES.get(word) != side] if side else words
    part = _part("".join(rest), side)
    if not side and part not in _LIMBS:  # one word with the side in front: "lshoulder"
        text = "".join(words)
        for mark in ("left", "right", "l", "r"):
            limb = _part(text.removeprefix(mark), "left")
            if text.startswith(mark) and limb in _LIMBS:
                side, part = _SIDES[mark], limb
                break
    if side:
        return f"{side}_{part or '_'.join(rest)}".rstrip("_")
    if part == "hip" or "".join(words) == "hip":
        return "spine_base"
    return part or _plain(name)


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name.lower()).strip("_")


def _part(text: str, side: str) -> str:
    """The known part of the body, "" if there is none."""
    if side and text in _SIDED_ALIASES:
        return _SIDED_ALIASES[text]
    if text in _ALIASES:
        return _ALIASES[text]
    return next((known for known in (*_LIMBS, *_ROOTS) if known.replace("_", "") == text), "")


def canonical_joint_names(names: Sequence[str]) -> list[str]:
    """Canonical names of the joints of one skeleton, each once: two joints that would be the same keep their own names.

    Pose estimators call the middle of the shoulders the neck: with a nose and no `spine_shoulder`, `neck` is that.
    """
    found = [canonical_joint_name(name) for name in names]
    if "neck" in found and "nose" in found and "spine_shoulder" not in found:
        found[found.index("neck")] = "spine_shoulder"
    own = [_plain(name) or f"joint_{place}" for place, name in enumerate(names)]
    found = [name or own[place] for place, name in enumerate(found)]
    found = [name if found.count(name) == 1 else own[place] for place, name in enumerate(found)]
    return [name if found.count(name) == 1 else f"{name}_{place}" for place, name in enumerate(found)]


def layout_of_joints(names: Sequence[str], prefix: str) -> tuple[SkeletonLayout, list[int]]:
    """The layout of joints with these names.

    Args:
        names: canonical names, each once.
        prefix: beginning of the name of a layout that is not a known one.

    Returns:
        The known layout that has just these joints, or one in which every joint hangs on the next one towards the pelvis that is
        there; and the places of its joints in `names`.
    """
    fitting = [get_layout(known) for known in list_layouts()]
    fitting = [layout for layout in fitting if set(layout.joints) == set(names)]
    if fitting:
        same_order = [layout for layout in fitting if layout.joints == tuple(names)]
        layout = (same_order or fitting)[0]
        return layout, [list(names).index(joint) for joint in layout.joints]
    root = next((name for name in _ROOTS if name in names), names[0])
    parents = []
    for name in names:
        above = _above(name)
        while above and above not in names:
            above = _above(above)
        parents.append(names.index(name if name == root else above or root))
    return make_layout(f"{prefix}{len(names)}", names, parents), list(range(len(names)))


def make_layout(name: str, joints: Sequence[str], parents: Sequence[int]) -> SkeletonLayout:
    """A layout whose spine goes from the pelvis to the first known joint above it, where it has these."""
    upper = next((joint for joint in _ROOTS[2:] if joint in joints), None)
    spine = None
    if "spine_base" in joints and upper is not None:
        spine = (joints.index("spine_base"), joints.index(upper))
    return SkeletonLayout(name, tuple(joints), tuple(parents), spine=spine)


def _above(name: str) -> str:
    """The joint on which a joint hangs in a body that has all of them, "" for the pelvis and unknown joints."""
    side, _, limb = name.partition("_")
    if side not in ("left", "right"):
        return _ABOVE.get(name, "")
    above = _ABOVE.get(limb, "")
    return f"{side}_{above}" if above in _LIMBS else above


__all__ = ["canonical_joint_name", "canonical_joint_names", "layout_of_joints", "make_layout"]
