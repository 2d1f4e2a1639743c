"""The model file that a job is to start from: one that a job delivered, and whole."""

from npas.spec import JobSpec
from npas_store import artifacts, blobs, garbage
from sqlalchemy.orm import Session

from npas_api import errors
from npas_api.errors import FieldError

_POINTER = "/start/checkpoint"


def require_start(session: Session, spec: JobSpec) -> None:
    """Check that the file a job names is stored.

    Raises:
        StartUnusableError: it is not, or not any more.
    """
    if spec.start is None:
        return
    model = artifacts.model(session, spec.start.checkpoint)
    if model is None:
        raise _unknown(spec.start.checkpoint)
    state = blobs.state(blobs.Blob(sha256=model.sha256, bytes=model.bytes))
    if state != "stored":
        raise _refused(f"the model file {model.sha256} is {state}; start from another one")


def hold_start(session: Session, spec: JobSpec) -> None:
    """Keep the file a job names on record until the job is, in one transaction.

    Raises:
        StartUnusableError: it was deleted meanwhile.
    """
    if spec.start is None:
        return
    garbage.hold(session)
    if artifacts.hold_model(session, spec.start.checkpoint) is None:
        raise _unknown(spec.start.checkpoint)


def check_stored(blob: blobs.Blob, job_id: str) -> None:
    """Check that a network that a job delivered is as it was.

    Raises:
        ArtifactGoneError: it is not there.
        ArtifactDamagedError: it is another.
    """
    state = blobs.state(blob)
    told = (
        f"the network of {job_id} is {state} on the server's disk; clone the job to make another"
    )
    if state == "missing":
        raise errors.ArtifactGoneError(told)
    if state == "damaged":
        raise errors.ArtifactDamagedError(told)


def _unknown(sha256: str) -> errors.StartUnusableError:
    return _refused(
        f"no job has delivered a model file with the SHA-256 {sha256}, or it was deleted; the "
        "artifacts of a job tell theirs"
    )


def _refused(told: str) -> errors.StartUnusableError:
    blame = FieldError(pointer=_POINTER, code="start_unusable", message=told)
    return errors.StartUnusableError(told, errors=[blame])
