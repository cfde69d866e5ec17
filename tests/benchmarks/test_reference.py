"""Our models against the plain ones that benchmarks measure them by."""

import numpy as np
import pytest
import torch
from reference import PLAIN_ENCODERS, PlainHiCo, PlainHiTRS, PlainHiTRSForPreTraining, copy_weights
from torch import nn

from skeleton_transformers import HiCoConfig, HiCoModel, HiTRSConfig, HiTRSForPreTraining, HiTRSModel
from skeleton_transformers.data.pretraining_collators import HiTRSPreTrainingCollator
from skeleton_transformers.models.families import get_family


def pair(model_class, plain_class, config):
    torch.manual_seed(0)
    model = model_class(config).eval()
    with torch.no_grad():
        for norm in model.modules():  # as training leaves them: 2s-AGCN begins with scales that hide its graphs
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                for values in (norm.running_mean, norm.running_var, norm.weight):
                    values.uniform_(0.5, 1.5)
        for name, parameter in model.named_parameters():
            if name.endswith(("learnt_graph", "edge_importance")):
                parameter.uniform_(-0.5, 0.5)
    plain = plain_class(config).eval()
    copy_weights(model, plain)
    return model, plain


def sequences(lengths, persons):
    """Zero-padded sequences, the first one of two persons, the others of one."""
    keypoints = torch.randn(len(lengths), persons, max(lengths), 25, 3)
    mask = torch.zeros(keypoints.shape[:3], dtype=torch.bool)
    for row, length in enumerate(lengths):
        mask[row, : persons if row == 0 else 1, :length] = True
    return keypoints * mask[..., None, None], mask


@pytest.mark.parametrize("name", ["agcn", "asgcn", "hitrs", "mamp", "stgcn"])
def test_a_packed_batch_is_every_sequence_alone(name):
    family = get_family(name)
    model, plain = pair(family.load("encoder"), PLAIN_ENCODERS[name], family.load("configuration").from_preset("tiny"))
    lengths = [model.config.num_frames] * 3 if name == "mamp" else [23, 40, 9]
    keypoints, mask = sequences(lengths, 2)
    with torch.no_grad():
        together = model(keypoints, mask).pooler_output
        alone = torch.cat(
            [
                plain(k[None, m.any(1)][:, :, :length], m[None, m.any(1)][:, :, :length])
                for k, m, length in zip(keypoints, mask, lengths, strict=True)
            ]
        )
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_the_links_of_as_gcn_are_those_of_the_plain_one():
    family = get_family("asgcn")
    model, plain = pair(
        family.load("encoder"), PLAIN_ENCODERS["asgcn"], family.load("configuration").from_preset("tiny")
    )
    keypoints, mask = sequences([23, 40, 9], 1)
    with torch.no_grad():
        frames = plain.link_frames(keypoints[:, 0], mask[:, 0].sum(1))
        logits = model.link_inference(frames)
        model.link_inference.output.bias -= logits.mean(dim=(0, 1))  # or one type would win everywhere
        copy_weights(model, plain)
        actual = model(keypoints, mask).action_links[:, 0]
        expected = plain.link_inference(frames)
    torch.testing.assert_close(actual, expected)
    assert len(expected.unique()) > 10  # some joints are linked, others not


def test_hico_equals_the_plain_encoder_where_both_persons_are_there():
    model, plain = pair(HiCoModel, PlainHiCo, HiCoConfig.from_preset("tiny"))
    keypoints = torch.randn(2, 2, model.config.num_frames, 25, 3)
    with torch.no_grad():
        torch.testing.assert_close(model(keypoints).pooler_output, plain(keypoints, None), atol=1e-5, rtol=1e-4)


def test_hitrs_that_averages_absent_persons_equals_the_padded_batch():
    model, plain = pair(HiTRSModel, PlainHiTRS, HiTRSConfig.from_preset("tiny", ignore_absent_person=False))
    keypoints, mask = sequences([23, 40, 9], 2)
    with torch.no_grad():
        torch.testing.assert_close(model(keypoints, mask).pooler_output, plain(keypoints, mask), atol=1e-5, rtol=1e-4)


def test_detection_equals_clips_encoded_one_by_one():
    model, plain = pair(HiTRSModel, PlainHiTRS, HiTRSConfig.from_preset("tiny"))
    keypoints, mask = sequences([150], 1)
    with torch.no_grad():
        torch.testing.assert_close(
            model.get_frame_features(keypoints, mask), plain.frame_features(keypoints)[:, 0], atol=1e-5, rtol=1e-4
        )


def test_pretraining_has_the_losses_and_gradients_of_the_plain_step():
    config = HiTRSConfig.from_preset("tiny", hidden_dropout_prob=0.0)
    model, plain = pair(HiTRSForPreTraining, PlainHiTRSForPreTraining, config)
    rng = np.random.default_rng(0)
    items = [
        {"keypoints": rng.standard_normal((1, n, 25, 3)).astype("float32"), "frame_mask": np.ones((1, n), bool)}
        for n in (20, 41, 33)
    ]
    batch = HiTRSPreTrainingCollator()(items)
    output, losses = model(**batch), plain(**batch)
    for name, loss in zip(("spatial", "clip_order", "video_order", "next_clip"), losses, strict=True):
        torch.testing.assert_close(output[f"{name}_loss"], loss.detach(), atol=1e-5, rtol=1e-5)
    output.loss.backward()
    sum(losses).backward()
    expected = {name: parameter.grad for name, parameter in plain.named_parameters()}
    actual = {name: parameter.grad for name, parameter in model.named_parameters()}
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", PLAIN_ENCODERS)
def test_bfloat16_is_near_float32(name):
    family = get_family(name)
    torch.manual_seed(0)
    model = family.load("encoder")(family.load("configuration").from_preset("tiny")).eval()
    keypoints, mask = sequences([32, 32], 1)
    with torch.no_grad():
        exact = model(keypoints, mask).pooler_output
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(keypoints, mask).pooler_output.float()
    assert (rough - exact).norm() / exact.norm() < 0.02
