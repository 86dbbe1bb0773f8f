"""What a type checker sees of `import refluence as rf` is what there is."""

from __future__ import annotations

import ast
from pathlib import Path

import refluence as rf


def test_every_public_name_is_shown_to_type_checkers():
    block = next(node for node in ast.parse(Path(rf.__file__).read_text()).body if isinstance(node, ast.If))
    shown = {name.asname: f"{found.module}.{name.name}" for found in ast.walk(block) if isinstance(found, ast.ImportFrom)
             for name in found.names}  # fmt: skip
    assert set(shown) == {*dir(rf)} - {"__version__", "api"}
    assert {name: path.rpartition(".")[0] for name, path in shown.items()} == {
        name: rf._NAMES.get(name, "refluence.api") for name in shown
    }
