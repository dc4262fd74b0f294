"""The batch script of docs/cluster.md, run by bash with stand-ins for Slurm's commands."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
[SCRIPT] = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", PAGE, re.DOTALL)
STANDS_IN = {
    "scontrol": 'printf "node1\\nnode2\\n"',
    "srun": 'case "$*" in *hostname*) echo "192.0.2.7 198.51.100.7";; '
    '*) printf "%s\\n" "$@" > srun.txt; env > env.txt; cp -p "$RAY_AUTH_TOKEN_PATH" token; esac',
}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    for name, body in STANDS_IN.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/bash\n{body}\n")
        program.chmod(0o755)
    (tmp_path / "search.sh").write_text(SCRIPT)
    slurm = {"JOB_ID": "1234567", "JOB_NODELIST": "node[1-2]", "JOB_NUM_NODES": "2", "CPUS_PER_TASK": "32"}
    slurm |= {"GPUS_ON_NODE": "4"}
    env = {**os.environ, **{f"SLURM_{name}": value for name, value in slurm.items()}}
    env["PATH"] = f"{tmp_path / 'bin'}:{env['PATH']}"
    subprocess.run(["bash", "search.sh"], cwd=tmp_path, env=env, check=True)
    return tmp_path


def test_every_node_starts_ray_at_one_address_and_the_driver_joins_it(job: Path) -> None:
    called = (job / "srun.txt").read_text().splitlines()
    options, driver = called[: called.index("--")], called[called.index("--") + 1 :]
    address = options[options.index("--address") + 1]
    assert address == "192.0.2.7:24567"
    assert options[options.index("ray") + 1] == "symmetric-run" and options[options.index("--min-nodes") + 1] == "2"
    assert {"--nodes=2", "--ntasks=2", "--num-cpus=32", "--num-gpus=4"} <= set(options)
    assert driver[:2] == ["nas", "search"]
    environment = dict(line.partition("=")[::2] for line in (job / "env.txt").read_text().splitlines())
    assert environment["RAY_ADDRESS"] == address and environment["RAY_AUTH_MODE"] == "token"


def test_the_token_is_private_and_gone_after_the_job(job: Path) -> None:
    token = job / "token"
    assert re.fullmatch("[0-9a-f]{64}", token.read_text()) and token.stat().st_mode & 0o777 == 0o600
    assert list(job.glob(".ray-token-*")) == []
