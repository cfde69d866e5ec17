"""What a model costs: arithmetic, parameters, time and memory, and how near it comes to what the machine could do."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count


def count_flops(function: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products, attentions and convolutions of a call; a multiply-add is two.

    Counted is what is executed: a model that leaves out padding needs fewer for a padded batch. Recurrent layers whose kernel is
    one piece are not counted.

    Args:
        function: called once, with its backward pass if it has one.
    """
    # torch 2.13 knows attention on every device but a CPU. A formula gets shapes in the place of tensors.
    aten = torch.ops.aten
    formulas = {
        aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *rest, **options: sdpa_flop_count(q, k, v),
        aten._scaled_dot_product_flash_attention_for_cpu_backward: (
            lambda gradient, q, k, v, *rest, **options: sdpa_backward_flop_count(gradient, q, k, v)
        ),
    }
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        function()
    return counter.get_total_flops()


def measure_seconds(
    functions: dict[str, Callable[[], Any]], repeats: int = 5, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Times calls in turns, so that a change of the machine's load meets all of them.

    Args:
        functions: what to time, by name; each is called once more, before, for what only a first call pays.
        repeats: times each is timed.
        clock: says the time in seconds; `time.process_time`, what the process has calculated, is the better one for one thread
            on a machine that has other work.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            _synchronize()
            start = clock()
            function()
            _synchronize()
            seconds[name].append(clock() - start)
    return seconds


def peak_matrix_rate(
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    size: int = 2048,
    repeats: int = 8,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Floating-point operations a second of the fastest of several products of two square matrices: the arithmetic limit.

    Args:
        device: where they are multiplied.
        dtype: of the matrices.
        size: rows and columns; an accelerator needs 8192 or more.
        repeats: products of which the fastest counts.
        clock: see [`measure_seconds`].
    """
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / min(measure_seconds({"product": lambda: left @ right}, repeats, clock)["product"])


def peak_memory(function: Callable[[], Any], device: str = "cpu") -> int:
    """Bytes that a call needs at most, on top of what was in use before.

    On a CPU this is the growth of the process's resident memory, to which memory that the allocator has kept from earlier calls does not
    count: only in a fresh process is the number that of the call.

    Args:
        function: called once.
        device: whose memory is meant.

    Raises:
        OSError: the system does not say how much memory a process has used at most (only Linux does).
    """
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        return torch.cuda.max_memory_allocated(device) - before
    try:
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident now
    except OSError as error:
        raise OSError(
            "the peak memory of a call on a CPU can be measured on Linux only (/proc/self/clear_refs)"
        ) from error
    before = _resident_bytes("VmRSS")
    function()
    return max(0, _resident_bytes("VmHWM") - before)  # the kernel counts a little late


def profile_model(
    model: Any,
    num_frames: int = 64,
    batch_size: int = 16,
    num_persons: int = 1,
    training: bool = False,
    repeats: int = 5,
) -> dict[str, Any]:
    """Arithmetic, parameters, latency and memory of a model on a batch of random sequences, all of full length.

    Args:
        model: encoder or task model, on the device and in the precision to be measured.
        num_frames: frames of every sequence.
        batch_size: sequences.
        num_persons: persons in every sequence.
        training: measure the forward and backward pass of a sum of all floating-point outputs, in training mode, instead
            of inference.
        repeats: timed calls.

    Returns:
        `parameters`, `flops`, `flops_per_sequence`, `seconds` (median), `fastest_seconds`, `sequences_per_second` (median),
        `peak_memory_bytes` (None where the system does not tell), `peak_flops_per_second` (of the machine),
        `share_of_peak` (of the fastest call), and what was measured.
    """
    config, device = model.config, str(model.device)
    generator = torch.Generator().manual_seed(0)
    shape = (batch_size, num_persons, num_frames, config.num_joints, config.num_channels)
    keypoints = torch.randn(shape, generator=generator).to(device)
    frame_mask = torch.ones(shape[:3], dtype=torch.bool, device=device)
    was_training = model.training
    model.train(training)

    def step() -> None:
        with torch.set_grad_enabled(training):
            outputs = model(keypoints, frame_mask)
            if training:
                floats = (value for value in outputs.values() if torch.is_tensor(value) and value.requires_grad)
                torch.stack([value.float().sum() for value in floats]).sum().backward()
                model.zero_grad()

    try:
        memory = peak_memory(step, device)
    except OSError:
        memory = None
    flops = count_flops(step)
    seconds = measure_seconds({"step": step}, repeats)["step"]
    model.train(was_training)
    peak = peak_matrix_rate(device, model.dtype, 2048 if device == "cpu" else 8192)
    return {
        "model": type(model).__name__,
        "device": device,
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "training": training,
        "batch_size": batch_size,
        "num_persons": num_persons,
        "num_frames": num_frames,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "flops": flops,
        "flops_per_sequence": flops / batch_size,
        "seconds": statistics.median(seconds),
        "fastest_seconds": min(seconds),
        "sequences_per_second": batch_size / statistics.median(seconds),
        "peak_memory_bytes": memory,
        "peak_flops_per_second": peak,
        "share_of_peak": flops / min(seconds) / peak,
    }


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _resident_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no field {field}")


__all__ = ["count_flops", "measure_seconds", "peak_matrix_rate", "peak_memory", "profile_model"]
