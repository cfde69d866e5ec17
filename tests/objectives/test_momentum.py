import pytest
import torch
from torch import nn

from skeleton_transformers.objectives.momentum import MomentumEncoder, MomentumSchedule


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))


def test_it_starts_as_a_copy_without_gradient():
    student = network()
    teacher = MomentumEncoder(student, 0.9)
    for own, other in zip(teacher.network.parameters(), student.parameters(), strict=True):
        assert torch.equal(own, other) and own is not other and not own.requires_grad
    output = teacher(torch.randn(5, 3, requires_grad=True))
    assert not output.requires_grad


def test_after_k_updates_it_is_the_closed_form():
    """m^k * start + (1 - m^k) * student, for a student that stays where it is."""
    student, start = network(0), network(1)
    teacher = MomentumEncoder(start, 0.9)
    for _ in range(7):
        teacher.follow(student)
    for own, first, last in zip(teacher.network.parameters(), start.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(own, 0.9**7 * first + (1 - 0.9**7) * last)
    assert teacher.num_updates.item() == 7


def test_buffers_are_copied():
    student = network()
    teacher = MomentumEncoder(student, 0.9)
    student(torch.randn(8, 3))
    teacher.follow(student)
    assert torch.equal(teacher.network[1].running_mean, student[1].running_mean)
    assert teacher.network[1].num_batches_tracked == 1


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_the_momentum_follows_its_schedule(shape):
    schedule = MomentumSchedule(0.5, 1.0, steps=4, shape=shape)
    assert (schedule(0), schedule(2), schedule(4), schedule(9)) == (0.5, pytest.approx(0.75), 1.0, 1.0)
    assert (schedule(1) < 0.625) == (shape == "cosine")
    teacher = MomentumEncoder(nn.Linear(1, 1, bias=False), schedule)
    nn.init.zeros_(teacher.network.weight)
    student = nn.Linear(1, 1, bias=False)
    nn.init.ones_(student.weight)
    expected = 0.0
    for update in range(6):
        teacher.follow(student)
        expected = schedule(update) * expected + 1 - schedule(update)
    assert teacher.network.weight.item() == pytest.approx(expected)


def test_the_number_of_updates_is_saved():
    teacher, other = (MomentumEncoder(network(), MomentumSchedule(0.0, 1.0, 3)) for _ in range(2))
    for _ in range(2):
        teacher.follow(network(2))
    other.load_state_dict(teacher.state_dict())
    for each in (teacher, other):
        each.follow(network(5))
    assert all(torch.equal(one, two) for one, two in zip(teacher.parameters(), other.parameters(), strict=True))


def test_dropout_follows_the_mode():
    teacher = MomentumEncoder(nn.Dropout(0.5))
    x = torch.ones(64)
    assert (teacher(x) == 0).any() and (teacher.eval()(x) == 1).all()


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="momentum must lie"):
        MomentumEncoder(network(), 1.5)
    with pytest.raises(ValueError, match="momenta lie in"):
        MomentumSchedule(0.9, 1.0, 0)
    with pytest.raises(ValueError, match="'linear' or 'cosine', got 'step'"):
        MomentumSchedule(0.9, 1.0, 5, "step")
