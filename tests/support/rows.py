"""Rows of elements as the beats that row units take."""

__all__ = ["beats"]


def beats(rows, lanes):
    """{"x", "mask", "last"} beats of `lanes` elements; lanes beyond a row's end hold what must not count."""
    items = []
    for row in rows:
        row = [int(x) for x in row]
        for start in range(0, len(row), lanes):
            x = row[start : start + lanes]
            mask = (1 << len(x)) - 1
            x += [row[0] ^ 0x55] * (lanes - len(x))
            items.append({"x": x, "mask": mask, "last": start + lanes >= len(row)})
    return items
