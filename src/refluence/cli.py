"""The command line. Exit code 0 done, 2 unusable input, 1 a run that had to stop, 130 stopped by Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from refluence.errors import InputError, RunError, in_flags
from refluence.run.streams import prepare, printable
from refluence.version import __version__

USAGE = f"""Refluence {__version__}: find which training instances matter, make training small

  refluence compare    several methods, an honest verdict   (start here)
  refluence distill    one small set from your data
  refluence transfer   one small model from a large one
  refluence generate   one small set sampled from a diffusion model of your data
  refluence score      which training instances help, which harm
  refluence evaluate   judge a set again: other protocol, other network
  refluence run        a table or figure of the paper, ours beside it
  refluence report     write the page of a run again
  refluence export     a distilled set as image folder, Parquet or tensors
  refluence repeat     run a folder's configuration again: is it the same?
  refluence estimate   time, memory and bytes of a run before you start it
  refluence ls         methods, weights, protocols, models, recipes

Try:  refluence compare --data digits --methods random dc dc+influence \\
                        --ipc 10 --seeds 3 --out runs/first
Help: refluence COMMAND --help"""
LISTED = 5  # files that a message names
OUT_OF_MEMORY = (
    "out of memory", "not enough memory", "allocate memory", "failed to map segment", "bad_alloc", "alloc_failed", "new thread",
    "could not create a primitive",
)  # fmt: skip
SMALLER = (
    "out of memory: a smaller --real-batch, --batch or --width, fewer --workers, or --precision bf16, needs less; "
    "`refluence estimate` says how much"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; every expected failure is one line on standard error."""
    prepare()
    with in_flags():
        code = _run(list(sys.argv[1:] if argv is None else argv))
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed there is dropped
        if not isinstance(error, BrokenPipeError):
            return _fail(f"standard output cannot be written to: {error.strerror or error}", 1)
    return code


def _run(words: list[str]) -> int:
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            print(USAGE)
            return 0 if words else 2
        if words[0] == "--version":
            print(f"refluence {__version__}")
            return 0
        from refluence.commands.free import check_out
        from refluence.commands.parse import parse
        from refluence.run.progress import notes_wait, one_line_warnings

        one_line_warnings()
        name, flags = parse(words)
        check_out(name, flags)
        with notes_wait():
            import_module(f"refluence.commands.{name}").run(flags)
    except InputError as error:
        return _fail(str(error), 2, error.lines)
    except RunError as error:
        return _fail(str(error), 1)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        return 0
    except KeyboardInterrupt:
        return _fail("stopped; the same command with --resume continues", 130)
    except Exception as error:
        return _unexpected(error)
    return 0


def _unexpected(error: Exception) -> int:
    """What the machine lacks, a failed compilation and a user's own model have a line each; anything else is our mistake, and
    its traceback is shown."""
    text = str(error).lower()
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return _fail(SMALLER, 1)
    if isinstance(error, (RuntimeError, ImportError)) and any(words in text for words in OUT_OF_MEMORY):
        return _fail(SMALLER, 1)
    if isinstance(error, ImportError) and not (error.name or "").startswith("refluence"):
        return _fail(f"a library that Refluence needs cannot be loaded ({error}): install it again", 1)
    models = sys.modules.get("refluence.models.user_file")  # not imported: there is no network of a user's
    if models is not None and (place := models.blamed(error)) is not None:
        return _fail(f"the network that you gave fails: {place}", 2)
    if isinstance(error, OSError) and error.strerror:  # a full disk, a file taken away, no more processes
        where = f"{error.filename}: " if error.filename else ""
        if error.errno == errno.ENAMETOOLONG:
            return _fail(f"{where}{error.strerror}; give a shorter one", 2)
        return _fail(f"{where}{error.strerror}; when that is mended, the same command with --resume continues", 1)
    if isinstance(error, RuntimeError) and "freeze_support()" in text:  # a script of one's own that starts processes
        return _fail("a script that calls refluence.cli.main needs `if __name__ == '__main__':` around the call", 2)
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return _fail(f"--compile does not work here ({str(error).strip().splitlines()[0]}): leave it out", 1)
    traceback.print_exception(error)
    files = sys.modules.get("refluence.files")  # not imported: no file of a run was read
    if files is not None and files.READ and isinstance(error, (LookupError, TypeError, ValueError, AttributeError)):
        listed = ", ".join(map(str, list(files.READ)[-LISTED:]))
        return _fail(
            f"if one of these was changed by hand, put it back: {listed}; else please report it with the lines above", 1
        )
    return _fail("this is a bug of Refluence, not of your input: please report it with the lines above", 1)


def _fail(message: str, code: int, lines: tuple[str, ...] = ()) -> int:
    with contextlib.suppress(OSError):  # where standard error cannot be written to, the exit code alone says it
        said = map(printable, (f"refluence: {' '.join(message.split())}", *lines))
        print("\n    ".join(said), file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
