"""The checks, the quick ones first. To add one, write a function that takes a Place, and list it here."""

from __future__ import annotations

from benchmarks.gpu import crowded, device, loading, ranks, sharing, suite, timing, training
from benchmarks.gpu.check import Check

_NOISE = "end what else uses the GPU and its host, and run the check again with ONLY="
_SEND = "if that does not help, send the JSON file (CONTRIBUTING.md)"

CHECKS = (
    Check(
        "device",
        device.device,
        "torch's kernels do not run on this GPU, or compute wrongly: install a driver for torch's CUDA, and a torch "
        "whose `built_for` in the JSON file has the GPU's `capability`",
        limit=300,
    ),
    Check("tests", suite.marked_tests, f"the output names the test; {_SEND}", limit=900),
    Check("weights", training.weights, f"do not trust accuracies of this GPU; {_SEND}"),
    Check("bfloat16", training.bfloat16, f"set `training: {{precision: float32}}`; {_SEND}"),
    Check(
        "compile",
        training.compiled,
        "torch.compile needs a C compiler on the PATH and Triton, which comes with torch's CUDA builds; `training: "
        f"{{compile: false}}` is the default and does without; {_SEND}",
        limit=1200,
    ),
    Check("float16", training.float16, f"leave `precision: float16` and `channels_last` alone; {_SEND}"),
    Check(
        "streaming",
        loading.streaming,
        "pinned memory needs `ulimit -l` and /dev/shm (for a container: --shm-size=512m, --ulimit memlock=-1)",
    ),
    Check(
        "timing",
        timing.event_timing,
        f"{_NOISE}timing; budgets of latency and throughput are as far off as it says; {_SEND}",
        limit=1200,
    ),
    Check(
        "fractions",
        sharing.fractions,
        "use `workers: {gpu: 1}`; two processes can share a GPU in compute mode Default alone (nvidia-smi -q -d "
        "COMPUTE), and Ray must see as many cores as trials run at once",
    ),
    Check(
        "memory",
        crowded.crowded,
        f"use `workers: {{gpu: 1}}`, so that no trial has a neighbour that takes its memory; {_SEND}",
    ),
    Check("rates", sharing.trials_per_minute, f"see fractions; {_SEND}", limit=2400),
    Check(
        "nccl",
        ranks.two_ranks,
        "use `workers: {gpu: 1}`; NCCL_DEBUG=INFO in the environment says what NCCL does, NCCL_P2P_DISABLE=1 goes "
        "around GPUs that cannot reach each other",
        all_gpus=True,
    ),
)
