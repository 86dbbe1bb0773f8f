"""`run RECIPE`: a recipe from the beginning to its table, over several sittings."""

import dataclasses
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from refluence.cli import main
from refluence.data import load_distilled
from refluence.errors import RunError
from refluence.recipes import making
from refluence.recipes.base import LABELS
from refluence.recipes.find import recipes
from refluence.recipes.making import Making
from refluence.recipes.rows import data_name
from refluence.recipes.run import planned
from support.command_line import TINY, lines, pictures, read, tree, without_seconds

SHORT = (*TINY, "--iterations", "2", "--data", "digits")
WORDS = ("run", "iwd", *SHORT, "--only", "dc-ipc1", "--seeds", "2")
TRIED_ELSEWHERE = ("igd-", "kd-glue", "kd-semi")  # in tests/recipes, with a denoiser, texts, and labels of a few
ARMS = ["random", "herding", "dc", "dc+influence", "dc+shuffled", "dc+loss", "dc+flipped"]


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    out = tmp_path_factory.mktemp("recipe") / "iwd"
    assert main([*WORDS, "--out", str(out)]) == 0
    return out


@pytest.fixture
def made(made_once, tmp_path):
    return shutil.copytree(made_once, tmp_path / "iwd")


def sets(folder):
    return {name: stamp for name, stamp in tree(folder).items() if "/units/" in f"/{name}"}


def test_the_folder_of_a_recipe(made_once):
    rows = lines(made_once / "rows.jsonl")
    assert [(r["seed"], r["arm"]) for r in rows if r["protocol"].startswith("iwd")] == [(s, a) for s in (0, 1) for a in ARMS]
    assert len(rows) == 2 * 2 * len(ARMS), "seeds x protocols x arms"
    facts = {"recipe": "iwd", "part": "dc-ipc1", "set": "cifar10", "data": "digits", "size": "cpu", "ipc": 1, "width": 8}
    facts |= {"model": "convnet1"}
    assert all(facts.items() <= row.items() for row in rows)
    learned = {"iterations": 2, "real_batch": 16}
    assert all(
        (learned if "dc" in row["arm"] else {"iterations": 0, "real_batch": None}).items() <= row.items() for row in rows
    )
    assert {"date", "refluence", "nets", "protocol", "accuracy", "ess", "seconds"} <= rows[0].keys()
    results = read(made_once / "results.json")
    assert [(x["arm"], x["n"]) for x in results["lines"][: len(ARMS)]] == [(arm, 2) for arm in ARMS]
    assert Image.open(made_once / "figure.png").format == "PNG"
    for name in ("table.md", "report.html", "figure.svg", "config.json", "dc-ipc1/report.html", "dc-ipc1/results.json"):
        assert (made_once / name).stat().st_size > 0


def test_a_unit_of_a_recipe_is_the_distill_run_with_the_same_flags(refluence, made_once, tmp_path):
    words = ("distill", *SHORT, "--weights", "influence", "--ipc", "1", "--seed", "1", "--out", tmp_path / "run")
    assert refluence(*words, "--protocol", "dc", "iwd").code == 0
    unit = made_once / "dc-ipc1" / "units" / "dc+influence" / "1"
    name = "distilled/images.safetensors"
    assert (unit / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
    assert read(unit / "config.json")["resolved"] == read(tmp_path / "run" / "config.json")["resolved"]


def test_resume_makes_nothing_that_has_rows(refluence, made):
    before, rows = sets(made), (made / "rows.jsonl").read_bytes()
    said = refluence(*WORDS, "--out", made, "--resume")
    assert said.code == 0
    assert sets(made) == before
    assert (made / "rows.jsonl").read_bytes() == rows


def test_a_grid_grows_by_seeds(refluence, made):
    before = sets(made)
    words = [word if word != "2" or WORDS[i - 1] != "--seeds" else "3" for i, word in enumerate(WORDS)]
    assert refluence(*words, "--out", made, "--resume").code == 0
    after = sets(made)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[3] for name in after if name not in before} == {"2"}
    assert [x["n"] for x in read(made / "results.json")["lines"]] == [3] * (2 * len(ARMS))
    assert read(made / "dc-ipc1" / "config.json")["resolved"]["seeds"] == [0, 1, 2]


