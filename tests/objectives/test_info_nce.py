import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from skeleton_transformers.objectives.info_nce import info_nce, info_nce_with_negatives, multi_positive_cross_entropy


def test_random_features_give_the_logarithm_of_the_batch():
    generator = torch.Generator().manual_seed(0)
    queries, targets = torch.randn(2, 512, 2048, generator=generator)
    loss, accuracy = info_nce(queries, targets, temperature=1.0)
    assert loss.item() == pytest.approx(math.log(512), abs=0.01)
    assert accuracy.item() < 0.02


def test_identical_features_give_zero_as_the_temperature_falls():
    features = torch.randn(16, 32, generator=torch.Generator().manual_seed(0))
    losses = [info_nce(features, features, temperature)[0].item() for temperature in (1.0, 0.1, 0.01)]
    assert losses[0] > losses[1] > losses[2] and losses[2] < 1e-6
    assert info_nce(features, features, 0.07)[1].item() == 1


def test_value_by_hand():
    queries = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    targets = torch.tensor([[5.0, 0.0], [1.0, 0.0]])
    loss, accuracy = info_nce(queries, targets, temperature=0.5)
    # Cosines: [[1, 1], [0, 0]]; both rows are ties.
    assert loss.item() == pytest.approx(math.log(2))
    assert accuracy.item() == 0.5


def test_scale_does_not_matter_and_targets_get_no_gradient():
    queries = torch.randn(4, 8, requires_grad=True)
    targets = torch.randn(4, 8, requires_grad=True)
    loss, _ = info_nce(queries, targets, 0.07)
    assert loss.item() == pytest.approx(info_nce(9 * queries, 0.1 * targets, 0.07)[0].item(), rel=1e-5)
    loss.backward()
    assert queries.grad.abs().sum() > 0 and targets.grad is None


def test_left_out_queries_are_still_candidates():
    queries, targets = torch.randn(4, 8), torch.randn(4, 8)
    valid = torch.tensor([True, False, True, True])
    logits = torch.nn.functional.normalize(queries) @ torch.nn.functional.normalize(targets).T / 0.07
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(4), reduction="none")[valid].mean()
    assert info_nce(queries, targets, 0.07, valid)[0].item() == pytest.approx(expected.item(), rel=1e-5)
    nothing, accuracy = info_nce(queries.requires_grad_(), targets, 0.07, torch.zeros(4, dtype=torch.bool))
    nothing.backward()
    assert nothing.item() == 0 and accuracy.item() == 0 and not queries.grad.any()


def test_half_precision_autocast_does_not_change_the_loss():
    queries, targets = torch.randn(8, 16), torch.randn(8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = info_nce(queries, targets, 0.07)
    assert loss.item() == info_nce(queries, targets, 0.07)[0].item()


def test_one_positive_is_cross_entropy_and_several_are_added_before_the_logarithm():
    logits = torch.randn(5, 9, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(5, dtype=torch.int64)
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(multi_positive_cross_entropy(logits, 1), expected)
    torch.testing.assert_close(multi_positive_cross_entropy(logits, 3), -logits.softmax(1)[:, :3].sum(1).log())
    assert not multi_positive_cross_entropy(logits, 9).abs().max() > 1e-6


@pytest.mark.parametrize("positives", [1, 4])
def test_contrast_with_a_queue(positives):
    generator = torch.Generator().manual_seed(0)
    queries, queue = torch.randn(6, 8, generator=generator), torch.randn(20, 8, generator=generator)
    queue = torch.nn.functional.normalize(queue, dim=1)
    keys = torch.randn(6, positives, 8, generator=generator)
    queries.requires_grad_(), keys.requires_grad_()
    loss, accuracy = info_nce_with_negatives(queries, keys if positives > 1 else keys[:, 0], queue, 0.2)
    expected, hits = [], 0
    for query, own in zip(queries, keys):
        cosines = torch.nn.functional.cosine_similarity(query[None], torch.cat([own, queue]), dim=1)
        expected.append(-(cosines / 0.2).softmax(0)[:positives].sum().log())
        hits += int(cosines.argmax() < positives)
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    assert accuracy.item() == pytest.approx(hits / 6)
    loss.backward()
    assert queries.grad.any() and keys.grad is None


def test_two_processes_give_the_gradient_of_one():
    script = Path(__file__).with_name("two_ranks.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("equal to one process") == 2
