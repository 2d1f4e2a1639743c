"""Jobs that learn from a teacher: trained on the spot, or from a file."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import npas
import npas.data
import pytest
import torch
from npas.delivery.checkpoint import write_unchecked
from npas.errors import DataError
from npas.jobs.distillation import require
from npas.run import run
from npas.spec import JobSpec
from safetensors import safe_open

MakeSpec = Callable[..., JobSpec]

PLAIN: dict[str, Any] = {"method": "dense", "budget": {"fraction": 1.0}}
"""A job without a search."""


@pytest.fixture
def make_taught(make_spec: MakeSpec) -> MakeSpec:
    def make(distillation: Any = "dense", **changes: Any) -> JobSpec:
        training = {"epochs": 2, "batch_size": 32, "distillation": distillation}
        return make_spec(**({"training": training} | changes))

    return make


def test_model_file_is_the_same_bytes_when_the_teacher_is_interrupted_too(
    make_taught: MakeSpec, make_ear: Any, tmp_path: Path
) -> None:
    """30 steps: 10 of the teacher, 10 of the search, 10 of the training."""
    spec = make_taught()
    ear = make_ear()
    whole = run(spec, folder=tmp_path / "whole", listener=ear, device="cpu", checkpoint_seconds=0)
    resume: Path | None = None
    rows: dict[Any, Any] = {}

    for attempt, steps in enumerate((3, 4, 5, 6, 4, 2)):  # 3, 7, 12, 18, 22, 24
        part = make_ear("pause", steps)
        folder = tmp_path / f"part{attempt}"
        paused = run(spec, folder=folder, listener=part, resume_from=resume, device="cpu")
        assert not paused.finished
        rows |= part.rows
        resume, step = part.files[-1]
    assert step == 24
    last = run(spec, folder=tmp_path / "last", resume_from=resume, device="cpu")

    assert last.report["sha256"] == whole.report["sha256"]
    assert last.report["accuracy"] == whole.report["accuracy"]
    assert ear.phases == ["preparing", "teaching", "searching", "training", "evaluating"]
    assert ear.fractions == sorted(ear.fractions)
    assert [step for _, step in ear.files] == [5, 10, 10, 15, 20, 20, 25, 30]
    assert {("teacher", 1), ("teacher", 2), ("search", 2)} <= rows.keys()
    said = [outcome.report["distillation"] for outcome in (whole, last)]
    for each in said:
        assert each.pop("seconds") > 0
    assert said[0] == said[1]
    dense = npas.plan(spec).ledger.dense
    assert (said[0]["teacher"], said[0]["epochs"], said[0]["parameters"]) == ("dense", 2, dense)
    assert 0 < said[0]["accuracy"] <= 1


def test_teacher_changes_what_is_learned_and_a_weight_of_zero_does_not(
    make_taught: MakeSpec, tmp_path: Path
) -> None:
    reports = [
        run(make_taught(teacher, **PLAIN), folder=tmp_path / str(n), device="cpu")
        for n, teacher in enumerate((None, {"weight": 0.0}, {"weight": 0.9}))
    ]

    plain, unheard, heard = (outcome.files["model.safetensors"] for outcome in reports)
    assert plain.read_bytes() == unheard.read_bytes() != heard.read_bytes()
    assert reports[0].report["distillation"] is None


def test_teacher_of_a_narrow_network_is_as_wide_as_what_was_asked_for(
    make_taught: MakeSpec, tmp_path: Path
) -> None:
    spec = make_taught(method="narrow", budget={"fraction": 0.3})

    outcome = run(spec, folder=tmp_path, device="cpu")

    wide = npas.plan(spec.architecture, method="dense", dataset=spec.dataset).ledger.dense
    assert outcome.report["distillation"]["parameters"] == wide
    assert outcome.report["parameters"] <= 0.3 * wide


def test_finish_before_there_is_a_teacher_delivers_an_untrained_network(
    make_taught: MakeSpec, make_ear: Any, tmp_path: Path
) -> None:
    outcome = run(make_taught(), folder=tmp_path, listener=make_ear("finish", 7), device="cpu")

    assert outcome.stopped_early
    assert outcome.report["epochs_done"] == 0
    assert outcome.report["distillation"]["accuracy"] is None
    assert npas.load(outcome.files["model.safetensors"]).plan == outcome.plan


def test_delivered_network_teaches_another(
    make_spec: MakeSpec, make_taught: MakeSpec, make_ear: Any, tmp_path: Path
) -> None:
    first = run(make_spec(**PLAIN), folder=tmp_path / "first", device="cpu")
    (tmp_path / "mine.safetensors").write_bytes(first.files["model.safetensors"].read_bytes())
    architecture = {"name": "resnet-8", "input_size": 12}  # reads other sizes than its teacher
    spec = make_taught("checkpoint:mine", **PLAIN, architecture=architecture)
    require(spec.training, npas.data.facts(spec.dataset, tmp_path), tmp_path)
    ear = make_ear("pause", 3)
    where = {"data_folder": tmp_path, "device": "cpu"}

    whole = run(spec, folder=tmp_path / "whole", **where)
    run(spec, folder=tmp_path / "part", listener=ear, **where)
    last = run(spec, folder=tmp_path / "last", resume_from=ear.files[-1][0], **where)

    assert "teaching" not in ear.phases
    assert last.report["sha256"] == whole.report["sha256"]
    assert whole.report["distillation"]["accuracy"] == first.report["accuracy"]
    other = run(make_spec(**PLAIN, seed=5), folder=tmp_path / "other", device="cpu")
    (tmp_path / "mine.safetensors").write_bytes(other.files["model.safetensors"].read_bytes())
    with pytest.raises(DataError, match="not what this run started with"):
        run(spec, folder=tmp_path / "again", resume_from=ear.files[-1][0], **where)


def no_file(_folder: Path) -> None:
    pass


def no_network(folder: Path) -> None:
    (folder / "mine.safetensors").write_bytes(b"no")


def _saved(
    folder: Path,
    extra: dict[str, Any],
    classes: int = 10,
    name: str = "resnet-8",
    dtype: torch.dtype = torch.float32,
    fill: float | None = None,
) -> None:
    architecture = {"name": name, "num_classes": classes, "input_channels": 1}
    plan = npas.plan(npas.spec.ArchitectureSpec.model_validate(architecture), method="dense")
    network = npas.share(npas.build(plan.networks[0].architecture), plan)
    if fill is not None:
        torch.nn.init.constant_(next(network.parameters()), fill)
    npas.save(network.to(dtype), folder / "mine.safetensors", extra=extra)


def no_known_architecture(folder: Path) -> None:
    """Write what another version, with more families, may have written."""
    _saved(folder, USABLE)
    path = folder / "mine.safetensors"
    with safe_open(path, framework="pt") as file:
        note = json.loads(file.metadata()["npas"].replace("resnet-8", "sesnet-8"))
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    note.pop("digests")
    write_unchecked(tensors, note, path)


USABLE = {"mean": [0.5], "std": [0.5], "input_size": 8}


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (no_file, "put mine.safetensors.*in the data folder"),
        (no_network, "not a readable checkpoint"),
        (
            lambda folder: _saved(folder, USABLE, classes=7),
            "has num_classes 7, the dataset has 10",
        ),
        (lambda folder: _saved(folder, {}), "does not say how its images were normalised"),
        (lambda folder: _saved(folder, USABLE | {"std": [1, 2]}), "does not say how"),
        (lambda folder: _saved(folder, USABLE | {"std": [0]}), "does not say how"),
        (lambda folder: _saved(folder, USABLE | {"mean": [10**400]}), "does not say how"),
        (lambda folder: _saved(folder, USABLE | {"input_size": 0}), "does not say how"),
        (lambda folder: _saved(folder, USABLE | {"input_size": 10**6}), "does not say how"),
        (lambda folder: _saved(folder, USABLE, name="text-encoder-2-16"), "images as a whole"),
        (lambda folder: _saved(folder, USABLE, 2, name="grid-cnn-4-8"), "images as a whole"),
        (no_known_architecture, "unknown architecture 'sesnet-8'"),
    ],
)
def test_file_that_cannot_teach_is_refused(
    make_taught: MakeSpec, tmp_path: Path, prepare: Callable[[Path], None], message: str
) -> None:
    prepare(tmp_path)
    spec = make_taught("checkpoint:mine")

    for refused in (
        lambda: run(spec, folder=tmp_path / "out", data_folder=tmp_path),
        lambda: require(spec.training, npas.data.facts(spec.dataset, tmp_path), tmp_path),
    ):
        with pytest.raises(DataError, match=message) as caught:
            refused()
        assert caught.value.field == "/training/distillation/teacher"


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: _saved(folder, USABLE, name="vit-2-16-2"), "cannot read the .* images"),
        (lambda folder: _saved(folder, USABLE, fill=math.nan), "answers that are no numbers"),
        (lambda folder: _saved(folder, USABLE | {"mean": [1e300]}), "answers that are no numbers"),
    ],
)
def test_teacher_that_cannot_answer_is_found_out_before_anything_is_trained(
    make_taught: MakeSpec,
    make_ear: Any,
    tmp_path: Path,
    prepare: Callable[[Path], None],
    message: str,
) -> None:
    prepare(tmp_path)
    ear = make_ear()

    with pytest.raises(DataError, match=message) as caught:
        run(make_taught("checkpoint:mine"), folder=tmp_path, data_folder=tmp_path, listener=ear)

    assert caught.value.field == "/training/distillation/teacher"
    assert ear.phases == ["preparing"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_teacher_of_another_precision_teaches(
    make_taught: MakeSpec, tmp_path: Path, dtype: torch.dtype
) -> None:
    _saved(tmp_path, USABLE, dtype=dtype)

    outcome = run(
        make_taught("checkpoint:mine", **PLAIN), folder=tmp_path / "out", data_folder=tmp_path
    )

    assert 0 <= outcome.report["distillation"]["accuracy"] <= 1


@pytest.mark.parametrize(
    "teacher", ["checkpoint:", "checkpoint:../x", "sparse", {"temperature": 0}, {"weight": 2}]
)
def test_distillation_that_makes_no_sense_is_refused(make_taught: MakeSpec, teacher: Any) -> None:
    with pytest.raises(ValueError, match="distillation"):
        make_taught(teacher)
