"""`read_skeletons`: options, units, and the arrays of a recording for a model. Formats are tested in tests/data/formats."""

import json
import logging
import re

import numpy as np
import pytest

from skeleton_transformers import SkeletonLayout, get_layout, read_skeletons
from skeleton_transformers.data.formats.base import SkeletonRecording
from skeleton_transformers.data.recordings import RecordingError, as_sequence, get_format, list_formats


def recording(layout="coco17", frames=5, channels=2, persons=1, confidence=True, **changes):
    layout = get_layout(layout)
    shape = (persons, frames, layout.num_joints)
    values = np.random.default_rng(0).uniform(0.1, 0.9, (*shape, channels)).astype(np.float32)
    fields = {
        "keypoints": values,
        "frame_mask": np.ones(shape[:2], dtype=bool),
        "layout": layout,
        "confidence": np.full(shape, 0.5, dtype=np.float32) if confidence else None,
        "units": "image fraction" if channels == 2 else "metre",
        "source": "take",
    }
    return SkeletonRecording(**(fields | changes))


def without(found: SkeletonRecording, *places) -> SkeletonRecording:
    """The recording without the joints at (person, frame, joint)."""
    found.joint_mask = found.present_joints.copy()
    for place in places:
        found.joint_mask[place] = False
        found.keypoints[place] = 0
        found.confidence[place] = 0
    found.frame_mask = found.joint_mask.any(axis=-1)
    return found


# -- files ------------------------------------------------------------------------------------------------------------
def test_unknown_files(tmp_path):
    path = tmp_path / "clip.avi"
    path.write_bytes(b"RIFF....AVI ")
    with pytest.raises(
        RecordingError, match=r"clip.avi: not of a known format \(its ending is '.avi'\); name it with format="
    ):
        read_skeletons(path)
    path.write_text(json.dumps({"a": 1, "b": [2]}))
    with pytest.raises(RecordingError, match="it is JSON, an object with 'a', 'b'"):
        read_skeletons(path)
    path.write_text("[1, 2]")
    with pytest.raises(RecordingError, match="it is JSON, a list"):
        read_skeletons(path)
    path.write_text("[" * 100_000)
    with pytest.raises(RecordingError, match="not JSON"):
        read_skeletons(path)
    path.write_bytes(b"")
    with pytest.raises(RecordingError, match="the file is empty"):
        read_skeletons(path)
    with pytest.raises(FileNotFoundError, match="gone.json: there is no such file"):
        read_skeletons(tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "avi"}, "unknown format 'avi'; known: npy, npz"),
        ({"image_size": (640, 0)}, "image_size must be"),
        ({"image_size": (640,)}, "image_size must be"),
        ({"min_confidence": 1.5}, "min_confidence must be between 0 and 1"),
        ({"landmarks": "both"}, "landmarks must be one of world, image"),
        ({"layout": "nowhere"}, "Unknown skeleton layout 'nowhere'"),
        ({"min_confidence": 0.5}, "has no confidence, so min_confidence=0.5 means nothing"),
    ],
)
def test_options_that_make_no_sense(tmp_path, options, message):
    np.save(tmp_path / "x.npy", np.ones((4, 33, 3)))
    with pytest.raises(ValueError, match=message):
        read_skeletons(tmp_path / "x.npy", **options)


def test_pixels_without_the_size_of_the_image_are_said(tmp_path, caplog):
    path = tmp_path / "a.csv"
    path.write_text("head_x,head_y\n100,200\n")
    with caplog.at_level(logging.WARNING):
        assert read_skeletons(path).units == "pixel"
    assert "coordinates are pixels; pass image_size=(width, height)" in caplog.text
    found = read_skeletons(path, image_size=(200, 1000))
    assert found.units == "image fraction"
    np.testing.assert_allclose(found.keypoints[0, 0, 0], [0.5, 0.2])


