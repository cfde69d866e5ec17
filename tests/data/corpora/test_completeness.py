import numpy as np
import pytest

from skeleton_transformers.data.corpora import get_corpus, list_corpora
from skeleton_transformers.data.corpora.completeness import check_completeness, format_completeness
from skeleton_transformers.data.storage import SkeletonSample, SkeletonStore, SkeletonStoreWriter


def make_store(path, corpus, rows, frames=1, frame_labels=None):
    """A store of samples with the columns of `rows`."""
    description = get_corpus(corpus) if corpus in list_corpora() else get_corpus("folder")
    labels = description.label_names or ("a", "b")
    keypoints, mask = np.ones((1, frames, 2, 3), np.float32), np.ones((1, frames), bool)
    layout = {"name": "two", "joints": ["spine_base", "head"], "parents": [0, 0]}
    with SkeletonStoreWriter(path, layout, 30, label_names=labels, corpus=corpus) as writer:
        for row in rows:
            writer.add(SkeletonSample(keypoints, mask, frame_labels=frame_labels, **row))
    return SkeletonStore.open(path)


def utd_rows(names):
    for name in sorted(names):
        action, subject, trial = (int(part[1:]) for part in name.split("_"))
        yield {"name": name, "label": action - 1, "subject": subject, "replication": trial}


def test_a_complete_corpus(tmp_path):
    names = get_corpus("utd-mhad").expected.names
    result = check_completeness(make_store(tmp_path / "store", "utd-mhad", utd_rows(names)))
    assert result.complete and result.known and (result.samples, result.expected_samples) == (861, 861)
    assert format_completeness(result) == "complete: all 861 recordings of utd-mhad that can be used are there"


def test_every_missing_recording_is_named(tmp_path):
    names = {name for name in get_corpus("utd-mhad").expected.names if "_s3_" not in name and name != "a9_s2_t2"}
    result = check_completeness(make_store(tmp_path / "store", "utd-mhad", utd_rows(names)))
    assert not result.complete and len(result.missing_names) == 109 == 861 - result.samples
    assert "a9_s2_t2" in result.missing_names and "a8_s1_t4" not in result.missing_names
    assert result.remarks == [
        "752 recordings, the complete corpus has 861 usable ones of 861",
        "xsub: 323 train and 429 test, complete 431 and 430",
    ]
    assert result.details == ["no recording of subject 3"]
    text = format_completeness(result)
    assert "missing recordings: 109" in text and text.endswith("... and 101 more (--all names them)")
    assert "a9_s2_t2" in format_completeness(result, all_names=True)


def test_classes_subjects_cameras_and_setups(tmp_path):
    rows = [
        {"name": f"{label} {number}", "label": label, "subject": 1 + number % 39, "camera": 1 + number % 2, "setup": 3}
        for label in range(59)
        for number in range(100 if label == 4 else 10)
    ]
    result = check_completeness(make_store(tmp_path / "store", "ntu60", rows))
    assert "no recording of 1 of 60 classes: walking apart" in result.remarks
    assert "no recording of subject 40" in result.details and "no recording of camera 3" in result.details
    assert "no recording of setup 1, 2, 4, 5, 6, 7, 8, 9 and 8 more" in result.details
    # 302 recordings cannot be used, nobody says of which classes: 948 - 302 = 646 may be all there is
    assert "100 recordings of class 'drop', complete 948" in result.details and len(result.details) == 3 + 59
    assert not result.missing_names and result.expected_samples == 56578


def test_too_many_recordings(tmp_path):
    rows = [
        {"name": str(n), "label": n % 60, "subject": 1 + n % 40, "camera": 1 + n % 3, "setup": 1 + n % 17}
        for n in range(56880)
    ]
    result = check_completeness(make_store(tmp_path / "store", "ntu60", rows))
    assert result.remarks[0] == "56880 recordings, the complete corpus has 56578 usable ones of 56880"
    assert result.remarks[-1].startswith(
        "more than the usable recordings: pass the list of those with missing skeletons"
    )
    assert result.details == []


def test_takes_are_compared_with_takes(tmp_path):
    names = sorted(get_corpus("pku-mmd-2").expected_takes.names)
    rows = [
        {"name": name, "subject": int(name[4:6]), "setup": int(name[1:3]), "camera": "LMR".index(name[-1]) + 1}
        for name in names
    ]
    labels = np.arange(1, 42, dtype=np.int16)  # 41 of the 51 classes
    store = make_store(tmp_path / "store", "pku-mmd-2", rows, frames=41, frame_labels=labels)
    assert check_completeness(store).complete
    store = make_store(tmp_path / "less", "pku-mmd-2", rows[:-1], frames=40, frame_labels=labels[:-1])
    result = check_completeness(store)
    assert result.missing_names == ["A26N13-R"]
    assert result.remarks[0] == "1008 recordings, the complete corpus has 1009 usable ones of 1009"
    assert result.remarks[1].startswith("no recording of 11 of 51 classes: ")


def test_frames_and_what_nobody_counted(tmp_path):
    rows = [{"name": str(number), "camera": 1 + number % 3, "split": "train"} for number in range(4)]
    store = make_store(tmp_path / "store", "pku-mmd-1", rows, frames=51, frame_labels=np.arange(1, 52, dtype=np.int16))
    result = check_completeness(store)
    assert "204 frames, complete 5312580" in result.details
    assert format_completeness(result).endswith(
        "from publications, never counted on the files: number of videos in each part of xview"
    )


@pytest.mark.parametrize("corpus", ["folder", "somebody's"])
def test_a_corpus_without_counts(tmp_path, corpus):
    rows = [{"name": str(label), "label": label} for label in range(2)]
    result = check_completeness(make_store(tmp_path / "store", corpus, rows))
    assert not result.known and result.complete
    assert format_completeness(result) == f"corpus {corpus!r}: 2 recordings, no published counts to compare with"


def test_the_expected_counts_agree_with_each_other():
    for name in list_corpora():
        corpus = get_corpus(name)
        for expected in (corpus.expected, corpus.expected_takes):
            if expected is None:
                continue
            assert expected.samples >= expected.usable
            assert len(expected.label_counts) in (0, len(corpus.label_names))
            if expected.label_counts:
                assert sum(expected.label_counts) in (expected.samples, expected.usable)
            if expected.names and expected.usable:
                assert len(expected.names) == expected.usable
            assert set(expected.protocols) <= set(corpus.protocols)
            for protocol, parts in expected.protocols.items():
                if not protocol.startswith("as"):  # subsets of the classes
                    assert sum(parts) == expected.usable
