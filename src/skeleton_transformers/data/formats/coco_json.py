"""COCO keypoints: an annotation file, or a list of results.

Annotations: `{"images": [{"id", "file_name", "width", "height", "frame_id"}], "annotations": [{"image_id", "keypoints": [x, y, v, ...],
"track_id"}], "categories": [{"keypoints": [names]}]}`; v is 0 where a joint is not marked, 1 hidden, 2 visible. Results:
`[{"image_id": 12, "category_id": 1, "keypoints": [x, y, score, ...], "score": 0.9}, ...]`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...skeletons import SkeletonLayout
from .alphapose import is_result_list, read_result_list
from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, make_image_recording
from .joint_names import canonical_joint_names, layout_of_joints


def detect(file: RecordingFile) -> bool:
    content = file.json
    if isinstance(content, dict):
        return isinstance(content.get("annotations"), list) and isinstance(content.get("images"), list)
    return is_result_list(content)


def read_coco_json(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    """Read annotations or results of the images of one video as a recording.

    Images are frames by their `frame_id`, else by the order of the list `images`; in results, by their ids.

    Raises:
        RecordingError: if the file is damaged, or its people have different joints.
    """
    if not detect(file):
        raise file.error("no COCO keypoints: expected an object with 'images' and 'annotations', or a list of results")
    if isinstance(file.json, list):
        ids = [entry["image_id"] for entry in file.json]
        for number, value in enumerate(ids):
            if not isinstance(value, int) or isinstance(value, bool):
                raise file.error(f"image_id is {value!r}, expected a number", f"entry {number}")
        return read_result_list(file, options, file.frame_places(ids, "image ids"))
    places, num_frames, size = _images(file)
    layout, order = _layout(file, options)
    count = len(order)
    frames, poses, names = [], [], []
    for number, entry in enumerate(file.json["annotations"]):
        place = f"annotation {number}"
        if not isinstance(entry, dict):
            raise file.error("expected an object", place)
        if not entry.get("keypoints"):
            continue  # boxes and masks of other things
        image = entry.get("image_id")
        if not isinstance(image, (int, str)) or image not in places:
            raise file.error(f"image_id {image!r} is not in the list 'images'", place)
        values = file.numbers(entry["keypoints"], f"{place}, keypoints", (-1,))
        if len(values) % 3:
            raise file.error(f"{len(values)} values, expected x, y and v for each joint", f"{place}, keypoints")
        pose = values.reshape(-1, 3)  # (V * 3,) -> (V, 3)
        if not np.isin(pose[:, 2], (0, 1, 2)).all():
            raise file.error("v of a joint is not 0, 1 or 2", f"{place}, keypoints")
        pose[:, 2] = pose[:, 2] > 0
        if layout is None:
            layout, used = file.body_layout(len(pose), options, "coco17", "halpe26", "wholebody23")
            order, count = list(range(used)), len(pose)
        if len(pose) != count:
            raise file.error(f"{len(pose)} joints, expected {count}", f"{place}, keypoints")
        frames.append(places[image])
        poses.append(pose[order])
        names.append(entry.get("track_id"))
    if layout is None or not poses:
        raise file.error("nobody is marked in any of its images")
    known = all(isinstance(name, (int, str)) for name in names)
    recording = make_image_recording(file, layout, num_frames, frames, poses, names if known else None)
    if size is not None and options.image_size is None and recording.units == "pixel":
        recording.keypoints /= np.array(size, dtype=np.float32)
        recording.units = "image fraction"
    return recording


def _images(file: RecordingFile) -> tuple[dict[Any, int], int, tuple[float, float] | None]:
    """Place of each image id on the frame axis, the number of frames, and the size that all images have."""
    images = file.json["images"]
    for number, image in enumerate(images):
        if not isinstance(image, dict) or not isinstance(image.get("id"), (int, str)):
            raise file.error("expected an object with 'id'", f"image {number}")
    if not images:
        raise file.error("its list 'images' is empty")
    numbers = [image.get("frame_id") for image in images]
    if all(isinstance(number, int) for number in numbers) and len(set(numbers)) == len(numbers):
        places, num_frames = file.frame_places(numbers, "frame ids")
    else:
        places, num_frames = np.arange(len(images)), len(images)
    sizes = {(image.get("width"), image.get("height")) for image in images if _is_size(image)}
    size = sizes.pop() if len(sizes) == 1 and all(map(_is_size, images)) else None
    return {image["id"]: int(place) for image, place in zip(images, places)}, num_frames, size


def _is_size(image: dict) -> bool:
    return all(isinstance(image.get(key), (int, float)) and 0 < image[key] < 1e6 for key in ("width", "height"))


def _layout(file: RecordingFile, options: ReadOptions) -> tuple[SkeletonLayout | None, list[int]]:
    """The layout that the category names, and the places of its joints; None if it names none."""
    categories = file.json.get("categories")
    named = (
        [c["keypoints"] for c in categories if isinstance(c, dict) and c.get("keypoints")]
        if isinstance(categories, list)
        else []
    )
    if options.layout is not None or not named:
        return None, []
    names = named[0]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(names) > 1000:
        raise file.error("the joint names of its category are no list of names")
    return layout_of_joints(canonical_joint_names(names), "coco")


FORMAT = FileFormat(
    name="coco-json",
    title="COCO keypoint annotations or results",
    suffixes=(".json",),
    layout="coco17, or by the names of the category",
    units="image fraction where the file has the image size, else pixel",
    detect=detect,
    read=read_coco_json,
)


__all__ = ["FORMAT", "read_coco_json"]
