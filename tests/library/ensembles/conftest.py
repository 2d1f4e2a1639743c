"""Networks that were never trained, and what they might say."""

import pytest
import torch
from npas.ensembles.predictions import Predictions


@pytest.fixture
def said():
    """Return a maker of predictions: some networks that are right with given probabilities."""

    def make(skills, *, images=400, classes=5, seed=0):
        draw = torch.Generator().manual_seed(seed)
        labels = torch.randint(classes, (images,), generator=draw)
        log_p = {}
        for name, skill in skills.items():
            logits = torch.randn(images, classes, generator=draw)
            logits[torch.arange(images), labels] += skill
            log_p[name] = logits.log_softmax(1)
        return Predictions(log_p=log_p, labels=labels)

    return make
