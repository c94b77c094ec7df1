"""Atlas: the maps of features whose records lie on a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Adapter, Dataset, Plane
from sci_interp.annotations import AnnotationStore
from sci_interp.schema import RECORD
from sci_interp.source import FeatureSource

from .averages import Average, average_features
from .cells import Mesh
from .frames import Frame
from .maps import Bases, Map, draw_composite, draw_mean, draw_record
from .strips import levels_of

__all__ = ["Atlas"]


@dataclass(frozen=True, eq=False)
class Atlas:
    """Draws maps of records, and of features over the test split.

    Attributes
    ----------
    features
        Quantised codes.
    known, adapter, dataset
        Labels and planes of the records.
    plane
        A plane on whose grids the averages are drawn.
    averages
        Of the drawn features.
    bases
        What the maps share.
    """

    features: FeatureSource
    known: AnnotationStore
    adapter: Adapter
    dataset: Dataset
    plane: Plane
    averages: Mapping[int, Average]
    bases: Bases

    @classmethod
    def open(
        cls,
        features: FeatureSource,
        known: AnnotationStore,
        adapter: Adapter,
        dataset: Dataset,
        *,
        drawn: Sequence[int],
    ) -> Atlas | None:
        """Average the features to be drawn; return None where records lie on no plane."""
        axis = features.axis
        first = axis.record_range(["test"])[0]
        plane = adapter.view(dataset, str(axis.records[RECORD].iloc[first])).plane
        if plane is None:
            return None
        mesh = Mesh.of(Frame.of(plane), plane.field_x, plane.field_y)
        averages = average_features(features, drawn, adapter, dataset, field_mesh=mesh)
        return cls(features, known, adapter, dataset, plane, averages, Bases())

    def of_feature(self, feature: int) -> list[Map]:
        """Return the mean map of a feature and its composite, where the test split has records."""
        average = self.averages.get(feature)
        if average is None:
            return []
        plane, frame = self.plane, Frame.of(self.plane)
        base = self.bases.of(frame, plane.outlines)
        maps = [draw_mean(average, base, Mesh.of(frame, plane.x, plane.y))]
        if average.composite is not None:
            mesh = Mesh.of(frame, plane.field_x, plane.field_y)
            maps.append(draw_composite(average.composite, base, mesh, plane))
        return maps

    def of_record(
        self, feature: int, token: int, label: str | None = None, *, is_marked: bool = False
    ) -> list[Map]:
        """Return the map of the record that holds a token; nothing if it lies on no plane.

        Parameters
        ----------
        feature
            Whose activation is drawn.
        token
            Global position of a token.
        label
            Whose instances are outlined.
        is_marked
            Put a ring around the token.
        """
        axis = self.features.axis
        row = int(np.searchsorted(axis.record_starts, token, "right")) - 1
        first, last = axis.record_starts[row : row + 2].tolist()
        view = self.adapter.view(self.dataset, str(axis.records[RECORD].iloc[row]))
        if view.plane is None:
            return []
        frame = Frame.of(view.plane)
        instances, unknown = self._label(label, first, last)
        drawn = draw_record(
            view.title,
            view.link,
            view.plane,
            levels_of(self.features, feature, first, last),
            base=self.bases.of(frame, view.plane.outlines),
            frame=frame,
            instances=instances,
            unknown=unknown,
            marked=token - first if is_marked else None,
        )
        return [drawn]

    def _label(
        self, name: str | None, first: int, last: int
    ) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
        """Return the local tokens of every instance of a label, and those not assessed for it."""
        names = [label.name for label in self.known.labels]
        if name not in names:
            return [], np.zeros(0, np.int64)
        label, found = names.index(name), self.known.read(first, last)
        mine = np.flatnonzero(found.label == label)
        instances = [
            np.concatenate([np.arange(found.start[run], found.stop[run]) - first for run in runs])
            for runs in (
                mine[found.instance[mine] == instance]
                for instance in np.unique(found.instance[mine])
            )
        ]
        is_unknown = np.ones(last - first, bool)
        for run in np.flatnonzero(found.known_group == self.known.group_of_label[label]):
            is_unknown[found.known_start[run] - first : found.known_stop[run] - first] = False
        return instances, np.flatnonzero(is_unknown)
