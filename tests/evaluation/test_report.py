"""Which numbers a table shows, and how."""

import pytest

from skeleton_transformers.evaluation.report import as_table, headline


def test_shares_in_percent_errors_in_millimetres():
    results = {
        "linear": {"protocol": "linear", "top1_accuracy": 0.5, "top5_accuracy": 1.0},
        "semi5": {"protocol": "fine-tuning", "top1_accuracy": 0.25, "label_fraction": 0.05},
        "prediction": {"protocol": "motion prediction", "mpjpe_mm": {"model": {"80": 12.34, "mean": 40.0}}},
        "calibration": {"protocol": "calibration", "expected_calibration_error": 0.034, "brier_score": 0.5},
    }
    rows = as_table(results).splitlines()
    assert "| linear | Linear probe accuracy | 50.00 % |" in rows
    assert "| semi5 | Fine-tuned with 5 % of the labels | 25.00 % |" in rows
    assert "| prediction | MPJPE in mm, model, 80 ms | 12.3 |" in rows
    assert "| prediction | MPJPE in mm, model, mean | 40.0 |" in rows
    assert "| calibration | Expected calibration error | 3.40 % |" in rows
    assert "| calibration | Brier score | 0.500 |" in rows


def test_detection_says_at_which_overlap():
    found = headline({"protocol": "detection", "mAP_a": 0.1, "mAP_v": 0.2, "F1": 0.3, "segment_F1@0.5": 0.4})
    assert found == {"mAP_a@0.5": 0.1, "mAP_v@0.5": 0.2, "F1@0.5": 0.3, "segment_F1@0.5": 0.4}
    with pytest.raises(ValueError, match="there is no protocol 'luck'"):
        headline({"protocol": "luck"})


def test_retrieval_without_matches_has_no_precision():
    result = {"protocol": "knn", "knn_accuracy": {"1": 0.5, "5": 0.25}, "mean_average_precision": None}
    assert headline(result) == {"1-NN accuracy": 0.5, "5-NN accuracy": 0.25}
