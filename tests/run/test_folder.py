"""One folder holds one run: claimed, recognised, refused; and metrics that survive half a line."""

import math
import threading

import pytest

import refluence
from refluence.errors import InputError, RunError, in_flags
from refluence.files import write_json
from refluence.run.folder import Metrics, check_free, claimed, configuration, locked, recorded_threads
from support.command_line import lines, read, tree

RESOLVED = {"unit": {"ipc": 2, "options": [1, 2], "tau": 0.5}, "machine": {"threads": 1, "cpus": 2}}


def claim(*arguments, **how):
    """Claim the folder for a run that ends at once; whether it was finished."""
    with claimed(*arguments, **how) as finished:
        return finished


def changed(**unit):
    return {**RESOLVED, "unit": {**RESOLVED["unit"], **unit}}


def test_a_claimed_folder_holds_a_complete_configuration(tmp_path):
    claim(tmp_path / "a" / "run", "distill", {"ipc": 2}, RESOLVED, resume=False)
    assert read(tmp_path / "a" / "run" / "config.json") == {
        "version": 1,
        "refluence": refluence.__version__,
        "command": "distill",
        "arguments": {"ipc": 2},
        "resolved": RESOLVED,
    }
    assert configuration(tmp_path / "a" / "run")["command"] == "distill"


def test_a_hidden_file_does_not_make_a_folder_full(tmp_path):
    (tmp_path / ".DS_Store").write_text("")
    claim(tmp_path, "distill", {}, RESOLVED, resume=False)


@pytest.mark.parametrize(
    ("command", "resolved", "expected"),
    [
        ("compare", RESOLVED, "a run of 'distill', not of 'compare'"),
        ("distill", changed(ipc=3), "unit.ipc is 2 there, 3 here"),
        ("distill", changed(options=(1, 3)), "options is [1, 2] there, [1, 3] here"),
        ("distill", changed(new=None, other={"a": 1}), "unit.other is missing, asked for"),
        ("distill", {**RESOLVED, "machine": {"threads": 4, "cpus": 2}}, "machine.threads is 1 there, 4 here"),
    ],
)
def test_another_run_is_refused_with_what_differs(tmp_path, command, resolved, expected):
    claim(tmp_path, "distill", {}, RESOLVED, resume=True)
    before = tree(tmp_path)
    with pytest.raises(InputError) as caught:
        claim(tmp_path, command, {}, resolved, resume=True)
    assert expected in str(caught.value)
    assert tree(tmp_path) == before


def test_options_that_were_given_otherwise_are_called_by_name_and_what_follows_from_them_is_left_out(tmp_path):
    def one(epochs):
        protocol = {"name": f"dc-cpu:epochs={epochs}", "note": "long " * 99, "epochs": epochs}
        return {"arms": {arm: {"arm": arm, "protocols": [protocol]} for arm in ("a", "b:tau=.1")}, "seeds": [0]}

    before = {"epochs": None, "protocol": [], "workers": 1, "out": "x"}
    claim(tmp_path, "compare", before, one(20), **GROWING)
    with pytest.raises(InputError) as caught, in_flags():
        claim(tmp_path, "compare", {**before, "epochs": 30, "workers": 2, "protocol": ("dm", "dc")}, one(30), **GROWING)
    told = "--protocol not given there, dm dc here; --epochs not given there, 30 here"
    assert str(caught.value) == f"{tmp_path} holds another run ({told}): give the same flags, or choose another --out"
    with pytest.raises(InputError, match=r"\(epochs not given there, 30 here; machine is missing, asked for\)"):
        claim(tmp_path, "compare", {**before, "epochs": 30}, {**one(30), "machine": {"threads": 2}}, **GROWING)
    with pytest.raises(InputError) as caught:  # the same options, other numbers: every one once, and short
        claim(tmp_path, "compare", before, one(30), **GROWING)
    assert "(arms.*.protocols.0.epochs is 20 there, 30 here; arms.*.protocols.0.name is 'dc-cpu:ep" in str(caught.value)
    with pytest.raises(InputError, match="…") as caught:
        claim(tmp_path, "compare", before, {**one(20), "seeds": [0], "labels": "y" * 999}, **GROWING)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))
    assert claim(tmp_path, "compare", {**before, "epochs": 20}, one(20), **GROWING) is False, "the same, said otherwise"


