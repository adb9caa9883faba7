"""What ``run --json`` and ``profile --json`` write: the keys stay, more may come."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

__all__ = ["Class", "Difference", "Engine", "Features", "Image", "Layer", "Point", "Roofline", "RunReport"]

CYCLED = "of a device with cycles: "


class Class(Struct, kw_only=True, forbid_unknown_fields=True):
    """A class that an image may show, in `classes[].top`."""

    index: Annotated[int, Meta(description="number of the class")]
    name: Annotated[str, Meta(description="the model's label, or the number as text where it has none")]
    probability: Annotated[float, Meta(description="softmax of the float logits over all classes")]
    logit: Annotated[float, Meta(description="the integer times the model's logit_scale")]
    integer: Annotated[int, Meta(description="the integer logit, equal on every device")]


class Image(Struct, kw_only=True, forbid_unknown_fields=True):
    """An image, in `classes`."""

    image: Annotated[str, Meta(description="the file's name, or its number in an array")]
    top: Annotated[list[Class], Meta(description="the five likeliest classes (all, if fewer), likeliest first")]


class Features(Struct, kw_only=True, forbid_unknown_fields=True):
    """What a model without a head gives, in `features`."""

    width: Annotated[int, Meta(description="integers per image")]
    file: Annotated[str | None, Meta(description="where --logits wrote them")]


class Engine(Struct, kw_only=True, forbid_unknown_fields=True):
    """An engine, in `engines`: shares of all cycles."""

    busy: Annotated[float, Meta(description="moved data")]
    wait_in: Annotated[float, Meta(description="waited for a dependency or for input")]
    wait_out: Annotated[float, Meta(description="waited for room for its output")]


class Layer(Struct, kw_only=True, forbid_unknown_fields=True):
    """A layer of all images together, in `layers`. Layers overlap: their cycles may add up to more than the run's."""

    name: Annotated[str, Meta(description="of the graph's node")]
    op: Annotated[str, Meta(description="its operator")]
    cycles: Annotated[int, Meta(description="in which the layer was under way")]
    macs: Annotated[int, Meta(description="multiply-accumulates of the model that are executed")]
    utilisation: Annotated[float, Meta(description="macs over cycles times macs_per_cycle")]


class Point(Struct, kw_only=True, forbid_unknown_fields=True):
    """A layer of one run under its three roofs, in `roofline`."""

    name: Annotated[str, Meta(description="of the layer")]
    macs: Annotated[int, Meta(description="multiply-accumulates of the model that are executed")]
    bytes: Annotated[int, Meta(description="moved by FETCH, LOAD and STORE")]
    elements: Annotated[int, Meta(description="through VECTOR; those of two passes twice")]
    array: Annotated[float, Meta(description="cycles that the array alone would take")]
    beats: Annotated[int, Meta(description="cycles that the array's words take, padding included")]
    memory: Annotated[float, Meta(description="cycles that the memory alone would take")]
    vector: Annotated[float, Meta(description="cycles that VECTOR alone would take")]
    cycles: Annotated[int, Meta(description="that it took")]
    macs_per_byte: Annotated[float | None, Meta(description="null where nothing is moved")]
    bound: Annotated[str, Meta(description="the lowest roof: array, memory or vector")]
    macs_per_cycle: Annotated[float, Meta(description="attained")]


class Roofline(Struct, kw_only=True, forbid_unknown_fields=True):
    """The roofs, and every layer under them; with --roofline."""

    macs_per_cycle: Annotated[int, Meta(description="of the array")]
    bytes_per_cycle: Annotated[float, Meta(description="of the memory, in long runs")]
    elements_per_cycle: Annotated[int, Meta(description="of VECTOR")]
    total: Annotated[Point, Meta(description="the whole run")]
    layers: Annotated[list[Point], Meta(description="every layer")]


class Difference(Struct, kw_only=True, forbid_unknown_fields=True):
    """The first difference that --check found."""

    tensor: Annotated[str, Meta(description="name of the node whose output differs")]
    index: Annotated[list[int], Meta(description="of the first element that differs")]
    expected: Annotated[int, Meta(description="the golden model's")]
    actual: Annotated[int, Meta(description="the device's")]
    different: Annotated[int, Meta(description="elements that differ")]
    image: Annotated[int, Meta(description="number of the first image that differs")]


class RunReport(Struct, kw_only=True, forbid_unknown_fields=True):
    """Keys of the report."""

    device: Annotated[str, Meta(description="as --device named it")]
    model: Annotated[str, Meta(description="the model's name")]
    images: Annotated[int, Meta(description="that were run")]
    figures: Annotated[
        str | UnsetType,
        Meta(description=CYCLED + '"simulated", also of a simulator that serves a terminal or a port, else '
             '"measured by the device\'s counters"'),
    ] = UNSET  # fmt: skip
    board: Annotated[str | UnsetType, Meta(description=CYCLED + "its board, where that is known")] = UNSET
    clock_mhz: Annotated[float | UnsetType, Meta(description="that board's clock")] = UNSET
    images_per_second: Annotated[
        float | UnsetType, Meta(description="at that clock, by the cycles alone: without the transfers of the host")
    ] = UNSET
    cycles: Annotated[int | UnsetType, Meta(description=CYCLED + "of all images")] = UNSET
    cycles_per_image: Annotated[float | UnsetType, Meta(description=CYCLED + "on average")] = UNSET
    macs_per_image: Annotated[
        int | UnsetType,
        Meta(description=CYCLED + "executed: those that reach the outputs"),
    ] = UNSET
    macs_per_cycle: Annotated[int | UnsetType, Meta(description=CYCLED + "the array's peak")] = UNSET
    utilisation: Annotated[float | UnsetType, Meta(description=CYCLED + "executed MACs over the array's most")] = UNSET
    occupancy: Annotated[float | UnsetType, Meta(description=CYCLED + "cycles in which the array took a word")] = UNSET
    instructions: Annotated[int | UnsetType, Meta(description=CYCLED + "retired")] = UNSET
    engines: Annotated[dict[str, Engine] | UnsetType, Meta(description=CYCLED + "by name")] = UNSET
    layers: Annotated[
        list[Layer] | UnsetType, Meta(description=CYCLED + "empty where it does not tell when instructions ran")
    ] = UNSET
    roofline: Annotated[Roofline | UnsetType, Meta(description="with --roofline")] = UNSET
    classes: Annotated[list[Image] | UnsetType, Meta(description="every image, of a model with classes")] = UNSET
    features: Annotated[Features | UnsetType, Meta(description="of a model without a head")] = UNSET
    accuracy: Annotated[float | UnsetType, Meta(description="share of right classes, where labels are known")] = UNSET
    bit_exact: Annotated[
        bool | UnsetType, Meta(description="with --check: whether every logit is the golden model's")
    ] = UNSET
    first_difference: Annotated[Difference | UnsetType, Meta(description="with --check, if one is not")] = UNSET
