import numpy as np
import pytest

from skeleton_transformers.data.corpora import PARTS, get_corpus, list_corpora, sample_by_label, split_indices
from skeleton_transformers.data.storage import SkeletonSample, SkeletonStore, SkeletonStoreWriter


CORPORA = (
    *("ntu60", "ntu120", "nw-ucla", "msr-action3d", "gtu", "pku-mmd-1", "pku-mmd-2", "kinetics", "utd-mhad", "precog"),
    *("human36m", "cmu-mocap", "folder", "synthetic"),
)


@pytest.fixture(scope="module")
def make_store(tmp_path_factory):
    """A store of a corpus with recordings of all subjects, cameras, setups and some labels."""

    def make(corpus, subjects=range(1, 11), known_subjects=True):
        path = tmp_path_factory.mktemp("stores") / corpus
        names = get_corpus(corpus).label_names if corpus in list_corpora() else ("a", "b")
        names = names or ("a", "b", "c")
        with SkeletonStoreWriter(path, "ntu25", 30, label_names=names, corpus=corpus) as writer:
            for subject in subjects:
                for number in range(12):
                    writer.add(
                        SkeletonSample(
                            np.ones((1, 2, 25, 3), np.float32),
                            np.ones((1, 2), bool),
                            label=(number + subject) % min(len(names), 20),
                            name=f"P{subject}N{number}",
                            subject=subject if known_subjects else -1,
                            camera=number % 3 + 1,
                            setup=number // 3 + 1,
                            split=("train", "test", "validation", "train")[number % 4],
                        )
                    )
        return SkeletonStore.open(path)

    return make


def test_every_corpus_has_a_description():
    assert tuple(list_corpora()) == CORPORA
    for name in CORPORA:
        corpus = get_corpus(name)
        assert corpus.name == name and corpus.title and corpus.terms and corpus.protocols and corpus.frame_rate > 0
        assert len(set(corpus.label_names)) == len(corpus.label_names)
    with pytest.raises(ValueError, match="unknown corpus 'hmdb'; known: ntu60, ntu120"):
        get_corpus("hmdb")


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("seed", [0, 1])
def test_parts_divide_the_protocol_and_validation_never_touches_the_test_part(make_store, corpus, seed):
    store = make_store(corpus)
    for protocol in get_corpus(corpus).protocols:
        names = [part for part in PARTS if (corpus, part) != ("gtu", "test")]  # it has no test part
        parts = {part: split_indices(store, protocol, part, seed) for part in names}
        for indices in parts.values():
            assert indices.dtype == np.int64 and (np.diff(indices) > 0).all()
        assert sorted([*parts["train"], *parts.get("test", [])]) == parts["all"].tolist()
        assert sorted([*parts["train-validation"], *parts["validation"]]) == parts["train"].tolist()
        for part, indices in parts.items():
            np.testing.assert_array_equal(indices, split_indices(store, protocol, part, seed))


@pytest.mark.parametrize(
    ("corpus", "protocol"),
    [
        ("ntu60", "xsub"),
        ("ntu60", "xview"),
        ("ntu120", "xset"),
        ("nw-ucla", "xview"),
        ("synthetic", "xset"),
        ("folder", "subject"),
    ],
)
def test_validation_takes_whole_subjects(make_store, corpus, protocol):
    store = make_store(corpus, subjects=range(1, 41))
    chosen = set()
    for seed in range(4):
        validation = store.subjects[split_indices(store, protocol, "validation", seed)]
        rest = store.subjects[split_indices(store, protocol, "train-validation", seed)]
        train = store.subjects[split_indices(store, protocol, "train", seed)]
        assert not set(validation) & set(rest)
        assert len(set(validation)) == round(0.1 * len(set(train)))
        chosen.add(tuple(sorted(set(validation))))
    assert len(chosen) > 1
    for part in ("train", "test"):
        np.testing.assert_array_equal(split_indices(store, protocol, part, 0), split_indices(store, protocol, part, 5))


