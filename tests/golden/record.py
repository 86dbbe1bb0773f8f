"""Record the golden digests of this machine: `python tests/golden/record.py`, all jobs, or those that are named behind it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from digests import STORED, digests, fingerprint, stored
from tiny_jobs import JOBS, run


def record(names: list[str]) -> None:
    """Run the jobs, print those whose digests are new, and store them beside the records of other machines.

    A job that had digests here and has others now has none on other machines any more: they are to be recorded there.
    """
    machine = fingerprint()
    others = [entry for entry in stored() if entry["fingerprint"] != machine]
    jobs = next((entry["jobs"] for entry in stored() if entry["fingerprint"] == machine), {})
    for name in names or JOBS:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["REFLUENCE_CACHE"] = f"{folder}/cache"
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                found = digests(run(name, Path(folder)))
        changed = [key for key in sorted({*found, *jobs.get(name, {})}) if found.get(key) != jobs.get(name, {}).get(key)]
        print(f"{name}: {time.perf_counter() - start:.1f} s, {len(changed)} of {len(found)} digests are new", flush=True)
        for entry in others if changed and name in jobs else []:
            entry["jobs"].pop(name, None)
        jobs[name] = found
    entry = {"fingerprint": machine, "jobs": {name: jobs[name] for name in JOBS if name in jobs}}
    STORED.write_text(json.dumps([*others, entry], indent=1) + "\n")


if __name__ == "__main__":
    record(sys.argv[1:])
