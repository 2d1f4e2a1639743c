"""All settings of API and worker, read once from the environment (prefix NPAS_)."""

import functools
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from npas.spec import AUTO
from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from npas_store import machine

_MOST_DAYS = 36_500  # for ever, and what Postgres can still reckon with
_MANY = 10**9


class Settings(BaseSettings):
    """What an operator may choose. `NPAS_LEASE_SECONDS=10` sets `lease_seconds`, and so on."""

    model_config = SettingsConfigDict(
        env_prefix="NPAS_", frozen=True, extra="ignore", allow_inf_nan=False
    )

    database_url: str | None = Field(
        None,
        pattern=r"^(postgres(ql)?(\+psycopg)?://.*)?$",
        description="postgresql://...; absent: embedded",
    )
    redis_url: str | None = Field(
        None,
        pattern=r"^((rediss?|unix)://.*)?$",
        description="redis://... or unix://...; absent: embedded",
    )
    home: Path = Field(Path(".npas"), description="all files of the service lie below it")
    data_folder: Path | None = Field(None, description="datasets; absent: the library's default")
    allow_unauthenticated: bool = Field(
        False, description="whether the API may listen on addresses that others reach"
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default_factory=tuple,
        description="names beside this machine's own that requests may be for; *: any",
    )
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535, description="0 to 65535; 0: any that is free")
    api_processes: int = Field(
        1, ge=1, le=64, description="so many serve the API, each with a planner of its own"
    )
    device: str = Field(
        AUTO, pattern=rf"^({AUTO}|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:1, ..."
    )
    slots: int = Field(1, ge=1, description="workers among which this machine's cores are divided")
    threads: int = Field(
        default_factory=lambda given: max(1, machine.num_cores() // given.get("slots", 1)),
        ge=1,
        description="CPU threads of one training; every attempt of a job uses the same number",
    )
    queue: str = Field("npas.train", pattern=r"^[\w.-]+$", description="name of the Celery queue")

    answer_seconds: float = Field(
        15, gt=0, description="a database that does not answer for so long is taken for away"
    )
    silent_seconds: float = Field(
        60, gt=0, description="a part of the service that is silent for so long is started again"
    )
    plan_seconds: int = Field(30, ge=1, description="a plan that takes longer is refused")
    plan_megabytes: int = Field(
        2048, ge=64, description="a plan that needs more memory of its own is refused"
    )
    sweep_seconds: float = Field(
        120, gt=0, description="a sweep whose plans take longer together is refused"
    )
    lease_seconds: float = Field(30, gt=0, description="a silent worker is replaced after this")
    grace_seconds: float = Field(60, ge=0, description="from a polite stop of a training to kill")
    stall_seconds: float = Field(1800, gt=0, description="a training without a step is killed")
    checkpoint_seconds: float = Field(30, ge=0, description="0: at every epoch end")
    retry_seconds: float = Field(
        5, ge=0, description="wait after the first loss; doubles each time"
    )
    renotify_seconds: float = Field(
        60, gt=0, description="a queued job is announced again after this"
    )
    max_attempts: int = Field(10, ge=1, description="a job lost so often for one cause fails")

    dataset_megabytes: int = Field(2048, ge=1, description="an upload has at most so many")
    weights_megabytes: int = Field(2048, ge=1, description="a file of weights has at most so many")
    max_uploads: int = Field(16, ge=1, description="so many uploads may be unfinished at once")
    upload_hours: float = Field(
        24, gt=0, description="an upload that is not whole by then is given up"
    )
    free_megabytes: int = Field(
        1024, ge=0, description="room on the disk of NPAS_HOME that uploads and exports leave"
    )
    check_seconds: int = Field(600, ge=1, description="a dataset that takes longer is refused")
    check_megabytes: int = Field(
        4096, ge=256, description="a dataset whose check needs more memory is refused"
    )
    export_seconds: int = Field(600, ge=1, description="an export that takes longer fails")
    export_megabytes: int = Field(
        8192, ge=256, description="an export that needs more memory of its own fails"
    )
    log_megabytes: int = Field(
        10, ge=1, le=10_000, description="of what a training says, at least the last half is kept"
    )
    keep_jobs_days: float | None = Field(
        None, ge=0, le=_MOST_DAYS, description="jobs are deleted so long after their end"
    )
    keep_jobs: int | None = Field(
        None, ge=0, le=_MANY, description="of the jobs that ended, more than so many are deleted"
    )
    keep_resume_days: float = Field(
        7, ge=0, le=_MOST_DAYS, description="a job that failed can be gone on with for so long"
    )
    keep_events_days: float = Field(
        90, ge=0, le=_MOST_DAYS, description="events are deleted so long after a job's end"
    )
    keep_logs_days: float = Field(
        30, ge=0, le=_MOST_DAYS, description="logs are deleted so long after their job's end"
    )
    keep_logs_megabytes: int = Field(
        1024, ge=0, le=_MANY, description="of jobs that ended; more, and the oldest logs go"
    )
    keep_keys_days: float = Field(
        30, ge=0, le=_MOST_DAYS, description="an idempotency key is forgotten after this"
    )

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _at_commas(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(name.strip().lower() for name in value.split(",") if name.strip())

    @field_validator("host")
    @classmethod
    def _for_this_machine(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("allow_unauthenticated") or is_loopback(value):
            return value
        raise ValueError(
            "other machines may reach this address, and the API has no "
            "authentication: who reaches it reads, queues and cancels all jobs; listen on "
            "127.0.0.1, or set NPAS_ALLOW_UNAUTHENTICATED=true where something before it keeps "
            "strangers out"
        )

    @property
    def blobs(self) -> Path:
        """Folder of the artifacts, by content."""
        return self.home / "blobs"

    @property
    def jobs(self) -> Path:
        """Folder of the files that a running job needs to resume."""
        return self.home / "jobs"

    @property
    def uploads(self) -> Path:
        """Folder of what users send, until it is checked."""
        return self.home / "uploads"

    @property
    def datasets(self) -> Path:
        """Folder of the datasets that users sent, where the library looks for them."""
        return self.home / "datasets"


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host, by its name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class SettingError(Exception):
    """A setting is not there, or cannot be used; the message says how to give it."""


_FOLLOWS = "default_factory_not_called"
"""What pydantic says of a default that is made of a setting that is wrong."""
_SECRET = ("database_url", "redis_url")
"""Their values may hold passwords, and are not repeated."""


def _refusal(wrong: Mapping[str, Any]) -> str:
    """Return the message about one refused setting: the value given, and the values allowed."""
    name, why = str(wrong["loc"][0]), wrong["msg"].removeprefix("Value error, ")
    given = "" if name in _SECRET else f"{str(wrong['input'])[:100]!r}: "
    allowed = Settings.model_fields[name].description
    return f"NPAS_{name.upper()}: {given}{why}" + (f" ({allowed})" if allowed else "")


@functools.cache
def settings() -> Settings:
    """Return the settings of this process; after `settings.cache_clear()` they are read anew.

    Raises:
        SettingError: the environment has a value that cannot be used.
    """
    try:
        found = Settings()
    except ValidationError as error:
        wrong = [told for told in error.errors() if told["type"] != _FOLLOWS]
        raise SettingError("; ".join(map(_refusal, wrong))) from None
    return found.model_copy(update={"home": found.home.absolute()})


def required(value: str | None, variable: str) -> str:
    """Return a setting that must be there.

    Raises:
        SettingError: it is not.
    """
    if not value:
        raise SettingError(
            f"{variable} is not set; set it to the server's URL, "
            "or run `python -m npas_local.serve`, which starts servers of its own"
        )
    return value
