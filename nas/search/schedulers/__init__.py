"""Schedulers decide training length. One file each; new ones register in `SCHEDULERS` (base.py)."""

from nas.search.schedulers.base import (
    SCHEDULERS,
    Scheduler,
    SchedulerOptions,
    make_scheduler,
    scheduler_options,
    with_scheduler,
)

__all__ = ["SCHEDULERS", "Scheduler", "SchedulerOptions", "make_scheduler", "scheduler_options", "with_scheduler"]
