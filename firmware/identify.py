"""What network a checkpoint is: what its tensors say, what a name says, and whether they agree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from firmware.architectures import ARCHITECTURES, Architecture, architecture
from firmware.errors import UserError
from firmware.families import FAMILIES, family_of_tensors
from firmware.families.architecture import text
from firmware.families.tensors import is_official

__all__ = ["describe", "foreign", "identify", "is_official", "special", "twins"]

Array = NDArray[Any]

_SPECIAL = (
    (r"mlp\.(w12|w3|fc1_g|fc1_x|weights_in|weights_out)\b", "a gated MLP (SwiGLU)"),
    (r"attn\.(q_norm|k_norm)\b", "norms of queries and keys (QK-norm)"),
    (r"(^|\.)(rope|rotary\w*|freqs\w*)(\.|$)", "rotary position embeddings (RoPE)"),
    (r"attn\.(cpb_mlp|logit_scale|continuous_position_bias_mlp)\b|attention\.self\.logit_scale", "Swin V2's attention"),
    (r"^blocks\..*relative_position|^rel_pos_bias\.", "a ViT's relative position biases (BEiT)"),
    (r"^attn_pool\.|^pooler\.", "a head that pools by attention"),
    (r"^(dist_token|head_dist\..*)$", "a distillation token"),  # of I-ViT's training; of timm's there is none left
    (r"^(norm_pre|pre_logits|ln_pre)\b", "a layer before the blocks or the head that the graph does not have"),
    (r"^blocks\..*\.attn\.norm\.|^blocks\..*\.mlp\.norm\.", "norms within attention or MLP"),
    (r"^blocks\.\d+\.blocks\.|^patch_embed\.(backbone|proj\.\d|conv)", "a stem of several convolutions"),
)
"""Names of tensors of networks that are not supported, and how people call what they have."""


def identify(state: Mapping[str, Array], name: str | None = None, **given: Any) -> Architecture:
    """The architecture of a checkpoint, official or timm's.

    `name` and the sizes that are `given` (img_size, patch, dim, depths, heads, classes; None for unknown) are checked
    against the tensors' shapes, as far as those tell: not a ViT's heads, nor the image size of a Swin without stored
    masks. Untold heads are of 64 channels. Raises UserError naming what was found and what was wanted, or ModelError.
    """
    family = family_of_tensors(state)
    size = given.get("img_size")
    found = family.examine(state, (size, given.get("img_width") or size) if size else None)
    sizes = {key: value for key, value in given.items() if value is not None}
    # Of a fine-tuned network: still that architecture.
    own = {key: getattr(found, key) for key in ("channels", "classes", "features", "prefix")}
    if name is None:
        alike = _alike(found)
        known = alike[0] if len(alike) == 1 else found
        wanted = replace(known, **{**own, "img_size": found.img_size, "img_width": found.img_width, **sizes})
        if not wanted.name or wanted.image != known.image:
            short = wanted.name.partition("_patch")[0] or f"{found.family}_{found.dim}"
            wanted = replace(wanted, name=short)
    else:
        wanted = replace(architecture(name), **{**own, **sizes})
    for key, what in found.words.items():
        if key in family.untold(state):
            continue
        has, wants = getattr(found, key), getattr(wanted, key)
        if has != wants:
            raise UserError(
                f"the checkpoint has {what} {text(has)}, but {name or 'the command line'} wants {text(wants)}; "
                f"its tensors are those of a {_spelled(found)}"
            )
    wanted.check()
    return wanted


def _alike(found: Architecture) -> list[Architecture]:
    """Known architectures with these tensors."""
    return [known for known in ARCHITECTURES.values() if known.alike(found)]


def twins(found: Architecture) -> list[str]:
    """Known architectures with these tensors, if they are several that want other preprocessing."""
    alike = _alike(found)
    return [known.name for known in alike] if len({known.statistics for known in alike}) > 1 else []


def describe(shape: Architecture) -> str:
    """Sizes in words."""
    sizes = {"img_size": " x ".join(map(str, shape.image[1:]))} if shape.img_width else {}
    return ", ".join(
        f"{'features' if key == 'classes' and shape.features else what} {sizes.get(key) or text(getattr(shape, key))}"
        for key, what in shape.words.items()
        if getattr(shape, key)
    )


def _spelled(found: Architecture) -> str:
    names = " or ".join(known.name for known in _alike(found))
    return f"{names or found.family} ({describe(replace(found, heads=()))})"


def special(state: Mapping[str, Array]) -> str | None:
    """What makes it a network that is known, but not supported, in words with a tensor's name."""
    found = ((words, name) for pattern, words in _SPECIAL for name in state if re.search(pattern, name))
    return next((f"{words}: tensor {name}" for words, name in found), None)


def foreign(state: Mapping[str, Array]) -> list[str]:
    """Tensors that no network of its family has: leaving them out would compute another network."""
    known = [family for family in FAMILIES.values() if family.has_tensors(state)] or list(FAMILIES.values())
    return [name for name in state if not any(one.tensor.fullmatch(name) for one in known)]
