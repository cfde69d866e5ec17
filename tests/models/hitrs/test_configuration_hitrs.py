import json
import re

import pytest
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassFieldValidationError

from skeleton_transformers import HiTRSConfig


def test_the_defaults_are_the_released_configuration():
    config = HiTRSConfig()
    assert (config.num_joints, config.hidden_size, config.num_layers) == (25, 512, 3)
    assert config.hidden_sizes == [128, 256, 512] and config.intermediate_sizes == [128, 128, 256]
    assert config.to_dict() == HiTRSConfig.from_preset("base").to_dict()


def test_presets():
    assert HiTRSConfig.from_preset("paper").num_layers == 2
    assert HiTRSConfig.from_preset("original").ignore_absent_person is False
    assert HiTRSConfig.from_preset("tiny", num_layers=1, num_labels=7).num_labels == 7
    assert HiTRSConfig.from_preset("small").hidden_size == 256
    with pytest.raises(ValueError, match="no preset 'huge'; presets are tiny, small, base, paper, original"):
        HiTRSConfig.from_preset("huge")


def test_round_trip_with_a_custom_layout(tmp_path):
    layout = {"name": "stick", "joints": ["pelvis", "head"], "parents": [0, 0]}
    config = HiTRSConfig.from_preset("tiny", layout=layout, id2label={0: "walk", 1: "run"})
    config.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["layout"] == layout
    loaded = HiTRSConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict()
    assert loaded.num_joints == 2 and loaded.id2label == {0: "walk", 1: "run"}


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("clip_length", 6, "clip_length must be odd.*use 5 or 7"),
        ("clip_stride", 0, "clip_stride must be at least 1"),
        ("num_layers", 0, "num_layers must be at least 1"),
        ("hidden_sizes", [128, 256], "hidden_sizes needs three positive numbers"),
        ("hidden_sizes", [128, 254, 512], "divisible by 4 for clip"),
        ("hidden_sizes", [127, 256, 512], "must be even"),
        ("intermediate_sizes", [128, 0, 256], "intermediate_sizes needs three positive numbers"),
        ("hidden_dropout_prob", 1.0, r"hidden_dropout_prob must lie in \[0, 1\)"),
        ("mask_probability", -0.1, "mask_probability must lie"),
        ("temperature", 0, "temperature must be positive"),
        ("next_clip_loss_weight", -1, "0 switches the task off"),
        ("position_init", "random", "must be one of sincos, normal; got 'random'"),
        ("mask_replacement", "zeros", "must be one of ones, uniform, normal"),
        ("spatial_loss", "mse", "must be one of smooth_l1, l1"),
        ("layout", "ntu26", "ntu25"),
    ],
)
def test_contradictions_are_refused(field, value, message):
    with pytest.raises(StrictDataclassClassValidationError) as caught:
        HiTRSConfig(**{field: value})
    assert re.search(message, str(caught.value.__cause__ or caught.value))


def test_wrong_types_are_refused():
    with pytest.raises(StrictDataclassFieldValidationError, match="clip_length"):
        HiTRSConfig(clip_length="seven")
