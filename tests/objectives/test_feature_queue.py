import pytest
import torch

from skeleton_transformers.objectives.feature_queue import FeatureQueue


def unit(*directions):
    return torch.nn.functional.one_hot(torch.tensor(directions), 16).float()


def test_it_starts_as_random_unit_vectors():
    torch.manual_seed(0)
    queue = FeatureQueue(40, 16)
    torch.testing.assert_close(queue.features.norm(dim=1), torch.ones(40))
    assert queue.pointer.tolist() == [0] and len(queue.features.unique(dim=0)) == 40


@pytest.mark.parametrize("size, pushed", [(8, 4), (7, 3), (5, 5), (6536, 64), (3, 8)])
def test_it_holds_the_newest_features_whatever_the_sizes(size, pushed):
    """Wraps round at the end also where the size is no multiple of what is pushed."""
    queue, generator, history = FeatureQueue(size, 4), torch.Generator().manual_seed(0), torch.empty(0, 4)
    for _ in range(2 * size // pushed + 3):
        batch = torch.nn.functional.normalize(torch.randn(pushed, 4, generator=generator), dim=1)
        queue.push(3 * batch)
        history = torch.cat([history, batch])
    place = (len(history) - size + torch.arange(size)) % size
    torch.testing.assert_close(queue.features[place], history[-size:])
    assert queue.pointer.item() == len(history) % size


def test_no_initial_feature_is_left_after_one_round():
    queue = FeatureQueue(2048, 16)
    initial = queue.candidates()
    for _ in range(2048 // 64):
        queue.push(torch.randn(64, 16))
    assert not (queue.features == initial).all(dim=1).any()


def test_the_legacy_pointer_leaves_most_of_the_queue_as_it_was():
    queue = FeatureQueue(4 * 32, 16, refreshed=32)
    initial = queue.candidates()
    for _ in range(20):
        queue.push(torch.randn(16, 16))
    kept = (queue.features == initial).all(dim=1)
    assert not kept[:32].any() and kept[32:].all()


def test_candidates_do_not_change_with_the_queue():
    queue = FeatureQueue(4, 16)
    query = torch.randn(2, 16, requires_grad=True)
    logits = query @ queue.candidates().T
    queue.push(unit(0, 1, 2, 3))
    logits.sum().backward()  # an in-place change of what the product saved would be an error here
    assert torch.isfinite(query.grad).all()


def test_contents_and_pointer_are_saved():
    queue, other = FeatureQueue(6, 16), FeatureQueue(6, 16)
    queue.push(unit(3, 5))
    other.load_state_dict(queue.state_dict())
    for each in (queue, other):
        each.push(unit(7))
    assert torch.equal(queue.features, other.features) and other.features[2, 7] == 1


def test_what_is_pushed_has_no_gradient_and_is_normalised():
    queue = FeatureQueue(4, 16)
    queue.push(5 * torch.randn(4, 16, requires_grad=True))
    assert not queue.features.requires_grad
    torch.testing.assert_close(queue.features.norm(dim=1), torch.ones(4))


@pytest.mark.parametrize("arguments", [(0, 4), (4, 0), (4, 4, 5)])
def test_sizes_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match="a queue needs size and dim"):
        FeatureQueue(*arguments)


def test_it_remembers_where_features_come_from():
    queue = FeatureQueue(5, 16, has_sources=True)
    assert not queue.come_from(torch.arange(4)).any()  # what it starts with comes from nowhere
    queue.push(unit(0, 1, 2), torch.tensor([7, 8, 9]))
    queue.push(unit(3, 4, 5), torch.tensor([10, 11, 12]))
    assert queue.sources.tolist() == [12, 8, 9, 10, 11]
    torch.testing.assert_close(queue.features, unit(5, 1, 2, 3, 4))
    assert queue.come_from(torch.tensor([9, 3])).tolist() == [[False, False, True, False, False], [False] * 5]
    assert "sources" not in FeatureQueue(5, 16).state_dict()
    with pytest.raises(ValueError, match="push them with their sources"):
        queue.push(unit(0))
    with pytest.raises(ValueError, match="make it with has_sources=True"):
        FeatureQueue(5, 16).come_from(torch.tensor([1]))
