"""What the parser's boxes of errors say, in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from refluence.fields import Setting, settings_of


def one_line(box: str, kind: type, words: Sequence[str]) -> str:
    """What a box of tyro says of the `words` behind the command whose flags are `kind`."""
    lines = [line.strip(" │|╭╮╰╯─\t") for line in box.splitlines()]
    lines = [line for line in lines if set(line) - {"-"} and "full helptext" not in line]
    text = " ".join(lines)
    if text.startswith("Required"):
        text, _, unknown = text.partition("Unrecognized options:")
        flags, others = (list(dict.fromkeys(re.findall(r"--(?!help)[a-z][a-z-]*", part))) for part in (text, unknown))
        place = "the folder DIR" if "folder" in settings_of(kind) else "RECIPE (see refluence ls)"
        missing = flags or [place]
        beside = f", and there is no {' and no '.join(others)}" if others else ""
        if flags and not others and "--resume" in words:
            beside = "; a run that continues takes the flags of its first start again"
        return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing{beside}"
    if found := re.search(r"Unrecognized options: (.*?)(?: Perhaps you meant:.*?(--[a-z-]+)|$)", text):
        flagged = [word for word in found[1].split(", ") if word.startswith("--")]
        if not flagged and (one_too_many := _surplus(words, kind)):
            return one_too_many
        if here := [flag for flag in flagged if _shorter(flag) in settings_of(kind)]:
            return f"there is no {' and no '.join(flagged)} (--{_shorter(here[0])} is what it is called here)"
        return f"there is no {' and no '.join(flagged) or found[1]}" + (f" (did you mean {found[2]}?)" if found[2] else "")
    if found := re.search(r"invalid choice (.+?) for argument '(.+?)'\. Expected one of \((.+?)\)", text):
        return f"{found[2]} {found[1]}: choose one of {', '.join(_setting(found[2], kind).choices)}".replace("'", "")
    if found := re.search(r"Error parsing (--[a-z-]+): .*?: ?'?([^']*)'", text):
        setting = _setting(found[1], kind)
        what = {int: "a whole number", float: "a number", None: "another value"}[setting.number]
        what += "".join(f", or {word}" for word in setting.also)
        given = re.search(r"from \['(.*?)'\]", text)
        return f"{found[1]} {given[1] if given else found[2]}: expected {what}"
    if found := re.search(r"Missing value for argument '(.+?)'", text):
        return f"{found[1]} needs a value"
    return text


def _shorter(flag: str) -> str:
    """A flag without the name of what is trained first, which the command that trains it leaves out."""
    return flag.partition("=")[0].removeprefix("--denoiser-").removeprefix("--minimax-")


def _surplus(words: Sequence[str], kind: type) -> str:
    """What the first value says that stands behind a flag which has its value already, or takes none."""
    settings, last, values = settings_of(kind), "", 0
    for word in words:
        if word.startswith("--"):
            last, equals, _ = word.partition("=")
            values = 1 if equals else 0
            continue
        setting = settings.get(last.removeprefix("--").replace("-", "_"))
        values += 1
        if setting is None or Ellipsis in setting.kinds:
            continue
        most = 0 if bool in setting.kinds else 1
        if values > most:
            return f"{last} takes {'one value' if most else 'no value'}, so '{word}' is one too many"
    return ""


def _setting(flag: str, kind: type) -> Setting:
    return settings_of(kind)[flag[2:].replace("-", "_")]