def test_fresh_seeds_have_a_table_of_their_own(refluence, refused, made, tmp_path):
    words = [word if word != "2" or WORDS[i - 1] != "--seeds" else "1" for i, word in enumerate(WORDS)]
    assert "seed is 0 there, 7 here" in refused(*words, "--out", made, "--resume", "--seed", "7")
    fresh, rows = tmp_path / "fresh", made / "rows.jsonl"
    assert refluence(*words, "--out", fresh, "--rows", rows, "--seed", "7").code == 0
    assert {row["seed"] for row in lines(rows)} == {0, 1, 7}
    for name in ("results.json", "dc-ipc1/results.json"):
        assert {row["seed"] for row in read(fresh / name)["rows"]} == {7}
    assert [x["n"] for x in read(fresh / "results.json")["lines"]] == [1] * (2 * len(ARMS))
    assert refluence(*words, "--out", made, "--tables").code == 0
    assert [x["n"] for x in read(made / "results.json")["lines"]] == [3] * (2 * len(ARMS)), "all there are"


def test_a_folder_belongs_to_one_first_seed(refluence, refused, made, tmp_path):
    words = [word if word != "2" or WORDS[i - 1] != "--seeds" else "1" for i, word in enumerate(WORDS)]
    fresh, rows = tmp_path / "fresh", made / "rows.jsonl"
    assert refluence(*words, "--out", fresh, "--rows", rows, "--seed", "7").code == 0
    before = (fresh / "results.json").read_bytes()
    for more in ("--resume", "--tables"):
        assert "seed is 7 there, 0 here" in refused(*words, "--out", fresh, "--rows", rows, more)
    assert "seed is 0 there, 1 here" in refused(*words, "--out", made, "--resume", "--seed", "1"), "all rows are there"
    assert (fresh / "results.json").read_bytes() == before


def test_an_arm_without_images_enough_is_left_out_and_said(refluence, tmp_path, monkeypatch):
    part = dataclasses.replace(recipes()["iwd"].parts("cpu")[0], name="few", ipc=50, arms=("random", "random:factor=2"))
    recipe = dataclasses.replace(recipes()["iwd"], parts=lambda size: (part,))
    monkeypatch.setattr("refluence.commands.run.recipe_named", lambda name: recipe)
    words = ("run", "iwd", *SHORT, "--seeds", "1")
    said = refluence(*words, "--out", tmp_path / "few")
    assert said.code == 0
    assert "few: random:factor=2 is left out: class '" in said.err
    assert {row["arm"] for row in lines(tmp_path / "few" / "rows.jsonl")} == {"random"}
    found = read(tmp_path / "few" / "results.json")["lines"]
    assert {(line["arm"], line["n"]) for line in found} == {("random", 1), ("random:factor=2", 0)}
    said = refluence(*words, "--steps", "1")
    assert said.code == 0
    assert "left out" in said.err
    assert "1 arms start and step" in said.out


