"""The library in one place: keyword functions that print nothing and, unless they are given `out`, write nothing.

data = rf.load("digits")
run = rf.distill(data, "dc+influence", ipc=10)
rf.evaluate(run, data, protocol="dsa-cpu").accuracy
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from torch import nn

from refluence import keywords, report
from refluence.data import Dataset, DistilledSet, SourceOptions, count_test_use, load_distilled, read_card
from refluence.data import load as load_source
from refluence.data.objects import Single, Source
from refluence.data.run_scores import RunScores
from refluence.data.scores import ScoreTable
from refluence.data.whitening import whitening
from refluence.errors import InputError, stated
from refluence.evaluate.evaluation import Evaluation, evaluate_set
from refluence.evaluate.quality import Quality
from refluence.files import Json
from refluence.generate.arms import refuse_idle
from refluence.generate.denoiser import Denoiser
from refluence.generate.method import Generator
from refluence.jobs.catalogue import Declaration, check_mechanism, own_methods, parse_arm, refuse_sampled
from refluence.jobs.catalogue import methods as catalogue
from refluence.jobs.cleanable import refuse_unread
from refluence.jobs.comparing import Comparing
from refluence.jobs.comparison import compare as compare_jobs
from refluence.jobs.denoiser_runs import DenoiserJob, training, tuning
from refluence.jobs.denoiser_runs import make as make_denoiser
from refluence.jobs.job import Job, StudentJob
from refluence.jobs.judge import unread
from refluence.jobs.measuring import measuring
from refluence.jobs.open_run import Finished, check_fits, holds_student, open_finished
from refluence.jobs.preparing import prepared_for
from refluence.jobs.quality import measure
from refluence.jobs.resolve import choose_protocols, resolve
from refluence.jobs.resolve_student import rows_of_size
from refluence.jobs.run_job import make
from refluence.jobs.scoring import (
    against_set,
    against_validation,
    announce,
    check_file,
    make_scores,
    parts,
    place_of,
    write_scores,
)
from refluence.jobs.session import Machine, Session, open_session
from refluence.jobs.single import distill as distill_into
from refluence.jobs.single import transfer as transfer_into
from refluence.jobs.source_network import labeller
from refluence.jobs.students import check_fits as check_student
from refluence.jobs.students import count_use, judgement
from refluence.models import Maker, ModelSpec, another, handed_over, network
from refluence.options import (
    DenoiserOptions,
    FinetuneOptions,
    JobOptions,
    SampleOptions,
    ScoreOptions,
    SeedOptions,
    SetOptions,
    TransferOptions,
)
from refluence.results import Comparison, Judged, Run, StudentRun, score_page
from refluence.run import device
from refluence.run.folder import CONFIG, check_free, recorded_threads
from refluence.seeds import streams
from refluence.select.selection import Selection
from refluence.transfer.artifact import Student
from refluence.transfer.mechanism import Mechanism
from refluence.work import Work

Data = Dataset | Run | Source


def load(
    source: Source | Run, *, test: Single | Dataset | None = None, validation: Source | None = None, **options: Any
) -> Dataset:
    """Read data: a source of the command line, a torch `Dataset`, a `datasets.Dataset`, arrays, or a set that was made.

    Args:
        source: see `refluence.data.load`. A run, its folder or its set is what trains: validation and test are those of the
            data that it was made from.
        test: the test split of an object; without one it is cut. Of a set alone: the dataset that it was made from.
        validation: another source for the validation split.
        options: fields of `SourceOptions`, as `image_size=32`.

    Returns:
        The dataset: `train`, `val`, `test`, and `notes` that say what was found.

    Raises:
        InputError: one line that says what is wrong and what would be right.

    Example:
        >>> import refluence as rf
        >>> rf.load("digits").shape
        (1, 8, 8)
    """
    keywords.check(options, keywords.names(SourceOptions) - {"validation"}, load)
    for name in ("drop", "relabel"):
        if isinstance(options.get(name), ScoreTable):
            raise InputError(f"{name} is a table: save it, table.save('scores'), and say the share too, {name}='scores:0.05'")
    said = SourceOptions(**options)
    if not isinstance(source, Run):
        return load_source(source, said, test=test, validation=validation)
    if source.data is not None or test is not None:
        return load_source(source.set, said, test=test or source.data, validation=validation)
    assert source.folder is not None, "a run without its data is one of a folder"
    return load_source(source.folder, said, validation=validation)


def distill(
    data: Data,
    method: str | Declaration = "dc",
    *,
    seed: int = 0,
    out: str | Path | None = None,
    **options: Any,
) -> Run:
    """Make one small set.

    Args:
        data: a dataset from `load`, or what `load` takes: another run's set is distilled once more.
        method: an arm, such as `"dm+influence:tau=.5"`, or a `Method` or `Selection` of your own.
        seed: everything random follows from it.
        out: a folder for the run as `refluence distill` writes it: also judged (`protocol`, `nets`, `split`), with its page.
            The same call continues a run that was stopped. None: nothing is written, and no network judges.
        options: fields of `JobOptions` (`ipc`, `iterations`, `model`, `width` …) and of `Machine` (`device`, `precision`,
            `compile`, `threads`, `progress`, `checkpoint_seconds`). `model` is a name,
            `"FILE.py:FUNCTION"`, or any function (shape, classes) -> `nn.Module`, such as a class that takes both.

    Returns:
        A run: `set`, `card`, `costs`, and `scores` where influence was measured.

    Raises:
        InputError: what cannot run, before any work.
        RunError: numbers that are no longer finite.

    Example:
        >>> import refluence as rf
        >>> run = rf.distill("digits", "dm", ipc=1, iterations=2, width=4)
        >>> tuple(run.set.images.shape)
        (10, 1, 8, 8)
    """
    keywords.check(options, keywords.names(JobOptions) | keywords.names(Machine), distill)
    session, job = _opened(data, method, seed, options)
    return _run(job, keywords.asked(options), session, keywords.folder(out))


def generate(
    data: Data,
    method: str | Generator = "dit+igd",
    *,
    denoiser: str | Path | Denoiser = "dit",
    seed: int = 0,
    out: str | Path | None = None,
    **options: Any,
) -> Run:
    """Sample one small set from a diffusion model, steered by influence and diversity.

    Args:
        data: as in `distill`. No class needs as many images as are sampled of it.
        method: an arm: `"dit"`, `"dit+influence"`, `"dit+deviation"`, `"dit+igd"` (both), `"dit+pool"` (no guidance, the best
            of more images), each with options as in `"dit+igd:k=10,steps=20"`; `"dit+entropy"`, `"dit+modes"` and
            `"dit+learnability"`, the guidance of UAG, MGD3 and LGD; `"minimax"` or `"d4m"` in the place of `"dit"`. Without an
            arm: `"dit+igd"`, while `refluence generate sample` guides only where `--guidance` says so.
        denoiser: `"dit"` or `"unet"`, trained first on the data; or one that is there: a folder, a name of the Hub
            (`"hf:facebook/DiT-XL-2-256"`), or what `train_denoiser` and `finetune_denoiser` gave.
        seed: everything random follows from it, but for what is trained first.
        out: a folder for the run as `refluence generate sample` writes it: also judged, with its page. The same call continues
            a run that was stopped. None: nothing is written, and no network judges.
        options: fields of `SampleOptions` (`ipc`, `surrogate`, `k`, `gamma`, `cfg`, `solver`, `steps`, `range` …) and of
            `Machine`.

    Returns:
        A run: `set`, `card` (what was guided, mean influence, the denoiser and its seconds), `costs`.

    Raises:
        InputError: what cannot run, before any work: a denoiser of other classes, a range that holds no step.
        RunError: numbers that are no longer finite.

    Example:
        >>> import refluence as rf
        >>> run = rf.generate("digits", "dit+igd", ipc=1, steps=10, denoiser_iterations=2, surrogate_epochs=1)
        >>> run
        Run(dit+igd seed 0: 10 images of 10 classes)
    """
    keywords.check(options, keywords.names(SampleOptions) | keywords.names(Machine), generate)
    own = own_methods([method])
    arm, asked = parse_arm(method, own), keywords.asked({**options, "denoiser": denoiser})
    declared = own.get(arm.method) or catalogue()[arm.method]
    if not isinstance(declared, Generator):
        raise InputError(f"{stated('method', arm.name)}: it samples no images: rf.distill makes its set")
    refuse_idle(arm, declared, asked)
    session = _session(data, {name: value for name, value in options.items() if name != "ipc"})
    job = resolve(asked, arm, session.dataset, SeedOptions(seed=seed).seed, own.get(arm.method))
    refuse_unread(asked.scores, [job])
    return _run(job, asked, session, keywords.folder(out))


def train_denoiser(data: Data, *, seed: int = 0, out: str | Path | None = None, **options: Any) -> Denoiser:
    """Train a diffusion model of the data from scratch, which `generate` samples from.

    Args:
        data: as in `distill`.
        seed: everything random follows from it.
        out: a folder for the run as `refluence generate train` writes it, with the denoiser in `out/denoiser`. The same call
            continues a run that was stopped. None: nothing is written.
        options: fields of `DenoiserOptions` (`network`, `prediction`, `space`, `iterations`, `size`, …) and of `Machine`.

    Returns:
        The denoiser.

    Raises:
        InputError: data that it cannot be trained on, an unknown option or value, an `out` that holds another run.
        RunError: numbers that are no longer finite.

    Example:
        >>> import refluence as rf
        >>> denoiser = rf.train_denoiser("digits", iterations=2)
        >>> denoiser.method, denoiser.shape
        ('dit', (1, 8, 8))
    """
    keywords.check(options, keywords.names(DenoiserOptions) | keywords.names(Machine), train_denoiser)
    asked, session = keywords.picked(DenoiserOptions, options), _session(data, options)
    return _denoiser(training(asked, session, SeedOptions(seed=seed).seed), session, out)


def finetune_denoiser(
    data: Data, denoiser: str | Path | Denoiser, *, seed: int = 0, out: str | Path | None = None, **options: Any
) -> Denoiser:
    """Fine-tune a denoiser by Minimax, so that its samples represent the real images and differ (arXiv 2311.15529).

    Args:
        data: as in `distill`.
        denoiser: what `train_denoiser` gave, a folder, or a name of the Hub. It stays as it is.
        seed: everything random follows from it.
        out: as in `train_denoiser`.
        options: fields of `FinetuneOptions` (`method`, `iterations`, `size`) and of `Machine`.

    Returns:
        Another denoiser, of method `"minimax"`.

    Raises:
        InputError: no denoiser, or one of other classes or another size; an unknown option or value.
        RunError: numbers that are no longer finite.

    Example:
        >>> import refluence as rf
        >>> denoiser = rf.train_denoiser("digits", iterations=2)
        >>> rf.finetune_denoiser("digits", denoiser, iterations=2).method
        'minimax'
    """
    keywords.check(options, keywords.names(FinetuneOptions) | keywords.names(Machine), finetune_denoiser)
    asked, session = keywords.picked(FinetuneOptions, options), _session(data, options)
    base = str(denoiser) if isinstance(denoiser, Path) else denoiser
    return _denoiser(tuning(asked, base, session, SeedOptions(seed=seed).seed), session, out)


def select(
    data: Data,
    method: str | Selection = "random",
    *,
    seed: int = 0,
    out: str | Path | None = None,
    **options: Any,
) -> Run:
    """Choose real images: `distill` by a method that keeps some of them.

    Args:
        data: as in `distill`.
        method: an arm of a selection, such as `"herding"`, `"el2n"` or `"random:factor=2"`, or a `Selection` of your own.
        seed: everything random follows from it.
        out: as in `distill`.
        options: as in `distill`.

    Returns:
        A run whose `set` holds real images.

    Raises:
        InputError: a method that learns images, and what `distill` refuses.

    Example:
        >>> import refluence as rf
        >>> len(rf.select("digits", "random", ipc=2).set)
        20
    """
    own_methods([method])
    declared = catalogue().get(method.partition(":")[0]) if isinstance(method, str) else method
    if declared is not None and not isinstance(declared, Selection):
        raise InputError(f"{declared.name} learns images: rf.distill makes its set, rf.select keeps real ones")
    return distill(data, method, seed=seed, out=out, **options)


def transfer(
    data: Data,
    mechanism: str | Mechanism = "student",
    *,
    teacher: str | Callable[..., nn.Module] | nn.Module | None = None,
    student: str | Callable[..., nn.Module] | nn.Module | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    **options: Any,
) -> StudentRun:
    """Make a small model from a large one. Over several seeds, with controls: `compare(data, ["joint"], teacher=…)`.

    Args:
        data: as in `distill`; the set of a run makes small data and a small model in one go.
        mechanism: an arm: `"kd"`, `"student"`, `"joint"`, `"kd+loss"`, `"joint:teacher_lr=.001"`, or a `Mechanism` of your own.
        teacher: a name, `"FILE.py:FUNCTION"`, a function (shape, classes) -> `nn.Module`, which is trained first, or a network
            that is trained already. Such a network gets images normalised by mean and standard deviation of the training
            split; `teacher_pixels` (`"unit"`, `"signed"`, `"imagenet"`, `"0.5:0.25"`) says what it was trained on, for
            `load_teacher` with a file that does not say it too. A warning says where it may be misread.
        student: the same; a network begins with the weights that it has (default: convnet of width 32).
        seed: everything random follows from it.
        out: a folder for the run as `refluence transfer` writes it. The same call continues a run that was stopped. None:
            nothing is written.
        options: fields of `TransferOptions` (`epochs`, `load_teacher`, `teacher_pixels`, `temperature`, `alpha` …) and of
            `Machine`.

    Returns:
        A run: `student.net`, `accuracy`, `card`, `costs`, and `scores` where instances were weighted.

    Raises:
        InputError: what cannot run, before any work.
        RunError: numbers that are no longer finite.

    Example:
        >>> import refluence as rf
        >>> run = rf.transfer("digits", "kd", teacher="convnet1:8", student="convnet1:4", epochs=1)
        >>> run.student.model.name
        'convnet1'
    """
    keywords.check(options, keywords.names(TransferOptions) | keywords.names(Machine), transfer)
    check_mechanism(mechanism)
    asked = keywords.transfer({**options, "teacher": teacher, "student": student})
    comparing = Comparing(methods=(mechanism,), transfer=asked, seeds=1, seed=SeedOptions(seed=seed).seed, controls=False)
    if not comparing.of_students:
        raise InputError(f"{stated('mechanism', mechanism)}: it makes a small set, rf.distill does that")
    folder, session = keywords.folder(out), _students(data, options, asked)
    (job,) = comparing.jobs(session.dataset)
    assert isinstance(job, StudentJob), "of a mechanism"
    with device.threads(keywords.threads(session, folder)):
        if folder is None:
            result, card = make(job, session, None)
            assert isinstance(result.artifact, Student), "what transfers make"
            accuracy = judgement(result.artifact, session, job.split, job.what)["accuracy"]
            measured = next((each for each in result.beside if isinstance(each, ScoreTable)), None)
            return StudentRun(job, result.artifact, card, accuracy, measured=measured)
        transfer_into(job, asked, session, folder, page=report.write)
    return StudentRun.load(folder, job)


def start(data: Data, method: str | Declaration = "dc", *, seed: int = 0, **options: Any) -> Work:
    """The work of `distill` or `generate` at its first step, for a loop of your own.

    Args:
        data: as in `distill`.
        method: as in `distill` or `generate`; a denoiser and a surrogate are trained before the work is given.
        seed: as in `distill`.
        options: as in `distill` or `generate`, but for `threads` and `progress`, which are the loop's own.

    Returns:
        A work: `steps()` yields an event a step; between two of them `state()` gives the tensors of a checkpoint and
        `restore` takes them; `result()` at the end has the set as `artifact`.

    Raises:
        InputError: what cannot run, before any work.

    Example:
        >>> import refluence as rf
        >>> work = rf.start("digits", "dm", ipc=1, iterations=2, width=4)
        >>> [event.step for event in work.steps()], len(work.result().artifact)
        ([0, 1], 10)
    """
    if options.get("threads"):
        raise InputError(f"threads is {options['threads']}: a loop of your own sets them, torch.set_num_threads(…)")
    if options.get("progress"):
        raise InputError("progress is True: a loop of your own shows how far it is, by work.step and work.total")
    keywords.check(options, keywords.names(SetOptions) | keywords.names(Machine), start)
    session, job = _opened(data, method, seed, options, sampled=True)
    job, prepared = prepared_for(job, session, None)
    return job.plan.open(session.dataset, job.model, streams(job.seed), session.compute, prepared)


@overload
def evaluate(small: DistilledSet | Run, data: Data, protocol: str = ..., *, seed: int = ..., **options: Any) -> Evaluation: ...
@overload
def evaluate(small: StudentRun, data: Data, protocol: str = ..., *, seed: int = ..., **options: Any) -> Judged: ...
@overload
def evaluate(small: str | Path, data: Data, protocol: str = ..., *, seed: int = ..., **options: Any) -> Evaluation | Judged: ...
def evaluate(
    small: DistilledSet | Run | StudentRun | str | Path,
    data: Data,
    protocol: str = "dc-cpu",
    *,
    seed: int = 0,
    **options: Any,
) -> Evaluation | Judged:
    """Judge a set: fresh networks trained on it, scored on held-out images. Or a student, as it is.

    Args:
        small: a set, a run of a set or a student, or the folder of any; the card in a folder counts each use of the test split.
            A student takes no option but `split` and the fields of `Machine`.
        data: where the held-out images are, as in `distill`.
        protocol: how networks are trained (`refluence ls` lists them).
        seed: the networks follow from it.
        options: `nets`, `split` ("test" or "val"), `model`, `width`, `norm` (default: those of a run or its folder, else
            convnet, 32, its own), `epochs`, `batch`, and the fields of `Machine`.

    Returns:
        `accuracy` in percent, `accuracies` of each network, `balanced_accuracy`, `macro_f1`; of a student `worst_class` and
        `per_class` beside.

    Raises:
        InputError: a set that does not fit the data, an unknown protocol, option or value; a run whose network was a function
            given in Python, where `model` is not given again.

    Example:
        >>> import refluence as rf
        >>> small = rf.select("digits", "random", ipc=2).set
        >>> 0 <= rf.evaluate(small, "digits", nets=1, epochs=1, width=4).accuracy <= 100
        True
    """
    if isinstance(small, (str, Path)) and holds_student(Path(small)):
        small = StudentRun.load(small)
    if isinstance(small, StudentRun):
        return _judged(small, data, {**({} if protocol == "dc-cpu" else {"protocol": protocol}), **options})
    if not isinstance(small, (DistilledSet, Run, str, Path)):
        raise InputError(f"a {type(small).__name__} is judged: give a set, a run or a folder first, and the data behind it")
    known = {"nets", "split", "model", "width", "norm", "epochs", "batch", *keywords.names(Machine)}
    keywords.check(options, known, evaluate)
    if not isinstance(protocol, str):
        raise InputError(f"{stated('protocol', protocol)}: it must be one name")
    asked = keywords.asked(options)
    folder = Path(small) if isinstance(small, (str, Path)) else small.folder if isinstance(small, Run) else None
    session, whole, spec = _to_judge(small, data, options)
    dataset, seed = session.dataset, SeedOptions(seed=seed).seed
    (chosen,) = choose_protocols((protocol,), asked.epochs, asked.batch, ())
    whitened = whitening(chosen.zca, dataset.normalised_as(whole.mean, whole.std))
    held_out = dataset.test if asked.split == "test" else dataset.val
    if asked.split == "test" and folder is not None:
        count_test_use(folder)
    for note in unread(whole, [chosen]):
        session.reporter.say(note)
    nets = 3 if asked.nets is None else asked.nets
    with device.threads(keywords.threads(session)), session.reporter.bar(protocol, nets) as advance:
        teacher = labeller(whole, chosen, session, None)
        return evaluate_set(
            whole, spec, chosen, held_out, streams(seed), nets, session.compute.device, lambda *_: advance(),
            teacher=teacher, compiled=session.compute.compiled, whitened=whitened,
        )  # fmt: skip


def quality(
    small: DistilledSet | Run | str | Path,
    data: Data,
    protocol: str = "dc-cpu",
    *,
    seed: int = 0,
    **options: Any,
) -> Quality:
    """Measure a set beside real images of the training split: what it is like, and not what it is worth.

    Args:
        small: a set, a run, or the folder of either.
        data: the real images, as in `distill`.
        protocol: how the networks of its redundancy are trained on parts of it; a `-cpu` one says that short numbers do for
            the network of the features and the surrogate too.
        seed: the networks of its redundancy follow from it.
        options: `feature_network` (default: resnet10, trained on the data), `coverage_threshold`, `model`, `width`,
            `norm` (of the redundancy; as in `evaluate`), `epochs`, `batch`, and the fields of `Machine`.

    Returns:
        `frechet`, `coverage` and `redundancy` in percent, `wasserstein`, `influence` (mean energy), points of the plane.

    Raises:
        InputError: a set that does not fit the data, an unknown protocol, option or value; POT is not installed.

    Example:
        >>> import refluence as rf
        >>> data = rf.load("digits", rows=200)
        >>> small = rf.select(data, "random", ipc=1).set
        >>> rf.quality(small, data, feature_network="convnet1:4").own
        10
    """
    if not isinstance(small, (DistilledSet, Run, str, Path)):
        raise InputError(f"a {type(small).__name__} is measured: give a set, a run or a folder first, and the data behind it")
    known = {"feature_network", "coverage_threshold", "model", "width", "norm", "epochs", "batch", *keywords.names(Machine)}
    keywords.check(options, known, quality)
    asked = keywords.asked(options)
    session, whole, spec = _to_judge(small, data, options)
    (chosen,) = choose_protocols((protocol,), asked.epochs, asked.batch, ())
    size = "cpu" if chosen.short else "paper"
    network, threshold = asked.feature_network, asked.coverage_threshold
    how = measuring(JobOptions(size=size, quality=True, feature_network=network, coverage_threshold=threshold), session.dataset)
    assert how is not None, "it is asked for"
    with device.threads(keywords.threads(session)):
        return measure(how, whole, spec, chosen, streams(SeedOptions(seed=seed).seed), session, None, "quality")


def _to_judge(
    small: DistilledSet | Run | str | Path, data: Data, options: Mapping[str, Any]
) -> tuple[Session, DistilledSet, ModelSpec]:
    """The data, a set that fits them, and the network that is trained on it."""
    asked = keywords.asked(options)
    if isinstance(small, (str, Path)):
        small = open(small) if (Path(small) / CONFIG).exists() else load_distilled(Path(small))
    session = _session(data, options, small if isinstance(small, Run) else None)
    whole, dataset = small.set if isinstance(small, Run) else small, session.dataset
    check_fits(dataset.source, dataset, whole)
    if isinstance(small, Run):
        return session, whole, another(small.job.model, options.get("model"), asked.width, asked.norm)
    return session, whole, network(asked.model, dataset.shape, len(dataset.classes), asked.width, asked.norm)


def compare(
    data: Data,
    methods: Sequence[str | Declaration],
    *,
    seeds: int = 3,
    seed: int = 0,
    controls: bool = True,
    equal_seconds: bool = False,
    out: str | Path | None = None,
    executor: str = "serial",
    **options: Any,
) -> Comparison:
    """Several arms with the same seeds, each made and judged.

    Args:
        data: as in `distill`.
        methods: arms, such as `["random", "dc", "dc+influence"]`. A method of your own may be among them, and its name in
            others: `["dm", mine, "mine+influence"]`.
        seeds: how many paired seeds, from `seed` on; 5 or more give useful intervals.
        seed: the first one.
        controls: `X+influence` brings `X` and `X+shuffled` along, `X+pruned:by=score` (`X+relabelled`, `X+scores`) `X`, the
            same at random and by held-out loss, `dit+igd` `dit` and `dit+pool`.
        equal_seconds: `X` without weights for as many seconds as `X+influence` took is an arm too.
        out: a folder, as `refluence compare` writes it. The same call continues what was stopped, one with more methods or
            seeds adds these. None: nothing is written.
        executor: "serial", or "processes:4" for four processes, which a script starts below `if __name__ == "__main__":`.
        options: as in `distill`, of sampled sets as in `generate`, `denoiser` among them; of mechanisms as in `transfer`,
            `teacher` and `student` among them.

    Returns:
        `rows`, `summary`, the `verdict` as a sentence, and the `folder`.

    Raises:
        InputError: an arm that cannot run or is given twice, an unknown option or value, before any work.
        RunError: a job that had to stop; with `out` the same call makes what is missing.

    Example:
        >>> import refluence as rf
        >>> rf.compare("digits", ["random", "full"], ipc=1, seeds=1, nets=1, epochs=1, width=4).summary[0]["arm"]
        'random'
    """
    known = keywords.names(SetOptions) | keywords.names(TransferOptions) | keywords.names(Machine)
    keywords.check(options, known, compare)
    given = tuple(methods) if isinstance(methods, Iterable) and not isinstance(methods, str) else ()
    if not given:
        raise InputError(f"{stated('methods', methods)}: give a list of arms, such as ['random', 'dc', 'dc+influence']")
    drawn = SeedOptions(seed=seed, seeds=seeds)
    asked = Comparing(
        methods=given,
        options=keywords.asked(options),
        transfer=keywords.transfer(options),
        seeds=drawn.seeds,
        seed=drawn.seed,
        controls=controls,
        equal_seconds=equal_seconds,
        executor=executor,
    )
    asked.arms()
    folder = keywords.folder(out)
    sized = {**options, "ipc": asked.per_class}
    session = _students(data, sized, asked.transfer) if asked.of_students else _session(data, sized)
    if folder is not None:  # workers get them too
        recorded = session.machine.threads or recorded_threads(folder)
        session = replace(session, machine=replace(session.machine, threads=recorded))
    with device.threads(keywords.threads(session)):
        found = compare_jobs(asked, asked.jobs(session.dataset), session, folder, page=report.write)
    return Comparison(found.rows, found.summary, found.verdict, folder)


def score(
    data: Data,
    model: str | Callable[..., nn.Module] | nn.Module | None = None,
    *,
    folds: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    distilled: Run | str | Path | None = None,
    nets: int | None = None,
    weights: str | None = None,
    **options: Any,
) -> ScoreTable:
    """Score every training instance: does it help or harm on validation data?

    Args:
        data: as in `distill`.
        model: a name, `FILE.py:FUNCTION`, a function (shape, classes) -> `nn.Module` (default: convnet), or a network that is
            trained already, which scores all rows as it is. It gets floats from Python as they came, other images normalised
            by mean and deviation of the training split; `pixels` ("unit", "data", "0.5:0.25" …) says otherwise.
        folds: every instance is scored by a network that did not train on it (default: 5 folds).
        seed: folds and networks follow from it.
        out: FILE.parquet, or a folder for scores.parquet, written with page and CSV as `refluence score` does. The same call
            continues scores that were stopped. None: nothing is written.
        distilled: a run, or its folder: what raises the objective at its set is scored instead. `model`
            is left out, but for the function that made the run's networks, where that was given in Python.
        nets: networks to average over (default: 1 a fold; 3 with `distilled`).
        weights: KIND[:key=value,…], for the column `weight`.
        options: fields of `ScoreOptions` (`epochs`, `terms`, `curvature`, `load`, `pixels` …) and of `Machine`.

    Returns:
        The table: `most_harmful(n)`, `most_helpful(n)`, `arrays()`, `save(folder)`.

    Raises:
        InputError: what cannot be scored, before any work; an `out` that holds other scores.
        RunError: numbers that are not finite.

    Example:
        >>> import refluence as rf
        >>> table = rf.score("digits", folds=2, epochs=1, width=4, terms="explicit")
        >>> len(table.most_harmful(20))
        20
    """
    keywords.check(options, (keywords.names(ScoreOptions) | keywords.names(Machine)) - {"group", "checkpoint_seconds"}, score)
    seed, nets = SeedOptions(seed=seed).seed, JobOptions(nets=nets).nets
    own = {k: v for k, v in options.items() if k in keywords.names(ScoreOptions)}
    if isinstance(own.get("damping"), (int, float)):
        own["damping"] = repr(own["damping"])
    if own.get("load") is not None:
        own["load"] = Path(own["load"])
    asked = ScoreOptions(model=model, folds=folds, **own)
    folder = keywords.folder(out)
    path = None if folder is None else place_of(folder)
    if path is not None:
        check_file(path, resume=True)
        if distilled is not None and path.exists():
            raise InputError(f"out {path} is there already: choose another file")
        if not path.exists():
            check_free(parts(path), "score", resume=True)
    session = _session(data, options, distilled if isinstance(distilled, Run) else None)
    again = model if callable(model) and not isinstance(model, nn.Module) else None
    if distilled is None:
        scores = against_validation(asked, session, seed, nets, weights)
    elif given := [name for name, value in vars(asked).items() if value is not None and not (name == "model" and again)]:
        raise InputError(f"{given[0]} is for scores against validation data: leave it out, or distilled")
    else:
        scores = against_set(_finished(distilled, again), session, seed, weights, nets)
    for note in scores.notes:
        session.reporter.say(note)
    with device.threads(keywords.threads(session, None if path is None else parts(path))):
        if path is None:
            announce(scores)
            return make_scores(scores, None)
        network = {"model": scores.job.model.name, "load": None if asked.load is None else str(asked.load)}
        record = {**vars(asked), **network, "data": session.dataset.source, "seed": seed, "nets": nets, "weights": weights}
        return write_scores(scores, path, record, True, lambda: score_page(path, scores.session.dataset, scores.title))[0]


def open(folder: str | Path, *, method: Declaration | None = None, model: Maker | None = None) -> Run:
    """A finished run from its folder.

    Args:
        folder: what `distill(out=…)` or a command wrote.
        method: the `Method` or `Selection` that made it, where that was one of your own: `score` needs it.
        model: the function that made its networks, where that was given in Python: `evaluate` and `score` need it.

    Returns:
        The run.

    Raises:
        InputError: no run, a comparison or recipe (name one of its units), or one that is not finished; another
            method or function than those that made it.

    Example:
        >>> import tempfile
        >>> import refluence as rf
        >>> folder = tempfile.mkdtemp() + "/run"
        >>> run = rf.select("digits", "random", ipc=1, nets=1, epochs=1, width=4, out=folder)
        >>> len(rf.open(folder).set)
        10
    """
    run = open_finished(Path(folder), method)
    return Run(_with_network(run.job, model), run.small, run.card, run.folder)


def _judged(run: StudentRun, data: Data, options: Mapping[str, Any]) -> Judged:
    """A student on a split of the data."""
    if idle := options.keys() - {"split"} - keywords.names(Machine):
        raise InputError(f"{min(idle)} is for a set, on which networks are trained: a student is judged as it is")
    split, session = keywords.asked(options).split, _session(data, options)
    check_student(session.dataset.source, session.dataset, run.student)
    if split == "test" and run.folder is not None:
        count_use(run.folder / Student.kind)
    with device.threads(keywords.threads(session)):
        entry = judgement(run.student, session, split, run.job.what)
    scores = (entry["accuracy"], entry["balanced_accuracy"], entry["macro_f1"])
    return Judged(split, *scores, entry["worst_class"]["class"], tuple(entry["per_class"]))


def _finished(run: Run | str | Path, model: Maker | None) -> Finished:
    run = run if isinstance(run, Run) else open(run)
    return Finished(run.folder or Path(run.job.what), run.set, run.card, _with_network(run.job, model), {})


def _with_network(job: Job, model: Maker | None) -> Job:
    return job if model is None else replace(job, model=handed_over(job.model, model))


def _denoiser(job: DenoiserJob, session: Session, out: str | Path | None) -> Denoiser:
    folder = keywords.folder(out)
    with device.threads(keywords.threads(session, folder)):
        return make_denoiser(job, session, folder, page=report.write)[0]


def _opened(
    data: Data, method: str | Declaration, seed: int, options: Mapping[str, Any], sampled: bool = False
) -> tuple[Session, Job]:
    seed = SeedOptions(seed=seed).seed
    own = own_methods([method])
    arm, asked = parse_arm(method, own), keywords.asked(options)
    if not sampled:
        refuse_sampled(arm)
    session = _session(data, options)
    job = resolve(asked, arm, session.dataset, seed, own.get(arm.method))
    job.plan.check_model(job.model)
    refuse_unread(asked.scores, [job])
    return session, job


def _run(job: Job, asked: SetOptions, session: Session, folder: Path | None) -> Run:
    """The job in its folder, if it has one, and what came of it."""
    with device.threads(keywords.threads(session, folder)):
        if folder is None:
            small, card, measured = _made(job, session)
            return Run(job, small, card, measured=measured, data=session.dataset)
        distill_into(job, asked, session, folder, page=report.write)
    return Run(job, load_distilled(folder / "distilled"), read_card(folder / "distilled"), folder, data=session.dataset)


def _made(job: Job, session: Session) -> tuple[DistilledSet, Json, ScoreTable | None]:
    result, card = make(job, session, None)
    assert isinstance(result.artifact, DistilledSet), "what methods and selections make"
    measured = next((beside.table for beside in result.beside if isinstance(beside, RunScores)), None)
    return result.artifact, card, measured


def _students(data: Data, options: Mapping[str, Any], asked: TransferOptions) -> Session:
    """The session of a transfer: at size cpu a source is read up to so many rows; data that are loaded stay as they are."""
    if isinstance(data, (Dataset, Run)):
        return _session(data, options)
    return open_session(data, keywords.machine(options), rows_of_size(SourceOptions(), asked.size))


def _session(data: Data, options: Mapping[str, Any], run: Run | None = None) -> Session:
    """`run`: what is judged on the data, which leave out the classes that it left out."""
    data = load(data) if isinstance(data, Run) else data
    per_class = int(options.get("ipc", 1))
    if run is not None and isinstance(data, Dataset) and data.options.small_classes == "drop":
        per_class = run.job.per_class
    return open_session(data, keywords.machine(options), per_class=per_class)
