import json
import re

import pytest
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassFieldValidationError

from skeleton_transformers import HiCoConfig


def test_the_defaults_are_the_released_configuration():
    config = HiCoConfig()
    assert (config.num_joints, config.num_persons, config.num_frames, config.hidden_size) == (25, 2, 64, 4096)
    assert (config.num_spatial_tokens, config.num_granularities, config.num_attention_heads) == (50, 4, 4)
    assert (config.temperature, config.queue_size, config.momentum) == (0.2, 2048, 0.999)
    assert config.to_dict() == HiCoConfig.from_preset("base").to_dict()


def test_presets():
    paper = HiCoConfig.from_preset("paper")
    assert not (paper.embedding_layer_norm or paper.depthwise_downsampling or paper.downsampling_norm_first)
    original = HiCoConfig.from_preset("original")
    assert original.legacy_queue_pointer and not original.ignore_absent_person
    assert HiCoConfig.from_preset("tiny", encoder="gru", num_labels=7).num_labels == 7
    with pytest.raises(ValueError, match="no preset 'huge'; presets are tiny, small, base, paper, original"):
        HiCoConfig.from_preset("huge")


def test_round_trip_with_a_custom_layout(tmp_path):
    layout = {"name": "stick", "joints": ["pelvis", "waist", "neck", "head"], "parents": [0, 0, 1, 2]}
    config = HiCoConfig.from_preset("tiny", layout=layout, id2label={0: "walk", 1: "run"})
    config.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["layout"] == layout
    assert HiCoConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"encoder": "rnn"}, "must be one of transformer, gru, lstm; got 'rnn'"),
        ({"branches": "left"}, "must be one of both, temporal, spatial; got 'left'"),
        ({"num_frames": 0}, "num_frames must be at least 1"),
        ({"num_attention_heads": 5}, "branch_size=512 is not divisible by num_attention_heads=5"),
        ({"encoder": "gru", "branch_size": 33}, "must be even for the two directions of a gru, got 33"),
        ({"downsampling_kernel_size": 4}, "must be odd, got 4"),
        ({"num_frames": 7}, "7 frames cannot be halved 3 times; lower num_granularities"),
        ({"num_granularities": 7}, "50 spatial tokens cannot be halved 6 times"),
        ({"hidden_dropout_prob": 1.0}, r"hidden_dropout_prob must lie in \[0, 1\)"),
        ({"momentum": 1.2}, r"momentum must lie in \[0, 1\]"),
        ({"temperature": 0}, "temperature must be positive"),
        ({"clip_loss_weight": -1}, "0 switches the task off"),
        ({"spatial_tokens": "persons"}, "must be one of person_joint, joint"),
        ({"momentum_update": "never"}, "must be one of before_encoding, after_step"),
        ({"layout": "ntu26"}, "ntu25"),
    ],
)
def test_contradictions_are_refused(fields, message):
    with pytest.raises(StrictDataclassClassValidationError) as caught:
        HiCoConfig(**fields)
    assert re.search(message, str(caught.value.__cause__ or caught.value))


def test_one_branch_has_half_the_feature_and_its_own_tokens_only():
    assert HiCoConfig(branches="temporal").hidden_size == HiCoConfig(branches="spatial").hidden_size == 2048
    HiCoConfig(branches="spatial", num_frames=7)  # too few frames for the temporal branch
    HiCoConfig(branches="temporal", num_granularities=7)


def test_wrong_types_are_refused():
    with pytest.raises(StrictDataclassFieldValidationError, match="num_frames"):
        HiCoConfig(num_frames="many")
