"""Foundation models of pathology that timm loads from the Hugging Face hub.

Licence, terms to accept, and arguments that the hub's config lacks: as the models' repositories and
the registries of eva and LazySlide state them in November 2026. The model's card decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Pooling = Literal["network", "class+mean"]


@dataclass(frozen=True)
class Known:
    """One model of the hub.

    gated: whether its terms must be accepted, with an account.
    arguments: of `timm.create_model`; a layer by the name of its class. pooling: "network" takes
    what the network gives, "class+mean" joins its class token and the mean of its patch tokens.
    """

    hub: str
    licence: str
    gated: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    pooling: Pooling = "network"


NONCOMMERCIAL = "CC-BY-NC-ND-4.0"
SWIGLU = {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}
KAIKO = "1aurent/vit_{}.kaiko_ai_towards_large_pathology_fms"
KAIKO_LICENCE = "Kaiko Non-Commercial Public License 1"

KNOWN: dict[str, Known] = {
    "UNI": Known(
        "MahmoodLab/UNI", NONCOMMERCIAL, arguments={"init_values": 1e-5, "dynamic_img_size": True}
    ),
    "UNI2-h": Known(
        "MahmoodLab/UNI2-h",
        NONCOMMERCIAL,
        arguments={
            "img_size": 224,
            "patch_size": 14,
            "depth": 24,
            "num_heads": 24,
            "init_values": 1e-5,
            "embed_dim": 1536,
            "mlp_ratio": 2.66667 * 2,
            "no_embed_class": True,
            "reg_tokens": 8,
            "dynamic_img_size": True,
            **SWIGLU,
        },
    ),
    "H-optimus-0": Known(
        "bioptimus/H-optimus-0",
        "Apache-2.0",
        arguments={"init_values": 1e-5, "dynamic_img_size": False},
    ),
    "Prov-GigaPath": Known("prov-gigapath/prov-gigapath", "Apache-2.0 with conditions"),
    "Virchow": Known("paige-ai/Virchow", "Apache-2.0", arguments=SWIGLU, pooling="class+mean"),
    "Virchow2": Known("paige-ai/Virchow2", NONCOMMERCIAL, arguments=SWIGLU, pooling="class+mean"),
    "kaiko-ViT-S16": Known(KAIKO.format("small_patch16_224"), KAIKO_LICENCE, gated=False),
    "kaiko-ViT-B16": Known(KAIKO.format("base_patch16_224"), KAIKO_LICENCE, gated=False),
    "kaiko-ViT-L14": Known(KAIKO.format("large_patch14_reg4_224"), KAIKO_LICENCE, gated=False),
}


def find_known(name: str) -> Known | None:
    """The entry of a name, or of `hf-hub:OWNER/NAME`, in any case; None where there is none."""
    wanted = name.lower().replace("hf_hub:", "hf-hub:").removeprefix("hf-hub:")
    for key, known in KNOWN.items():
        if wanted in (key.lower(), known.hub.lower()):
            return known
    return None
