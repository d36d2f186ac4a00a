"""One step of `git bisect run`: runs a case, and answers by exit status.

It is copied out of the checkout before that moves, so it uses the standard library alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

GOOD, BAD, SKIP = 0, 1, 125  # git bisect's own meanings


def main(arguments: list[str] | None = None) -> int:
    """GOOD where the case kept its promises, BAD where a gate failed, else SKIP."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", type=Path, required=True, help="folder with perf_tests/")
    parser.add_argument("--case", required=True, help="GROUP/NAME")
    parser.add_argument("--gate", default="", help="judge by this gate alone")
    parser.add_argument("rest", nargs="*", help="further options of pytest --benchmark")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--benchmark"]
        command += [f"--case={asked.case}", f"--results={place}", *asked.rest]
        ran = subprocess.run(command, cwd=asked.suite, capture_output=True, text=True, check=False)
        status, why = answer(Path(place) / "run.json", asked.case, asked.gate, ran.returncode)
    if status == SKIP:
        why += "; pytest's last words: " + " / ".join((ran.stdout + ran.stderr).split("\n")[-6:])
    print(f"{ {GOOD: 'good', BAD: 'bad', SKIP: 'skip'}[status] }: {why}", flush=True)
    return status


def answer(run: Path, case: str, gate: str, status: int) -> tuple[int, str]:
    """GOOD, BAD or SKIP with its reason, from what a run left behind and its exit status."""
    if status not in (0, 1):
        return SKIP, f"pytest ended with status {status}"
    try:
        records = json.loads(run.read_text(encoding="utf-8"))["records"]
        record = next(one for one in records if f"{one['group']}/{one['variant']}" == case)
        verdicts = [one for one in record["verdicts"] if gate in ("", one["gate"])]
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        return SKIP, f"the run left no record of {case} ({type(error).__name__})"
    failed = [one for one in verdicts if one["status"] == "failed"]
    if failed:
        return BAD, "; ".join(f"{one['gate']} failed: {one['reason']}" for one in failed)
    if any(one["status"] == "passed" for one in verdicts):
        return GOOD, f"{len(verdicts)} gates, none failed"
    return SKIP, f"no gate of {case} could be judged" + (f" ({gate})" if gate else "")


if __name__ == "__main__":
    sys.exit(main())
