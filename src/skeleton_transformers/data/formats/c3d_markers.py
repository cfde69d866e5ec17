"""C3D marker trajectories (Vicon, Qualisys, Optitrack), read with the package `c3d`."""

from __future__ import annotations

import io
import warnings

import numpy as np

from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, foreign_parser, make_recording, need_extra
from .joint_names import canonical_joint_names, layout_of_joints


_MAGIC = 0x50


def detect(file: RecordingFile) -> bool:
    head = file.head
    return len(head) >= 512 and head[1] == _MAGIC and (file.suffix == ".c3d" or 2 <= head[0] <= 10 and b"\0\0" in head)


def read_c3d(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    """Read the markers of a file; a marker that was not seen is missing.

    Raises:
        RecordingError: if the file is damaged or cut off, or the package `c3d` is not installed.
    """
    try:
        import c3d
    except ImportError as error:
        raise need_extra("c3d", "c3d", "C3D files") from error

    with foreign_parser(file, "C3D file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of unusual parameters; what matters is checked here
        reader = c3d.Reader(io.BytesIO(file.data))
        count, num_frames = int(reader.point_used), int(reader.last_frame) - int(reader.first_frame) + 1
        size = num_frames * count * (16 if reader.point_scale < 0 else 8)
        if count < 1 or num_frames < 1 or size > len(file.data):
            raise file.error(
                f"{num_frames} frames of {count} markers do not fit into its {len(file.data)} bytes; it is cut off"
            )
        points = np.array([points for _, points, _ in reader.read_frames(check_nan=True)])  # (T, V, 5)
        names = [str(name).strip() for name in reader.point_labels]
        rate = float(reader.point_rate)
        unit = reader.get("POINT:UNITS")
        units = unit.string_value.strip() if unit is not None else ""
    if points.shape != (num_frames, count, 5):
        raise file.error(f"{len(points)} frames of {num_frames} are there; the file is cut off")
    names = [*names, *(f"marker_{number}" for number in range(len(names), count))][:count]
    keypoints = np.where(points[..., 3:4] < 0, np.nan, points[..., :3])
    layout, order = layout_of_joints(canonical_joint_names(names), "markers")
    return make_recording(file, keypoints[None, :, order], layout, frame_rate=rate, units=units.lower())


FORMAT = FileFormat(
    name="c3d",
    title="C3D markers (Vicon, Qualisys, OptiTrack)",
    suffixes=(".c3d",),
    layout="the file's own markers; a known layout if the names are its joints",
    units="metre, by the file's unit",
    detect=detect,
    read=read_c3d,
    extra="c3d",
)


__all__ = ["FORMAT", "read_c3d"]
