"""Forward kinematics: joint positions from the rotations of a tree of bones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def forward_kinematics(
    parents: Sequence[int], offsets: np.ndarray, rotations: np.ndarray, root_position: np.ndarray
) -> np.ndarray:
    """Joint positions of a moving tree.

    Joint `j` lies at `x[j] = x[p] + W[p] @ offsets[j]` with `p = parents[j]`, and turns what hangs on it by
    `W[j] = W[p] @ rotations[j]`.

    Args:
        parents: index of the parent of each joint, which comes before the joint; -1 for the root, the first one.
        offsets: `(joints, 3)` or, where they change, `(frames, joints, 3)`, the place of each joint in the frame of its parent; that of
            the root is added to its position.
        rotations: `(frames, joints, 3, 3)`, rotation of each joint against its parent, acting on columns.
        root_position: `(frames, 3)`.

    Returns:
        float64 `(frames, joints, 3)`.

    Raises:
        ValueError: if a joint comes before its parent.
    """
    for joint, parent in enumerate(parents):
        if not (parent == -1 if joint == 0 else 0 <= parent < joint):
            raise ValueError(f"joint {joint} has parent {parent}; the root comes first, every joint after its parent")
    offsets = np.broadcast_to(offsets, rotations.shape[:3])[..., None]  # (T, V, 3, 1)
    turned = np.empty(rotations.shape, dtype=np.float64)  # (T, V, 3, 3)
    positions = np.empty(rotations.shape[:3], dtype=np.float64)  # (T, V, 3)
    for joint, parent in enumerate(parents):
        if parent == -1:
            turned[:, joint] = rotations[:, joint]
            positions[:, joint] = root_position + offsets[:, joint, :, 0]
        else:
            turned[:, joint] = turned[:, parent] @ rotations[:, joint]
            positions[:, joint] = positions[:, parent] + (turned[:, parent] @ offsets[:, joint])[..., 0]
    return positions


__all__ = ["forward_kinematics"]
