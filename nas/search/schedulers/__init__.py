"""Schedulers: how long each trial is trained. One file each; a new one joins `SCHEDULERS` (base.py)."""

from nas.search.schedulers.base import SCHEDULERS, Scheduler, SchedulerOptions, make_scheduler, scheduler_options

__all__ = ["SCHEDULERS", "Scheduler", "SchedulerOptions", "make_scheduler", "scheduler_options"]