def test_constants_are_compared_where_they_were_written(tmp_path):
    constants = {"test_fraction": 0.2, "herding": {"steps": 500}}
    claim(tmp_path / "old", "distill", {}, RESOLVED, resume=True)
    claim(tmp_path / "old", "distill", {}, {**RESOLVED, "constants": constants}, resume=True)
    claim(tmp_path / "new", "distill", {}, {**RESOLVED, "constants": constants}, resume=True)
    claim(tmp_path / "new", "distill", {}, {**RESOLVED, "constants": {**constants, "more": 1}}, resume=True)
    with pytest.raises(InputError, match=r"constants\.herding\.steps is 500 there, 400 here"):
        claim(tmp_path / "new", "distill", {}, {**RESOLVED, "constants": {**constants, "herding": {"steps": 400}}}, resume=True)


def test_many_differences_are_counted(tmp_path):
    claim(tmp_path, "distill", {}, RESOLVED, resume=True)
    with pytest.raises(InputError, match="and 2 more"):
        claim(tmp_path, "distill", {}, changed(ipc=1, options=[], tau=1, more=4, most=5), resume=True)


def test_the_same_run_is_recognised_and_cleaned(tmp_path):
    claim(tmp_path, "distill", {}, changed(options=(1, 2)), resume=False)
    part = tmp_path / "checkpoint" / ".state.safetensors.77.part"
    part.parent.mkdir()
    part.write_bytes(b"half")
    with pytest.raises(InputError, match="add resume"):
        claim(tmp_path, "distill", {}, RESOLVED, resume=False)
    assert part.exists(), "a refusal changes nothing"
    claim(tmp_path, "distill", {}, {**RESOLVED, "machine": {"threads": 1, "cpus": 64, "new": 1}}, resume=True)
    assert not part.exists()


