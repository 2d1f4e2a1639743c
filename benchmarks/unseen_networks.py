"""Networks of other libraries, by where they come from; small ones of many kinds.

Many are among the well-known names of their family or in its tests: what is tried is whether any
network of a library comes through, not names that were kept aside.
"""

TIMM = (
    *("repvit_m0_9", "starnet_s1", "xcit_nano_12_p8_224", "edgenext_xx_small", "convnext_atto"),
    *("efficientformerv2_s0", "fastvit_t8", "mobilenetv4_conv_small", "efficientnet_b0"),
    *("vit_tiny_patch16_224", "deit_tiny_patch16_224", "mobileone_s0", "ghostnet_100"),
    *("regnetx_002", "mixer_s32_224", "gmlp_ti16_224", "poolformer_s12", "levit_128s"),
    *("pvt_v2_b0", "resmlp_12_224", "mobilevit_xxs", "rexnet_100", "cspresnet50", "dla34"),
)
"""Of timm's models one of each kind, small ones; classes, channels and pixels are their own."""

HF = (
    *("hf:vit", "hf:deit", "hf:beit", "hf:convnext", "hf:convnextv2", "hf:resnet", "hf:swin"),
    *("hf:mobilenet_v2", "hf:regnet", "hf:poolformer", "hf:dinov2", "hf:levit"),
)
"""Kinds of transformers' image classifiers, by configuration."""

TORCHVISION = (
    *("squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5", "densenet121", "googlenet"),
    *("efficientnet_v2_s", "swin_t", "maxvit_t"),
)
"""Of torchvision's."""
