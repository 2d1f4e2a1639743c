"""What is said where the planner refuses a request, meets a limit, or does not answer."""

import logging
from collections.abc import Mapping
from typing import Any

from npas.spec import PlanRequest
from npas_store.settings import settings

from npas_api import errors
from npas_api.errors import FieldError

log = logging.getLogger(__name__)


def refusal(answer: Mapping[str, Any], request: PlanRequest | None) -> Exception:
    """Return the error for an answer that is a refusal."""
    if limit := answer.get("exceeded"):
        return _too_large(limit, request)
    if refused := answer.get("refused"):
        pointer = _pointer(refused["field"], request)
        known = errors.from_library(
            refused["code"], refused["message"], pointer=pointer, members=answer["members"]
        )
        if known:
            return known
    return RuntimeError(answer.get("failed") or answer.get("trace"))


def _too_large(limit: str, request: PlanRequest | None) -> errors.PlanTooLargeError:
    allowed = (
        f"{settings().plan_seconds} s (NPAS_PLAN_SECONDS)"
        if limit == "time"
        else f"{settings().plan_megabytes:,} MB of memory (NPAS_PLAN_MEGABYTES)"
    )
    message = (
        f"planning needs more than {allowed}; ask for fewer layers or fewer different shapes of "
        "layers, another method, or a dataset with fewer labels"
    )
    pointer = "/networks" if request is not None and request.networks else "/architecture"
    blame = FieldError(pointer=pointer, code="plan_too_large", message=message)
    return errors.PlanTooLargeError(message, errors=[blame])


def _pointer(field: str, request: PlanRequest | None) -> str:
    """Return the JSON pointer into the request for what the library blames.

    It knows one architecture at a time, not which of several networks it came from.
    """
    is_one_of_many = request is not None and request.networks is not None
    return "/networks" if is_one_of_many and field.startswith("/architecture") else field


def busy() -> errors.BusyError:
    """Return the refusal of a request that would have to wait for too many others."""
    return errors.BusyError(headers={"Retry-After": "5"})


def unavailable(what: str) -> errors.PlannerUnavailableError:
    """Return the refusal of a request that the planner fails to answer, and log it.

    Args:
        what: it does, as in "is not ready".
    """
    log.warning("a plan could not be made: the planner %s", what)
    return errors.PlannerUnavailableError(
        f"the process that makes plans {what}, and the request is not to blame for that; it is "
        "started again: send the same request again in a few seconds",
        headers={"Retry-After": "5"},
    )
