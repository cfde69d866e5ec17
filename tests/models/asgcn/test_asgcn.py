"""AS-GCN against the numbers of the original class, its two stages, and its checkpoints there and back."""

import pytest
import torch

from skeleton_transformers import (
    ASGCNConfig,
    ASGCNForActionRecognition,
    ASGCNForPreTraining,
    ASGCNModel,
    SkeletonFeatureExtractor,
)
from skeleton_transformers.data.pretraining_collators import PreTrainingCollator
from skeleton_transformers.modeling_attention import LayerRecord
from skeleton_transformers.models.asgcn.convert_asgcn_original import (
    asgcn_to_original,
    convert_original_checkpoint,
    infer_config,
    load_original_checkpoint,
    original_to_asgcn,
)
from skeleton_transformers.models.asgcn.modeling_asgcn import choose_frames, hold_out, joint_pairs, last_steps
from skeleton_transformers.models.graph_layers import make_tracks, pool_tracks


def tiny(**fields):
    torch.manual_seed(0)
    return ASGCNConfig.from_preset("tiny", num_labels=5, **fields)


@pytest.fixture(scope="module")
def original(original_weights):
    """The two files of an original checkpoint for 60 classes, with the weights of the golden values."""
    config = ASGCNConfig.from_preset("original", num_labels=60)
    weights = {**ASGCNForPreTraining(config).state_dict(), **ASGCNForActionRecognition(config).state_dict()}
    network, links = asgcn_to_original(weights)
    return original_weights(network), original_weights(links)


@pytest.fixture(scope="module")
def golden_run(original, golden_input):
    """Logits and the predicted future, with the action links of the golden values."""
    config = infer_config(*original)
    config.padded_frames = None  # the golden input has 290 frames
    model = ASGCNForActionRecognition(config).eval()
    weights = original_to_asgcn(*original)
    model.load_state_dict({name: t for name, t in weights.items() if not name.startswith("link_decoder.")})
    keypoints = golden_input(2, 3, 290, 25, 2).permute(0, 4, 2, 3, 1)
    pose = golden_input(2, 3, 1, 25, 2).permute(0, 4, 2, 3, 1).flatten(0, 1)[:, 0]
    links = 0.02 * golden_input(4, 2, 25, 25, f=0.31).abs()
    with torch.no_grad():
        tracks = make_tracks(config, keypoints, torch.ones(2, 2, 290, dtype=torch.bool))
        states, mask = model.asgcn.run_layers(tracks, links, LayerRecord())
        future = model.asgcn.future(states, mask, model.asgcn.graph, config.action_link_weight * links, pose)
        return {
            "logits_T290": model.classifier(pool_tracks(states, mask, tracks.chosen)[2]),
            "pred": future[::2].permute(0, 3, 1, 2),  # of the first person, as (samples, channels, frames, joints)
        }


@pytest.mark.parametrize("name", ["logits_T290", "pred"])
def test_recognition_and_prediction_equal_the_original(name, golden_run, golden):
    expected, actual = golden["asgcn"][name], golden_run[name]
    assert actual.numel() == expected["numel"]
    torch.testing.assert_close(actual.flatten()[:8], torch.tensor(expected["first8"]), atol=2e-4, rtol=0)
    assert actual.sum().item() == pytest.approx(expected["sum"], rel=1e-3)
    assert actual.abs().mean().item() == pytest.approx(expected["abs_mean"], rel=1e-3)


def test_parameters_are_as_many_as_in_the_original():
    config = ASGCNConfig(num_labels=60)
    recognition, first_stage = ASGCNForActionRecognition(config), ASGCNForPreTraining(config)

    def count(model, *parts):
        return sum(p.numel() for name, p in model.named_parameters() if name.startswith(parts))

    assert count(recognition, "") - count(recognition, "asgcn.link_inference.") == 6_987_478
    assert count(recognition, "asgcn.future.") == 2_190_211
    assert count(first_stage, "asgcn.link_inference.", "link_decoder.") == 417_798


@pytest.mark.parametrize("prefix", ["", "module."])
def test_there_and_back_is_the_identity(original, prefix):
    named = [{prefix + name: tensor for name, tensor in part.items()} for part in original]
    back = asgcn_to_original(original_to_asgcn(*named), prefix)
    for before, after in zip(named, back, strict=True):
        assert before.keys() == after.keys() and all(torch.equal(after[name], before[name]) for name in before)


def test_two_files_become_a_folder_with_the_same_model_and_an_extractor(original, tmp_path):
    for number, part in enumerate(original, start=1):
        torch.save(part, tmp_path / f"epoch100_model{number}.pt")
    folder = convert_original_checkpoint(tmp_path / "epoch100_model1.pt", tmp_path / "converted")
    loaded = ASGCNForActionRecognition.from_pretrained(folder)
    expected = original_to_asgcn(*original)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert loaded.config.padded_frames == 290 and loaded.config.legacy_prediction_residual
    extractor = SkeletonFeatureExtractor.from_pretrained(folder)
    with torch.no_grad():
        assert loaded(**extractor([torch.randn(1, 40, 25, 3).numpy()], return_tensors="pt")).logits.shape == (1, 60)


