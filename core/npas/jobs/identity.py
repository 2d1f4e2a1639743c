"""What tells a job from others, in every release.

A request's identity is of what was asked and what it meant, whatever release reads it. So a field
that a later release adds is a part of it only where it differs from its default: left out, it
means what requests meant before there was such a field.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter

from npas.plans.evidence import Evidence
from npas.spec import JobSpec

_JSON: TypeAdapter[Any] = TypeAdapter(Any)

_FIRST = {
    "ArchitectureSpec": "num_classes input_channels input_size options layers",
    "BudgetSpec": "parameters fraction",
    "DatasetSpec": "train_images test_images",
    "DistillationSpec": "teacher temperature weight",
    "TrainingSpec": (
        "epochs batch_size optimizer learning_rate momentum nesterov weight_decay norm_decay "
        "schedule milestones gamma warmup_epochs label_smoothing crop_padding flip cutout "
        "precision validation_fraction keep distillation"
    ),
    "JobSpec": (
        "architecture networks method dataset unshared share_embeddings training seed labels"
    ),
    "Conv": "kernel stride dilation padding groups transposed bias",
    "Norm": "function groups",
    "Activation": "function",
    "Pool": "function size stride padding",
    "Linear": "outputs bias",
    "Steps": "of",
    "Recurrent": "cell layers both_directions",
    "Attention": "heads",
    "Dropout": "probability",
    "Residual": "shortcut",
    "Evidence": "kind",
    "Similarity": "energy",
}
"""The fields with defaults of the first release, by model; its identities hold them all.

Never add to it: resume files and stored requests of earlier releases would be of nobody. A later
field whose default changes one day must go on to be left out at its first default.
"""


def request_digest(spec: JobSpec, evidence: Evidence | None) -> str:
    """Return a digest that is equal for jobs that ask for the same.

    Labels do not count, nor does the priority: nothing is trained otherwise for them. Nor does the
    time that it may take: a job that was cut short goes on with more of it.

    Args:
        spec: the job.
        evidence: given with it.
    """
    content = _canonical(spec)
    del content["labels"]
    content.pop("priority", None)
    content.pop("time_limit", None)
    if evidence is not None:
        content["evidence"] = _JSON.dump_json(_canonical(evidence)).decode()
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _canonical(value: Any) -> Any:
    """Return plain JSON that is the same in every release that knows what is in it."""
    if isinstance(value, BaseModel):
        first = {
            name for kind in type(value).__mro__ for name in _FIRST.get(kind.__name__, "").split()
        }
        kept = {
            name: _canonical(getattr(value, name))
            for name, field in type(value).model_fields.items()
            if name in first
            or field.is_required()
            or getattr(value, name) != field.get_default(call_default_factory=True)
        }
        return kept | _canonical(value.model_extra or {})
    if isinstance(value, Mapping):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_canonical(item) for item in value]
    return value