def test_folders_that_are_none(tmp_path):
    (tmp_path / "file").write_text("x")
    for folder, expected in (("file", "is a file"), ("file/run", "is a file")):
        with pytest.raises(InputError, match=expected):
            check_free(tmp_path / folder, "distill", resume=True)
    with pytest.raises(InputError, match="not a folder"):
        configuration(tmp_path / "file")
    with pytest.raises(InputError, match="does not exist"):
        configuration(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no config\.json"):
        configuration(tmp_path)
    write_json(tmp_path / "config.json", {"version": 1, "command": "distill"})
    with pytest.raises(InputError, match="lacks arguments, resolved"):
        configuration(tmp_path)


def test_metrics_are_cut_back_to_the_checkpoint_and_lose_half_a_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = Metrics(path, 0)
    for step in range(5):
        metrics.write({"step": step, "loss": step / 3})
    assert [line["step"] for line in lines(path)] == list(range(5)), "every line is on disk at once"
    metrics.close()
    with path.open("ab") as file:
        file.write(b'{"step": 5, "loss": 1.\xff')
    again = Metrics(path, 3)
    again.write({"step": 3, "loss": 9.0})
    again.close()
    assert [(line["step"], line["loss"]) for line in lines(path)] == [(0, 0), (1, 1 / 3), (2, 2 / 3), (3, 9)]


def test_metrics_hold_no_nan_and_a_full_disk_is_a_failed_run(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl", 0)
    with pytest.raises(ValueError, match="JSON"):
        metrics.write({"step": 0, "loss": math.nan})

    class Full:
        def write(self, text):
            raise OSError(28, "No space left on device")

    metrics._file = Full()
    with pytest.raises(RunError, match=r"metrics\.jsonl: No space left"):
        metrics.write({"step": 0, "loss": 1.0})


# the lock


def test_a_folder_is_held_by_one_run_at_a_time(tmp_path):
    with claimed(tmp_path / "run", "distill", {}, RESOLVED, resume=False):
        for resume in (True, False):
            with pytest.raises(InputError, match=r"run is in use by process \d+ of this machine since"):
                claim(tmp_path / "run", "distill", {}, RESOLVED, resume=resume)
        with locked(tmp_path / "run" / "units" / "dc" / "0"):  # has its own
            pass
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.json", "units"]


def test_two_that_begin_at_once_in_a_new_folder_are_one_run(tmp_path):
    for turn in range(20):
        begin, end = threading.Barrier(2), threading.Barrier(2)
        won, refused = [], []

        def run(name, folder=tmp_path / str(turn), begin=begin, end=end, won=won, refused=refused):
            begin.wait()
            try:
                with claimed(folder, "distill", {"name": name}, {**RESOLVED, "name": name}, resume=True):
                    won.append(name)
                    end.wait()
            except InputError as error:
                refused.append(str(error))
                end.wait()

        threads = [threading.Thread(target=run, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == len(refused) == 1
        assert "is in use by" in refused[0]
        assert read(tmp_path / str(turn) / "config.json")["arguments"] == {"name": won[0]}


def test_a_finished_run_needs_no_lock(tmp_path):
    assert not claim(tmp_path, "distill", {}, RESOLVED, resume=True, outcome=("results.json",))
    assert not claim(tmp_path, "distill", {}, RESOLVED, resume=True, outcome=("results.json",)), "nothing came of it yet"
    write_json(tmp_path / "results.json", {})
    before = tree(tmp_path)
    with claimed(tmp_path, "distill", {}, RESOLVED, resume=True, outcome=("results.json",)) as finished:
        assert finished
        assert tree(tmp_path) == before
    with pytest.raises(InputError, match=r"unit\.ipc is 2 there, 3 here"):
        claim(tmp_path, "distill", {}, changed(ipc=3), resume=True, outcome=("results.json",))
    assert tree(tmp_path) == before


# a run that grows

GROWING = {"resume": True, "growing": ("arms", "seeds"), "outcome": ("results.json",)}


def asked(arms, seeds, **more):
    return {"arms": {arm: {"arm": arm, "ipc": 2} for arm in arms}, "seeds": seeds, **RESOLVED, **more}


def test_more_arms_and_seeds_make_a_run_larger(tmp_path):
    claim(tmp_path, "compare", {"seeds": 2}, asked("ab", [1, 2]), **GROWING)
    for arms, seeds in (("bac", [1, 2]), ("abc", [1, 2, 3]), ("abcd", [0, 1, 2, 3])):
        write_json(tmp_path / "results.json", {})
        assert not claim(tmp_path, "compare", {"seeds": len(seeds)}, asked(arms, seeds), **GROWING)
        assert not (tmp_path / "results.json").exists(), "it speaks of the smaller one"
        stored = configuration(tmp_path)
        assert (stored["resolved"], stored["arguments"]) == (asked(arms, seeds), {"seeds": len(seeds)})


@pytest.mark.parametrize(
    ("resolved", "expected"),
    [
        (asked("ab", [0]), "holds the seeds 0, 1, and 1 is not asked for: a run may grow, not shrink"),
        (asked("ab", [2, 3, 4]), "and 0, 1 are not asked for"),
        (asked("acd", [0, 1]), "holds the arms a, b, and b is not asked for"),
        (asked("abc", [0, 1], real_batch=3), "real_batch is missing, asked for|real_batch is None there, 3 here"),
        ({**asked("abc", [0, 1]), "machine": {"threads": 9}}, "machine.threads is 1 there, 9 here"),
    ],
)
def test_less_than_before_or_other_numbers_are_refused(tmp_path, resolved, expected):
    claim(tmp_path, "compare", {}, asked("ab", [0, 1]), **GROWING)
    before = tree(tmp_path)
    with pytest.raises(InputError, match=expected):
        claim(tmp_path, "compare", {}, resolved, **GROWING)
    assert tree(tmp_path) == before


def test_the_threads_of_a_run_are_recorded(tmp_path):
    assert recorded_threads(tmp_path) == 0
    claim(tmp_path, "distill", {}, {"machine": {"threads": 3}}, resume=False)
    assert recorded_threads(tmp_path) == 3
    claim(tmp_path / "recipe", "run", {}, {"recipe": "fig5"}, resume=False)
    assert recorded_threads(tmp_path / "recipe") == 0
