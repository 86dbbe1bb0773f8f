"""The process that draws: a line of JSON in, a line of JSON out, for each chart. `drawing.py` starts it as a script.

Vega runs in V8, which takes the whole process down where address space or memory is short. So it runs in one of its own,
which imports nothing else of this package (and no torch).
"""

import base64
import json
import os
import signal
import sys


def main() -> None:
    """Answer `{"chart", "form": "svg" | "png"}` with `{"drawn": base64}` or `{"error"}`, until there is no more to read."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks; its end is the end of what is read
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what the engine prints is no answer
    for line in sys.stdin.buffer:
        try:
            answer = {"drawn": base64.b64encode(drawn(**json.loads(line))).decode("ascii")}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def drawn(chart: dict[str, object], form: str) -> bytes:
    """The Vega-Lite chart as SVG (UTF-8), or as PNG of two pixels to a point."""
    import vl_convert  # here, so that an installation without it is an answer too

    return vl_convert.vegalite_to_svg(chart).encode() if form == "svg" else vl_convert.vegalite_to_png(chart, scale=2.0)


if __name__ == "__main__":
    main()
