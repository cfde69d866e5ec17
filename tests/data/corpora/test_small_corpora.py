"""Kinetics-Skeleton, UTD-MHAD, PRECOG-2016, Human3.6M and CMU: listings, splits and whole preparations."""

import json

import numpy as np
import pytest
from scipy.io import savemat

from skeleton_transformers.data.corpora import PreparationOptions, get_corpus, split_indices
from skeleton_transformers.data.corpora.base import label_frames, label_runs
from skeleton_transformers.data.corpora.cmu_mocap import is_model_pose
from skeleton_transformers.data.corpora.completeness import check_completeness
from skeleton_transformers.data.formats.errors import RecordingError
from skeleton_transformers.data.formats.expmap_text import EXPMAP_SKELETONS, read_expmap_text
from skeleton_transformers.data.preparation import prepare_corpus
from skeleton_transformers.data.storage import SkeletonStore
from skeleton_transformers.skeletons import get_layout


def prepare(corpus, folder, out, **options):
    report = prepare_corpus(corpus, folder, out, PreparationOptions(**options), workers=1, progress=False)
    return report, SkeletonStore.open(out)


def test_kinetics(tmp_path):
    folder = tmp_path / "kinetics"
    body = {"pose": [0.5] * 36, "score": [0.7] * 18}
    clips = {
        "train": {
            "a": (True, "abseiling", 0),
            "b": (False, "yoga", 398),
            "c": (True, "zumba", 399),
            "g": (True, "yoga", 5),
        },
        "val": {
            "d": (True, "yoga", 398),
            "e": (True, "yoga", 398),
            "f": (True, "high kick", get_corpus("kinetics").label_names.index("high kick")),
            "a": (True, "yoga", 398),
        },
    }
    for part, entries in clips.items():
        (folder / f"kinetics_{part}").mkdir(parents=True)
        labels = {
            name: {"has_skeleton": found, "label": label, "label_index": index}
            for name, (found, label, index) in entries.items()
        }
        (folder / f"kinetics_{part}_label.json").write_text(json.dumps(labels))
        for name in entries.keys() - {"e"}:
            frames = [{"frame_index": 1, "skeleton": [body]}, {"frame_index": 2, "skeleton": []}]
            (folder / f"kinetics_{part}" / f"{name}.json").write_text(json.dumps({"data": frames}))
    (folder / "kinetics_test_label.json").write_text("{}")
    report, store = prepare("kinetics", folder, tmp_path / "store")
    names = get_corpus("kinetics").label_names
    assert len(names) == 400 and list(names) == sorted(names, key=str.lower)
    assert store.names.tolist() == ["a", "c", "d", "f"]
    assert [names[label] for label in store.labels] == ["abseiling", "zumba", "yoga", "high kick"]
    assert store.names[split_indices(store, "split", "test")].tolist() == ["d", "f"]
    assert store.units == "image fraction" and store.layout.name == "openpose18"
    assert store[0].frame_mask.tolist() == [[True, False]]
    assert report["left_out"] == 1
    reasons = {entry["file"]: entry["reason"] for entry in report["skipped"]}
    assert reasons["kinetics_train/g.json"].startswith(
        "label 5 is 'yoga' in kinetics_train_label.json; is it another edition"
    )
    assert reasons["kinetics_val/e.json"].startswith("cannot be read")
    assert reasons["kinetics_val/a.json"] == "a clip of the same name is listed before"
    assert reasons["kinetics_test_label.json"] == "not the labels of one of kinetics_train, kinetics_val"


