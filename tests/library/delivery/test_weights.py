"""Files of trained weights alone: what their tensors may be."""

import npas
import pytest
import torch
from npas.delivery.weights import with_weights
from npas.errors import StartError
from safetensors.torch import save_file

NETWORKS = npas.plan("resnet-8", dataset="digits").networks
NAME = "stages.0.0.conv1.weight"


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool])
def test_weights_that_are_whole_numbers_are_refused(dtype, tmp_path):
    state = npas.build(NETWORKS[0].architecture).state_dict()
    save_file({**state, NAME: (100 * state[NAME]).to(dtype)}, tmp_path / "w")
    with pytest.raises(StartError, match=rf"'{NAME}' is torch\.{str(dtype)[6:]}, and weights"):
        with_weights(tmp_path / "w", NETWORKS)
