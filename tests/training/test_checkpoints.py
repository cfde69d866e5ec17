"""Checkpoints that are complete or absent, logs that can be continued, and clean interruption."""

import os
import signal
from contextlib import contextmanager

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

from skeleton_transformers.training.checkpoints import (
    InterruptGuard,
    RunLog,
    latest_checkpoint,
    list_checkpoints,
    read_run_log,
    read_state,
    save_checkpoint,
)


@pytest.fixture
def accelerator():
    yield Accelerator(cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def test_checkpoint_round_trip(accelerator, tmp_path):
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer, optimizer = accelerator.prepare(layer, optimizer)
    assert latest_checkpoint(tmp_path) is None
    before = layer.weight.detach().clone()
    folder = save_checkpoint(accelerator, tmp_path, 7, {"seen": 0.1 + 0.2}, write_more=lambda f: (f / "more").touch())
    random = torch.rand(3)
    with torch.no_grad():
        layer.weight.zero_()
    assert latest_checkpoint(tmp_path) == folder and (folder / "more").exists()
    assert read_state(folder) == {"step": 7, "seen": 0.1 + 0.2}
    accelerator.load_state(str(folder))
    assert torch.equal(layer.weight, before)
    assert torch.equal(torch.rand(3), random)


@pytest.fixture
def full_disk():
    """Files cannot grow beyond 4 kB, which the system reports like a full disk: while it is being written."""
    resource = pytest.importorskip("resource", reason="limits of processes are a matter of POSIX")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    @contextmanager
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


def test_a_full_disk_stops_the_run_and_leaves_the_last_good_checkpoint(accelerator, tmp_path, full_disk):
    layer = accelerator.prepare(torch.nn.Linear(64, 64))
    with full_disk(), pytest.raises(OSError, match="step 1 cannot be written .* There is none before it; make room"):
        save_checkpoint(accelerator, tmp_path, 1, {})
    save_checkpoint(accelerator, tmp_path, 2, {})
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.zero_()
    with full_disk(), pytest.raises(OSError, match="The last good one is step_00000002; .* again with --resume"):
        save_checkpoint(accelerator, tmp_path, 3, {})
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000002"]
    accelerator.load_state(str(latest_checkpoint(tmp_path)))
    assert torch.equal(layer.weight, before)


def test_an_unfinished_checkpoint_is_not_one(accelerator, tmp_path):
    """What a process leaves that dies while it writes: nothing under the final name, and cleared up by the next one."""

    def die(folder):
        raise KeyboardInterrupt

    save_checkpoint(accelerator, tmp_path, 1, {})
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(accelerator, tmp_path, 2, {}, write_more=die)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_00000001"]
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    save_checkpoint(accelerator, tmp_path, 3, {}, keep_last=5)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step_00000001", "step_00000003"]


def test_old_checkpoints_go_and_the_same_step_can_be_saved_again(accelerator, tmp_path):
    for step in (1, 2, 10, 10):
        save_checkpoint(accelerator, tmp_path, step, {"number": step}, keep_last=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_00000002", "step_00000010"]
    with pytest.raises(ValueError, match="keep_last"):
        save_checkpoint(accelerator, tmp_path, 11, {}, keep_last=0)


def test_run_log_continues_after_a_step(tmp_path):
    path = tmp_path / "run" / "log.jsonl"
    log = RunLog(path)
    for step in range(1, 6):
        log.write({"step": step, "loss": step / 3})
    with open(path, "a") as file:
        file.write('{"step": 6, "lo')  # killed while writing
    assert [record["step"] for record in read_run_log(path)] == [1, 2, 3, 4, 5]
    log = RunLog(path, last_step=3)
    log.write({"step": 4, "loss": 0.0})
    assert read_run_log(path) == [*({"step": s, "loss": s / 3} for s in (1, 2, 3)), {"step": 4, "loss": 0.0}]
    RunLog(path)
    assert read_run_log(path) == []


def test_interrupts_become_a_flag_and_handlers_are_restored():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with InterruptGuard() as interrupt:
        assert interrupt.signal == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.signal == signal.SIGTERM
    with InterruptGuard() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
