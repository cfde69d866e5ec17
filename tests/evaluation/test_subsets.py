"""Label subsets: sizes, reproducibility, independence of classes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeleton_transformers.evaluation.subsets import corpus_subset, label_subset, load_label_subset, save_label_subset


def test_stratified_sizes_follow_the_published_one_percent():
    # NTU RGB+D 60 cross-subject has about 668 training sequences of each of 60 actions.
    labels = np.repeat(np.arange(60), 668)
    subset = label_subset(labels, 0.01, seed=0)
    assert len(subset) == 360
    labels = np.repeat(np.arange(60), 700)
    assert np.bincount(labels[label_subset(labels, 0.01, seed=0)]).tolist() == [7] * 60


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any),
    fraction=st.sampled_from([0.01, 0.05, 0.1, 0.29, 0.5, 0.99]),
    seed=st.integers(0, 5),
)
def test_every_class_keeps_its_share_but_at_least_one(counts, fraction, seed):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    subset = label_subset(labels, fraction, seed)
    assert len(np.unique(subset)) == len(subset)
    kept = np.bincount(labels[subset], minlength=len(counts))
    for count, left in zip(counts, kept):
        # 100 fraction is an integer, so integer arithmetic gives the exact floor
        assert left == (0 if count == 0 else max(1, count * round(100 * fraction) // 100))


def test_uniform_takes_the_rounded_share():
    labels = np.zeros(40_091, dtype=int)
    assert len(label_subset(labels, 0.05, 0, "uniform")) == 2005
    assert len(label_subset(labels, 0.10, 0, "uniform")) == 4009


def test_same_seed_same_subset_other_seed_other_subset():
    labels = np.arange(300) % 10
    np.testing.assert_array_equal(label_subset(labels, 0.2, 4), label_subset(labels, 0.2, 4))
    assert set(label_subset(labels, 0.2, 4)) != set(label_subset(labels, 0.2, 5))
    np.testing.assert_array_equal(label_subset(labels, 1.0, 4), np.arange(300))


def test_every_member_of_a_class_can_be_chosen():
    labels = np.arange(20) % 2
    seen = np.concatenate([label_subset(labels, 0.1, seed) for seed in range(200)])
    counts = np.bincount(seen, minlength=20)
    # 200 draws of 1 in 10: mean 20, standard deviation 4.2
    assert counts.min() > 5 and counts.max() < 40


def test_written_list_names_the_samples(tmp_path):
    save_label_subset(tmp_path / "subset.json", ["b", "a"], np.array([1, 0]), 0.5, 3, "stratified")
    assert load_label_subset(tmp_path / "subset.json") == ["b", "a"]
    assert '"seed": 3' in (tmp_path / "subset.json").read_text()


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5])
def test_impossible_shares_are_refused(fraction):
    with pytest.raises(ValueError, match=r"label_fraction must lie in \(0, 1\]"):
        label_subset(np.zeros(5, dtype=int), fraction, 0)


def test_unknown_sampling_is_refused():
    with pytest.raises(ValueError, match="'stratified' or 'uniform', got 'random'"):
        label_subset(np.zeros(5, dtype=int), 0.5, 0, "random")


def test_a_quarter_of_a_corpus_has_a_quarter_of_every_class_and_subject():
    rng = np.random.default_rng(0)
    labels, subjects = np.repeat(np.arange(60), 948), np.tile(np.arange(40), 1422)  # 56,880 as NTU RGB+D 60
    order = rng.permutation(labels.size)
    labels, subjects = labels[order], subjects[order]
    chosen = corpus_subset(labels, subjects, 0.25, seed=0)
    assert len(chosen) == 14_220 and (np.diff(chosen) > 0).all()
    assert np.abs(np.bincount(labels[chosen]) - 237).max() <= 1
    assert np.abs(np.bincount(subjects[chosen]) / 355.5 - 1).max() < 0.1
    pairs = np.bincount(labels[chosen] * 40 + subjects[chosen], minlength=2400)
    whole = np.bincount(labels * 40 + subjects, minlength=2400)
    assert np.abs(pairs - whole / 4).max() < 1.0
    assert np.array_equal(chosen, corpus_subset(labels, subjects, 0.25, seed=0))
    assert not np.array_equal(chosen, corpus_subset(labels, subjects, 0.25, seed=1))
    assert np.array_equal(corpus_subset(labels, subjects, 1.0, seed=0), np.arange(labels.size))


def test_a_share_of_a_corpus_names_bad_input():
    with pytest.raises(ValueError, match=r"fraction must lie in \(0, 1\], got 0"):
        corpus_subset(np.zeros(3), np.zeros(3), 0.0, seed=0)
    with pytest.raises(ValueError, match=r"a label and a subject of every sample, got \(3,\) and \(2,\)"):
        corpus_subset(np.zeros(3), np.zeros(2), 0.5, seed=0)
