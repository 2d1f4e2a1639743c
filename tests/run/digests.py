"""Do 40 small jobs, over all methods and most families, and print the digests of what they made.

    python tests/run/digests.py > tests/run/kept/digests.json

Arithmetic is held to what every processor of a kind does alike, see `SAME_ARITHMETIC`.
"""

import hashlib
import json
import os
import sys
import tempfile
import warnings

SAME_ARITHMETIC = {
    "OMP_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
}
"""Environment variables that are read when PyTorch is imported."""

TIMES = ("seconds", "seconds_share", "versions")
"""Of a report: what another run, or another release of PyTorch, would say otherwise."""

SAID_LATER = ("macro_f1", "confusion", "ensemble", "allocation")
"""Of a report: what the release that the digests are of did not say."""

STORED = ("why", "prior", "posterior")
"""Of a race: what changes with each run that is stored, see `benchmarks.known_losses`."""

DIGITS = {"name": "digits", "train_images": 64, "test_images": 20}
GRIDS = {"name": "shortest_path", "train_images": 64, "test_images": 20}
SHORT = {"epochs": 2, "batch_size": 32, "learning_rate": 0.02}

METHODS = ("block_mix", "superweights", "ssn", "random", "uniform", "narrow")
SEVERAL = [{"name": name, "architecture": name} for name in ("wrn-10-1", "resnet-8")]
JOINED = {"name": "superweights", "coefficients": "joined", "unshare_epoch": 1, "blocks": "nest"}
ALIKE = {"name": "soft_sharing", "recurrence": 0.5, "fold": 0.5}
RACED = {"name": "auto", "methods": ["ssn", "uniform", "block_mix"]}
BY_NAME = {"name": "ssn", "groups": "manual", "manual": [["stages.0.*"], ["stages.[12].*"]]}


def request(architecture, method, fraction, dataset=DIGITS, **others):
    """Return a request; `others` replaces parts of it."""
    return {
        "architecture": architecture,
        "budget": {"fraction": fraction},
        "method": method,
        "dataset": dataset,
        "training": SHORT,
        "seed": 1,
    } | others


REQUESTS = [
    *(request("resnet-8", method, 0.4) for method in METHODS),
    *(request("wrn-10-1", method, 0.5) for method in METHODS),
    *(request("vit-2-32-2", method, 0.4) for method in METHODS),
    *(request("densenet-10-4", method, 0.7) for method in METHODS),
    request("resnet-8", "dense", 1.0),
    request("resnet-14", ALIKE, 0.8),
    request("vit-4-32-2", "soft_sharing", 0.5),
    request("resnet-8", RACED, 0.4),
    request("resnet-8", JOINED, 0.8),
    request("resnet-8", {"name": "superweights", "blocks": "stack", "bins": 2}, 0.2),
    request("wrn-10-1", {"name": "block_mix", "search": False}, 0.1),
    request("wrn-10-1", {"name": "ssn", "groups": "single", "share": "emb"}, 0.3),
    request("resnet-8", BY_NAME, 0.3),
    request("resnet-8", "narrow", 0.5, training=SHORT | {"distillation": "dense"}),
    request("wrn-10-1", "uniform", 1.7, training=SHORT | {"optimizer": "adam"}),
    request(None, "block_mix", 0.3, networks=SEVERAL),
    request("declared:lenet", "random", 0.5, unshared=["classifier"]),
    request("resnext-11-2x8", "ssn", 0.5),
    request({"name": "cells:darts", "options": {"scale": 0.1}}, "uniform", 0.5),
    request("grid-cnn-4-8", "soft_sharing", 0.6, GRIDS),
]
"""All families but torchvision, which takes longer, and text encoders, which have no dataset."""


def name_of(request):
    """Return what tells a request from the others."""
    return json.dumps({key: request[key] for key in ("architecture", "method", "budget")})


def digests(request):
    """Do a job and return the digests of its plan, model file and report."""
    from npas.run import run
    from npas.spec import JobSpec

    with tempfile.TemporaryDirectory() as folder:
        made = run(JobSpec.model_validate(request), folder=folder, device="cpu")
        files = {
            name: made.files[name].read_bytes() for name in ("model.safetensors", "plan.json")
        }
    files["report.json"] = json.dumps(timeless(made.report), sort_keys=True).encode()
    return {name: hashlib.sha256(content).hexdigest()[:16] for name, content in files.items()}


def timeless(report):
    """Return a report without what tells time or changes, and as the first release said it."""
    if isinstance(report, dict):
        left_out = (*TIMES, *SAID_LATER, *STORED)
        return {key: timeless(value) for key, value in report.items() if key not in left_out}
    return [timeless(each) for each in report] if isinstance(report, list) else report


def main():
    """Print the digests as JSON."""
    os.environ.update(SAME_ARITHMETIC)
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    json.dump({name_of(each): digests(each) for each in REQUESTS}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
