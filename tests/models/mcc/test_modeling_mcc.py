"""MCC: its losses by hand, what one step of each does, its decoder, its memory, and the encoder that it leaves behind."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForPreTraining

from skeleton_transformers import (
    AGCNModel,
    ASGCNConfig,
    ASGCNForPreTraining,
    ASGCNModel,
    HiTRSConfig,
    HiTRSModel,
    MCCConfig,
    MCCForPreTraining,
    STGCNConfig,
    STGCNModel,
    get_layout,
)
from skeleton_transformers.data.datasets import SampleKey
from skeleton_transformers.data.mcc_collator import MCCPreTrainingCollator
from skeleton_transformers.modeling_loading import CheckpointError
from skeleton_transformers.models.mcc.modeling_mcc import memory_contrast, triplet_loss
from skeleton_transformers.training.recipes import ModelSection, build_model_config


def make(backbone="stgcn", seed=0, **fields):
    torch.manual_seed(seed)
    return MCCForPreTraining(MCCConfig.from_preset("tiny", backbone=backbone, **fields)).eval()


def items(number=4, frames=40, seed=0, first=0):
    """People whose joints swing about a place of rest; every other recording has a second one, for a while."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(number):
        phase, speed = rng.uniform(0, 6, size=(2, 2, 1, 25, 3))
        keypoints = rng.normal(size=(2, 1, 25, 3)) * 0.4 + 0.2 * np.sin(
            phase + speed * np.arange(frames)[:, None, None] / 10
        )
        mask = np.ones((2, frames), dtype=bool)
        mask[1, (5 if index % 2 else 0) : (30 if index % 2 else frames)] = False
        keypoints = np.where(mask[..., None, None], keypoints, 0).astype(np.float32)
        found.append({"keypoints": keypoints, "frame_mask": mask, "key": SampleKey(first + index, 0)})
    return found


def batch(config, **options):
    return MCCPreTrainingCollator.from_config(config, seed=0)(items(**options))


def unit(features):
    return features / features.norm(dim=1, keepdim=True)