def test_rows_of_another_precision_are_refused(refluence, refused, made, tmp_path):
    rows = lines(made / "rows.jsonl")
    assert {(row["precision"], row["compile"]) for row in rows} == {("fp32", False)}
    words = (*WORDS, "--out", tmp_path / "new", "--rows", made / "rows.jsonl")
    assert "precision fp32, here it is bf16" in refused(*words, "--precision", "bf16")
    for row in rows:
        del row["precision"]
    (made / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "precision fp32, here it is bf16" in refused(*words, "--precision", "bf16", "--resume"), (
        "rows from before it was kept"
    )
    assert refluence(*words, "--resume").code == 0


def test_the_table_grows_by_parts(refluence, made):
    words = [word.replace("dc-ipc1", "dm-ipc1") for word in WORDS]
    assert refluence(*words, "--out", made, "--resume").code == 0
    results = read(made / "results.json")
    assert [part["part"] for part in results["parts"]] == ["dc-ipc1", "dm-ipc1"]
    assert all(line["n"] == 2 for line in results["lines"])


def test_a_folder_goes_on_when_an_option_came_later_that_is_off(refluence, made, refused):
    path = made / "dc-ipc1" / "config.json"
    config = read(path)
    for arm in config["resolved"]["arms"].values():
        del arm["weighting"]["warmup"]
    path.write_text(json.dumps(config))
    words = [word if word != "2" or WORDS[i - 1] != "--seeds" else "3" for i, word in enumerate(WORDS)]
    assert refluence(*words, "--out", made, "--resume").code == 0
    for arm in config["resolved"]["arms"].values():
        del arm["weighting"]["tau"]
    path.write_text(json.dumps(config))
    words = [word if word != "3" else "4" for word in words]
    assert "weighting.tau is None there, 1.0 here" in refused(*words, "--out", made, "--resume")


def test_a_kill_before_the_rows_of_a_unit_loses_nothing(refluence, made, made_once):
    whole = lines(made / "rows.jsonl")
    kept = (made / "rows.jsonl").read_text().splitlines(keepends=True)[:-3]  # one unit and half of another
    (made / "rows.jsonl").write_text("".join(kept) + '{"recipe": "iwd", "pa')
    before = sets(made)
    assert refluence(*WORDS, "--out", made, "--resume").code == 0
    assert sets(made) == before, "the units are read, not made again"
    assert lines(made / "rows.jsonl") == whole


def test_rows_of_another_folder_count(refluence, made, tmp_path):
    assert refluence(*WORDS, "--out", tmp_path / "new", "--rows", made / "rows.jsonl").code == 0
    assert not (tmp_path / "new" / "dc-ipc1").exists(), "nothing was left to make"
    ours, theirs = read(tmp_path / "new" / "results.json"), read(made / "results.json")
    assert ours == theirs


def test_rows_of_another_part_serve_where_they_were_made_alike(refluence, made, made_once, tmp_path):
    """As those of `dc` in one figure are those of the next; one seed there has other numbers, and is made."""
    whole, path = lines(made / "rows.jsonl"), made / "rows.jsonl"
    lent = [{**row, "recipe": "another", "part": "elsewhere", "ipc": 1 + row["seed"]} for row in whole]
    path.write_text("".join(json.dumps(row) + "\n" for row in lent))
    assert refluence(*WORDS, "--out", tmp_path / "new", "--rows", path).code == 0
    assert {name.split("/")[3] for name in sets(tmp_path / "new")} == {"1"}, "the seed with other numbers"
    own = [row for row in lines(path) if row["recipe"] == "iwd"]
    assert [row for row in own if row["seed"] == 0] == [row for row in whole if row["seed"] == 0]
    ours, theirs = (read(folder / "results.json")["lines"] for folder in (tmp_path / "new", made_once))
    assert [(x["arm"], x["n"], x["mean"]) for x in ours] == [(x["arm"], x["n"], x["mean"]) for x in theirs]


def test_tables_run_nothing(refluence, made, tmp_path):
    said = refluence("run", "iwd", "--tables", "--rows", made / "rows.jsonl", "--out", tmp_path / "new")
    assert said.code == 0
    assert "dc+influence" in said.out
    assert {p.name for p in (tmp_path / "new").iterdir()} == {
        "results.json",
        "table.md",
        "report.html",
        "figure.png",
        "figure.svg",
    }
    results = read(tmp_path / "new" / "results.json")
    assert sum(x["n"] for x in results["lines"]) == 2 * 2 * len(ARMS)
    assert {x["part"] for x in results["lines"] if x["mean"] is None} == {p.name for p in recipes()["iwd"].parts("cpu")} - {
        "dc-ipc1"
    }, "missing cells are marked"


def test_rows_made_with_other_numbers_are_refused(refused, made, tmp_path):
    words = [word if word != "8" else "9" for word in WORDS]
    said = refused(*words, "--out", tmp_path / "new", "--rows", made / "rows.jsonl")
    assert "has dc-ipc1, random seed 0 with width 8, here it is 9: give the same flags, or another file with --rows" in said


def test_a_failed_unit_is_named_and_the_others_go_on(refluence, tmp_path, monkeypatch):
    real = making.run_job

    def fails(unit, session, folder, shared):
        if unit.arm.name == "dc+influence":
            raise RunError(f"{unit.what}: the images are not finite")
        return real(unit, session, folder, shared)

    monkeypatch.setattr(making, "run_job", fails)
    said = refluence(*WORDS[:-1], "1", "--out", tmp_path / "run")
    assert said.code == 1
    assert "1 units failed" in said.err.splitlines()[-1]
    assert "dc-ipc1, dc+influence seed 0: the images are not finite" in said.err
    assert [x["n"] for x in read(tmp_path / "run" / "results.json")["lines"][: len(ARMS)]] == [1, 1, 1, 0, 1, 1, 1]


def test_fig4a_from_the_beginning_to_its_table(refluence, tmp_path):
    out, arms = tmp_path / "fig4a", recipes()["fig4a"].parts("cpu")[0].arms
    assert refluence("run", "fig4a", *SHORT, "--only", "ipc1", "--seeds", "1", "--out", out).code == 0
    found = read(out / "results.json")["lines"]
    assert [(x["arm"], x["n"]) for x in found] == [(arm, 1) for arm in arms] * 2
    assert Image.open(out / "figure.png").width > 700
    told = (out / "table.md").read_text()
    assert "| dc+influence:tau=100 | iwd-cpu:epochs=2 |" in told
    assert "The paper says (in our words): The best temperature is larger" in told


def test_a_distilled_set_serves_under_another_name(refluence, tmp_path):
    """`dc+influence:tau=1` of one figure is `dc+influence` of another."""
    words = ("--only", "ipc1", "--seeds", "1")
    arms = {f"dc+{kind}": f"dc+{kind}:tau=1" for kind in ("influence", "shuffled", "loss", "flipped")}
    assert refluence("run", "fig3", *SHORT, *words, "--out", tmp_path / "fig3").code == 0
    path = tmp_path / "rows.jsonl"
    lent = [row for row in lines(tmp_path / "fig3" / "rows.jsonl") if row["arm"] in ("random", "herding", "dc", *arms)]
    path.write_text("".join(json.dumps(row) + "\n" for row in lent))
    assert refluence("run", "fig4a", *SHORT, *words, "--out", tmp_path / "fig4a", "--rows", path).code == 0
    own = [row for row in lines(path) if row["recipe"] == "fig4a"]
    for row in lent:
        name = arms.get(row["arm"], row["arm"])
        assert {**row, "recipe": "fig4a", "arm": name} in own
    made = {folder.name for folder in (tmp_path / "fig4a" / "ipc1" / "units").iterdir()}
    assert made == {f"dc+influence@tau={tau}" for tau in (".01", ".1", "10", "100")}


def test_the_gallery_of_fig5(refluence, tmp_path):
    out = tmp_path / "fig5"
    assert refluence("run", "fig5", *SHORT, "--seeds", "2", "--out", out).code == 0
    picture = Image.open(out / "figure.png")
    assert picture.size == (80 + 2 * 68, 4 + 10 * 68), "ten classes, two seeds"
    alone = [load_distilled(out / "ipc1" / "units" / "dc+influence" / str(seed)) for seed in (0, 1)]
    pool = load_distilled(out / "ipc1" / "pooled")
    assert torch.equal(pool.images, torch.cat([small.images for small in alone]))
    assert [small.influence for small in alone] == [None, None], "one image a class has no order"
    of_class = torch.stack([pool.influence[pool.labels == label] for label in range(10)])
    assert of_class.sum(1).abs().max() < 1e-3 * of_class.abs().max(), "Euler: the distance sees directions alone"
    assert refluence("run", "fig5", *SHORT, "--seeds", "3", "--out", out, "--resume").code == 0
    assert len(load_distilled(out / "ipc1" / "pooled")) == 30


def test_a_gallery_of_one_seed_has_nothing_to_order(refluence, tmp_path):
    words = [word for word in SHORT if word != "--quiet"]
    said = refluence("run", "fig5", *words, "--seeds", "1", "--out", tmp_path / "fig5")
    assert said.code == 0
    assert "ipc1: no gallery, which wants the sets of two seeds" in said.err
    assert not (tmp_path / "fig5" / "figure.png").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fig9", "--data", "digits", "--out", "x"), "unknown recipe 'fig9'"),
        (("fig4a", "--data", "digits"), "--out is missing"),
        (("fig4a", "--out", "x"), "--data is missing: SRC for cifar10"),
        (("table1", "--out", "x"), "--data is missing: SRC for cifar10, cifar100=SRC, svhn=SRC"),
        (("fig4a", "--data", "digits", "mnist", "--out", "x"), "--data gives cifar10 twice (digits, mnist)"),
        (
            ("fig4a", "--data", "digits", "--only", "ipc7", "--out", "x"),
            "--only ipc7: fig4a has the parts ipc1, ipc10, ipc50, ipc1-raw",
        ),
        (("fig4a", "--data", "digits", "--steps", "0"), "--steps 0: it must be a whole number, at least 1"),
        (("fig4a", "--tables", "--out", "x"), "rows.jsonl holds no rows of fig4a at size cpu"),
        ((), "run: RECIPE (see refluence ls) is missing"),
    ],
)
def test_input_that_cannot_be_is_one_line(refused, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refused("run", *words)
    assert not list(tmp_path.glob("x"))


def test_other_commands_say_what_to_do_with_the_folder_of_a_recipe(refluence, refused, made):
    assert "repeat one of its parts" in refused("repeat", made)
    assert "name one of its units" in refused("evaluate", made)
    assert "already holds a run: add --resume" in refused(*WORDS, "--out", made)
    (made / "table.md").unlink()
    assert refluence("report", made).code == 0
    assert (made / "table.md").exists()


@pytest.mark.slow
def test_a_part_of_a_recipe_is_a_comparison(refluence, made):
    said = refluence("repeat", made / "dc-ipc1")
    assert said.code == 0
    assert "14 distilled sets: the same bit for bit" in said.out
    assert refluence("report", made / "dc-ipc1").code == 0


def test_a_run_says_beforehand_how_many_sets_it_makes(refluence, made):
    words = [word for word in WORDS if word != "--quiet"]
    said = refluence(*words, "--out", made, "--resume").err
    assert "iwd: at most 14 sets to make and judge; those that have rows are not made again\n" in said
    assert "14 sets" not in refluence(*WORDS, "--out", made, "--resume").err
    text = planned(recipes()["fig4a"], recipes()["fig4a"].parts("cpu"), 2)
    assert text.startswith("fig4a: at most 132 sets")
    assert "(ipc1 22, ipc10 22, ipc50 22, ipc1-raw 22, ipc10-raw 22, ipc50-raw 22); only takes" in text


def test_parts_of_other_sets_are_left_out_and_said(refluence, tmp_path):
    words = ("run", "iwd", *SHORT, "--only", "cifar100-*", "--seeds", "1", "--out")
    said = refluence(*words, tmp_path / "without")
    assert said.code == 0
    assert "1 part left out: no --data cifar100=SRC" in said.err
    words = [word if word != "digits" else "cifar100=digits" for word in words]
    assert refluence(*words, tmp_path / "with").code == 0
    assert {row["set"] for row in lines(tmp_path / "with" / "rows.jsonl")} == {"cifar100"}


def test_noisy_without_data_starts_on_the_digits(refluence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = dataclasses.replace(recipes()["noisy"].parts("cpu")[0], arms=("random+pruned:by=score", "dm+pruned:by=truth"))
    parts = (few, recipes()["noisy"].parts("cpu")[1])
    monkeypatch.setattr(
        "refluence.commands.run.recipe_named", lambda name: dataclasses.replace(recipes()[name], parts=lambda size: parts)
    )
    said = refluence("run", "noisy", "--steps", "1", "--threads", "1", "--width", "4")
    assert said.code == 0
    assert "1 part left out: no --data cifar10=SRC cifar10n=FILE" in said.err
    assert "--noise symmetric:0.4: 575 of 1438 labels of train" in said.err
    assert "2 arms start and step" in said.out


def test_data_are_named_without_the_folders_above_them(tmp_path, monkeypatch):
    (tmp_path / "sets").mkdir()
    monkeypatch.chdir(tmp_path / "sets")
    assert data_name(str(tmp_path / "sets")) == data_name(".") == "sets"
    assert data_name(f"{tmp_path}/sets:birds") == "sets:birds"
    assert data_name("digits") == "digits"
    assert data_name("owner/name:config") == "owner/name:config"


def test_changes_of_the_run_come_before_the_options_of_the_part(tmp_path):
    recipe = recipes()["iwd"]
    part = dataclasses.replace(recipe.parts("cpu")[0], options={"iterations": 1000, "nets": 2})
    where = {"out": tmp_path, "rows": tmp_path / "rows.jsonl"}
    asked = Making(recipe=recipe, seed=7, changes={"nets": 1}, **where).comparing(part)
    assert (asked.options.iterations, asked.options.nets, asked.options.width) == (1000, 1, None)
    assert (asked.seed, asked.seeds) == (7, 5)
    assert (asked.methods, asked.options.protocol, asked.controls) == (part.arms, part.protocols, False)
    choosing = recipes()["remedies"].parts("cpu")[0]
    for changes, split in (({}, "val"), ({"split": "test"}, "test")):
        assert Making(recipe=recipe, changes=changes, **where).comparing(choosing).options.split == split


def test_a_recipe_starts_and_steps(refluence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refluence("run", "fig5", "--data", "digits", "--size", "paper", "--steps", "1", "--threads", "1", "--quiet")
    assert said.code == 0
    assert "ipc1: dc+influence: 1 steps, judged by iwd:epochs=1" in said.out
    assert not list(tmp_path.iterdir()), "nothing is written"


@pytest.mark.release
@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", sorted(name for name in recipes() if not name.startswith(TRIED_ELSEWHERE)))
def test_every_recipe_starts_and_steps_at_the_published_size(refluence, name, tmp_path):
    # in colour, enough for 50 images of four tiles per class, and for validation images of the rarest class of a long tail
    count = 2500 if name == "kd-imbalance" else 300
    data = pictures(tmp_path / "pictures", count=count)
    pq.write_table(pa.table({"random_label1": ["cat", "dog"] * count}), tmp_path / "labels.parquet")
    sets = [known for known in recipes()[name].sets("paper") if known != "svhn"]  # CIFAR-10's settings, but for one length
    sources = [f"{known}={tmp_path / 'labels.parquet' if known in LABELS else data}" for known in sets]
    said = refluence("run", name, "--data", *sources, "--size", "paper", "--steps", "1", "--threads", "1", "--quiet")
    assert said.code == 0, said.err
    arms = sum(len(part.arms) for part in recipes()[name].parts("paper") if part.data in sets)
    assert f"{arms} arms start and step" in said.out


def test_ls_lists_recipes(refluence):
    said = refluence("ls").out
    assert all(f"  {name} " in said and recipe.summary in said for name, recipe in recipes().items())


def test_rows_are_plain_json(made_once):
    for row in lines(made_once / "rows.jsonl"):
        assert json.loads(json.dumps(row, allow_nan=False)) == row
        assert without_seconds(row) != row
