"""Class names as the names of folders: what every file system takes, sorted as the classes are numbered."""

from __future__ import annotations

import unicodedata

FORBIDDEN = frozenset('/\\:*?"<>|%\x7f')
DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})
LONGEST = 200
"""Bytes of a name: file systems end at 255, some at less."""


def folder_names(classes: tuple[str, ...]) -> tuple[list[str], bool]:
    """A folder name for each class, and whether they had to be numbered.

    Readers of class folders number the classes by their sorted names. Where that would be another order than that of
    `classes`, or two names are one to a file system that ignores case, each name begins with its class number. Characters
    that a file system trips over, and names that Windows keeps for itself, are percent-encoded; long names are cut.
    """
    names = [_encoded(name) for name in classes]
    alike = {unicodedata.normalize("NFC", name).casefold() for name in names}
    if all(names) and names == sorted(names) and len(alike) == len(names):
        return names, False
    width = len(str(len(names) - 1))
    return [f"{number:0{width}d}-{name}" for number, name in enumerate(names)], True


def _encoded(name: str) -> str:
    last, device = len(name) - 1, name.split(".")[0].strip().lower() in DEVICES
    encoded = ""
    for place, letter in enumerate(name):
        outer = (place == 0 and (letter == "." or device)) or (place == last and letter in ". ")
        if outer or letter in FORBIDDEN or letter < " " or "\ud800" <= letter <= "\udfff":
            letter = "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))
        if len((encoded + letter).encode()) > LONGEST:
            break
        encoded += letter
    return encoded
