"""Which operations a training step's time goes to, as PyTorch's profiler sees them."""

from torch.profiler import ProfilerActivity, profile

from benchmarks.contenders import Stopwatch, bare_step
from benchmarks.workloads import Workload

# Kind of operation, and what its names contain; the first that fits counts.
KINDS = {
    "convolutions": ("conv",),
    "batch normalisation": ("batch_norm", "batchnorm"),
    "pooling": ("pool",),
    "ReLU": ("relu", "threshold", "clamp_min"),
    "upsampling and concatenation": ("upsample", "aten::cat"),
    "linear layers": ("aten::mm", "aten::addmm", "aten::linear"),
    "optimizer": ("adam", "optimizer"),
}
REST = "everything else"


def operation_shares(workload: Workload, steps: int) -> dict[str, float]:
    """Each kind's share of the time of so many bare steps, in [0, 1]; together they are 1."""
    step = bare_step(workload, Stopwatch(steps))
    step()  # warms up
    on_card = workload.compute.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_card else [])]
    with profile(activities=activities) as seen:
        step()
    spent = dict.fromkeys([*KINDS, REST], 0.0)
    for event in seen.key_averages():
        time = event.self_device_time_total if on_card else event.self_cpu_time_total
        spent[kind_of(event.key)] += time
    whole = sum(spent.values())
    return {kind: time / whole for kind, time in spent.items()}


def kind_of(operation: str) -> str:
    """The kind of operation that a name in the profile belongs to."""
    name = operation.lower()
    found = (kind for kind, parts in KINDS.items() if any(part in name for part in parts))
    return next(found, REST)
