"""A large classifier into a small one, and which training instances helped: on digits, a fifth of whose labels are wrong."""

import refluence as rf


def main() -> None:
    data = rf.load("digits", noise="symmetric:.2")
    run = rf.transfer(data, "student:curvature=ggn", teacher="convnet1:8", student="convnet1:4", epochs=2)
    print(f"{run.student.parameters} parameters, {run.accuracy:.1f} % test accuracy")
    print("weights of right and wrong labels:", run.card["weights"])
    assert run.scores is not None, "instances were weighted"
    print("rows to look at first:", run.scores.most_harmful(10).index.tolist())

    image = data.pixels(data.test, slice(0, 1))
    print("the student says", data.classes[int(run.student.net.eval()(image).argmax())])


if __name__ == "__main__":
    main()
