"""`make gpu-check`: what only a GPU can show about this package, as checks that pass, fail or are skipped.

    check.py      what a check is, and what it finds
    alone.py      one check in a process of its own, with a time limit
    listed.py     the checks, in the order in which they run
    __main__.py   the command: runs them, prints the table, keeps the figures

Each other file has the checks of one subject. `--rehearse` runs them with the CPU in the GPU's place, which shows that
their code works and nothing about a GPU.
"""
