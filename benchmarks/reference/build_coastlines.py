"""Restate the coastlines of Natural Earth 1:110m in the weather adapter's own format.

    pip download --no-deps geopandas==0.14.4
    python benchmarks/reference/build_coastlines.py geopandas-0.14.4-py3-none-any.whl OUT.bin

Source: Natural Earth (https://www.naturalearthdata.com), "Admin 0 - Countries" 1:110m, in the
public domain, as the wheel of geopandas 0.14.4 carries it. A coast is a stretch of a country's
border that no other country has. Points are rounded to a hundredth of a degree; the meridian at
180 degrees and the pole, where polygons are merely cut, are left out.
"""

from __future__ import annotations

import argparse
import struct
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from sci_interp_weather.coastlines import pack_lines

SHAPES = "geopandas/datasets/naturalearth_lowres/naturalearth_lowres.shp"

#: Longitude and latitude in hundredths of a degree.
Point = tuple[int, int]


def read_rings(shapefile: bytes) -> list[NDArray[np.int64]]:
    """Return the rings ``(n_points, 2)`` of the polygons of an ESRI shapefile."""
    rings, at = [], 100
    while at < len(shapefile):
        (n_words,) = struct.unpack_from(">i", shapefile, at + 4)
        kind, *_, n_parts, n_points = struct.unpack_from("<i4d2i", shapefile, at + 8)
        assert kind == 5, "a shape is no polygon"
        parts = np.frombuffer(shapefile, "<i4", n_parts, at + 52)
        points = np.frombuffer(shapefile, "<f8", 2 * n_points, at + 52 + 4 * n_parts)
        rounded = np.rint(100 * points.reshape(-1, 2)).astype(np.int64)
        rings += np.split(rounded, parts[1:])
        at += 8 + 2 * n_words
    return rings


def coast_segments(rings: list[NDArray[np.int64]]) -> list[tuple[Point, Point]]:
    """Return the segments of rings that occur once and do not run along a cut."""
    segments: list[tuple[Point, Point]] = []
    for ring in rings:
        points = [(int(x), int(y)) for x, y in ring]
        segments += [pair for pair in pairwise(points) if pair[0] != pair[1]]
    count = Counter(frozenset(pair) for pair in segments)
    return [pair for pair in segments if count[frozenset(pair)] == 1 and not is_cut(*pair)]


def is_cut(start: Point, stop: Point) -> bool:
    """Return whether a segment lies on the date line or at the south pole."""
    return (abs(start[0]) == abs(stop[0]) == 18_000) or start[1] == stop[1] == -9_000


def join(segments: list[tuple[Point, Point]]) -> list[NDArray[np.int64]]:
    """Join segments end to end to lines ``(n_points, 2)``, open ones first."""
    leaving: dict[Point, list[Point]] = defaultdict(list)
    for start, stop in segments:
        leaving[start].append(stop)
    arriving = {stop for _, stop in segments}
    starts = [start for start, _ in segments if start not in arriving]
    lines = []
    for start in [*starts, *(start for start, _ in segments)]:
        while leaving[start]:
            line = [start]
            while leaving[line[-1]]:
                line.append(leaving[line[-1]].pop())
            lines.append(np.array(line, np.int64))
    return lines


def main() -> None:
    """Read the wheel, write the lines, and say how many."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path, help="wheel of geopandas 0.14.4")
    parser.add_argument("out", type=Path, help="file to write")
    given = parser.parse_args()
    with ZipFile(given.wheel) as archive:
        lines = join(coast_segments(read_rings(archive.read(SHAPES))))
    data = pack_lines(lines)
    given.out.write_bytes(data)
    n_points = sum(len(line) for line in lines)
    print(f"{len(lines)} lines, {n_points:,} points, {len(data):,} bytes")


if __name__ == "__main__":
    main()
