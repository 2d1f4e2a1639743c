"""Start one worker: `python -m npas_worker`. One for each GPU, or one for the CPU.

SIGTERM: the running job is saved and given back to the queue, then the worker ends.
"""

import logging
import os
import sys

from npas_store import homes, migrate
from npas_store.database import UNREACHABLE, forget, why_unreachable
from npas_store.migrate import SchemaError
from npas_store.settings import SettingError, settings

from npas_worker.app import app

_QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=info")


def main() -> int:
    """Work until told to stop; 1 when it cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        migrate.require()
        homes.settle()
        forget()  # connections must not cross the fork of the pool
        celery = app()
    except (SettingError, SchemaError) as error:
        sys.stderr.write(f"npas: {error}\n")
        return 1
    except UNREACHABLE as error:
        sys.stderr.write(f"npas: {why_unreachable(error)}\n")
        return 1
    celery.worker_main(
        [
            "worker",
            f"--hostname=npas-{os.getpid()}@%h",
            "--pool=prefork",
            "--concurrency=1",
            f"--queues={settings().queue}",
            *_QUIET,
        ]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
