"""The tests marked `gpu`, which skip wherever there is none."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib.util import find_spec
from pathlib import Path

from benchmarks.gpu.check import Found, Place, Skipped

COUNTS = ("tests", "failures", "errors", "skipped")


def marked_tests(place: Place, where: Path | None = None) -> Found:
    """`pytest -m gpu`, whose output is the check's own. where: other tests than the repository's."""
    missing = [name for name in ("pytest", "xdist", "pytest_timeout", "hypothesis") if find_spec(name) is None]
    if missing:
        raise Skipped(f"without {', '.join(missing)}: pip install -e '.[test]'")
    report = place.folder / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-n0", "-p", "no:cacheprovider", f"--junitxml={report}"]
    code = subprocess.run([*command, *([str(where)] if where else [])], check=False).returncode
    if not report.exists():
        return Found("", [f"pytest ended with status {code} before any test"])
    (suite,) = ElementTree.parse(report).getroot()
    count = {name: int(suite.get(name, 0)) for name in COUNTS}
    bad = count["failures"] + count["errors"]
    ran = count["tests"] - count["skipped"]
    text = f"{ran - bad} of {count['tests']} tests passed, {bad} failed, {count['skipped']} skipped"
    if place.rehearsal and not ran:
        raise Skipped(f"the {count['tests']} tests marked gpu need one")
    return Found(text, [] if code == 0 and ran else [text], count)
