"""Distil a dataset from Python, judge it, compare it with other ways, save it and load it again."""

import tempfile

import refluence as rf


def main() -> None:
    data = rf.load("digits")
    print(data.notes[0])

    run = rf.distill(data, "dm+influence:tau=.5", ipc=2, iterations=20, width=8)
    print(run, run.costs)
    images, labels = run.set.tensors()
    print(f"a network trains on {tuple(images.shape)} images and {tuple(labels.shape)} labels")

    judged = rf.evaluate(run, data, nets=2, epochs=30, width=8)
    print(f"{judged.accuracy:.1f} % test accuracy")

    arms = ["random", "dm", "dm+influence"]
    print(rf.compare(data, arms, ipc=2, iterations=20, seeds=2, nets=1, epochs=30, width=8))

    with tempfile.TemporaryDirectory() as folder:
        run.set.save(folder)
        again = rf.evaluate(folder, data, nets=2, epochs=30, width=8)
        assert again.accuracy == judged.accuracy, "the same set, the same networks"


if __name__ == "__main__":
    main()
