"""Score the training images, drop or relabel the most harmful ones, then distil: on digits, 40 % of whose labels are wrong."""

import tempfile

import refluence as rf

DATA = {"source": "digits", "noise": "symmetric:.4"}  # your own: {"source": "photos"}
SHARE = 0.3  # of the training images; nobody tells you the right one


def main() -> None:
    data = rf.load(**DATA)
    table = rf.score(data, folds=2, epochs=4, width=8)
    print("rows to look at first:", table.most_harmful(10).index.tolist())

    with tempfile.TemporaryDirectory() as folder:
        table.save(folder)
        worst = f"{folder}:{SHARE}"
        for what, options in {"as they are": {}, "dropped": {"drop": worst}, "relabelled": {"relabel": worst}}.items():
            clean = rf.load(**DATA, **options)
            run = rf.distill(clean, "dm", ipc=2, iterations=20, width=8)
            accuracy = rf.evaluate(run, data, nets=2, epochs=30, width=8).accuracy
            print(f"{what}: distilled from {len(clean.train)} images, {accuracy:.1f} % test accuracy (one seed)")


if __name__ == "__main__":
    main()
