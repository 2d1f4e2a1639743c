"""Grades a checkpoint in a process that knows nothing of its job: `python -m npas_client.check`.

Prints one JSON object: parameters (trainable scalars, each storage counted once), buffer_bytes
(everything else in the network's state), dataset, accuracy, and the accuracy the file claims.
"""

import json
import sys
from pathlib import Path
from typing import Any


def grade(path: Path) -> dict[str, Any]:
    """Load a checkpoint and evaluate it on the test images of its dataset.

    Raises:
        CheckpointError: not a checkpoint.
        DataError: the dataset is missing, or is not the one that the network was trained on.
    """
    import npas  # here, since torch takes seconds to import
    from npas import data as datasets
    from npas.delivery.checkpoint import num_buffer_bytes, num_parameters
    from npas.errors import DataError
    from npas.train.evaluate import evaluate

    model = npas.load(path)
    extra = model.extra
    data = datasets.load(extra["dataset"])
    if data.fingerprint != extra["dataset_fingerprint"]:
        raise DataError(f"{extra['dataset']} here is not the data that {path} was trained on")
    inputs = datasets.Inputs(
        mean=tuple(extra["mean"]), std=tuple(extra["std"]), input_size=extra["input_size"]
    )
    found = evaluate(model, data.x_test, data.y_test, inputs=inputs)
    return {
        "parameters": num_parameters(model),
        "buffer_bytes": num_buffer_bytes(model),
        "dataset": extra["dataset"],
        "accuracy": found.score,
        "claimed_accuracy": extra["accuracy"],
    }


def main() -> int:
    """Grade the file named on the command line."""
    if len(sys.argv) != 2:
        print("usage: python -m npas_client.check model.safetensors", file=sys.stderr)
        return 2
    print(json.dumps(grade(Path(sys.argv[1]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
