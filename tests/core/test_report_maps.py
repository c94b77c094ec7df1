"""Maps of gridded records: right averages, and a page as closed as any other."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fake_grid import (
    HIGH,
    LATITUDE,
    LONGITUDE,
    LOW,
    N_COLUMNS,
    N_FEATURES,
    N_ROWS,
    N_TOKENS,
    RARE,
    GridAdapter,
    GridWorld,
    plane_of,
)
from planted_world import ArrayCodes
from report_pages import HOSTILE, Result, check_closed, result

from sci_interp.annotations import AnnotationStore, annotate
from sci_interp.candidates import Candidates
from sci_interp.errors import InputError
from sci_interp.report import averages, write_report
from sci_interp.report.atlas import Atlas
from sci_interp.report.averages import average_features, share_of_level
from sci_interp.report.cells import Mesh
from sci_interp.report.frames import Frame
from sci_interp.report.maps import Bases, draw_composite, draw_record

WORLD = GridWorld()
SHAPE = (N_ROWS, N_COLUMNS)


@pytest.fixture(scope="module")
def codes() -> ArrayCodes:
    return ArrayCodes.of(WORLD.axis, WORLD.levels(), digest="f" * 64)


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> AnnotationStore:
    return annotate(GridAdapter(), WORLD, out=tmp_path_factory.mktemp("grid") / "a", progress=False)


def candidates() -> Candidates:
    unexplained = pd.DataFrame(
        {"feature": [HIGH], "kind": ["unexplained"], "score": [0.5], "unexplained_strict": [True]}
    )
    record = WORLD.axis.records["record"].iloc[WORLD.axis.record_range(["vault"])[0]]
    missing = pd.DataFrame(
        {"record": [record], "start": [3.0], "stop": [5.0], "label": ["low_area"], "feature": [LOW]}
    )
    return Candidates(
        unexplained, unexplained.iloc[:0], missing, pd.DataFrame(), pd.DataFrame(), count=1
    )


def links(label: str = "low_area") -> Result:
    table = result().links.iloc[:2].assign(feature=[LOW, RARE], label=label)
    return Result(table, result().summary)


def write(path: Path, codes, known, **changes) -> str:
    arguments = {
        "result": links(), "candidates": candidates(), "features": codes, "known": known,
        "adapter": GridAdapter(), "dataset": WORLD, **changes,
    }  # fmt: skip
    return write_report(path, **arguments).read_text(encoding="utf-8")


def field_mesh() -> Mesh:
    plane = GridAdapter().view(WORLD, next(iter(WORLD.fields))).plane
    return Mesh.of(Frame.of(plane), plane.field_x, plane.field_y)


def average(codes, features: list[int], world: GridWorld = WORLD, adapter=None, **settings):
    adapter = adapter or GridAdapter()
    return average_features(codes, features, adapter, world, field_mesh=field_mesh(), **settings)


def test_records_become_maps(tmp_path, codes, known) -> None:
    html = write(tmp_path / "a.html", codes, known)
    page = check_closed(html)
    # Two linked features and an unexplained one, each with two averages; RARE fires in one record.
    strongest = html.split('id="missing"')[0]
    assert strongest.count("<figure") == 3 * 2 + 3 + 1 + 3
    assert html.count('<g id="base') == 1 and page.tags.count("use") == html.count("<figure")
    assert page.text.count("Sea-level pressure when it fires") == 3
    assert "40°W" in page.text and "50°N" in page.text
    assert "mean over the 20 records of the test split; it fires in 1\n" in page.text + "\n"
    assert "mean of the 20 test records where it is strongest" in page.text
    assert "summer 10, winter 10" in page.text
    assert page.tags.count("circle") == 1  # the missing annotation
    assert not re.search(r"famil|letter", re.sub("<style>.*?</style>", "", html, flags=re.DOTALL))


def test_equal_inputs_give_equal_bytes_of_maps(tmp_path, codes, known) -> None:
    first = write(tmp_path / "a.html", codes, known)
    assert first == write(tmp_path / "b.html", codes, known)
    assert len(first) < 120_000


def test_hostile_text_stays_text_on_maps(tmp_path, codes, tmp_path_factory) -> None:
    class Hostile(GridAdapter):
        model = SimpleNamespace(name=HOSTILE, digest=HOSTILE, dtype=HOSTILE)
        label = HOSTILE
        field_name = HOSTILE

        def view(self, dataset, record):
            view = super().view(dataset, record)
            plane = replace(view.plane, field_unit=HOSTILE, x_name=HOSTILE)
            return replace(view, title=HOSTILE, link="javascript:alert(1)", plane=plane)

    adapter = Hostile()
    known = annotate(adapter, WORLD, out=tmp_path_factory.mktemp("hostile") / "a", progress=False)
    axis = replace(WORLD.axis, records=WORLD.axis.records.assign(exchange=HOSTILE))
    codes = replace(codes, axis=axis, names=(HOSTILE,) * N_FEATURES)
    html = write(
        tmp_path / "a.html", codes, known, adapter=adapter, result=links(HOSTILE), title=HOSTILE
    )
    page = check_closed(html)
    assert page.tags.count("use") > 10 and "alert(1)" in page.text
    assert "javascript:" not in html and "\u202e" not in html and "\x00" not in html


def test_mean_map_is_the_average(codes) -> None:
    first, last = WORLD.axis.record_range(["test"])
    start, stop = WORLD.axis.token_range(["test"])
    found = average(codes, [HIGH, LOW, 3])
    for feature in (LOW, HIGH):
        share = share_of_level(WORLD.levels()[start:stop, feature].astype(np.uint8))
        expected = np.zeros(SHAPE)
        for token, value in enumerate(share.reshape(last - first, N_TOKENS).mean(axis=0)):
            expected.flat[WORLD.cell[token]] += value / 2  # two levels share a cell
        np.testing.assert_allclose(found[feature].mean, expected, rtol=1e-12)
        assert found[feature].n_records == last - first == 20
    assert not found[3].mean.any() and found[3].composite is None and found[3].n_firing == 0


def test_mean_map_does_not_depend_on_the_stretch(codes, monkeypatch) -> None:
    whole = average(codes, [LOW])[LOW]
    cut = averages.split_stretches
    monkeypatch.setattr(averages, "split_stretches", lambda a, s: cut(a, s, n_tokens=3 * N_TOKENS))
    np.testing.assert_allclose(average(codes, [LOW])[LOW].mean, whole.mean, rtol=1e-12)


def test_composite_is_the_difference(codes) -> None:
    composite = average(codes, [LOW], n_strongest=6)[LOW].composite
    first, last = WORLD.axis.record_range(["test"])
    records = WORLD.axis.records["record"].iloc[first:last].tolist()
    start, stop = WORLD.axis.token_range(["test"])
    levels = WORLD.levels()[start:stop, LOW].reshape(-1, N_TOKENS)
    mass = share_of_level(levels.astype(np.uint8)).sum(axis=1)
    strong = sorted(range(20), key=lambda at: (-levels[at].max(), -mass[at], at))[:6]
    order = np.random.default_rng(0).permutation(20).tolist()
    season = ["winter" if record[-1] in "01234" else "summer" for record in records]
    drawn = []
    for name in ("winter", "summer"):
        n = sum(season[at] == name for at in strong)
        drawn += [at for at in order if season[at] == name][:n]
    fields = np.stack([WORLD.fields[record].astype(np.float64) for record in records])
    expected = fields[strong].mean(axis=0) - fields[drawn].mean(axis=0)
    np.testing.assert_allclose(composite.difference, expected, atol=1e-9)
    assert composite.n_records == 6 and sum(n for _, n in composite.groups) == 6


def test_without_seasons_all_records_are_drawn_from() -> None:
    world = GridWorld(exchange=False)
    codes = ArrayCodes.of(world.axis, world.levels())
    composite = average(codes, [LOW], world)[LOW].composite
    assert composite.groups == () and composite.n_records == 20
    np.testing.assert_allclose(composite.difference, 0.0, atol=1e-9)  # all against all


def test_unknown_field_values_are_left_out(codes) -> None:
    class Holes(GridAdapter):
        def view(self, dataset, record):
            view = super().view(dataset, record)
            field = view.plane.field.copy()
            field[0, 0] = np.nan
            if record.endswith("1"):
                field[1:3] = np.nan
            return replace(view, plane=replace(view.plane, field=field))

    composite = average(codes, [LOW], adapter=Holes(), n_strongest=6)[LOW].composite
    assert np.isnan(composite.difference[0, 0]) and np.isnan(composite.difference).sum() == 1
    plane = Holes().view(WORLD, next(iter(WORLD.fields))).plane
    drawn = draw_composite(composite, Bases().of(Frame.of(plane), ()), field_mesh(), plane)
    assert drawn.fills and "nan" not in str(drawn)


def test_records_on_other_grids_are_refused(codes) -> None:
    class Moving(GridAdapter):
        def view(self, dataset, record):
            view = super().view(dataset, record)
            shift = float(record[-1]) if record[0] in "bc" else 0.0
            return replace(view, plane=replace(view.plane, field_x=LONGITUDE + shift))

    with pytest.raises(InputError, match="lies on another grid"):
        average(codes, [LOW], adapter=Moving())


def test_a_plane_of_other_length_is_refused(codes) -> None:
    class Short(GridAdapter):
        def view(self, dataset, record):
            view = super().view(dataset, record)
            return replace(view, plane=replace(view.plane, cell=view.plane.cell[:-1]))

    with pytest.raises(InputError, match="its view no plane of as many"):
        average(codes, [LOW], adapter=Short())


def test_records_of_several_lengths_are_refused(codes) -> None:
    from sci_interp.axis import TokenAxis

    table = WORLD.table.assign(n_tokens=N_TOKENS)
    first = WORLD.axis.record_range(["test"])[0]
    other = WORLD.axis.records["record"].iloc[first + 4]
    table.loc[table["record"] == other, "n_tokens"] = N_TOKENS + 1
    axis = TokenAxis.build(table)
    codes = ArrayCodes.of(axis, np.zeros((axis.n_tokens, N_FEATURES), int))
    with pytest.raises(InputError, match="on different grids"):
        average(codes, [LOW])


def test_no_test_record_means_no_average(codes) -> None:
    axis = replace(WORLD.axis, records=WORLD.axis.records.assign(split="vault"))
    assert average(replace(codes, axis=axis), [LOW]) == {}
    assert average(codes, []) == {}


def test_a_record_is_drawn_where_it_is(codes, known) -> None:
    atlas = Atlas.open(codes, known, GridAdapter(), WORLD, drawn=[LOW])
    axis, levels = WORLD.axis, WORLD.levels()
    row = next(
        at
        for at, record in enumerate(axis.records["record"])
        if record.endswith("3") and levels[axis.record_starts[at] :][:N_TOKENS, LOW].any()
    )
    token = int(axis.record_starts[row])
    (drawn,) = atlas.of_record(LOW, token + 5, "low_area", is_marked=True)
    mine = levels[token : token + N_TOKENS, LOW]
    top = int(WORLD.cell[np.argmax(mine)])
    y, x = LATITUDE[top // N_COLUMNS], LONGITUDE[top % N_COLUMNS]
    assert f"strongest at {y:g}°N {-x:g}°W; sea-level pressure every 4 hPa" == drawn.note
    # The ring lies around token 5: the southernmost cell of the first column.
    cell = drawn.base.width / N_COLUMNS, drawn.base.height / N_ROWS
    assert drawn.marker == pytest.approx((cell[0] / 2, drawn.base.height - cell[1] / 2), abs=0.2)
    assert drawn.contours and drawn.labels and drawn.outline and drawn.link
    assert drawn.unknown.count("M") == SHAPE[0] * SHAPE[1] // 2
    assert atlas.of_record(LOW, token, None)[0].outline == ""
    assert atlas.of_record(3, token)[0].note.startswith("inactive")
    assert len(atlas.of_feature(LOW)) == 2 and atlas.of_feature(HIGH) == []


def test_contours_close_over_the_seam() -> None:
    x, y = np.arange(-180.0, 180, 10), np.arange(85.0, -86, -10)
    across = (x + 180 + 180) % 360 - 180
    field = -np.hypot(*np.meshgrid(across, y))  # a hill on the date line
    plane = plane_of(x, y, field, step=20.0)
    frame = Frame.of(plane)
    drawn = draw_record(
        "", "", plane, np.zeros(len(plane.cell), np.uint8), base=Bases().of(frame, ()), frame=frame,
        instances=[], unknown=np.zeros(0, np.int64),
    )  # fmt: skip
    lines = drawn.contours.split("M")[1:]
    starts = [line.split("l")[0].split() for line in lines]
    steps = [re.findall(r"-?\d+", line.split("l")[1]) for line in lines]
    reach = max(abs(int(dx)) for step in steps for dx in step[::2])
    assert reach < 20 * 10 * frame.x_scale, "a line runs across the map"
    # The hill stands on both ends of the map.
    ends = {round(int(start[0]) / frame.width / 10) for start in starts}
    assert ends == {0, 1}


def test_a_constant_composite_and_field_are_said(codes) -> None:
    class Flat(GridAdapter):
        def view(self, dataset, record):
            view = super().view(dataset, record)
            return replace(view, plane=replace(view.plane, field=np.full(SHAPE, 3.0, np.float32)))

    found = average(codes, [LOW], adapter=Flat())[LOW].composite
    plane = Flat().view(WORLD, next(iter(WORLD.fields))).plane
    drawn = draw_composite(found, Bases().of(Frame.of(plane), ()), field_mesh(), plane)
    assert drawn.note.endswith("no difference") and drawn.key is None
