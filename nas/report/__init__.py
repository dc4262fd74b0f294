"""Tables, figures and one HTML page of a run, made from its files only.

>>> write_report(Path("results/lavit_split-digits"))
PosixPath('results/lavit_split-digits/report.html')
"""

from __future__ import annotations

from pathlib import Path


def write_report(run_dir: Path) -> Path:
    """Write `report.html` and `figures/*.png` into a run directory and return the page's path.

    The run may be in progress, killed, or without a complete trial. Raises RunError if `run_dir` is not a run.
    """
    from nas.files import no_link, write_atomically, write_text
    from nas.report.figures import drawings
    from nas.report.page import page
    from nas.report.run import read_run

    run = read_run(Path(run_dir))
    figures = drawings(run)
    no_link(run.directory / "figures")
    for drawing in figures:
        write_atomically(run.directory / "figures" / f"{drawing.name}.png", drawing.write)
    write_text(run.directory / "report.html", page(run))
    return run.directory / "report.html"


def write_reports(*directories: Path, out: Path | None = None, figures: bool = False) -> list[Path]:
    """Write what a run is read by: the page of a search, or the table of an ablation; of several, their comparison.

    out: of a comparison, by default comparison.html in the working directory. figures: of one run, write figures/*.svg
    and *.pdf as well. Raises RunError for what cannot be compared.

    >>> write_reports(Path("results/lavit_split-digits"))
    [PosixPath('results/lavit_split-digits/report.html')]
    """
    from nas.engine.record import read_record
    from nas.errors import RunError
    from nas.report.figures import write_figures

    if len(directories) > 1 and not figures:
        from nas.report.compare import write_comparison

        return [write_comparison(directories, out or Path("comparison.html"))]
    if len(directories) > 1 or out is not None:
        raise RunError("--out names the page that compares runs: it needs two or more; --figures is for one run")
    (directory,) = directories
    if (read_record(directory) or {}).get("kind") == "ablation":
        from nas.report.ablation import write_table

        written = write_table(directory)
    else:
        written = [write_report(directory)]
    return written + (write_figures(directory) if figures else [])
