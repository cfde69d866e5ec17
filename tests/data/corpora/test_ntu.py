from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from skeleton_transformers.data.corpora import PreparationOptions, get_corpus
from skeleton_transformers.data.corpora.ntu import TWO_PERSON_ACTIONS, parse_ntu_name, read_missing_list


def table(names):
    numbers = [parse_ntu_name(name) for name in names]
    columns = {key: np.array([n[key] for n in numbers]) for key in ("setup", "camera", "subject", "action")}
    return SimpleNamespace(
        labels=columns["action"] - 1,
        subjects=columns["subject"],
        cameras=columns["camera"],
        setups=columns["setup"],
        splits=np.full(len(names), ""),
    )


def names(setups, cameras, subjects, replications, actions):
    return [
        f"S{s:03d}C{c:03d}P{p:03d}R{r:03d}A{a:03d}"
        for s, c, p, r, a in product(setups, cameras, subjects, replications, actions)
    ]


def test_names():
    assert parse_ntu_name("S018C002P047R001A115") == {
        "setup": 18,
        "camera": 2,
        "subject": 47,
        "replication": 1,
        "action": 115,
    }
    for name in ("S18C002P047R001A115", "S018C002P047R001A115.skeleton", "walk"):
        with pytest.raises(ValueError, match=f"the name '{name}' is not of the form SsssCcccPpppRrrrAaaa"):
            parse_ntu_name(name)


def test_class_names():
    ntu60, ntu120 = get_corpus("ntu60"), get_corpus("ntu120")
    assert len(ntu60.label_names) == 60 and len(ntu120.label_names) == len(set(ntu120.label_names)) == 120
    assert ntu120.label_names[:60] == ntu60.label_names
    # A001, A027, A050, A060, A061, A097, A112, A120
    expected = [
        "drink water",
        "jump up",
        "punch or slap",
        "walking apart",
        "put on headphone",
        "arm circles",
        "high-five",
    ]
    assert [ntu120.label_names[i - 1] for i in (1, 27, 50, 60, 61, 97, 112)] == expected
    assert ntu120.label_names[119] == "rock-paper-scissors"
    assert len(TWO_PERSON_ACTIONS) == 26
    assert {"hugging", "shaking hands", "whisper", "carry object"} <= {
        ntu120.label_names[a - 1] for a in TWO_PERSON_ACTIONS
    }


def test_the_expected_counts_add_up():
    for name, missing in (("ntu60", 302), ("ntu120", 535)):
        expected = get_corpus(name).expected
        assert set(expected.protocols) == set(get_corpus(name).protocols)
        for parts in expected.protocols.values():
            assert sum(parts) == expected.usable
        assert expected.samples - expected.usable == missing
        assert sum(expected.label_counts) == expected.samples


def test_cross_subject_parts():
    corpus = get_corpus("ntu60")
    rows = table(names([1], [1], range(1, 41), [1], [1]))
    test = corpus.test_members(rows, "xsub")
    assert rows.subjects[~test].tolist() == [1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38]
    assert test.sum() == 20
    corpus = get_corpus("ntu120")
    rows = table(names([1], [1], range(1, 107), [1], [1]))
    test = corpus.test_members(rows, "xsub")
    assert (~test).sum() == 53 and test.sum() == 53
    assert set(
        table(names([1], [1], range(1, 41), [1], [1])).subjects[
            ~get_corpus("ntu60").test_members(table(names([1], [1], range(1, 41), [1], [1])), "xsub")
        ]
    ) <= set(rows.subjects[~test])


def test_cross_view_has_the_nominal_counts():
    # 56,880 recordings = 158 pairs of setup and performer x 3 cameras x 2 replications x 60 actions; who performed in which setup
    # does not matter to this protocol
    rows = table(names([1], [1, 2, 3], range(1, 159), [1, 2], range(1, 61)))
    test = get_corpus("ntu60").test_members(rows, "xview")
    assert (len(test), (~test).sum(), test.sum()) == (56880, 37920, 18960)
    assert set(rows.cameras[test]) == {1} and set(rows.cameras[~test]) == {2, 3}


@pytest.mark.parametrize(
    ("corpus", "protocol", "nominal"),
    [
        ("ntu60", "xsub", (40320, 16560)),
        ("ntu60", "xview", (37920, 18960)),
        ("ntu120", "xsub", (63360, 51120)),
        ("ntu120", "xset", (54720, 59760)),
    ],
)
def test_nominal_counts_less_the_missing_recordings_are_the_expected_ones(fixtures, corpus, protocol, nominal):
    """A pair of setup and performer gives 360 recordings: 3 cameras, 2 replications, 60 actions. The official list names the missing ones."""
    description = get_corpus(corpus)
    missing = sorted(read_missing_list(fixtures / "ntu_missing_skeletons.txt"))
    missing = [name for name in missing if parse_ntu_name(name)["setup"] <= description.num_setups]
    test = description.test_members(table(missing), protocol)
    assert sum(nominal) == description.expected.samples and all(count % 120 == 0 for count in nominal)
    parts = nominal[0] - int((~test).sum()), nominal[1] - int(test.sum())
    assert parts == description.expected.protocols[protocol]
    assert len(missing) == description.expected.samples - description.expected.usable


def test_cross_setup_parts():
    rows = table(names(range(1, 33), [1], [1], [1], [1]))
    test = get_corpus("ntu120").test_members(rows, "xset")
    assert rows.setups[test].tolist() == list(range(1, 33, 2)) and rows.setups[~test].tolist() == list(range(2, 33, 2))


def test_the_list_of_missing_recordings(tmp_path):
    path = tmp_path / "missing.txt"
    path.write_text(
        "The following recordings\nhave no skeletons:\nS001C002P005R002A008\n\nS001C002P006R001A008.skeleton \n"
    )
    assert read_missing_list(path) == {"S001C002P005R002A008", "S001C002P006R001A008"}
    path.write_text("nothing\n")
    with pytest.raises(ValueError, match="missing.txt: no line is a recording name like"):
        read_missing_list(path)


def test_listing(tmp_path):
    wanted = names([2], [1, 2], [3], [1], [1, 60])
    outside = ["S018C001P003R001A001", "S001C001P003R001A061"]
    wrong = ["S001C001P003R001A121", "walking"]
    (tmp_path / "part").mkdir()
    for name in wanted + outside + wrong:
        (tmp_path / "part" / f"{name}.skeleton").touch()
    (tmp_path / f"{wanted[0]}.skeleton").touch()
    (tmp_path / "missing.txt").write_text(f"two lines\nof prose\n{wanted[1]}\n")
    options = PreparationOptions(missing=str(tmp_path / "missing.txt"))
    listing = get_corpus("ntu60").list_recordings(tmp_path, options)
    assert sorted(r.name for r in listing.recordings) == sorted(set(wanted) - {wanted[1]})
    assert (listing.outside, listing.left_out) == (2, 1)
    assert dict(listing.skipped) == {
        "part/S001C001P003R001A121.skeleton": "action 121 is outside 1..120",
        "part/walking.skeleton": "the name 'walking' is not of the form SsssCcccPpppRrrrAaaa",
        f"part/{wanted[0]}.skeleton": f"same name as {wanted[0]}.skeleton, which is kept",
    }
    recording = next(r for r in listing.recordings if r.name == wanted[3])
    fields = (recording.label, recording.subject, recording.camera, recording.setup, recording.replication)
    assert fields == (59, 3, 2, 2, 1)
    assert get_corpus("ntu120").list_recordings(tmp_path, PreparationOptions()).outside == 0
