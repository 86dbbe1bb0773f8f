"""What is judged again is appended: two processes at once lose nothing."""

import threading

from refluence.files import read_json
from refluence.jobs import judge_again


def test_two_that_judge_at_once_lose_nothing(tmp_path):
    path = tmp_path / "evaluation.json"
    judge_again.append(path, "evaluations", {"n": -1})
    threads = [
        threading.Thread(target=lambda k=k: [judge_again.append(path, "evaluations", {"n": 10 * k + i}) for i in range(5)])
        for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [entry["n"] for entry in read_json(path)["evaluations"]]
    assert found[0] == -1
    assert sorted(found[1:]) == [10 * k + i for k in range(4) for i in range(5)]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