def test_utd_mhad(tmp_path):
    folder = tmp_path / "Skeleton"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a1_s1_t1", "a27_s2_t4", "a9_s8_t2", "a28_s1_t1"):
        savemat(folder / f"{name}_skeleton.mat", {"d_skel": rng.normal(size=(20, 3, 6))})
    savemat(folder / "a1_s1_t1_inertial.mat", {"d_iner": np.zeros((6, 6))})
    report, store = prepare("utd-mhad", folder, tmp_path / "store")
    assert store.names.tolist() == ["a1_s1_t1", "a27_s2_t4", "a9_s8_t2"] and store.labels.tolist() == [0, 26, 8]
    assert store.names[split_indices(store, "xsub", "test")].tolist() == ["a27_s2_t4", "a9_s8_t2"]
    assert {entry["reason"] for entry in report["skipped"]} == {
        "action 28 is outside 1..27",
        "the name 'a1_s1_t1_inertial' is not of the form aA_sS_tT_skeleton",
    }
    expected = get_corpus("utd-mhad").expected
    odd = sum(int(name.split("_")[1][1:]) % 2 for name in expected.names)
    assert (odd, len(expected.names) - odd) == expected.protocols["xsub"] == (431, 430)


def test_runs_of_labels_and_back(tmp_path):
    labels = np.array([0, 0, 3, 3, 0, 1, 2, 2, 2], np.int16)
    runs = label_runs(labels)
    assert runs == [(3, 2, 4), (1, 5, 6), (2, 6, 9)]
    np.testing.assert_array_equal(label_frames(tmp_path, runs, 9), labels)
    np.testing.assert_array_equal(label_frames(tmp_path, [(4, 7, 20)], 9), [0] * 7 + [4, 4])
    assert label_runs(np.array([5], np.int16)) == [(5, 0, 1)] and label_runs(np.zeros(4, np.int16)) == []
    with pytest.raises(RecordingError, match="an action begins in frame 9, the recording has 9"):
        label_frames(tmp_path, [(4, 9, 20)], 9)


def write_take(path, labels, names):
    frames = [";".join(["0.1 0.2 0.3"] * len(names)) + (f";{label}" if label != "" else "") for label in labels]
    path.write_text("\n".join(["; ".join(names), *frames]) + "\n")


def test_precog(tmp_path):
    folder = tmp_path / "CSV"
    folder.mkdir()
    limbs = ("Shoulder", "Elbow", "Wrist", "Hand", "Hip", "Knee", "Ankle", "Foot")
    names = ["HipCenter", "Spine", "ShoulderCenter", "Head", *(p + s for p in limbs for s in ("Left", "Right"))]
    write_take(folder / "Seq1_3.csv", [0, 2, 2, 0, 8, 8, 1], names)
    write_take(folder / "Seq2_4.csv", [0, 9], names)
    write_take(folder / "Seq3_4.csv", ["", ""], names)
    write_take(folder / "Seq4_4.csv", [0, 1], names[:6])
    write_take(folder / "take.csv", [0, 1], names)
    report, store = prepare("precog", folder, tmp_path / "store")
    assert store.names.tolist() == ["Seq1_3_00", "Seq1_3_01", "Seq1_3_02"] and store.labels.tolist() == [1, 7, 0]
    assert (
        store.num_frames.tolist() == [2, 2, 1]
        and store.subjects.tolist() == [3] * 3
        and store.setups.tolist() == [1] * 3
    )
    reasons = {entry["file"]: entry["reason"] for entry in report["skipped"]}
    assert reasons["Seq2_4.csv"] == "the label 9 at the ends of its lines, expected numbers from 0 to 8"
    assert reasons["Seq3_4.csv"].startswith("no labels at the ends of its lines")
    assert reasons["Seq4_4.csv"].startswith("line 1: names the 6 joints")
    assert reasons["take.csv"] == "the name 'take' is not of the form SeqN_S"


