"""The header of a model file: JSON under the key ``shiftwork`` of a safetensors file's metadata."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

__all__ = ["KEY", "LOGIT_SCALE", "OLD", "TOKENIZER", "VERSION", "Entry", "Header", "HeaderError", "decode", "read"]

VERSION = 3
OLD = 2  # whose I0 of Shiftmax was an attribute: the same laws
KEY = "shiftwork"
LOGIT_SCALE, TOKENIZER = "logit_scale", "tokenizer"  # tensors that belong to no node; the second one is UTF-8

Size = Annotated[int, Meta(ge=1, lt=1 << 31)]
Name = Annotated[str, Meta(pattern=r"^\S{1,250}\Z")]
Text = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f\u2028\u2029]{0,1000}\Z")]  # of one line


class HeaderError(ValueError):
    """A text that is no header; the message says where and what was wanted."""


class Entry(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A node, as an array of four."""

    name: Annotated[Name, Meta(description="name, unique in the graph")]
    op: Annotated[Name, Meta(description="operator, see operators.md")]
    inputs: Annotated[list[Name], Meta(description="inputs: names of the nodes whose outputs it takes")]
    attributes: Annotated[dict[Name, int], Meta(description="attributes of the operator, by name")]


class Header(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of the header."""

    version: Annotated[int, Meta(description=f"{VERSION}; {OLD} is read, too")]
    digest: Annotated[
        str,
        Meta(
            pattern="^[0-9a-f]{64}$",
            description="SHA-256 of the header without this key, as JSON with sorted keys, and then of every tensor in "
            "the order of their names: `name dtype shape` as NumPy writes them, and the bytes",
        ),
    ]
    name: Annotated[Text, Meta(description="of the model, as all names in one line")]
    image: Annotated[tuple[Size, Size, Size], Meta(description="channels, height, width")]
    classes: Annotated[Size, Meta(description="logits, or features")]
    input_scale: Annotated[float, Meta(description="of the int8 image: its value is the integer times this")]
    mean: Annotated[list[float], Meta(description="of pixel / 255, per channel")]
    std: Annotated[list[float], Meta(description="of pixel / 255, per channel, above 0")]
    crop: Annotated[float, Meta(description="share of a resized photograph's shorter side that is shown")]
    labels: Annotated[list[Text], Meta(description="names of the classes; none, or as many as classes")]
    features: Annotated[bool, Meta(description="whether the network has no head and gives features")] = False
    nodes: Annotated[list[Entry], Meta(description="the graph in the order of execution; the last one gives logits")]


def read(text: str) -> dict[str, Any]:
    """The JSON object in `text`, untyped. Raises HeaderError."""
    try:
        found: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise HeaderError(_sentence(error)) from None
    return found


def decode(content: dict[str, Any]) -> Header:
    """The header that `read` found, every key of the type that it must have. Raises HeaderError."""
    try:
        return msgspec.convert(content, Header)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise HeaderError(_sentence(error)) from None


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