def test_official_rules(make_store):
    store = make_store("nw-ucla")
    assert set(store.cameras[split_indices(store, "xview", "train")]) == {1, 2}
    assert set(store.cameras[split_indices(store, "xview", "test")]) == {3}
    store = make_store("synthetic")
    assert set(store.subjects[split_indices(store, "xsub", "test")]) == {2, 4, 6, 8, 10}
    assert set(store.cameras[split_indices(store, "xview", "test")]) == {1}
    assert set(store.setups[split_indices(store, "xset", "test")]) == {1, 3}


def test_msr_action3d_subsets(make_store):
    store = make_store("msr-action3d")
    assert set(store.subjects[split_indices(store, "xsub", "train")]) == {1, 3, 5, 7, 9}
    first = set(np.array(store.label_names)[store.labels[split_indices(store, "as1", "all")]])
    second = set(np.array(store.label_names)[store.labels[split_indices(store, "as2", "all")]])
    third = set(np.array(store.label_names)[store.labels[split_indices(store, "as3", "all")]])
    assert first == {
        *("horizontal arm wave", "hammer", "forward punch", "high throw", "hand clap", "bend", "tennis serve"),
        "pick up and throw",
    }
    assert len(first) == len(second) == len(third) == 8
    assert not first & second and first & third == {"high throw", "tennis serve", "pick up and throw"}
    assert first | second | third == set(store.label_names)


def test_the_users_own_split(make_store):
    store = make_store("folder")
    assert set(store.splits[split_indices(store, "split", "train")]) == {"train", "validation"}
    assert set(store.splits[split_indices(store, "split", "validation")]) == {"validation"}
    assert set(store.splits[split_indices(store, "split", "train-validation")]) == {"train"}
    assert set(store.splits[split_indices(store, "split", "test")]) == {"test"}
    assert set(split_indices(store, "subject", "test")) != set(split_indices(store, "subject:3", "test"))
    assert len(set(store.subjects[split_indices(store, "subject", "test")])) == 2
    counts = np.bincount(store.labels[split_indices(store, "random:1", "test")])
    np.testing.assert_allclose(counts, 0.2 * np.bincount(store.labels), atol=1)
    with pytest.raises(ValueError, match="protocol 'random:x': 'x' is not a seed, write for example 'random:3'"):
        split_indices(store, "random:x", "test")
    unknown = make_store("folder", known_subjects=False)
    with pytest.raises(
        ValueError, match="'subject' needs the subject of every recording; 120 have none.*use protocol 'random'"
    ):
        split_indices(unknown, "subject", "train")


def test_without_subjects_validation_is_drawn_from_every_class(make_store):
    store = make_store("gtu", known_subjects=False)
    validation = split_indices(store, "all", "validation")
    np.testing.assert_allclose(np.bincount(store.labels[validation]), 0.1 * np.bincount(store.labels), atol=1)
    with pytest.raises(ValueError, match="part 'test' of protocol 'all' is empty"):
        split_indices(store, "all", "test")


def test_a_store_of_an_unknown_corpus_has_the_protocols_of_a_folder(make_store):
    store = make_store("somebody's")
    assert len(split_indices(store, "random", "train")) + len(split_indices(store, "random", "test")) == len(store)


def test_messages(make_store):
    store = make_store("ntu60")
    with pytest.raises(ValueError, match="protocol 'xset' is not one of corpus 'ntu60' .*: choose one of xsub, xview"):
        split_indices(store, "xset", "train")
    with pytest.raises(ValueError, match="part 'val' is not one of train, validation, test, train-validation, all"):
        split_indices(store, "xsub", "val")


def test_sample_by_label_keeps_to_the_share():
    labels = np.repeat([0, 1, 2, -1], [100, 10, 50, 3])
    members = np.ones(163, dtype=bool)
    members[:20] = False
    chosen = sample_by_label(labels, members, 0.1, np.random.default_rng(0))
    assert not chosen[:20].any()
    assert abs(chosen.sum() - 14.3) < 1
    for label, count in ((0, 80), (1, 10), (2, 50)):
        assert abs((labels[chosen] == label).sum() - 0.1 * count) <= 1
    assert sample_by_label(labels, members, 0.0001, np.random.default_rng(0)).sum() == 1
