"""Networks of other libraries that no test, no list and no other benchmark here names.

They were chosen before any of them had been tried, and are as small as each kind has them. Where
a library has files that nothing here had built a network of, they are of such files.
"""

from collections.abc import Callable
from typing import Any

import torch
from npas.spec import ArchitectureSpec
from torch import nn

from benchmarks.own_modules import Example

TIMM = (
    *("cpubone_nano", "crossvit_tiny_240", "cspnext_tiny", "efficientvim_m1", "efficientvit_b0"),
    *("efficientvit_m0", "eva02_tiny_patch14_224", "fasternet_t0", "hardcorenas_a", "hgnetv2_b1"),
    *("hiera_tiny_224", "iformer_t", "lcnetv2_small", "lowformer_b0", "maxvit_rmlp_pico_rw_256"),
    *("repghostnet_058", "shvit_s1", "swiftformer_xs", "swinv2_cr_tiny_224", "test_vit_relpos"),
    *("tiny_vit_11m_224", "tnt_s_patch16_224", "vit_tiny_r_s16_p8_224", "volo_d1_224"),
    "ese_vovnet19b_slim_dw",
)
"""Of timm, each from another file of it; classes, channels and pixels are their own."""

_ENCODER = {"hidden_size": 72, "num_hidden_layers": 3, "num_attention_heads": 6}
_CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "metaclip_2": _ENCODER | {"intermediate_size": 200, "patch_size": 16},
    "clip": _ENCODER | {"intermediate_size": 300, "patch_size": 12},
    "siglip": _ENCODER | {"intermediate_size": 160, "patch_size": 16},
    "ijepa": _ENCODER | {"intermediate_size": 288, "patch_size": 12},
    "vit_msn": _ENCODER | {"intermediate_size": 144, "patch_size": 24},
    "dinov2_with_registers": _ENCODER | {"mlp_ratio": 3, "patch_size": 12},
    "cvt": {"embed_dim": "24,48,96", "num_heads": "1,2,4", "depths": "1,2,4"},
    "donut-swin": {"embed_dim": 24, "depths": "1,2,3", "num_heads": "2,4,8", "window_size": 6},
    "hiera": {"embed_dim": 48, "depths": "1,2,5,2"},
    "hgnet_v2": {"embedding_size": 32},
    "textnet": {},
}
"""Types that are an architecture's name, to the fields of a configuration that was never built.

All but the first are types that the library lists; those are all that transformers has.
"""

HF = {
    name: ArchitectureSpec(
        name=f"hf:{name}", num_classes=23, input_channels=3, input_size=96, options=options
    )
    for name, options in _CONFIGURATIONS.items()
}

OUTSIDE = ("dinov3_vit", "gpt2", "wav2vec2")
"""Types of transformers that are no image classifiers: `hf:TYPE` says so."""


def _transformers(kind: str, **options: Any) -> Callable[[], nn.Module]:
    """Return what makes a model of transformers from a configuration, as its users do."""

    def make() -> nn.Module:
        import transformers  # seconds pass in it

        model = getattr(transformers, kind)
        found: nn.Module = model(model.config_class(**options))
        return found

    return make


_TEXT = {"vocab_size": 90, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}

HF_MODULES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Example]]] = {
    "GPT2LMHeadModel": (
        _transformers(
            "GPT2LMHeadModel",
            **_TEXT,
            n_positions=32,
            n_embd=48,
            n_layer=3,
            n_head=4,
            use_cache=False,
        ),
        lambda: {"input_ids": torch.randint(3, 90, (4, 12))},
    ),
    "T5ForConditionalGeneration": (
        _transformers(
            "T5ForConditionalGeneration",
            **_TEXT,
            d_model=48,
            d_kv=12,
            d_ff=96,
            num_layers=2,
            num_heads=4,
            use_cache=False,
            decoder_start_token_id=0,
        ),
        lambda: {
            "input_ids": torch.randint(3, 90, (4, 12)),
            "decoder_input_ids": torch.randint(3, 90, (4, 5)),
        },
    ),
    "Wav2Vec2ForSequenceClassification": (
        _transformers(
            "Wav2Vec2ForSequenceClassification",
            hidden_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=96,
            conv_dim=(16, 16, 16),
            conv_stride=(5, 2, 2),
            conv_kernel=(10, 3, 3),
            num_feat_extract_layers=3,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
            mask_time_prob=0.0,
            classifier_proj_size=24,
        ),
        lambda: {"input_values": torch.randn(4, 800)},
    ),
}
"""Models of transformers that are given as modules, by their class."""