def freeze_norms(model):
    """Batch norms that use the statistics they have, and no dropout: a deterministic network that can be trained."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
        elif isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


# ---------------------------------------------------------------------------------------------------------------------
# Losses


def test_the_triplet_by_hand():
    near, far = torch.tensor([0.3, 0.5, 0.1]), torch.tensor([0.4, 0.2, 0.9])
    assert triplet_loss(near, far, 0.15, "corrected").item() == pytest.approx((0.05 + 0.45 + 0) / 3, abs=1e-6)
    assert triplet_loss(near, far, 0.15, "printed").item() == pytest.approx((0.25 + 0 + 0.95) / 3, abs=1e-6)


def test_the_contrast_by_hand():
    generator = torch.Generator().manual_seed(0)
    anchors, positives, memory = (unit(torch.randn(n, 8, generator=generator)) for n in (3, 3, 5))
    excluded = torch.zeros(3, 5, dtype=torch.bool)
    excluded[1, 2:4] = True
    similarities = {
        "cosine": lambda a, b: float(a @ b),
        "negative_distance": lambda a, b: -math.dist(a.tolist(), b.tolist()),
        "printed": lambda a, b: math.dist(a.tolist(), b.tolist()),
    }
    for name, similarity in similarities.items():
        expected, hits = 0.0, 0
        for row in range(3):
            near = math.exp(similarity(anchors[row], positives[row]) / 0.5)
            far = [math.exp(similarity(anchors[row], memory[k]) / 0.5) for k in range(5) if not excluded[row, k]]
            expected -= math.log(near / (near + sum(far))) / 3
            hits += near > max(far)
        loss, accuracy = memory_contrast(anchors, positives, memory, 0.5, name, excluded)
        assert loss.item() == pytest.approx(expected, abs=1e-5) and accuracy.item() == pytest.approx(hits / 3)


def features_after_a_step(loss_of, seed=0):
    """Distances to the positive and to the others before and after a step of gradient descent on free features."""
    generator = torch.Generator().manual_seed(seed)
    free = torch.randn(3, 6, 16, generator=generator, requires_grad=True)

    def distances():
        basic, positive, other = (unit(rows) for rows in free)
        return (basic - positive).norm(dim=1), (basic - other).norm(dim=1)

    before = [distance.detach() for distance in distances()]
    (gradient,) = torch.autograd.grad(loss_of(*(unit(rows) for rows in free)), free)
    with torch.no_grad():
        free -= 0.5 * gradient
    return before, [distance.detach() for distance in distances()]


@pytest.mark.parametrize(("form", "sign"), [("corrected", 1), ("printed", -1)])
def test_one_step_on_the_triplet(form, sign):
    """Positive clips come nearer and negative ones go away. The printed form does the reverse."""

    def loss(basic, positive, negative):
        return triplet_loss((basic - positive).norm(dim=1), (basic - negative).norm(dim=1), 5.0, form)

    (near, far), (nearer, farther) = features_after_a_step(loss)
    assert (sign * (nearer - near) < 0).all() and (sign * (farther - far) > 0).all()


@pytest.mark.parametrize(("similarity", "sign"), [("cosine", 1), ("negative_distance", 1), ("printed", -1)])
def test_one_step_on_the_contrast(similarity, sign):
    def loss(basic, positive, other):
        return memory_contrast(basic, positive, other, 0.5, similarity)[0]

    (near, far), (nearer, farther) = features_after_a_step(loss)
    assert sign * (nearer - near).mean() < 0 and (sign * (nearer - near) < 0).float().mean() > 0.8
    assert sign * (farther - far).mean() > 0


@pytest.mark.parametrize(
    ("switch", "sign"),
    [
        ({"contrast_loss_weight": 0}, 1),
        ({"contrast_loss_weight": 0, "triplet_form": "printed"}, -1),
        ({"triplet_loss_weight": 1e-9}, 1),
        ({"triplet_loss_weight": 1e-9, "contrast_similarity": "printed"}, -1),
    ],
)
def test_one_step_of_the_whole_model(switch, sign):
    """The same through an encoder: what the loss measures moves as the text of the paper says, or the other way."""
    model = freeze_norms(make("hitrs", interpolation_loss_weight=0, margin=2.0, **switch).train())
    data = batch(model.config, number=8)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    before = model(**data)
    before.loss.backward()
    optimizer.step()
    with torch.no_grad():
        after = model.eval()(**data)
    change = after.positive_distance - before.positive_distance
    if model.config.contrast_loss_weight == 0:
        change = change - (after.negative_distance - before.negative_distance)
    assert sign * change < 0


def test_all_losses_by_hand():
    """Features, memory, decoder and weights put together as the paper says, with two persons who come and go."""
    weights = {"triplet_loss_weight": 0.5, "contrast_loss_weight": 2.0, "interpolation_loss_weight": 3.0}
    model = make(**weights)
    data = batch(model.config)
    config, clips = model.config, {}
    with torch.no_grad():
        output = model(**data)
        for kind, mask in (("", "frame_mask"), ("positive_", "positive_mask"), ("negative_", "negative_mask")):
            clips[kind] = model.backbone(data[f"{kind}keypoints"], data[mask], output_hidden_states=True)
        basic, positive, negative = (unit(clip.pooler_output) for clip in clips.values())
        memory = model.memory.features
        errors = []
        for kind in ("", "positive_"):
            target, target_mask = data[f"{kind}target_keypoints"], data[f"{kind}target_mask"]
            for row in range(4):
                error, count = 0.0, 0
                for person in range(2):
                    shown = data["positive_mask" if kind else "frame_mask"][row, person]
                    if not shown.any():
                        continue
                    alone = model.backbone(
                        data[f"{kind}keypoints"][row : row + 1, person : person + 1],
                        shown[None, None],
                        output_hidden_states=True,
                    )
                    poses = model.decoder(alone.hidden_states[-1], alone.step_mask[0], 32)[0]
                    for frame in target_mask[row, person].nonzero()[:, 0].tolist():
                        error += (poses[frame] - target[row, person, frame]).square().sum(dim=1).mean().item()
                        count += 1
                errors.append(error / count)
    near, far = (basic - positive).norm(dim=1), (basic - negative).norm(dim=1)
    logits = torch.cat([(basic * positive).sum(dim=1, keepdim=True), basic @ memory.T], dim=1) / 0.5
    close = torch.testing.assert_close
    close(output.triplet_loss, (config.margin + near - far).clamp(min=0).mean())
    close(output.contrast_loss, -logits.softmax(dim=1)[:, 0].log().mean())
    assert output.interpolation_loss.item() == pytest.approx(np.mean(errors), rel=1e-4)
    close(output.loss, 0.5 * output.triplet_loss + 2 * output.contrast_loss + 3 * output.interpolation_loss)
    close(output.positive_distance, near.mean())
    close(output.negative_distance, far.mean())


def test_a_task_of_weight_zero_is_not_computed():
    model = make(triplet_loss_weight=0, interpolation_loss_weight=0).train()
    data = batch(model.config)
    data["negative_keypoints"].fill_(torch.nan)
    output = model(**data)
    assert torch.isfinite(output.loss) and output.triplet_loss is None and output.interpolation_loss is None
    assert model.decoder is None and model.metrics == ["loss", "contrast_loss", "contrast_accuracy"]
    weights = {f"{task}_loss_weight": 0 for task in ("triplet", "contrast", "interpolation")}
    with pytest.raises(ValueError, match="all pre-training losses have weight 0"):
        make(**weights)(**data)


def test_a_projection_stands_between_feature_and_losses():
    model = make(projection_size=7)
    assert model.memory.features.shape == (64, 7)
    data = batch(model.config)
    with torch.no_grad():
        output = model(**data)
        basic, positive = (
            unit(model.projection(model.backbone(data[name], data[mask]).pooler_output))
            for name, mask in (("keypoints", "frame_mask"), ("positive_keypoints", "positive_mask"))
        )
    torch.testing.assert_close(output.positive_distance, (basic - positive).norm(dim=1).mean())


# ---------------------------------------------------------------------------------------------------------------------
# Interpolation


@pytest.mark.parametrize(("backbone", "factor"), [("stgcn", 1), ("stgcn", 2), ("stgcn", 3), ("hitrs", 2), ("hico", 4)])
def test_the_decoder_gives_so_many_times_as_many_frames(backbone, factor):
    model = make(backbone, interpolation_factor=factor, layout="coco17", num_channels=2, num_coordinates=2)
    steps, frames = (8, 32) if backbone == "stgcn" else (5, 32)
    states = torch.randn(3, model.decoder.blocks[0].graph.conv.in_channels, steps, 17 if backbone == "stgcn" else 1)
    mask = torch.ones(3, steps, dtype=torch.bool)
    with torch.no_grad():
        assert model.decoder(states, mask, frames).shape == (3, factor * 32, 17, 2)


def test_interpolation_is_of_basic_and_positive_clips_or_of_positive_ones_only():
    model = make(interpolates_basic=False)
    data = batch(model.config)
    with torch.no_grad():
        expected = model(**data).interpolation_loss
        changed = {**data, "target_keypoints": data["target_keypoints"] + 1}
        assert torch.equal(model(**changed).interpolation_loss, expected)
        both = make()
        assert both(**changed).interpolation_loss > both(**data).interpolation_loss + 1
        changed = {**data, "positive_target_keypoints": data["positive_target_keypoints"] + 1}
        assert model(**changed).interpolation_loss > expected + 1


def test_targets_of_another_length_are_named():
    model = make(interpolation_factor=2)
    data = batch(MCCConfig.from_preset("tiny", interpolation_factor=3))
    with pytest.raises(ValueError, match="interpolation_factor . frames = 64 frames; got 96"):
        model(**data)


@pytest.mark.parametrize("backbone", ["stgcn", "hitrs", "hico"])
def test_absent_persons_and_what_is_under_a_mask_change_nothing(backbone):
    model = make(backbone)
    data = batch(model.config)
    with torch.no_grad():
        expected = model(**data)
        changed = {}
        for name, tensor in data.items():
            if name.endswith("keypoints"):
                mask = data[name.replace("keypoints", "mask") if name != "keypoints" else "frame_mask"]
                tensor = tensor.masked_fill(~mask[..., None, None], torch.nan)
                tensor = torch.nn.functional.pad(tensor, (0, 0, 0, 0, 0, 0, 0, 2), value=torch.nan)
            elif name.endswith("mask"):
                tensor = torch.nn.functional.pad(tensor, (0, 0, 0, 2))
            changed[name] = tensor
        actual = model(**changed)
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, msg=name)


def test_overfitting_lowers_every_loss():
    sizes = {"hidden_sizes": [16, 32], "strides": [2, 2], "hidden_dropout_prob": 0.0}
    model = make(backbone_config=sizes, clip_frames=16, decoder_sizes=[32, 32, 32, 32], temperature=0.1).train()
    data = batch(model.config)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    memory, history = model.memory.candidates(), []
    for _ in range(60):
        output = model(**data)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        model.memory.features.copy_(memory)  # the negatives stay other sequences
        model.memory.sources.fill_(-1)
        history.append([output.triplet_loss.item(), output.contrast_loss.item(), output.interpolation_loss.item()])
    for name, first, last in zip(("triplet", "contrast", "interpolation"), history[0], history[-1], strict=True):
        assert last < 0.5 * first, f"{name} went from {first} to {last}"


# ---------------------------------------------------------------------------------------------------------------------
# Memory and key encoder


def test_the_memory_holds_the_newest_positive_clips_and_wraps():
    model = freeze_norms(make(queue_size=10).train())
    expected = []
    for step in range(4):  # 16 features into 10 places
        data = batch(model.config, seed=step, first=4 * step)
        with torch.no_grad():
            model(**data)
            expected.append(unit(model.backbone(data["positive_keypoints"], data["positive_mask"]).pooler_output))
    rows, order = torch.cat(expected), [*range(10, 16), *range(6, 10)]
    torch.testing.assert_close(model.memory.features, rows[order])
    assert model.memory.sources.tolist() == order and model.memory.pointer.item() == 6


def test_features_of_the_same_sequence_are_no_negatives():
    model = freeze_norms(make(queue_size=8).train())
    data = batch(model.config)
    with torch.no_grad():
        model(**data)  # now the memory holds the very positives
        inside = model.memory.candidates(), model.memory.sources.clone()
        with_exclusion = model(**data)
        model.memory.features.copy_(inside[0])
        model.memory.sources.fill_(-1)
        without = model(**data)
    assert with_exclusion.contrast_loss < without.contrast_loss
    basic, positive = (
        unit(model.backbone(data[name], data[mask]).pooler_output)
        for name, mask in (("keypoints", "frame_mask"), ("positive_keypoints", "positive_mask"))
    )
    logits = torch.cat([(basic * positive).sum(dim=1, keepdim=True), basic @ inside[0].T], dim=1) / 0.5
    same = torch.arange(4)[:, None] == inside[1]
    assert same.any(dim=1).all()
    probabilities = logits.masked_fill(torch.nn.functional.pad(same, (1, 0)), -torch.inf).softmax(dim=1)
    torch.testing.assert_close(with_exclusion.contrast_loss, -probabilities[:, 0].log().mean())


def test_evaluation_changes_nothing():
    model = make(momentum=0.9)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        data = batch(model.config)
        assert torch.equal(model(**data).loss, model(**data).loss)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_key_encoder_makes_the_positives_of_the_contrast_and_follows():
    model = freeze_norms(make("hitrs", momentum=0.75, projection_size=6).train())
    data = batch(model.config)
    with torch.no_grad():
        for parameter in [*model.backbone.parameters(), *model.projection.parameters()]:
            parameter.add_(0.02 * torch.randn_like(parameter))
    memory = model.memory.candidates()
    output = model(**data)
    output.loss.backward()
    with torch.no_grad():
        key = model.key_backbone(data["positive_keypoints"], data["positive_mask"]).pooler_output
        key = unit(model.key_projection(key))
        query = unit(model.projection(model.backbone(data["keypoints"], data["frame_mask"]).pooler_output))
        expected, _ = memory_contrast(query, key, memory, 0.5)
    torch.testing.assert_close(output.contrast_loss, expected)
    torch.testing.assert_close(model.memory.features[:4], key)
    start = [parameter.clone() for parameter in model.key_backbone.parameters()]
    model.after_optimizer_step()
    for own, old, new in zip(model.key_backbone.parameters(), start, model.backbone.parameters(), strict=True):
        torch.testing.assert_close(own, 0.75 * old + 0.25 * new)
    for name, parameter in model.named_parameters():
        if name.startswith("key_"):
            assert parameter.grad is None and not parameter.requires_grad, name


def test_two_processes_give_the_gradients_and_memory_of_one():
    script = Path(__file__).with_name("two_ranks.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("equal to one process") == 2


# ---------------------------------------------------------------------------------------------------------------------
# Backbones


def test_a_hitrs_backbone_trains_and_its_encoder_loads_as_hitrs(tmp_path):
    model = make("hitrs").train()
    before = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for step in range(3):
        optimizer.zero_grad()
        model(**batch(model.config, seed=step)).loss.backward()
        optimizer.step()
    published, weights = model.published(model.state_dict())
    published.save_pretrained(tmp_path, state_dict=weights)
    for loaded in (HiTRSModel.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)):
        assert type(loaded) is HiTRSModel
        for name, tensor in loaded.state_dict().items():
            assert torch.equal(tensor, model.backbone.state_dict()[name]), name
            assert not torch.equal(tensor, before[name]) or not tensor.is_floating_point(), name
    assert AutoConfig.from_pretrained(tmp_path).model_type == "hitrs"


def test_the_auto_classes_know_it(tmp_path):
    make("agcn").save_pretrained(tmp_path)
    loaded = AutoModelForPreTraining.from_pretrained(tmp_path)
    assert type(loaded) is MCCForPreTraining and type(loaded.backbone) is AGCNModel
    assert loaded.config.backbone_config.hidden_sizes == [16, 16, 32, 32]


def test_the_state_of_a_run_is_not_published(tmp_path):
    make(momentum=0.9, projection_size=4).save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors").keys()
    assert {name.split(".")[0] for name in names} == {"backbone", "projection", "decoder"}


def test_it_starts_from_an_encoder_that_there_is(tmp_path):
    """From the first stage of AS-GCN, as a recipe does it: configuration and weights of the encoder, everything else new."""
    torch.manual_seed(5)
    first = ASGCNForPreTraining(ASGCNConfig.from_preset("tiny", layout="kinect20"))
    first.save_pretrained(tmp_path)
    section = ModelSection("mcc", from_pretrained=str(tmp_path), overrides={"backbone": "asgcn", "momentum": 0.9})
    config = build_model_config(section, get_layout("kinect20"), 3)
    assert (config.backbone, config.momentum, config.queue_size) == ("asgcn", 0.9, 6536)
    assert config.backbone_config.to_diff_dict().keys() == first.config.to_diff_dict().keys()
    model, report = MCCForPreTraining.from_pretrained(tmp_path, config=config, output_loading_info=True)
    assert not report["missing_keys"] and type(model.backbone) is ASGCNModel
    for name, tensor in first.asgcn.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], tensor), name
        assert torch.equal(model.key_backbone.network.state_dict()[name], tensor), name
    fixed = {name for name, p in model.backbone.named_parameters() if not p.requires_grad}
    assert fixed == {name for name, p in first.asgcn.named_parameters() if name.startswith("future.spare")}


def test_an_encoder_of_another_family_than_the_backbone_is_named(tmp_path):
    STGCNModel(STGCNConfig.from_preset("tiny")).save_pretrained(tmp_path)
    config = MCCConfig.from_preset("tiny", backbone="hitrs")
    with pytest.raises(CheckpointError, match="family 'stgcn', but the backbone is of the family 'hitrs'"):
        MCCForPreTraining.from_pretrained(tmp_path, config=config)


# ---------------------------------------------------------------------------------------------------------------------
# Configuration


@pytest.mark.parametrize("name", ["mcc", "gcn", "skeleton_ensemble"])
def test_a_backbone_that_is_none_gives_one_clear_error(name):
    for build in (MCCConfig, lambda **fields: MCCConfig.from_preset("tiny", **fields)):
        with pytest.raises(ValueError, match=f"backbone must be a family with an encoder: .*stgcn.*; got '{name}'"):
            build(backbone=name)


def test_layout_and_channels_are_those_of_the_backbone():
    config = MCCConfig(backbone="hitrs", layout="coco17", num_channels=2)
    assert isinstance(config.backbone_config, HiTRSConfig) and config.backbone_config.layout == "coco17"
    assert (config.num_joints, config.num_channels, config.hidden_size) == (17, 2, 512)
    again = MCCConfig.from_dict(config.to_dict())
    assert again.to_dict() == config.to_dict() and "layout" not in config.to_dict()
    again.layout = "ntu25"
    assert again.backbone_config.num_joints == 25
    small = MCCConfig.from_preset("small", backbone="agcn", backbone_config={"hidden_dropout_prob": 0.3})
    assert small.backbone_config.hidden_sizes[-1] == 128 and small.backbone_config.hidden_dropout_prob == 0.3
    assert small.queue_size == 1024


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"speeds": [4]}, "at least two speeds"),
        ({"negatives": "broken"}, "negatives must be one of"),
        ({"queue_size": 0}, "queue_size must be at least 1"),
        ({"triplet_form": "right"}, "triplet_form must be one of corrected, printed"),
        ({"contrast_similarity": "dot"}, "contrast_similarity must be one of cosine, negative_distance, printed"),
        ({"decoder_sizes": [8, 8]}, "decoder_sizes needs four positive numbers"),
        ({"temperature": 0}, "temperature must be positive"),
        ({"momentum": 2}, "momentum must lie in"),
        ({"margin": -1}, "margin must not be negative"),
        ({"backbone": "agcn", "backbone_config": STGCNConfig()}, "'stgcn', but backbone is 'agcn'"),
        (
            {"backbone_config": {"ignore_absent_person": False, "padded_frames": 300}},
            "padded_frames=300.*set it to None",
        ),
    ],
)
def test_fields_that_contradict_each_other_are_named(fields, message):
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        MCCConfig(**fields)


def test_unknown_fields_of_the_backbone_are_named():
    with pytest.raises(ValueError, match="STGCNConfig has no field 'dropout'; take it out of backbone_config"):
        MCCConfig.from_preset("tiny", backbone_config={"dropout": 0.1})