def test_a_file_without_its_inference_module_is_refused(original, tmp_path):
    torch.save(original[0], tmp_path / "model1.pt")
    with pytest.raises(ValueError, match=r"model1.pt: the inference module .* is a file of its own"):
        load_original_checkpoint(tmp_path / "model1.pt")
    torch.save(original[0], tmp_path / "model2.pt")
    with pytest.raises(ValueError, match="not a checkpoint of the original AS-GCN inference module code"):
        load_original_checkpoint(tmp_path / "model1.pt")


def test_links_average_what_is_linked():
    inference = ASGCNModel(tiny()).link_inference
    edges = torch.zeros(1, 25 * 24, 3)
    edges[..., 0] = 1
    sender, receiver = joint_pairs(25, edges.device)
    for source in (4, 7):
        pair = int(((sender == source) & (receiver == 2)).nonzero())
        edges[0, pair, 0], edges[0, pair, 2] = 0, 1
    first, second = inference.matrices(edges)[0]
    torch.testing.assert_close(first, 0.1 * torch.eye(25))
    expected = 0.1 * torch.eye(25)
    expected[[2, 4, 7], 2] = 0.1 / 3
    torch.testing.assert_close(second, expected)


def test_links_are_drawn_in_training_and_chosen_otherwise():
    inference = ASGCNModel(tiny()).link_inference
    logits = torch.randn(2, 600, 3, requires_grad=True)
    assert torch.equal(inference.eval().draw(logits).argmax(dim=-1), logits.argmax(dim=-1))
    first, second = inference.train().draw(logits), inference.draw(logits)
    assert not torch.equal(first, second) and set(first.unique().tolist()) <= {0.0, 1.0}
    (first * torch.randn(3)).sum().backward()
    assert logits.grad.any()  # straight through


def test_frames_for_links_are_the_first_or_spread():
    mask = torch.ones(4, 300, dtype=torch.bool)
    mask[0, 30:] = mask[1, 60:] = mask[3, ::2] = False
    chosen = choose_frames(mask, 50, 10, is_random=False)
    assert chosen[0].tolist() == [number % 30 for number in range(50)]
    assert chosen[1].tolist() == list(range(50))
    assert ((chosen[2][1:] - chosen[2][:-1]).float().mean() - 290 / 50).abs() < 0.1 and chosen[2].max() < 290
    assert (chosen[3] % 2 == 1).all()  # only frames that are there
    torch.manual_seed(0)
    assert len({tuple(choose_frames(mask, 50, 10, is_random=True)[2].tolist()) for _ in range(20)}) > 3


def test_the_last_steps_of_a_track():
    states = torch.arange(1.0, 9.0)[None, None, :, None].repeat(3, 1, 1, 1)
    mask = torch.tensor([[1] * 8, [1, 1, 0, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0]]).bool()
    states = states * mask[:, None, :, None]
    assert last_steps(states, mask, 5)[:, 0, :, 0].tolist() == [[4, 5, 6, 7, 8], [2, 0, 4, 5, 6], [0, 0, 0, 1, 2]]
    assert last_steps(states, None, 5)[0, 0, :, 0].tolist() == [4, 5, 6, 7, 8]


def test_the_end_of_a_long_enough_sequence_is_held_out():
    mask = torch.zeros(3, 2, 40, dtype=torch.bool)
    mask[0, 0, :30] = mask[1, 0, :20] = mask[2, 0, 35:] = True
    past, numbers, is_held = hold_out(mask, torch.tensor([30, 20, 40]), 10)
    assert is_held.tolist() == [True, False, False]
    assert past[0, 0].sum() == 20 and not past[0, 0, 20:].any() and torch.equal(past[1:], mask[1:])
    assert numbers[0].tolist() == list(range(20, 30))


def test_first_and_second_stage(tmp_path):
    """Links learn while the rest stays; then the rest learns while the links stay."""
    torch.manual_seed(0)
    first = ASGCNForPreTraining(tiny()).train()
    before = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in first.parameters() if p.requires_grad], lr=5e-3)
    walk = 0.02 * torch.randn(8, 1, 30, 25, 3).cumsum(dim=2)
    losses = []
    for _ in range(30):
        output = first(walk)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(output.motion_loss.item())
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert 0 <= output.link_share.item() <= 1 and torch.isfinite(output.link_prior_loss)
    for name, tensor in first.state_dict().items():
        learns = name.startswith(("asgcn.link_inference.", "link_decoder."))
        if not learns:
            assert torch.equal(tensor, before[name]), name
    assert (first.asgcn.link_inference.output.weight != before["asgcn.link_inference.output.weight"]).any()
    first.save_pretrained(tmp_path)

    second = ASGCNForActionRecognition.from_pretrained(tmp_path).train()
    assert not any(parameter.requires_grad for parameter in second.asgcn.link_inference.parameters())
    assert torch.equal(second.asgcn.link_inference.output.weight, first.asgcn.link_inference.output.weight)
    output = second(walk, labels=torch.zeros(8, dtype=torch.long))
    assert output.future_loss > 0
    output.loss.backward()
    learning = {name.split(".")[1] for name, p in second.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"layers", "input_norm", "future"} <= learning and "link_inference" not in learning
    assert second.eval()(walk, labels=torch.zeros(8, dtype=torch.long)).keys() == {"loss", "logits"}