def test_confidence_is_kept_where_it_masks(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("head_x,head_y,head_score,nose_x,nose_y,nose_score\n.1,.2,.9,.3,.4,.2\n.1,.2,.1,.3,.4,.1\n")
    found = read_skeletons(path, min_confidence=0.5)
    assert found.joint_mask.tolist() == [[[True, False], [False, False]]] and found.frame_mask.tolist() == [
        [True, False]
    ]
    assert not found.keypoints[0, 0, 1].any() and found.confidence[0, 0, 1] == pytest.approx(0.2)


def test_people_of_ntu_files(fixtures):
    path = fixtures / "S001C001P001R001A050.skeleton"
    everybody, two = read_skeletons(path), read_skeletons(path, bodies="simple")
    assert everybody.layout is get_layout("ntu25") and everybody.units == "metre" and everybody.frame_rate == 30
    assert len(everybody.person_ids) == len(everybody.keypoints) and all(
        len(name) > 10 for name in everybody.person_ids
    )
    assert len(two.keypoints) <= 2 and two.frame_mask.sum() <= everybody.frame_mask.sum()
    with pytest.raises(ValueError, match="unknown body selection 'best'"):
        read_skeletons(path, bodies="best")


def test_real_recordings_of_the_corpora(real_data):
    kinds = {
        "nw-ucla-json": (sorted((real_data / "nw-ucla" / "all_sqe").glob("*.json"))[5], "kinect20"),
        "msr-action3d-text": (sorted((real_data / "msr-action3d").glob("*/a*.txt"))[5], "msr20"),
        "gtu-text": (sorted((real_data / "gtu-3d-actions" / "3").glob("*.txt"))[0], "ntu25"),
        "ntu-skeleton": (real_data / "ntu-samples" / "S001C001P001R001A003.skeleton", "ntu25"),
    }
    for kind, (path, layout) in kinds.items():
        found = read_skeletons(path)
        assert (found.format, found.layout.name, found.units) == (kind, layout, "metre")
        assert found.frame_mask.any() and np.abs(found.keypoints).max() < 10
    with pytest.raises(RecordingError, match="a file is one recording|shape"):
        read_skeletons(real_data / "ntu-samples" / "NTU_preprocessed_skeleton_examples.npy", layout="ntu25")


# -- arrays for a model -----------------------------------------------------------------------------------------------
def test_joints_are_matched_by_name():
    source = recording("ntu25", channels=3, confidence=False)
    keypoints, mask = as_sequence(source, "kinect20", 3)
    for place, joint in enumerate(get_layout("kinect20").joints):
        np.testing.assert_array_equal(keypoints[:, :, place], source.keypoints[:, :, source.layout.index(joint)])
    np.testing.assert_array_equal(mask, source.frame_mask)
    with pytest.raises(RecordingError, match="take: layout 'kinect20' lacks 5 of the 25 joints of 'ntu25' .neck, "):
        as_sequence(recording("kinect20", channels=3), "ntu25", 3)


def test_confidence_becomes_the_last_channel_if_wanted():
    found = without(recording(), (0, 2, 4))
    keypoints, _ = as_sequence(found, "coco17", 3, confidence_channel=True)
    assert keypoints.shape == (1, 5, 17, 3) and keypoints[0, 2, 4].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(keypoints[0, 0, :, 2], found.confidence[0, 0])
    assert as_sequence(found, "coco17", 2)[0].shape == (1, 5, 17, 2)
    for options in ({"num_channels": 3}, {"num_channels": 3, "confidence_channel": True}):
        with pytest.raises(RecordingError, match="has 2 coordinates per joint, wanted are 3 channels"):
            as_sequence(recording(confidence=False), "coco17", **options)
    with pytest.raises(RecordingError, match="has 3 coordinates .*wanted are 3 channels, the last one a confidence"):
        as_sequence(recording("ntu25", channels=3, confidence=False), "ntu25", 3, confidence_channel=True)


def test_missing_joints_are_put_between_their_neighbours():
    whole = recording(frames=7)
    original = whole.keypoints.copy()
    found = without(whole, (0, 0, 3), (0, 2, 3), (0, 3, 3), (0, 6, 3))
    keypoints, mask = as_sequence(found, "coco17", 2)
    assert mask.all()
    np.testing.assert_array_equal(keypoints[0, 0, 3], original[0, 1, 3])
    np.testing.assert_array_equal(keypoints[0, 6, 3], original[0, 5, 3])
    step = (original[0, 4, 3] - original[0, 1, 3]) / 3
    np.testing.assert_allclose(
        keypoints[0, 2:4, 3], [original[0, 1, 3] + step, original[0, 1, 3] + 2 * step], rtol=1e-5
    )
    others = np.delete(np.arange(17), 3)
    np.testing.assert_array_equal(keypoints[:, :, others], original[:, :, others])
    assert not found.keypoints[0, 2, 3].any()  # the recording itself is not changed


def test_gaps_longer_than_the_limit_stay_gaps():
    found = without(recording(frames=9), (0, 0, 3), (0, 2, 3), (0, 4, 5), (0, 5, 5))
    keypoints, mask = as_sequence(found, "coco17", 2, max_gap=1)
    assert mask[0].tolist() == [False, True, True, True, False, False, True, True, True]
    assert keypoints[0, 2, 3].any() and not keypoints[~mask].any()
    assert as_sequence(found, "coco17", 2, max_gap=2)[1].sum() == 8
    with pytest.raises(RecordingError, match="take: in every frame a joint is missing for more than 0 frames"):
        as_sequence(without(recording(frames=2), (0, 0, 1), (0, 1, 2)), "coco17", 2, max_gap=0)


def test_an_absent_person_stays_absent():
    found = without(recording(), *[(0, 2, joint) for joint in range(17)], (0, 1, 5))
    keypoints, mask = as_sequence(found, "coco17", 2)
    assert mask.tolist() == [[True, True, False, True, True]] and not keypoints[0, 2].any()
    assert keypoints[0, 1, 5].any()


def test_a_joint_that_is_never_seen(caplog):
    never = [(0, frame, joint) for frame in range(5) for joint in (15, 16)]
    with pytest.raises(
        RecordingError, match="take: left_ankle, right_ankle cannot be seen in any frame; use a layout without them"
    ):
        as_sequence(without(recording(), *never), "coco17", 2)
    upper = SkeletonLayout("upper", get_layout("coco17").joints[:13], get_layout("coco17").parents[:13])
    assert as_sequence(without(recording(), *never), upper, 2)[0].shape == (1, 5, 13, 2)
    assert as_sequence(without(recording(), *never), "coco17", 3)[0].shape == (1, 5, 17, 3)
    with caplog.at_level(logging.WARNING):
        keypoints, _ = as_sequence(without(recording(persons=2), *never), "coco17", 2)
    assert len(keypoints) == 1 and "1 people of whom joints are never seen are left out" in caplog.text


def test_units_must_fit():
    pixels = recording(units="pixel")
    with pytest.raises(
        RecordingError, match=r"take: its coordinates are in pixel, wanted is image fraction; pass the width"
    ):
        as_sequence(pixels, "coco17", 2)
    assert as_sequence(pixels, "coco17", 2, units="pixel")[0].shape == (1, 5, 17, 2)
    with pytest.raises(
        RecordingError, match="its coordinates are in metre, wanted is image fraction; convert it first"
    ):
        as_sequence(recording("ntu25", channels=3), "ntu25", 3, units="image fraction")
    as_sequence(recording(units=""), "coco17", 2, units="image fraction")


# -- the page ---------------------------------------------------------------------------------------------------------
def test_the_page_describes_every_format(pytestconfig):
    page = (pytestconfig.rootpath / "docs" / "recordings.md").read_text()
    named = re.findall(r"^\| `([a-z0-9-]+)` \|", page, re.MULTILINE)
    assert named == list_formats()
    for name in named:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        extra = get_format(name).extra
        assert not extra or f"`{extra}`" in row
        assert all(f"`{suffix}`" in row for suffix in get_format(name).suffixes if suffix.startswith("."))
