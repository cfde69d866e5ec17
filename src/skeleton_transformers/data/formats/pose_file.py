"""`.pose` files of the package `pose-format` (sign language research): MediaPipe Holistic or OpenPose."""

from __future__ import annotations

import numpy as np

from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, foreign_parser, make_recording, need_extra
from .joint_names import canonical_joint_names, layout_of_joints
from .mediapipe import LAYOUT as MEDIAPIPE
from .mediapipe import landmark_recording


# Components that hold a body, by landmarks asked for.
_BODIES = {"world": ("POSE_WORLD_LANDMARKS",), "image": ("POSE_LANDMARKS", "pose_keypoints_2d")}


def read_pose_file(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    """Read the body of a `.pose` file. Image coordinates become fractions of the image, whose size the file holds.

    Raises:
        RecordingError: if the file is damaged, holds no body, or the package `pose-format` is not installed.
    """
    try:
        from pose_format import Pose
    except ImportError as error:
        raise need_extra("pose-format", "pose", ".pose files") from error

    with foreign_parser(file, ".pose file"):
        pose = Pose.read(bytes(file.data))
        components = {component.name: component for component in pose.header.components}
        size = pose.header.dimensions.width, pose.header.dimensions.height
        values = np.ma.filled(pose.body.data.astype(np.float64), np.nan)  # (T, M, points, dims)
        confidence = np.asarray(pose.body.confidence, dtype=np.float64)  # (T, M, points)
        rate = float(pose.body.fps)
    other = "image" if options.landmarks == "world" else "world"
    name = next((name for name in (*_BODIES[options.landmarks], *_BODIES[other]) if name in components), None)
    if name is None:
        raise file.error(
            f"no body among its components {', '.join(components)}; expected POSE_LANDMARKS or pose_keypoints_2d"
        )
    component = components[name]
    start = 0
    for known in pose.header.components:
        if known.name == name:
            break
        start += len(known.points)
    part = slice(start, start + len(component.points))
    dims = len(component.format) - 1  # the last one is the confidence
    points = values[:, :, part, :dims].swapaxes(0, 1)  # (T, M, V, C) -> (M, T, V, C)
    confidence = confidence[:, :, part].swapaxes(0, 1)
    if points.ndim != 4 or not points.size:
        raise file.error("no frame with a person")
    if name in _BODIES["image"]:
        points = points[..., :2] / np.array(size, dtype=np.float64)
    layout, order = layout_of_joints(canonical_joint_names(component.points), "pose")
    if layout.name == MEDIAPIPE:
        kind = "world" if name in _BODIES["world"] else "image"
        return landmark_recording(file, points[:, :, order], confidence[:, :, order], kind, frame_rate=rate)
    return make_recording(
        file,
        points[:, :, order],
        layout,
        confidence=confidence[:, :, order],
        frame_rate=rate,
        units="image fraction" if name in _BODIES["image"] else "",
    )


FORMAT = FileFormat(
    name="pose",
    title="pose-format (.pose)",
    suffixes=(".pose",),
    layout="mediapipe33, openpose25 or openpose18",
    units="metre (world landmarks) or image fraction",
    detect=lambda file: file.suffix == ".pose",
    read=read_pose_file,
    extra="pose",
)


__all__ = ["FORMAT", "read_pose_file"]
