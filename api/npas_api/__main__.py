"""Serves the API: `python -m npas_api`, by as many processes as NPAS_API_PROCESSES says."""

import logging
import os
import socket
import sys
from types import FrameType

import uvicorn
from fastapi import FastAPI
from npas_store import homes, migrate
from npas_store.database import UNREACHABLE, why_unreachable
from npas_store.settings import SettingError, settings

from npas_api import several
from npas_api.app import create_app

GRACE_SECONDS = 5


class Server(uvicorn.Server):
    """Tells the open event streams when it is asked to end; they would hold it up."""

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._hub = app.state.hub

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the streams, then the rest."""
        self._hub.close()
        super().handle_exit(sig, frame)


def main() -> int:
    """Serve until SIGINT or SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        migrate.require()
        homes.settle()
    except (migrate.SchemaError, SettingError) as error:
        sys.stderr.write(f"npas: {error}\n")
        return 2
    except UNREACHABLE as error:
        sys.stderr.write(f"npas: {why_unreachable(error)}\n")
        return 2
    if several.PRIVATE in os.environ:
        return serve(several.own_sockets())
    if settings().api_processes == 1:
        return serve(None)
    try:
        return several.serve_several(settings().api_processes)
    except several.InUseError as error:
        sys.stderr.write(f"npas: {error}\n")
        return 2


def serve(sockets: list[socket.socket] | None) -> int:
    """Serve until SIGINT or SIGTERM.

    Args:
        sockets: bound; None: what the settings say.
    """
    app = create_app(chores=several.chores())
    config = uvicorn.Config(
        app,
        host=settings().host,
        port=settings().port,
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
        log_config=None,
    )
    Server(app, config).run(sockets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
