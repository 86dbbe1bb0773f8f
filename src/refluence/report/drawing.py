"""Charts drawn by another process (`drawer.py`), so that what its engine does to a process is not done to the run's.

It is started by the first chart, serves all others, and ends with this one. Where it dies, the page is written without the
charts, and a warning says so.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path

from refluence.files import Json

DRAWER = Path(__file__).with_name("drawer.py")
SECONDS = 120.0  # for one chart, which takes a hundredth of one; the first waits for the engine to start
UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # in no SVG: the engine would end its process
DEATHS = 2  # after so many the rest of a page is not tried


class Drawer:
    """The process, as soon as there is one."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, chart: object, form: str) -> bytes:
        """The drawing. `ValueError` where the engine refuses the chart, `OSError` where the process is dead."""
        if self.process is None:
            pipe, words = subprocess.PIPE, [sys.executable or "python", str(DRAWER)]
            self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        questions, answers = self.process.stdin, self.process.stdout
        assert questions is not None, "a pipe was asked for"
        assert answers is not None, "a pipe was asked for"
        watch = threading.Timer(SECONDS, self.process.kill)
        watch.daemon = True
        watch.start()
        try:
            questions.write(json.dumps({"chart": chart, "form": form}).encode() + b"\n")
            questions.flush()
            line = answers.readline()
        except OSError:
            line = b""
        finally:
            watch.cancel()
        if not line.endswith(b"\n"):
            raise OSError(self.close())
        answer = json.loads(line)
        if "drawn" not in answer:
            raise ValueError(answer["error"])
        return base64.b64decode(answer["drawn"])

    def close(self) -> str:
        """End the process, and say how it ended."""
        process, self.process = self.process, None
        if process is None:
            return ""
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what was not sent yet has nobody to go to
                if pipe is not None:
                    pipe.close()
        try:
            code = process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        names = {number.value: number.name for number in signal.Signals}
        return f"it was ended by {names.get(-code, -code)}" if code < 0 else f"it ended with exit code {code}"


_drawer = Drawer()
atexit.register(_drawer.close)


def draw(charts: Sequence[tuple[Json, str]], target: Path) -> list[bytes | None]:
    """Each Vega-Lite chart as `svg` or `png`, None where that failed; one warning then says so of `target`."""
    found: list[bytes | None] = []
    reason, deaths = "", 0
    for chart, form in charts:
        drawn = None
        if deaths < DEATHS:
            try:
                drawn = _drawer.ask(_fit(chart), form)
            except ValueError as error:
                reason = str(error)
            except (OSError, RuntimeError) as error:  # the second: no thread can be started to watch it
                reason, deaths = str(error), deaths + 1
        found.append(drawn)
    if missing := found.count(None):
        which = "its charts" if missing == len(found) else "some of its charts"
        warnings.warn(
            f"{target} is written without {which}: the process that draws them failed ({reason}), perhaps for want of memory "
            "or address space (ulimit -v); where there is more, `refluence report` draws them",
            stacklevel=2,
        )
    return found


def _fit(value: object) -> object:
    """The same chart with a replacement sign for each character that no SVG can hold: names of classes may have such."""
    if isinstance(value, str):
        return UNFIT.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {_fit(key): _fit(each) for key, each in value.items()}
    return [_fit(each) for each in value] if isinstance(value, list) else value
