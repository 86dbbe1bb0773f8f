"""What `import refluence` offers says what it takes, gives and refuses; the example of every docstring of the package runs."""

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import refluence

SOURCE = Path(refluence.__file__).parent
WITH_EXAMPLES = sorted(path for path in SOURCE.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))
PUBLIC = [name for name in dir(refluence) if name not in ("__version__", "api")]
NEVER_REFUSE = ("methods", "protocols")


def described(name):
    value = getattr(refluence, name)
    if inspect.ismodule(value):  # a folder that can be called
        value = getattr(refluence.api, name)
    if not inspect.isclass(value):
        return value, inspect.getdoc(value) or ""
    return value, f"{inspect.getdoc(value)}\n{inspect.getdoc(value.__init__)}"


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_says_what_it_takes_gives_and_refuses(name):
    value, text = described(name)
    assert "Example:\n" in text
    if inspect.isclass(value):
        assert "Args:\n" in text or not inspect.signature(value.__init__).parameters.keys() - {"self", "args", "kwargs"}
        return
    parameters = inspect.signature(value).parameters
    assert ("Args:\n" in text) == bool(parameters)
    assert "Returns:\n" in text
    assert ("Raises:\n" in text) == (name not in NEVER_REFUSE)
    listed = text.partition("Args:\n")[2].partition("\n\n")[0]
    for parameter in parameters:
        assert f"\n    {parameter}: " in f"\n{listed}", f"{name} does not say what {parameter} is"


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_the_examples_of_docstrings_run(path):
    module = importlib.import_module(".".join(("refluence", *path.relative_to(SOURCE).with_suffix("").parts)))
    result = doctest.testmod(module)
    assert result.attempted > 0, "an example that doctest does not find"
    assert result.failed == 0
