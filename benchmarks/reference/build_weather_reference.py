"""Restate ten years of sea-level pressure and two indices in the format of the sample fields.

    python benchmarks/reference/build_weather_reference.py FOLDER OUT_FOLDER

FOLDER holds ``ncep_slp_north_atlantic/ncep_slp_natl_daily_2001_2010.nc`` and
``indices/nnr1.{ao,pna}.daily.csv``. The source stores whole multiples of 2.5 Pa; so does the
sample: no value changes.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping
from pathlib import Path

import netCDF4
import numpy as np

from sci_interp_weather.reference import (
    INDICES_FOLDER,
    SampleHeader,
    read_sample,
    write_sample,
)

START, END = "2001-01-01", "2010-12-31"
SOURCE = (
    "NCEP/NCAR Reanalysis 1, NOAA Physical Sciences Laboratory, https://psl.noaa.gov "
    "(Kalnay et al. 1996, doi:10.1175/1520-0477(1996)077<0437:TNYRP>2.0.CO;2), daily means"
)
LICENCE = "work of the United States government, free of copyright"
INDEX_COMMENT = """\
# {title}, daily, {start} to {end}, rounded to 0.001.
# Source: projection of NCEP/NCAR Reanalysis 1 (NOAA Physical Sciences Laboratory) on the pattern,
# restated from a daily table of 1948 to 2020 under the MIT licence; base period 1979 to 2001.
"""
TITLES = {"ao": "Arctic Oscillation index", "pna": "Pacific/North American pattern index"}


def write_fields(path: Path, out: Path) -> None:
    """Pack the fields of the source file."""
    with netCDF4.Dataset(path) as source:
        values = np.asarray(source["msl"][:], dtype=np.float64)
        latitude, longitude = (np.asarray(source[name][:]) for name in ("latitude", "longitude"))
        first = netCDF4.num2date(source["time"][0], source["time"].units)
    north_first = np.argsort(-latitude)
    header = SampleHeader(
        source=SOURCE,
        licence=LICENCE,
        description="daily mean sea-level pressure over the North Atlantic, 2001 to 2010",
        variable="msl",
        unit="Pa",
        start=first.strftime("%Y-%m-%d"),
        n_times=len(values),
        hours=24,
        latitude=tuple(latitude[north_first].tolist()),
        longitude=tuple(longitude.tolist()),
        offset=100_000.0,
        step=2.5,
    )
    write_sample(out, header, values[:, north_first])
    found = read_sample(out).read("msl", slice(None))
    assert np.array_equal(found, values[:, north_first].astype(np.float32))


def read_index(path: Path) -> Mapping[str, float]:
    """Return an index by ISO date, for the days of the sample."""
    with path.open(encoding="utf-8") as handle:
        rows = csv.DictReader(line for line in handle if not line.startswith("#"))
        return {row["date"]: float(row["value"]) for row in rows if START <= row["date"] <= END}


def write_index(name: str, source: Path, path: Path) -> None:
    """Restate one index."""
    values = read_index(source)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as handle:
        handle.write(INDEX_COMMENT.format(title=TITLES[name], start=START, end=END))
        handle.write(f"date,{name}\n")
        handle.writelines(f"{day},{value:.3f}\n" for day, value in values.items())


def main() -> None:
    """Write the sample and print its size."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("out", type=Path)
    options = arguments.parse_args()
    name = "ncep_slp_north_atlantic/ncep_slp_natl_daily_2001_2010.nc"
    write_fields(options.folder / name, options.out)
    for index in TITLES:
        source = options.folder / "indices" / f"nnr1.{index}.daily.csv"
        write_index(index, source, options.out / INDICES_FOLDER / f"{index}.csv")
    for path in sorted(each for each in options.out.rglob("*") if each.is_file()):
        print(f"{path.stat().st_size:9,d} bytes  {path.relative_to(options.out)}")


if __name__ == "__main__":
    main()
