"""Atmospheric rivers: long, narrow bands of strong vapour transport.

Connected areas in which the vertically integrated transport of water vapour reaches 250 kg m-1 s-1
(Rutz, Steenburgh and Ralph 2014, Mon. Weather Rev. 142, 905), at least 2,000 km long and at least
twice as long as wide (Guan and Waliser 2015, J. Geophys. Res. Atmos. 120, 12514, whose intensity
limit is a percentile instead), with their middle poleward of 20 degrees. The length is the
great-circle distance of the farthest two cells, the width the area divided by the length. In a
regional domain, an area cut by the edge that is too short or too wide is unknown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Label
from sci_interp.errors import InputError

from .detection import FieldReader, Found, Instance, place_key, remember_last
from .fields import Fields
from .masks import MaskObject, connected_objects
from .object_tracks import ObjectTracker

__all__ = ["RIVER_GROUP", "MaskReader", "RiverDetector", "RiverSettings"]

RIVER_GROUP: Final = "atmospheric rivers"
#: A mask is inside from here on.
_HALF: Final = 0.5


@dataclass(frozen=True)
class RiverSettings:
    """Parameters of atmospheric rivers.

    Attributes
    ----------
    transport : float
        Least transport, kg m-1 s-1.
    length_km : float
        Least length.
    ratio : float
        Least ratio of length and width.
    latitude : float
        Least distance of the middle from the equator, degrees.
    """

    transport: float = 250.0
    length_km: float = 2000.0
    ratio: float = 2.0
    latitude: float = 20.0


@dataclass(frozen=True, eq=False)
class MaskReader:
    """Areas found by the user, read a few times at once.

    Attributes
    ----------
    at : callable
        Maps the index of a time of the fields to the mask ``(n_lat, n_lon)`` bool.
    digest : callable
        Returns what identifies the whole mask; asked for when annotations are written.
    """

    at: Callable[[int], NDArray[np.bool_]]
    digest: Callable[[], str]

    @classmethod
    def of_fields(cls, masks: Fields, name: str, places: NDArray[np.int64]) -> MaskReader:
        """Return the reader of a mask that lies in files.

        Parameters
        ----------
        masks
            Fields on the grid of those that are annotated.
        name
            Their variable, inside from one half.
        places : (n_times,) int64
            Where among its times those of the annotated fields are.
        """
        reader = FieldReader(masks, strict=True)
        return cls(lambda index: reader.at(name, int(places[index])) >= _HALF, lambda: masks.digest)

    @classmethod
    def of_array(cls, mask: NDArray[np.bool_], shape: tuple[int, ...]) -> MaskReader:
        """Return the reader of an array of this shape.

        Raises
        ------
        InputError
            If the array has another shape or type.
        """
        if mask.shape != shape or mask.dtype != np.bool_:
            raise InputError(
                f"the mask of atmospheric rivers is {mask.dtype} of shape {mask.shape}",
                allowed=f"bool of shape {shape}: times, latitudes (north first), longitudes",
            )
        return cls(
            mask.__getitem__, lambda: hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()
        )


class RiverDetector:
    """Atmospheric rivers of the fields ``ivt``, or ``ivt_u`` and ``ivt_v``, or of a given mask.

    Parameters
    ----------
    fields
        The fields.
    settings
        Parameters.
    mask : (n_times, n_lat, n_lon) bool, or MaskReader, optional
        Rivers found by the user, on the fields' times and grid; each connected part is one.

    Raises
    ------
    InputError
        If the mask has another shape.
    """

    group = RIVER_GROUP

    def __init__(
        self,
        fields: Fields,
        settings: RiverSettings | None = None,
        mask: NDArray[np.bool_] | MaskReader | None = None,
    ) -> None:
        self._settings = settings or RiverSettings()
        if mask is not None and not isinstance(mask, MaskReader):
            mask = MaskReader.of_array(mask, (len(fields.times), *fields.grid.shape))
        self._fields, self._reader, self._mask = fields, FieldReader(fields), mask
        rule = self._settings
        text = (
            "connected part of the mask given"
            if mask is not None
            else f"connected area with integrated vapour transport of at least {rule.transport:g} "
            f"kg m-1 s-1, at least {rule.length_km:g} km long and {rule.ratio:g} times as long as "
            f"wide, poleward of {rule.latitude:g} degrees (after Guan and Waliser 2015)"
        )
        self.labels = (Label("atmospheric_river", RIVER_GROUP, text),)
        self._objects = remember_last(self._find_objects)
        self._tracker = ObjectTracker(fields, self._rivers, "river")

    @cached_property
    def state(self) -> str:
        """Parameters, and the mask's identity."""
        return f"{self._settings} {'' if self._mask is None else self._mask.digest()}"

    @staticmethod
    def possible(fields: Fields) -> bool:
        """Tell whether the fields hold what is needed."""
        return fields.has("ivt") or (fields.has("ivt_u") and fields.has("ivt_v"))

    def find(self, index: int) -> Found:
        """Return the rivers of one time."""
        unknown = np.zeros(self._fields.grid.shape, np.bool_)
        if self._mask is None:
            unknown |= np.isnan(self._transport(index))
            for other in self._objects(index)[1]:
                unknown.reshape(-1)[other.cells] = True
        events = self._tracker.events(index)
        instances = tuple(
            Instance("atmospheric_river", place_key(o.latitude, o.longitude), o.cells, event=e.name)
            for o, e in zip(self._rivers(index), events, strict=True)
        )
        return Found(instances, unknown)

    def _rivers(self, index: int) -> Sequence[MaskObject]:
        return self._objects(index)[0]

    def _find_objects(self, index: int) -> tuple[list[MaskObject], list[MaskObject]]:
        """Return the rivers, and what the edge of the domain may have cut from one."""
        grid, rule = self._fields.grid, self._settings
        if self._mask is not None:
            return connected_objects(self._mask.at(index), grid), []
        found = connected_objects(self._transport(index) >= rule.transport, grid)
        found = [item for item in found if abs(item.latitude) >= rule.latitude]
        rivers, cut = [], []
        for item in found:
            narrow = item.length_km**2 >= rule.ratio * item.area_km2
            if narrow and item.length_km >= rule.length_km:
                rivers.append(item)
            elif item.on_edge:
                cut.append(item)
        return rivers, cut

    def _transport(self, index: int) -> NDArray[np.float32]:
        if self._fields.has("ivt"):
            return self._reader.at("ivt", index)
        u, v = (self._reader.at(name, index) for name in ("ivt_u", "ivt_v"))
        speed: NDArray[np.float32] = np.hypot(u, v)
        return speed
