"""Schedulers decide how long trials train. One file each; a new one is added to `SCHEDULERS` (base.py)."""

from nas.search.schedulers.base import SCHEDULERS, Scheduler, SchedulerOptions, make_scheduler, scheduler_options

__all__ = ["SCHEDULERS", "Scheduler", "SchedulerOptions", "make_scheduler", "scheduler_options"]
