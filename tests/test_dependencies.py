"""What the package imports is declared: a fresh `pip install refluence` has it, or an extra names it."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
INDIRECT = {"huggingface-hub", "markupsafe"}  # needed by datasets and jinja2
NOT_IMPORTED = {"timm", "diffusers", "transformers"}  # imported by name, or for families that are to come


def declared() -> set[str]:
    """Distribution names of the dependencies and of every extra, normalised."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lists = re.findall(r"^(?:dependencies|curvature|timm|generate|text) = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
    return {normal(name) for part in lists for name in re.findall(r'"([A-Za-z0-9_.-]+)', part)}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported() -> dict[str, str]:
    """Every module from elsewhere that a file of the package imports, and one such file."""
    found = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            else:
                continue
            found |= {name.partition(".")[0]: str(path.relative_to(ROOT)) for name in names}
    return {name: path for name, path in found.items() if name not in sys.stdlib_module_names and name != "refluence"}


def test_every_import_of_the_package_is_declared():
    known, distributions, missing = declared() | INDIRECT, packages_distributions(), {}
    for name, path in imported().items():
        if not known & {normal(each) for each in distributions.get(name, [name])}:
            missing[name] = path
    assert not missing
    assert len(imported()) > 8


def test_every_dependency_is_imported():
    distributions = packages_distributions()
    used = {normal(each) for name in imported() for each in distributions.get(name, [name])}
    assert declared() - used - NOT_IMPORTED == set()


def test_what_an_extra_brings_is_imported_where_it_is_used():
    """Not at the head of a module: the package works without it."""
    extras = {"curvlinops", "diffusers", "onnx", "onnxruntime", "onnxscript", "ot", "timm", "transformers"}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or ""]
            )
            assert not extras & {name.partition(".")[0] for name in names}, path
