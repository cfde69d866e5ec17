"""Detections: segments out of frames, and measures that agree with recorded values and with an independent computation."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeleton_transformers.evaluation.detection import (
    Segment,
    average_precision,
    average_precision_2d,
    detection_metrics,
    f1_score,
    frames_to_segments,
    match,
    mean_average_precision,
    overlap,
    segment_f1,
    smooth,
    true_segments,
)


def segments(rows):
    return [Segment(label, start, end, confidence, video) for label, start, end, confidence, video in rows]


@pytest.fixture(scope="module")
def golden(fixtures):
    return json.loads((fixtures / "golden.json").read_text())


def test_average_precision_has_the_recorded_values(golden):
    assert len(golden["pku_official_ap"]) == 5
    for case in golden["pku_official_ap"]:
        found = average_precision(segments(case["proposals"]), segments(case["ground"]), case["theta"])
        assert found == pytest.approx(case["ap"], abs=1e-6)


def test_a_set_with_all_kinds_of_errors_has_the_recorded_values(golden):
    case = golden["pku_synthetic"]
    detections, truth = segments(case["proposals"]), segments(case["ground"])
    action, video = mean_average_precision(detections, truth, 51, ["v1", "v2", "v3"], case["theta"])
    assert action == pytest.approx(case["mAP_a_over_51"], abs=1e-6)
    assert video == pytest.approx(case["mAP_v"], abs=1e-6)
    assert average_precision(detections, truth) == pytest.approx(case["AP_all"], abs=1e-6)


# ---------------------------------------------------------------------------------------------------------------------
# An oracle: thresholds instead of an order, sets instead of counters


def oracle_matches(detections, truth, theta):
    table = np.array([[overlap(d, t) for t in truth] for d in detections]).reshape(len(detections), len(truth))
    best = [len(truth) - 1 - int(row[::-1].argmax()) if len(truth) else -1 for row in table]
    return [column if column >= 0 and table[row, column] >= theta else -1 for row, column in enumerate(best)]


def oracle_official(detections, truth, theta):
    """Precision is a step function over the rank: in front of every match that is taken away it has the largest value so far."""
    if not detections or not truth:
        return 0.0
    order = sorted(range(len(detections)), key=lambda i: detections[i].confidence)
    matches = oracle_matches(detections, truth, theta)

    def point(number_gone):
        left = {matches[i] for i in order[number_gone:]} - {-1}
        remaining = len(order) - number_gone
        return (len(left) / remaining if remaining else 0.0), len(left) / len(truth)

    cuts = [0] + [rank + 1 for rank, i in enumerate(order) if matches[i] != -1]
    points = [point(cut) for cut in cuts]
    return sum(
        max(p for p, _ in points[: step + 1]) * (points[step - 1][1] - points[step][1])
        for step in range(1, len(points))
    )


def oracle_voc(detections, truth, theta):
    """The area as a sum over recall levels k / n of the best precision at that recall or beyond."""
    order = sorted(range(len(detections)), key=lambda i: -detections[i].confidence)
    matches = oracle_matches(detections, truth, theta)
    curve, seen = [], set()
    for rank, i in enumerate(order, start=1):
        seen |= {matches[i]} - {-1}
        curve.append((len(seen), len(seen) / rank))
    levels = [max((p for found, p in curve if found >= level), default=0.0) for level in range(1, len(truth) + 1)]
    return sum(levels) / len(truth) if truth else 0.0


spans = st.tuples(
    st.integers(1, 3), st.integers(0, 60), st.integers(1, 40), st.floats(0, 1, width=32), st.sampled_from(["a", "b"])
).map(lambda row: Segment(row[0], row[1], row[1] + row[2], row[3], row[4]))


@settings(max_examples=150, deadline=None)
@given(st.lists(spans, max_size=12), st.lists(spans, max_size=8), st.sampled_from([0.05, 0.1, 0.3, 0.5, 1.0]))
def test_average_precision_agrees_with_an_independent_computation(detections, truth, theta):
    assert match(detections, truth, theta) == oracle_matches(detections, truth, theta)
    official = average_precision(detections, truth, theta)
    assert official == pytest.approx(oracle_official(detections, truth, theta), abs=1e-12)
    voc = average_precision(detections, truth, theta, "voc")
    assert voc == pytest.approx(oracle_voc(detections, truth, theta), abs=1e-12)
    assert 0 <= official <= 1 and 0 <= voc <= 1
    scores = mean_average_precision(detections, truth, 3, ["a", "b"], theta)
    by_action = [
        average_precision([d for d in detections if d.label == k], [t for t in truth if t.label == k], theta)
        for k in (1, 2, 3)
    ]
    assert scores[0] == pytest.approx(np.mean(by_action))


@settings(max_examples=25, deadline=None)
@given(st.lists(spans, max_size=8))
def test_the_truth_itself_scores_one(truth):
    # Two true actions of one label that are the same are one detection for either of them.
    truth = list({(t.label, t.start, t.end, t.video): t for t in truth}.values())
    if truth:
        scores = [average_precision(truth, truth, interpolation=kind) for kind in ("official", "voc")]
        scores += [f1_score(truth, truth), segment_f1(truth, truth, 0.5), average_precision_2d(truth, truth)]
        assert scores == pytest.approx([1] * 5)


def test_a_weaker_false_alarm_costs_half_officially_and_nothing_in_voc():
    truth = segments([(1, 0, 10, 1, "v")])
    for sure, unsure in ((0.9, 0.1), (0.1, 0.9)):
        detections = segments([(1, 0, 10, sure, "v"), (1, 50, 60, unsure, "v")])
        assert average_precision(detections, truth) == 0.5
        assert average_precision(detections, truth, interpolation="voc") == (1.0 if sure > unsure else 0.5)


def test_overlap_is_measured_without_adding_a_frame():
    first = Segment(1, 0, 10, 1, "v")
    assert overlap(first, Segment(1, 5, 15, 1, "v")) == pytest.approx(5 / 15)
    assert overlap(first, Segment(1, 20, 30, 1, "v")) == pytest.approx(-10 / 30)
    assert overlap(first, Segment(2, 0, 10, 1, "v")) == overlap(first, Segment(1, 0, 10, 1, "w")) == 0


def test_of_equally_good_actions_the_last_is_matched():
    truth = segments([(1, 0, 10, 1, "v"), (1, 10, 20, 1, "v")])
    assert match(segments([(1, 5, 15, 1, "v")]), truth, 0.3) == [1]
    assert match(segments([(1, 5, 15, 1, "v")]), truth, 0.4) == [-1]


def test_f1_counts_found_actions_and_segment_f1_counts_detections():
    truth = segments([(1, 0, 10, 1, "v"), (1, 20, 30, 1, "v")])
    twice = segments([(1, 0, 10, 0.9, "v"), (1, 0, 9, 0.8, "v")])
    assert f1_score(twice, truth) == pytest.approx(
        0.5
    )  # one of two actions, by two detections: precision = recall = 1/2
    assert segment_f1(twice, truth, 0.5) == pytest.approx(2 * 1 / (2 * 1 + 1 + 1))
    assert segment_f1(truth[:1], truth, 0.5) == pytest.approx(2 / 3)


def test_nothing_detected_and_nothing_to_detect_score_zero():
    one = segments([(1, 0, 10, 1, "v")])
    for detections, truth in ((one, []), ([], one), ([], [])):
        found = detection_metrics(detections, truth, 2, ["v"])
        assert all(value == 0 for name, value in found.items() if not name.startswith("num_"))


def test_the_mean_is_over_all_classes_and_all_takes():
    one = segments([(1, 0, 10, 1, "a")])
    found = detection_metrics(one, one, 4, ["a", "b"])
    assert found["mAP_a"] == 0.25 and found["mAP_v"] == 0.5 and found["AP"] == found["F1"] == found["2D-AP"] == 1


def test_labels_and_takes_that_are_not_evaluated_are_named():
    one = segments([(3, 0, 10, 1, "a")])
    with pytest.raises(ValueError, match="a detection in 'a' has label 3, classes are 1 to 2"):
        mean_average_precision(one, [], 2, ["a"])
    with pytest.raises(ValueError, match="the take 'a' is not among the 1"):
        mean_average_precision([], one, 3, ["b"])
    with pytest.raises(ValueError, match="interpolation must be"):
        average_precision(one, one, interpolation="coco")


# ---------------------------------------------------------------------------------------------------------------------
# Frames to segments


def one_hot(labels, classes=4, certainty=1.0):
    rows = np.full((len(labels), classes), (1 - certainty) / (classes - 1))
    rows[np.arange(len(labels)), labels] = certainty
    return rows


def test_runs_of_the_most_probable_action_are_segments():
    labels = np.array([0, 1, 1, 1, 2, 2, 0, 0, 2])
    found = frames_to_segments(one_hot(labels, certainty=0.7), "v", "argmax_runs")
    assert [tuple(s[:3]) for s in found] == [(1, 1, 4), (2, 4, 6), (2, 8, 9)]
    assert all(s.confidence == pytest.approx(0.7) and s.video == "v" for s in found)
    assert [s[:3] for s in found] == [s[:3] for s in true_segments(labels, "v")]


def test_the_threshold_rule_joins_what_flickers_and_names_the_most_probable_action():
    labels = np.zeros(100, dtype=int)
    labels[30:70] = 2
    labels[48:51] = 1  # a flicker
    found = frames_to_segments(one_hot(labels), "v")
    assert len(found) == 1 and found[0].label == 2
    # the mean over 21 frames reaches 0.4 with 9 of them: at 30 - 2 and 69 + 2
    assert (found[0].start, found[0].end) == (28, 72)
    assert 0.7 < found[0].confidence < 0.8
    exact = frames_to_segments(one_hot(np.repeat([0, 3, 0], 20)), rule="threshold", radius=0)
    assert [tuple(s[:4]) for s in exact] == [(3, 20, 40, 1.0)]


def test_short_runs_are_no_actions():
    labels = np.array([0, 1, 1, 1, 2, 2, 0, 0, 2])
    found = frames_to_segments(one_hot(labels), "v", "argmax_runs", min_frames=2)
    assert [tuple(s[:3]) for s in found] == [(1, 1, 4), (2, 4, 6)]
    rows = one_hot(np.repeat([0, 3, 0, 1, 0], [9, 5, 4, 4, 2]))
    found = frames_to_segments(rows, rule="threshold", radius=0, min_frames=5)
    assert [tuple(s[:3]) for s in found] == [(3, 9, 14)]


def test_the_threshold_decides_by_the_background_alone():
    rows = np.tile([0.55, 0.15, 0.15, 0.15], (30, 1))  # no action is as probable as the background
    assert [tuple(s[:3]) for s in frames_to_segments(rows)] == [(1, 0, 30)]
    assert frames_to_segments(rows, threshold=0.5) == frames_to_segments(rows, rule="argmax_runs") == []


def test_smoothing_takes_the_frames_that_there_are():
    values = np.array([[0.0], [3.0], [6.0]])
    assert smooth(values, 1)[:, 0].tolist() == [1.5, 3.0, 4.5]
    assert smooth(values, 100)[:, 0].tolist() == [3.0, 3.0, 3.0]
    assert smooth(values, 0)[:, 0].tolist() == [0.0, 3.0, 6.0]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(2, 5), st.integers(0, 12), st.integers(0, 10**6))
def test_segments_lie_in_the_take_in_order_and_apart(frames, classes, radius, seed):
    rows = np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), frames).reshape(frames, classes)
    for rule in ("threshold", "argmax_runs"):
        found = frames_to_segments(rows, rule=rule, radius=radius)
        ends = [0]
        for one in found:
            assert (
                ends[-1] <= one.start < one.end <= frames and 1 <= one.label < classes and 0 < one.confidence <= 1.001
            )
            ends.append(one.end)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="rule must be 'threshold' or 'argmax_runs', got 'viterbi'"):
        frames_to_segments(one_hot([0, 1]), rule="viterbi")
    with pytest.raises(ValueError, match=r"probabilities must have shape \(frames, 1 \+ classes\), got \(3,\)"):
        frames_to_segments(np.zeros(3))


def test_frames_nobody_looked_at_are_no_action():
    assert [tuple(s[:3]) for s in true_segments(np.array([-1, 1, 1, -1, 1], dtype=np.int16))] == [(1, 1, 3), (1, 4, 5)]
