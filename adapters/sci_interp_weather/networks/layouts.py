"""Layouts of a layer's output, written as axes: ``"batch (level latitude longitude) channel"``.

Shapes: n records; tokens ``(n, n_columns * n_levels * n_rows, width)`` in the order of this
package: columns outermost, then levels, then rows from north to south.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sci_interp.errors import InputError, UnknownNameError

__all__ = ["AXES", "Layout"]

#: Axes that a layout may name; ``1`` stands for an axis of length one.
AXES = ("batch", "channel", "level", "latitude", "longitude", "1")
_TOKEN_ORDER = ("batch", "longitude", "level", "latitude", "channel")
_EXAMPLE = "'batch channel latitude longitude' or 'batch (level latitude longitude) channel'"


@dataclass(frozen=True)
class Layout:
    """The axes of a tensor, those in parentheses flattened into one.

    Attributes
    ----------
    text : str
        As it was written.
    groups : tuple of tuple of str
        The axes of every dimension.
    """

    text: str
    groups: tuple[tuple[str, ...], ...]

    @classmethod
    def parse(cls, text: str) -> Layout:
        """Read a layout.

        Raises
        ------
        UnknownNameError
            If an axis is not one of :data:`AXES`.
        InputError
            If an axis is missing or named twice, or parentheses do not match.
        """
        if re.search(r"[()]", re.sub(r"\([^()]*\)", "", text)):
            raise InputError(f"the parentheses of the layout {text!r} do not match")
        parts = re.findall(r"\([^()]*\)|[^\s()]+", text)
        groups = tuple(tuple(part.strip("()").split()) for part in parts)
        names = [name for group in groups for name in group if name != "1"]
        for name in names:
            if name not in AXES:
                raise UnknownNameError("axis", name, AXES, where=f"the layout {text!r}")
        twice = [name for name in names if names.count(name) > 1]
        needed = ("batch", "channel", "latitude", "longitude")
        missing = [name for name in needed if name not in names]
        if twice or missing:
            what = f"names {twice[0]} twice" if twice else f"lacks {', '.join(missing)}"
            raise InputError(f"the layout {text!r} {what}", allowed=_EXAMPLE)
        return cls(text, groups)

    @property
    def has_levels(self) -> bool:
        """Whether there is an axis of levels."""
        return any("level" in group for group in self.groups)

    def to_tokens(self, values: Tensor, sizes: Mapping[str, int]) -> Tensor:
        """Return ``(n, n_tokens, width)`` of a layer's output.

        Parameters
        ----------
        values
            In this layout.
        sizes
            Lengths of ``batch``, ``latitude`` and ``longitude``, and of ``level`` where named.

        Raises
        ------
        InputError
            If the output does not have these sizes.
        """
        full = self._sizes(tuple(values.shape), sizes)
        named = values.reshape([full[axis] for group in self.groups for axis in group])
        ordered = named.permute(self._order()[0])
        return ordered.reshape(full["batch"], -1, full["channel"])

    def from_tokens(self, tokens: Tensor, like: Tensor, sizes: Mapping[str, int]) -> Tensor:
        """Return tokens in the shape and layout of ``like``: the inverse of :meth:`to_tokens`."""
        full = self._sizes(tuple(like.shape), sizes)
        order, names = self._order()
        named = tokens.reshape([full[axis] for axis in names])
        return named.permute([order.index(i) for i in range(len(order))]).reshape(like.shape)

    def _order(self) -> tuple[list[int], list[str]]:
        """Return where the axes stand that tokens are ordered by, and their names."""
        flat = [axis for group in self.groups for axis in group]
        wanted = [axis for axis in _TOKEN_ORDER if axis in flat]
        ones = [i for i, axis in enumerate(flat) if axis == "1"]
        order = ones + [flat.index(axis) for axis in wanted]
        return order, [flat[i] for i in order]

    def _sizes(self, shape: tuple[int, ...], sizes: Mapping[str, int]) -> dict[str, int]:
        known = {axis: sizes[axis] for axis in ("batch", "latitude", "longitude")}
        known |= {"level": sizes.get("level", 1), "1": 1}
        fits = len(shape) == len(self.groups)
        for group, length in zip(self.groups, shape, strict=False):
            rest = math.prod(known[axis] for axis in group if axis != "channel")
            if "channel" in group:
                known["channel"] = length // rest
            fits &= length > 0 and math.prod(known[axis] for axis in group) == length
        if not fits:
            wanted = ", ".join(f"{axis} {known[axis]}" for axis in _TOKEN_ORDER[:-1])
            raise InputError(
                f"a tensor of the shape {shape} does not fit the layout {self.text!r}",
                allowed=f"the sizes {wanted}",
                todo="Correct the layout, the patch or the grid",
            )
        return known