def test_losses_of_the_first_stage_are_switched_by_their_weights():
    model = ASGCNForPreTraining(tiny(motion_loss_weight=0.0))
    output = model(torch.randn(2, 1, 20, 25, 3))
    assert output.motion_loss is None and output.loss.item() == pytest.approx(output.link_prior_loss.item())
    assert model.metrics == ["loss", "link_prior_loss", "link_share"] and model.has_idle_parameters
    with pytest.raises(ValueError, match="both losses have weight 0"):
        ASGCNForPreTraining(tiny(motion_loss_weight=0.0, link_prior_loss_weight=0.0))(torch.randn(2, 1, 20, 25, 3))
    assert issubclass(model.collator_class, PreTrainingCollator)


def test_the_prior_makes_links_rare():
    torch.manual_seed(0)
    model = ASGCNForPreTraining(tiny(motion_loss_weight=0.0, link_dropout_prob=0.0)).train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    keypoints = torch.randn(8, 1, 30, 25, 3)
    for _ in range(40):
        output = model(keypoints)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert 0.02 < output.link_share.item() < 0.12  # the prior says 0.05


@pytest.mark.parametrize("legacy", [False, True])
def test_the_future_goes_on_from_the_last_pose_seen(legacy):
    model = ASGCNModel(tiny(legacy_prediction_residual=legacy)).eval()
    torch.nn.init.zeros_(model.future.norm.weight)  # nothing changes any more
    keypoints, mask = torch.randn(2, 2, 40, 25, 3), torch.ones(2, 2, 40, dtype=torch.bool)
    mask[0, 0, 33:] = False
    mask[1, 1] = False
    with torch.no_grad():
        future = model.predict_future(keypoints, mask)
    assert future.shape == (2, 2, 10, 25, 3) and not future[1, 1].any()
    still = keypoints[0, 0, 32].expand(10, -1, -1)
    if legacy:
        mixed = still[0].T.repeat(10, 1).view(3, 10, 25).permute(1, 2, 0)  # the axes mixed up as in the released code
        torch.testing.assert_close(future[0, 0], mixed)
        assert (future[0, 0] - still).abs().max() > 0.1
    else:
        torch.testing.assert_close(future[0, 0], still)


def test_short_sequences_train_without_a_future():
    model = ASGCNForActionRecognition(tiny()).train()
    output = model(torch.randn(2, 1, 15, 25, 3), labels=torch.tensor([0, 1]))
    assert output.future_loss == 0 and torch.isfinite(output.loss)
    output.loss.backward()


def test_the_original_counts_the_future_of_the_first_person_only():
    torch.manual_seed(0)
    keypoints, labels = torch.randn(2, 2, 40, 25, 3), torch.tensor([0, 1])
    changed = keypoints.clone()
    changed[:, 1, 30:] += 1
    for config, depends in ((tiny(), True), (tiny(ignore_absent_person=False, padded_frames=64), False)):
        model = ASGCNForActionRecognition(config).train()
        losses = []
        for values in (keypoints, changed):
            torch.manual_seed(1)
            losses.append(model(values, labels=labels).future_loss.item())
        assert (abs(losses[0] - losses[1]) > 1e-3) == depends


def test_the_second_layer_can_be_evaluated_twice_as_in_the_original():
    for legacy, expected in ((False, 1), (True, 2)):
        model = ASGCNModel(tiny(legacy_second_layer=legacy)).train()
        model(torch.randn(2, 1, 20, 25, 3))
        assert model.layers[1].graph_norm.num_batches_tracked == expected
        assert model.layers[2].graph_norm.num_batches_tracked == 1


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"link_frames": 1}, "link_frames must be at least 2, got 1"),
        ({"no_link_prior": 1.0}, "no_link_prior must lie between 0 and 1, got 1.0"),
        ({"motion_variance": 0.0}, "motion_variance must be positive, got 0.0"),
        ({"future_loss_weight": -1.0}, "future_loss_weight must not be negative, got -1.0"),
        ({"hop_to_center": "near"}, "hop_to_center must be one of truncated, full; got 'near'"),
    ],
)
def test_configurations_that_contradict_themselves_are_refused(fields, message):
    with pytest.raises(Exception, match=message):
        ASGCNConfig(**fields)
