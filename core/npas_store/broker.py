"""Celery as API and workers share it. Its messages carry nothing and claim
nothing: all they say is that there is work.

A message that is lost is sent again, one that is heard twice finds no job to claim; so they are
acknowledged before the work, and Redis can neither lose a job nor run one twice.
"""

import functools
from typing import Any
from urllib.parse import urlsplit

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from npas_store.settings import required, settings

TASK = "npas.notify"
_PREFIX = "npas:"


class BrokerDownError(Exception):
    """Redis does not answer; what was to be said must be said later."""


def _kombu_url(url: str) -> str:
    parts = urlsplit(url)
    return f"redis+socket://{parts.path}?virtual_host=0" if parts.scheme == "unix" else url


@functools.cache
def app() -> Celery:
    """Return the Celery application of this process."""
    url = required(settings().redis_url, "NPAS_REDIS_URL")
    made = Celery("npas", broker=_kombu_url(url), set_as_current=False)
    made.conf.update(
        task_acks_late=False,
        worker_disable_prefetch=True,  # a busy worker must not hold the next job's message
        worker_prefetch_multiplier=1,
        task_ignore_result=True,
        result_backend=None,
        task_serializer="json",
        accept_content=["json"],
        task_track_started=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_limit=4,
        broker_transport_options={
            "visibility_timeout": 3600,
            "global_keyprefix": _PREFIX,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "socket_connect_timeout": 3,
        },
        task_publish_retry=False,
        task_default_queue=settings().queue,
    )
    return made


def notify(messages: int) -> None:
    """Send so many messages to the workers.

    Raises:
        BrokerDownError: Redis does not answer; some may have been sent.
    """
    options: dict[str, Any] = {**app().conf.broker_transport_options, "max_retries": 0}
    options["socket_timeout"] = 3  # a frozen Redis must not hang who sends
    try:
        with app().connection_for_write(transport_options=options) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=3)
            producer = app().amqp.Producer(connection)  # one for all: it takes longer than to send
            for _ in range(messages):
                app().send_task(TASK, producer=producer, retry=False)
    except (OperationalError, redis.RedisError, OSError) as error:
        raise BrokerDownError(f"Redis does not answer: {error}") from error


def waiting() -> int:
    """Return how many messages no worker has heard yet.

    Raises:
        BrokerDownError: Redis does not answer.
    """
    try:
        with client() as server:
            return int(server.llen(_PREFIX + settings().queue))
    except (redis.RedisError, OSError) as error:
        raise BrokerDownError(f"Redis does not answer: {error}") from error


def client() -> "redis.Redis":
    """Return a new connection to Redis; close it, or use it in a `with`."""
    return redis.Redis.from_url(
        required(settings().redis_url, "NPAS_REDIS_URL"),
        socket_timeout=3,
        socket_connect_timeout=3,
    )
