"""One job from request to files: plan, search, train, deliver. Can be stopped and resumed.

Example:
    >>> from pathlib import Path
    >>> from npas.run import run
    >>> from npas.spec import JobSpec
    >>> spec = JobSpec.model_validate({
    ...     "architecture": "resnet-14", "budget": {"fraction": 0.5}, "dataset": "digits",
    ...     "training": {"epochs": 2},
    ... })
    >>> outcome = run(spec, folder=Path("out"))  # doctest: +SKIP
    >>> outcome.report["accuracy"], outcome.files["model.safetensors"]  # doctest: +SKIP
"""

from pathlib import Path

from npas import data
from npas.errors import InvalidSpecError
from npas.jobs import devices
from npas.jobs.context import prepared
from npas.jobs.job import Outcome, work
from npas.jobs.listener import Listener, NullListener
from npas.jobs.resume import ResumeFile
from npas.planning.planner import solve
from npas.planning.problem import PlanningProblem
from npas.plans import Plan, check_plan
from npas.plans.evidence import Evidence, check_evidence
from npas.spec import AUTO, JobSpec
from npas.train import UNCHANGED, Adjustments

__all__ = ["Adjustments", "Outcome", "run"]


def run(
    spec: JobSpec,
    *,
    folder: Path | str,
    listener: Listener | None = None,
    data_folder: Path | str | None = None,
    resume_from: Path | str | None = None,
    device: str = AUTO,
    checkpoint_seconds: float = 30,
    evidence: Evidence | None = None,
    plan: Plan | None = None,
    adjustments: Adjustments = UNCHANGED,
    spent_seconds: float | None = None,
    start: Path | str | None = None,
) -> Outcome:
    """Do one job. The model file depends on the request and the data alone, not on interruptions.

    On a CPU that is so bit for bit, for one number of threads (`torch.set_num_threads`).

    Args:
        spec: the job.
        folder: for the files; resume files go to its subfolder "state".
        listener: hears how it goes and may stop it.
        data_folder: where datasets are; None: the default one.
        resume_from: a resume file of the same job, to go on from.
        device: "auto" takes a GPU if there is one; else "cpu", "cuda", "cuda:1", ...
        checkpoint_seconds: least time between resume files; 0: one after each epoch.
        evidence: measured before, to plan with; then nothing is searched, and of `plan` only the
            method counts.
        plan: that the job was accepted with; it is trained, though the job would be planned
            otherwise today. None: it is planned now. Where something is searched or raced first,
            its method, networks and budget hold, and what was measured makes the plan to train.
            Where `resume_from` is given, the plan of that file counts.
        adjustments: what to do otherwise than asked, whatever `resume_from` was made under.
        spent_seconds: of the time limit, by earlier attempts; None: what `resume_from` knows of.
        start: a model file whose weights the networks begin with, of networks with the same
            layers. Where its plan is one for the job, that is trained on as it is; else its
            weights are fitted into the job's own plan. `spec.start` is made to name it.

    Raises:
        NpasError: the request, its data or the resume file cannot be used; `.field` says where.
        PlanError: the plan is not of this job.
        OutdatedPlanError: the plan was of this job, but data or code changed since.
        NonFiniteLossError: the training diverged.
        TimeLimitError: the time limit was over before an epoch of the training was finished.
        OSError: files cannot be written to the folder; that is tried before anything is trained.
    """
    if not isinstance(spec, JobSpec):
        raise InvalidSpecError(
            f"the job is a {type(spec).__name__}; make it with npas.JobSpec.model_validate(...)"
        )
    check_evidence(evidence)
    if plan is not None:
        check_plan(plan)
    if evidence is not None:  # before anything is made: a race may come first
        known = data.facts(spec.dataset, data_folder)
        solve(PlanningProblem.of(spec, known), evidence=evidence)
    resume = None if resume_from is None else ResumeFile.read(Path(resume_from))
    before = 0.0 if resume is None else resume.seconds
    context = prepared(
        spec,
        evidence=evidence,
        folder=Path(folder),
        data_folder=None if data_folder is None else Path(data_folder),
        device=devices.device(device),
        checkpoint_seconds=checkpoint_seconds,
        listener=listener or NullListener(),
        adjustments=adjustments,
        spent_seconds=before if spent_seconds is None else spent_seconds,
        start=None if start is None else Path(start),
        accepted=plan,
    )
    return work(context, accepted=plan, resume=resume)
