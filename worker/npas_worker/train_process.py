"""The process that trains one claim: `python -m npas_worker.train_process JOB CLAIM`.

It is started by the supervisor, and ends with it. Its exit code says why it ended (`protocol`);
any other end than those is a loss.
"""

import faulthandler
import logging
import sys

from npas_worker.protocol import PAUSED, SHOW
from npas_worker.signals import Signals


def main(arguments: list[str]) -> int:
    """Train the claim that the arguments name; return the exit code."""
    job_id, claim_number = arguments
    faulthandler.enable()
    faulthandler.register(SHOW, all_threads=True)
    signals = Signals()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # Seconds pass in this import, and a word of the supervisor must be heard meanwhile.
    from npas_worker.training import Training

    if signals.pause:
        return PAUSED
    return Training(job_id, int(claim_number), signals).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
