"""A user's folder of recordings in any format."""

import json

import numpy as np
import pytest

from skeleton_transformers import SkeletonStore, get_layout
from skeleton_transformers.data.corpora import PreparationOptions
from skeleton_transformers.data.preparation import PreparationError, prepare_corpus


def prepare(folder, out, **options):
    report = prepare_corpus("folder", folder, out, PreparationOptions(**options), workers=1, progress=False)
    return SkeletonStore.open(out), {entry["file"]: entry["reason"] for entry in report["skipped"]}


def openpose(folder, frames=12, missing=()):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(str(folder.name)))
    for number in range(frames):
        values = np.concatenate([rng.uniform(10, 400, (25, 2)), np.full((25, 1), 0.5)], axis=1)
        values[list(missing)] = 0
        people = [{"person_id": [-1], "pose_keypoints_2d": values.ravel().tolist()}]
        (folder / f"clip_{number:012d}_keypoints.json").write_text(json.dumps({"people": people}))


def kinect(path, joints="kinect20", frames=9, fps=None):
    names = get_layout(joints).joints
    values = np.random.default_rng(frames).uniform(-1, 1, (frames, 3 * len(names)))
    header = [f"{joint}_{axis}" for joint in names for axis in "xyz"]
    if fps is not None:
        header, values = ["time", *header], np.concatenate([np.arange(frames)[:, None] / fps, values], axis=1)
    path.write_text("\n".join([",".join(header), *(",".join(map(repr, row.tolist())) for row in values)]) + "\n")
    return values


def test_folders_of_openpose_are_recordings(tmp_path):
    raw = tmp_path / "raw"
    for name in ("a/one", "a/two", "three"):
        openpose(raw / name)
    (tmp_path / "labels.csv").write_text("file,label\na/one,walk\na/two,run\nthree,walk\nfour,run\n")
    store, skipped = prepare(raw, tmp_path / "s", labels=str(tmp_path / "labels.csv"), image_size=(640, 480))
    assert [store[n].name for n in range(3)] == ["a/one", "a/two", "three"] and store.label_names == ["run", "walk"]
    assert store.layout == get_layout("openpose25") and store.units == "image fraction" and store.num_channels == 2
    assert skipped == {"four": "no such file"}
    unlabelled, skipped = prepare(raw, tmp_path / "u", image_size=(640, 480))
    assert len(unlabelled) == 3 and not skipped
    np.testing.assert_array_equal(unlabelled[0].keypoints, store[0].keypoints)
    with pytest.raises(
        PreparationError, match="its coordinates are in pixel, wanted is image fraction; pass the width"
    ):
        prepare(raw, tmp_path / "p")
    assert prepare(raw, tmp_path / "q", units="pixel")[0].units == "pixel"


def test_confidence_channel_and_missing_joints(tmp_path):
    openpose(tmp_path / "raw" / "one", missing=(3, 4))
    with pytest.raises(PreparationError, match="right_elbow, right_wrist cannot be seen in any frame"):
        prepare(tmp_path / "raw", tmp_path / "s", image_size=(640, 480))
    store, _ = prepare(tmp_path / "raw", tmp_path / "c", image_size=(640, 480), num_channels=3)
    values = store[0].keypoints
    assert values.shape == (1, 12, 25, 3) and not values[..., [3, 4], :].any() and np.all(values[..., 0, 2] == 0.5)
    with pytest.raises(PreparationError, match="no joint has a confidence of 0.9"):
        prepare(tmp_path / "raw", tmp_path / "d", image_size=(640, 480), num_channels=3, min_confidence=0.9)


def test_formats_are_brought_to_one_layout_and_rate(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    first = kinect(raw / "a.csv")
    second = kinect(raw / "b.csv", "ntu25", frames=8, fps=15)
    np.save(raw / "c.npy", first.reshape(9, 20, 3).astype(np.float32))
    kinect(raw / "d.csv", "h36m17")
    (raw / "notes.txt").write_text("nothing to see")
    store, skipped = prepare(raw, tmp_path / "s", layout="kinect20")
    assert [sample.name for sample in store] == ["a", "b", "c"] and store.layout.name == "kinect20"
    np.testing.assert_allclose(store[2].keypoints, store[0].keypoints, rtol=1e-6)
    assert store[1].keypoints.shape[1] == 16 and store.frame_rate == 30  # from 15 frames per second
    ntu = second[:, 1:].reshape(8, 25, 3)[:, get_layout("ntu25").index("head")]
    np.testing.assert_allclose(store[1].keypoints[0, ::2, get_layout("kinect20").index("head")], ntu, rtol=1e-4)
    assert "layout 'h36m17' lacks" in skipped["d.csv"] and "not of a known format" in skipped["notes.txt"]
    # without a wish, the first recording sets the layout; arrays do not name theirs
    store, skipped = prepare(raw, tmp_path / "t")
    assert len(store) == 2 and "20 joints without names" in skipped["c.npy"]


def test_two_formats_of_the_same_take(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    kinect(raw / "a.csv")
    np.save(raw / "a.npy", np.ones((5, 20, 3), dtype=np.float32))
    store, _ = prepare(raw, tmp_path / "s", layout="kinect20")
    assert [sample.name for sample in store] == ["a", "a.npy"]


def test_parts_of_a_take(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    values = kinect(raw / "a.csv").reshape(9, 20, 3)
    (tmp_path / "labels.csv").write_text(
        "file,label,start,end\na.csv,sit,2,5\na.csv,run,5,\na.csv,hop,5,20\na.csv,nap,9,\n"
    )
    store, skipped = prepare(raw, tmp_path / "s", labels=str(tmp_path / "labels.csv"))
    assert [sample.name for sample in store] == ["a[2:5]", "a[5:]"]
    np.testing.assert_allclose(store[0].keypoints[0], values[2:5], rtol=1e-6)
    assert skipped["a.csv"] == "frames 9.. asked, the file has 9 (0..8)"  # and 5..19, of the same file
