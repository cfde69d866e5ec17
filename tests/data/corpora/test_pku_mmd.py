import numpy as np
import pytest

from skeleton_transformers.data.corpora import PreparationOptions, get_corpus, split_indices
from skeleton_transformers.data.corpora.completeness import check_completeness
from skeleton_transformers.data.preparation import prepare_corpus
from skeleton_transformers.data.storage import SkeletonStore


FRAMES = 40


def write_video(folder, name, labels, second_person=False):
    """Every coordinate of a frame is its number plus one, so that a cut shows where it was made."""
    (folder / "Data").mkdir(parents=True, exist_ok=True)
    (folder / "Label").mkdir(exist_ok=True)
    rows = []
    for frame in range(FRAMES):
        first = [frame + 1] * 75
        second = [100 + frame] * 75 if second_person and frame >= 10 else [0] * 75
        rows.append(" ".join(map(str, first + second)))
    (folder / "Data" / f"{name}.txt").write_text("\n".join(rows) + "\n")
    (folder / "Label" / f"{name}.txt").write_text("".join(f"{','.join(map(str, row))}\n" for row in labels))


@pytest.fixture
def phase1(tmp_path):
    folder = tmp_path / "pku"
    write_video(folder, "0002-L", [(34, 0, 10, 2), (9, 12, 20, 1), (34, 35, 99, 2)], second_person=True)
    write_video(folder, "0002-M", [(34, 1, 11, 2)])
    write_video(folder, "0003-R", [(1, 5, 6, 2), (51, 6, 9, 2)])
    write_video(folder, "0004-L", [(2, 3, 5, 2)])
    write_video(folder, "A01N02-L", [(3, 0, 4, 2)])
    (folder / "Split").mkdir()
    (folder / "Split" / "cross-subject.txt").write_text(
        "Training videos:\n0002-L, 0002-M, \nValidataion videos:\n0003-R, 0004-L, \n"
    )
    return folder


def prepare(folder, out, corpus="pku-mmd-1", **options):
    report = prepare_corpus(corpus, folder, out, PreparationOptions(**options), workers=1, progress=False)
    return report, SkeletonStore.open(out)


def test_actions_are_cut_out(tmp_path, phase1):
    report, store = prepare(phase1, tmp_path / "store")
    assert store.names.tolist() == [
        "0002-L_00",
        "0002-L_01",
        "0002-L_02",
        "0002-M_00",
        "0003-R_00",
        "0003-R_01",
        "0004-L_00",
    ]
    assert store.labels.tolist() == [33, 8, 33, 33, 0, 50, 1] and store.label_names[33] == "stand up"
    assert store.num_frames.tolist() == [10, 8, 5, 10, 1, 3, 2]  # the third goes on beyond the end of the video
    assert store.num_persons.tolist() == [1, 2, 2, 1, 1, 1, 1]  # nobody else was there in the first ten frames
    assert store.cameras.tolist() == [1, 1, 1, 2, 3, 3, 1] and store.setups.tolist() == [2, 2, 2, 2, 3, 3, 4]
    first, second = store[0], store[1]
    np.testing.assert_array_equal(first.keypoints[0, :, 0, 0], np.arange(1, 11))
    np.testing.assert_array_equal(second.keypoints[:, :, 24, 2], [np.arange(13, 21), np.arange(112, 120)])
    assert first.frame_labels is None and report["outside"] == 2 and report["skipped"] == []
    assert store.details["options"] == {"takes": False}


def test_takes_have_a_label_in_every_frame(tmp_path, phase1):
    report, store = prepare(phase1, tmp_path / "store", takes=True)
    counts = {name: count for name, count in report["actions"].items() if count}
    assert counts == {"bow": 1, "brush hair": 1, "drop": 1, "stand up": 3, "writing": 1}
    assert store.names.tolist() == ["0002-L", "0002-M", "0003-R", "0004-L"]
    assert (store.labels == -1).all() and (store.num_frames == FRAMES).all()
    expected = np.zeros(FRAMES, np.int16)
    expected[0:10], expected[12:20], expected[35:] = 34, 9, 34
    np.testing.assert_array_equal(store[0].frame_labels, expected)
    assert store[0].frame_mask[1].tolist() == [False] * 10 + [True] * 30
    assert store.frame_labels(2).tolist() == [0] * 5 + [1] + [51] * 3 + [0] * 31


def test_protocols(tmp_path, phase1):
    _, store = prepare(phase1, tmp_path / "store")
    names = store.names
    assert names[split_indices(store, "xsub", "test")].tolist() == ["0003-R_00", "0003-R_01", "0004-L_00"]
    assert set(store.cameras[split_indices(store, "xview", "train")]) == {2, 3}
    assert set(store.cameras[split_indices(store, "xview", "test")]) == {1}
    (phase1 / "Split" / "cross-subject.txt").unlink()
    _, store = prepare(phase1, tmp_path / "other")
    with pytest.raises(ValueError, match="part 'train' of protocol 'xsub' is empty"):
        split_indices(store, "xsub", "train")
    assert "xsub: 0 train and 0 test, complete 18841 and 2704" in check_completeness(store).remarks