def test_precog_on_the_real_recordings(real_data, tmp_path):
    folder = real_data / "precog2016"
    report, takes = prepare("precog", folder, tmp_path / "takes", takes=True)
    runs = {name: label_runs(takes.frame_labels(index)) for index, name in enumerate(takes.names.tolist())}
    assert len(takes) == 70 and {entry["file"] for entry in report["skipped"]} == {
        "CSV/Seq2_10.csv",
        "CSV/Seq4_10.csv",
    }
    assert check_completeness(takes).complete
    report, store = prepare("precog", folder, tmp_path / "store")
    assert check_completeness(store).complete and len(store) == 353 == sum(map(len, runs.values()))
    # 363 in all: ten are in the two takes without coordinates
    empty = [
        [int(row.rsplit(";", 1)[1]) for row in (folder / "CSV" / f"Seq{n}_10.csv").read_text().split("\n")[1:] if row]
        for n in (2, 4)
    ]
    assert (
        353 + sum(len(label_runs(np.array(labels, np.int16))) for labels in empty)
        == get_corpus("precog").expected.samples
    )
    whole = dict(zip(takes.names.tolist(), takes))
    for sample in store:
        label, start, end = runs[sample.name.rsplit("_", 1)[0]][sample.replication]
        assert sample.label == label - 1
        np.testing.assert_array_equal(sample.keypoints, whole[sample.name.rsplit("_", 1)[0]].keypoints[:, start:end])
    assert set(takes.subjects[split_indices(takes, "xsub", "train")] % 2) == {1}


def write_expmap(path, skeleton, frames, seed=0):
    values = np.random.default_rng(seed).normal(0, 0.3, (frames, 3 + 3 * len(EXPMAP_SKELETONS[skeleton].nodes)))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, values, delimiter=",")


def test_human36m(tmp_path):
    folder = tmp_path / "dataset"
    for number, name in enumerate(
        ("S1/walking_1", "S5/walking_2", "S11/takingphoto_1", "S1/jumping_1", "other/eating_1")
    ):
        write_expmap(folder / f"{name}.txt", "h36m", 4 + number)
    write_expmap(folder / "S6/eating_1.txt", "cmu", 4)
    report, store = prepare("human36m", folder, tmp_path / "store")
    assert sorted(store.names.tolist()) == ["S11_takingphoto_1", "S1_walking_1", "S5_walking_2"]
    assert store.layout == get_layout("h36m25") and store.frame_rate == 50 and store.units == "metre"
    assert store.subjects[split_indices(store, "xsub", "test")].tolist() == [5]
    reasons = {entry["file"]: entry["reason"] for entry in report["skipped"]}
    assert reasons["S1/jumping_1.txt"].startswith("the name 'jumping_1' is not of the form action_1 or action_2")
    assert reasons["other/eating_1.txt"] == "the folder 'other' is not a subject S1, S5, ..."
    assert reasons["S6/eating_1.txt"] == "line 1: 117 numbers, expected 99 (h36m)"
    assert len(get_corpus("human36m").expected.names) == 210


def test_cmu_mocap_leaves_the_pose_of_the_model_out(tmp_path):
    folder = tmp_path / "cmu"
    write_expmap(folder / "train/walking/walking_1.txt", "cmu", 5)
    model = np.zeros((1, 117))
    model[0, [0, 1, 2, 11]] = 10, 16, -30, 0.37
    recorded = np.loadtxt(folder / "train/walking/walking_1.txt", delimiter=",")
    (folder / "test/walking").mkdir(parents=True)
    np.savetxt(folder / "test/walking/walking_1.txt", np.concatenate([model, recorded]), delimiter=",")
    np.savetxt(folder / "train/walking/walking_2.txt", model, delimiter=",")
    write_expmap(folder / "train/walking/soccer_1.txt", "cmu", 5)
    report, store = prepare("cmu-mocap", folder, tmp_path / "store")
    assert store.names.tolist() == ["test/walking_1", "train/walking_1"] and store.num_frames.tolist() == [5, 5]
    np.testing.assert_array_equal(store[0].keypoints, store[1].keypoints)
    assert store.names[split_indices(store, "split", "test")].tolist() == ["test/walking_1"]
    assert {entry["file"]: entry["reason"] for entry in report["skipped"]} == {
        "train/walking/soccer_1.txt": "not in a folder train/soccer or test/soccer",
        "train/walking/walking_2.txt": "holds only the pose in which the skeleton was modelled",
    }


def test_cmu_mocap_on_the_real_recordings(real_data):
    """Every file begins with the pose of the model, and no other frame is taken for it."""
    for path in sorted((real_data / "cmu-mocap").glob("t*/*/*_1.txt")):
        values, _ = read_expmap_text(path)
        assert [frame for frame in range(0, len(values), 7) if is_model_pose(values[frame])] == [0], path
