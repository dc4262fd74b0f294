"""What `make bench` measures: one file per group (blocks_less, blocks_castling, models, cost), run by `__main__`.

Both sides of a row run in one process, call by call in turn; results/*.json keeps every figure with the machine and the
setting, and docs/benchmarks.md is written from those files. To add a group, add a module with `run(setting)` and its
name to `GROUPS` in `__main__`.
"""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # before torch is imported: its profiler reports every start and stop