def test_lists_of_the_other_phase_under_the_name_of_this_one(tmp_path, phase1):
    (phase1 / "Split" / "cross_subject_v1.txt").write_text(
        "Training videos:\nA01N01-L,\nValidataion videos:\nA01N02-L,\n"
    )
    (phase1 / "Split" / "cross-subject_copy.txt").write_text(
        "Training videos:\n0002-L\nValidataion videos:\n0003-R, 0004-L, 0002-M"
    )
    report, store = prepare(phase1, tmp_path / "store")
    assert {entry["file"]: entry["reason"] for entry in report["skipped"]} == {
        "Split/cross_subject_v1.txt": "lists the videos of the other phase of PKU-MMD, whatever its name says",
        "Split/cross-subject_copy.txt": "divides the videos otherwise than Split/cross-subject.txt, which is used",
    }
    assert (store.splits == "train").sum() == 4


def test_what_is_wrong_is_named(tmp_path, phase1):
    write_video(phase1, "0005-M", [(2, 3, 5, 2), (2, 40, 50, 2)])
    write_video(phase1, "0006-M", [(60, 3, 5, 2)])
    write_video(phase1, "0007-M", [])
    (phase1 / "Label" / "0007-M.txt").unlink()
    write_video(phase1, "0008-M", [(2, 3, 5, 2)])
    (phase1 / "Data" / "0008-M.txt").unlink()
    write_video(phase1, "0009-M", [(2, 3, 5, 2)])
    (phase1 / "Data" / "0009-M.txt").write_text("1 2 3\n")
    (phase1 / "copy").mkdir()
    (phase1 / "copy" / "0004-L.txt").write_text((phase1 / "Data" / "0004-L.txt").read_text())
    report, store = prepare(phase1, tmp_path / "store")
    assert {(entry["file"], entry["reason"]) for entry in report["skipped"]} == {
        ("Data/0005-M.txt", "frames from 40 asked, the recording has 40; does the list of actions belong to it?"),
        ("Label/0006-M.txt", "line 1: label 60 is outside 1..51"),
        ("Data/0007-M.txt", "no file of labels of this video"),
        ("Label/0008-M.txt", "no file of skeletons of this video"),
        ("Data/0009-M.txt", "line 1: 3 values, expected 150 (2 persons x 25 joints x 3)"),
        ("copy/0004-L.txt", "same video as Data/0004-L.txt, which is kept"),
    }
    assert "0005-M_00" in store.names
    report, store = prepare(phase1, tmp_path / "takes", takes=True)
    assert "0005-M" not in store.names  # half of its labels would be of something else
    assert "an action begins in frame 40, the recording has 40" in str(report["skipped"])


def test_phase_2(tmp_path):
    folder = tmp_path / "pku"
    for video in ("A01N01-L", "A01N02-M", "A26N03-R", "A26N07-L", "A26N13-M"):
        write_video(folder, video, [(3, 0, 4, 2)])
    write_video(folder, "0002-L", [(3, 0, 4, 2)])
    report, store = prepare(folder, tmp_path / "store", corpus="pku-mmd-2")
    assert (
        report["outside"] == 2
        and store.subjects.tolist() == [1, 2, 3, 7, 13]
        and store.setups.tolist() == [1, 1, 26, 26, 26]
    )
    assert store.subjects[split_indices(store, "xsub", "test")].tolist() == [2, 3, 7]
    assert store.subjects[split_indices(store, "xview", "test")].tolist() == [1, 7]


def test_the_videos_of_phase_2_and_their_splits():
    """Every performance has three cameras, but for five that lack the middle one: the rules give the published counts."""
    corpus = get_corpus("pku-mmd-2")
    expected = corpus.expected_takes
    names = sorted(expected.names)
    subjects = np.array([int(name[4:6]) for name in names])
    cameras = np.array(["LMR".index(name[-1]) + 1 for name in names])

    class Table:
        pass

    table = Table()
    table.subjects, table.cameras, table.labels = subjects, cameras, np.zeros(len(names), int)
    assert len(names) == expected.samples == 1009
    for protocol, counts in {"xsub": (775, 234), "xview": (671, 338)}.items():
        test = corpus.test_members(table, protocol)
        assert ((~test).sum(), test.sum()) == counts == expected.protocols[protocol]
        assert corpus.members(table, protocol).all()


def test_the_counts_of_phase_1_add_up():
    corpus = get_corpus("pku-mmd-1")
    assert sum(corpus.expected.protocols["xsub"]) == corpus.expected.samples == 21545
    for parts in corpus.expected_takes.protocols.values():
        assert sum(parts) == corpus.expected_takes.samples == 1076


def test_takes_of_a_trimmed_corpus(tmp_path):
    with pytest.raises(ValueError, match="MSR-Action3D has no untrimmed takes; its recordings are single actions"):
        prepare_corpus("msr-action3d", tmp_path, tmp_path / "store", PreparationOptions(takes=True))
