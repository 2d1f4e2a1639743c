"""Serves the API: `python -m npas_api`."""

import sys
from types import FrameType

import uvicorn
from npas_store import migrate
from npas_store.settings import MissingSettingError, settings

from npas_api.app import create_app

GRACE_SECONDS = 5


class Server(uvicorn.Server):
    """Tells the open event streams when it is asked to end; they would hold it up."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the streams, then the rest."""
        self.config.loaded_app.state.closing.set()
        super().handle_exit(sig, frame)


def main() -> int:
    """Serve until SIGINT or SIGTERM."""
    try:
        migrate.require()
    except (migrate.SchemaError, MissingSettingError) as error:
        sys.stderr.write(f"npas: {error}\n")
        return 2
    config = uvicorn.Config(
        create_app(),
        host=settings().host,
        port=settings().port,
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
    )
    Server(config).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
