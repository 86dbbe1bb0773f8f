"""The documentation names what the code has, its links lead somewhere, and the code keeps to the arrows it draws."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from dataclasses import fields
from pathlib import Path

import pytest

from refluence.condense.method import Settings
from refluence.evaluate.protocols import protocols
from refluence.evaluate.sizes import RULES
from refluence.fields import settings_of
from refluence.influence.directional import ENGINES
from refluence.influence.weighting import KINDS, Weighting
from refluence.jobs.catalogue import methods
from refluence.options import NORMS, SourceOptions
from refluence.recipes.find import recipes

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "refluence"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def code(page: str) -> set[str]:
    """Every word that a page sets as code, in a line or in a block."""
    spans = re.findall(r"```.*?```|`[^`\n]+`", text(page), re.DOTALL)
    return {word for span in spans for word in re.findall(r"--[\w-]+|[\w.+-]+", span)}


# what the code has is in the pages


def commands() -> list[str]:
    """Modules of `refluence.commands` that have a function `run`."""
    trees = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted((SOURCE / "commands").glob("*.py"))}
    found = [name for name, t in trees.items() if any(isinstance(n, ast.FunctionDef) and n.name == "run" for n in t.body)]
    assert {"compare", "distill", "ls"} <= set(found)
    return [name.replace("_", " ") for name in found]


def flags() -> dict[str, set[str]]:
    """`--flag` names by command, wherever the command line keeps its dataclasses."""
    place = "refluence.commands.flags" if importlib.util.find_spec("refluence.commands.flags") else "refluence.cli"
    kinds = importlib.import_module(place).COMMANDS
    return {
        name: {f"--{f.name.replace('_', '-')}" for f in fields(kind)} - {"--folder", "--recipe"} for name, kind in kinds.items()
    }


@pytest.mark.parametrize("command", commands())
def test_every_command_is_explained(command):
    assert f"refluence {command}" in text("docs/interface.md")
    assert f"`refluence {command}`" in text("README.md")


@pytest.mark.parametrize(("command", "names"), flags().items())
def test_every_flag_is_explained(command, names):
    said = code("docs/interface.md") | code("docs/protocols.md")
    said |= {name.replace("--no-", "--") for name in said}
    assert names <= said, f"docs/interface.md does not know {sorted(names - said)} of {command}"


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("docs/interface.md", set(methods())),
        ("docs/interface.md", set(KINDS)),
        ("docs/interface.md", {f.name for f in fields(Weighting)} - {"kind"}),
        ("docs/interface.md", {f.name for f in fields(Settings)}),
        ("docs/interface.md", set(NORMS)),
        ("docs/interface.md", set(ENGINES)),
        ("docs/interface.md", set(settings_of(SourceOptions)["small_classes"].choices)),
        ("docs/protocols.md", set(protocols())),
        ("docs/interface.md", set(recipes())),
        ("README.md", set(methods())),
        ("README.md", set(recipes())),
    ],
    ids=[
        "methods",
        "weights",
        "weight options",
        "settings",
        "norms",
        "engines",
        "small classes",
        "protocols",
        "recipes",
        "README methods",
        "README recipes",
    ],
)
def test_every_name_of_the_code_is_explained(page, names):
    assert names <= code(page), f"{page} does not know {sorted(names - code(page))}"


def test_protocol_numbers_are_those_of_the_code():
    found = re.findall(r"^\| `([\w-]+)` \| (\d+)(\\\*)? \| \**(\.\d+)", text("docs/protocols.md"), re.M)
    by_size = {name for name in protocols() if "epochs" in RULES.get(protocols()[name].rule, lambda *_: ())(1, 10)}
    assert {name: (epochs, lr) for name, epochs, _, lr in found} == {
        p.name: (str(p.epochs), f"{p.lr:g}".lstrip("0")) for p in protocols().values()
    }
    assert {name for name, _, star, _ in found if star} == by_size


def test_weight_defaults_are_those_of_the_code():
    for field in fields(Weighting):
        row = re.search(rf"^\| `{field.name}` \|.*$", text("docs/interface.md"), re.M)
        if field.name != "kind":
            assert row, field.name
            default = row[0].split("|")[3].strip().strip("`")
            assert default == str(field.default) or float(default) == field.default, field.name


# links


def anchors(page: Path) -> set[str]:
    """Headings as the anchors that GitHub makes of them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {target}"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{page.name} links to {target}"


# arrows


def imported(package: str) -> set[str]:
    """Top-level parts of refluence that any module of a package imports, at any place in it."""
    found = set()
    for path in sorted((SOURCE / package).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative imports hide the arrows"
                names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "refluence" else [node.module]
            found |= {name.split(".")[1] for name in names if name.startswith("refluence.")}
    return found - {package}


ALGORITHMS = (
    "condense",
    "select",
    "score",
    "transfer",
    "generate",
    "evaluate",
    "training",
    "matching",
    "influence",
    "models",
    "data",
)


@pytest.mark.parametrize(
    ("packages", "never"),
    [
        (ALGORITHMS, {"run", "report", "recipes", "jobs", "commands", "cli"}),
        (("recipes",), {"report", "commands", "cli"}),
        (("jobs",), {"report", "recipes", "commands", "cli"}),
        (("condense",), {"select", "score", "transfer", "generate"}),
        (("generate",), {"score", "transfer", "evaluate"}),
        (("score",), {"select", "evaluate"}),
        (("influence", "matching"), {"condense", "select", "score", "evaluate", "training", "data"}),
        (("training",), {"condense", "select", "score", "evaluate", "influence", "data"}),
        (("matching",), {"influence", "training", "data"}),
        (("data", "models"), {"condense", "select", "score", "evaluate", "training", "matching", "influence"}),
        (("run", "report"), {*ALGORITHMS, "recipes", "jobs", "commands", "cli"}),
    ],
    ids=[
        "algorithms",
        "recipes",
        "jobs",
        "selections may use distillation, not the reverse",
        "a pool of generated images may be selected from",
        "scores may use distillation",
        "influence and matching",
        "training knows no set and no influence",
        "matching knows no influence",
        "data is at the bottom",
        "report and run",
    ],
)
def test_arrows_point_one_way(packages, never):
    for package in packages:
        assert (SOURCE / package).is_dir()
        assert not imported(package) & never, f"{package} imports {sorted(imported(package) & never)}"


GROUND = (
    "arm",
    "clock",
    "compute",
    "digests",
    "errors",
    "fields",
    "files",
    "functional",
    "locks",
    "processes",
    "options",
    "randomness",
    "seeds",
    "text",
    "version",
    "work",
)


@pytest.mark.parametrize("module", GROUND)
def test_the_ground_stands_on_itself(module):
    paths = [path for path in (SOURCE / f"{module}.py", *(SOURCE / module).glob("*.py")) if path.exists()]
    assert paths
    nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    names = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    above = {name for name in names if name.startswith("refluence.") and name.split(".")[1] not in GROUND}
    assert not above, f"{module} imports {above}"


def test_nothing_imports_the_command_line():
    packages = {path.parent.name for path in SOURCE.glob("*/*.py")} - {"commands"}
    assert {package for package in packages if imported(package) & {"commands", "cli"}} == set()
    for path in SOURCE.glob("*.py"):
        if path.stem not in ("cli", "__main__"):
            assert "refluence.commands" not in path.read_text(encoding="utf-8"), path


def test_the_import_reader_sees_imports():
    assert {"training", "matching", "influence", "models", "data"} <= imported("condense")
    assert {"condense", "report", "run"} <= imported("commands")
