"""Any module as a network: layouts, tokens in order, replacement, and the check of the geometry."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from sci_interp.errors import InputError, UnknownNameError
from sci_interp_weather.fields import Fields
from sci_interp_weather.grids import Grid
from sci_interp_weather.networks.geometry_check import check_geometry, read_inputs
from sci_interp_weather.networks.layouts import Layout
from sci_interp_weather.networks.module_network import ModuleNetwork
from sci_interp_weather.tokens import from_tokens

REGION = Grid.regular(np.linspace(60, 25, 15), np.linspace(-30, 20, 21))
GLOBE = Grid.regular(np.linspace(87.5, -87.5, 36), -180 + np.arange(72) * 5.0)
NCHW = "batch channel latitude longitude"


class Sequence(nn.Module):
    """Patches as a sequence, on two levels, in any of the usual layouts."""

    def __init__(self, form="batch", rows_first=True):
        super().__init__()
        self.embed = nn.Conv2d(2, 12, (3, 3), stride=(3, 3))
        self.body = nn.Sequential(nn.Linear(6, 6), nn.GELU())
        self.form, self.rows_first = form, rows_first
        self.unused = nn.Linear(6, 6)

    def forward(self, x):
        y = self.embed(x).unflatten(1, (2, 6))  # (B, level, channel, H, W)
        y = y.permute(0, 1, 3, 4, 2) if self.rows_first else y.permute(0, 1, 4, 3, 2)
        y = y.flatten(1, 3)
        if self.form == "sequence":
            y = y.transpose(0, 1)
        return self.body(y)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(1, 4, 1)

    def forward(self, x):
        return self.inner(x) + self.inner(x)


class Ascending(nn.Module):
    """Wants the south first and longitudes from 0; forecasts its input times two."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 3, 1)

    def forward(self, x):
        self.seen = x
        self.layer(x)
        return 2 * x


def make_fields(grid, variables=("msl",), n=4, seed=0):
    values = np.random.default_rng(seed).standard_normal((len(variables), n, *grid.shape))
    times = pd.date_range("2009-01-01", periods=n, freq="24h")
    return Fields.from_arrays(grid, times, dict(zip(variables, values, strict=True)))


def convolution(seed=0, channels=1):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(channels, 5, 3, padding=1), nn.GELU(), nn.Conv2d(5, 1, 1))


def run_one(network, fields, layer=None):
    inputs, hours = read_inputs(network, fields, np.array([1]))
    layer = layer or network.default_layer
    return inputs, hours, network.run(inputs, hours, [layer])[layer]


def test_network_in_a_few_lines_gives_tokens_columns_first():
    module = convolution()
    network = ModuleNetwork(module, layers={"0": NCHW}, grid=REGION, variables=["msl"])
    inputs, _, tokens = run_one(network, make_fields(REGION))
    assert network.layers == {"0": 5} and network.n_levels("0") == 1
    assert network.default_layer == "0" and network.field_grid is REGION
    assert tuple(tokens.shape) == (1, 15 * 21, 5) and tokens.dtype == torch.float32
    wanted = module[0](torch.from_numpy(inputs[:, 0]))[0, :, 4, 7].detach()
    torch.testing.assert_close(tokens[0, 7 * 15 + 4], wanted)


@pytest.mark.parametrize(
    ("form", "layout"),
    [
        ("batch", "batch (level latitude longitude) channel"),
        ("sequence", "(level latitude longitude) batch channel"),
    ],
)
def test_flattened_layouts_on_levels(form, layout):
    torch.manual_seed(0)
    network = ModuleNetwork(
        Sequence(form),
        layers={"body": layout},
        grid=None,
        variables=["msl", "t850"],
        patch=(3, 3),
        levels=2,
    )
    assert network.layers == {"body": 6} and network.n_levels("body") == 2
    assert network.field_grid is None
    network = network.bind(REGION)
    assert network.token_grid("body").shape == (5, 7)
    fields = make_fields(REGION, ("msl", "t850"))
    inputs, _, tokens = run_one(network, fields)
    module = network.module
    levels = module.embed(torch.from_numpy(inputs[:, 0])).unflatten(1, (2, 6))
    wanted = module.body(levels.movedim(2, -1))[0].detach().numpy()  # (level, H, W, channel)
    for channel in range(6):
        found = from_tokens(tokens[0, :, channel].numpy(), (5, 7), 2)
        np.testing.assert_allclose(found, wanted[..., channel], rtol=1e-5, atol=1e-6)
    check = check_geometry(network, fields)
    assert check.near.all() and check.layer == "body"


def test_replacement_acts_on_rows_of_tokens_and_nothing_changes_without_one():
    network = ModuleNetwork(
        convolution(),
        layers={"0": NCHW},
        grid=REGION,
        variables=["msl"],
        lead=24,
        targets=["msl"],
    )
    inputs, hours = read_inputs(network, make_fields(REGION), np.array([1, 2]))
    plain = network.forecast(inputs, hours)
    assert plain.shape == (2, 1, 15, 21) and plain.dtype == np.float32
    assert np.array_equal(network.forecast(inputs, hours, "0", lambda rows: rows), plain)

    def silence(rows):
        assert rows.shape == (2 * 15 * 21, 5)
        new = rows.clone()
        new[15 * 21 + 7 * 15 + 4] = 100.0
        return new

    changed = network.forecast(inputs, hours, replacement=silence) != plain
    assert np.argwhere(changed).tolist() == [[1, 0, 4, 7]]
    with pytest.raises(InputError, match=r"returned \(1, 5\)"):
        network.forecast(inputs, hours, "0", lambda rows: rows[:1])


def test_network_that_wants_south_first_and_longitudes_from_zero():
    network = ModuleNetwork(
        Ascending(),
        layers={"layer": NCHW},
        grid=GLOBE,
        variables=["msl"],
        lead=6,
        targets=["msl"],
        south_first=True,
        first_longitude=0.0,
    )
    fields = make_fields(GLOBE)
    inputs, hours, tokens = run_one(network, fields)
    seen = network.module.seen[0, 0].numpy()
    assert seen[0, 0] == inputs[0, 0, 0, -1, 36]
    assert np.array_equal(network.forecast(inputs, hours)[0, 0], 2 * inputs[0, 0, 0])
    weight, bias = (p.detach() for p in network.module.layer.parameters())
    wanted = inputs[0, 0, 0, 3, 10] * weight[:, 0, 0, 0] + bias
    torch.testing.assert_close(tokens[0, 10 * 36 + 3], wanted)
    assert check_geometry(network, fields).near.all()

    def only_one(rows):
        new = torch.zeros_like(rows)
        new[10 * 36 + 3] = rows[10 * 36 + 3]
        return new

    plain = network.forecast(inputs, hours, "layer", lambda rows: rows)
    assert np.array_equal(plain, network.forecast(inputs, hours, "layer", only_one))


def test_rows_that_fill_no_patch_are_left_out_where_the_network_sees_them_last():
    layers = {"0": NCHW}
    module = nn.Sequential(nn.Conv2d(1, 2, 4, stride=4))
    north = ModuleNetwork(module, layers=layers, grid=REGION, variables=["msl"], patch=(4, 4))
    south = ModuleNetwork(
        module, layers=layers, grid=REGION, variables=["msl"], patch=(4, 4), south_first=True
    )
    assert north.token_grid("0").latitude[0] > south.token_grid("0").latitude[0]
    fields = make_fields(REGION)
    assert check_geometry(north, fields).near.all() and check_geometry(south, fields).near.all()


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"layers": {"body": "batch (level longitude latitude) channel"}}, "exchanged"),
        ({"south_first": True}, "south to north"),
    ],
)
def test_wrong_geometry_is_found_and_named(settings, cause):
    torch.manual_seed(0)
    right = {"layers": {"body": "batch (level latitude longitude) channel"}}
    network = ModuleNetwork(
        Sequence(),
        grid=GLOBE,
        variables=["msl", "t850"],
        patch=(3, 3),
        levels=2,
        # The module is handed fields north first whatever the settings say.
        prepare=lambda inputs, _: (
            torch.flip(inputs, (3,)) if "south_first" in settings else inputs
        ).flatten(1, 2),
        **(right | settings),
    )
    with pytest.raises(InputError, match=cause):
        check_geometry(network, make_fields(GLOBE, ("msl", "t850")))


@pytest.mark.parametrize(
    ("turn", "cause"),
    [
        (lambda x: torch.roll(x, 36, -1), "half a circle"),
        (lambda x: torch.flip(x, (-1,)), "east to west"),
        (lambda x: torch.roll(x, 9, -1), "prepare="),
    ],
)
def test_wrong_orientation_of_inputs_is_found(turn, cause):
    network = ModuleNetwork(
        convolution(),
        layers={"0": NCHW},
        grid=GLOBE,
        variables=["msl"],
        prepare=lambda inputs, _: turn(inputs.flatten(1, 2)),
    )
    with pytest.raises(InputError, match=cause):
        check_geometry(network, make_fields(GLOBE))


def test_square_grid_with_exchanged_axes_is_found():
    grid = Grid.regular(np.linspace(60, 30, 16), np.linspace(0, 30, 16))
    network = ModuleNetwork(
        convolution(),
        layers={"0": "batch channel longitude latitude"},
        grid=grid,
        variables=["msl"],
    )
    with pytest.raises(InputError, match="exchanged"):
        check_geometry(network, make_fields(grid))


def test_layer_that_never_moves_is_found():
    network = ModuleNetwork(
        convolution(),
        layers={"0": NCHW},
        grid=REGION,
        variables=["msl"],
        prepare=lambda inputs, _: torch.zeros_like(inputs).flatten(1, 2),
    )
    with pytest.raises(InputError, match="does not move"):
        check_geometry(network, make_fields(REGION))


def test_sizes_come_from_the_call_of_the_layer():
    class Called(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Block()

        def forward(self, x):
            return self.block(x.flatten(2).transpose(1, 2), res=(1, *x.shape[2:]))

    class Block(nn.Module):
        def forward(self, x, res):
            assert x.shape[1] == np.prod(res)
            return (x, "rest")

    def read(_args, kwargs):
        return dict(zip(("level", "latitude", "longitude"), kwargs["res"], strict=True))

    layers = {"block": "batch (level latitude longitude) channel"}
    settings = {"layers": layers, "variables": ["msl"], "sizes": read}
    network = ModuleNetwork(Called(), grid=REGION, **settings)
    assert network.layers == {"block": 1}
    other = ModuleNetwork(Called(), grid=REGION, patch=(3, 3), **settings)
    with pytest.raises(InputError, match="called with latitude 15, its grid has 5"):
        other.layers  # noqa: B018


def test_prepare_may_return_arguments_and_keywords():
    class Keyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, x, *, hours):
            return self.layer(x * hours[:, None, None, None])

    network = ModuleNetwork(
        Keyword(),
        layers={"layer": NCHW},
        grid=REGION,
        variables=["msl"],
        prepare=lambda inputs, hours: ((inputs[:, 0],), {"hours": hours.float() * 0 + 3}),
    )
    inputs, _, tokens = run_one(network, make_fields(REGION))
    np.testing.assert_allclose(tokens[0, 0, 0], 3 * inputs[0, 0, 0, 0, 0], rtol=1e-6)


def test_shuffled_weights_and_digest():
    network = ModuleNetwork(convolution(), layers={"0": NCHW}, grid=REGION, variables=["msl"])
    other, again = network.shuffled(1), network.shuffled(1)
    assert other.digest == again.digest != network.digest
    assert "shuffled, seed 1" in other.name
    values = [torch.sort(net.module[0].weight.flatten())[0] for net in (network, other)]
    assert torch.equal(*values)
    assert network.shuffled(2).digest != other.digest


def test_moving_to_a_missing_device_is_one_message():
    network = ModuleNetwork(convolution(), layers={"0": NCHW}, grid=REGION, variables=["msl"])
    network.to("cpu")
    with pytest.raises(InputError, match="cannot be moved to nonsense"):
        network.to("nonsense")


def test_hook_path_that_does_not_exist_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'body\.0'"):
        ModuleNetwork(Sequence(), layers={"bdy.0": NCHW}, grid=None, variables=["msl"])


def test_hook_that_fires_twice_or_never():
    twice = ModuleNetwork(Twice(), layers={"inner": NCHW}, grid=REGION, variables=["msl"])
    with pytest.raises(InputError, match="fires twice"):
        run_one(twice, make_fields(REGION))
    never = ModuleNetwork(
        Sequence(),
        layers={"unused": "batch (latitude longitude) channel"},
        grid=REGION,
        variables=["msl", "t850"],
    )
    with pytest.raises(InputError, match="does not fire"):
        run_one(never, make_fields(REGION, ("msl", "t850")))


def test_output_that_does_not_fit_the_layout():
    network = ModuleNetwork(
        convolution(),
        layers={"0": "batch longitude latitude channel"},
        grid=REGION,
        variables=["msl"],
    )
    with pytest.raises(InputError, match=r"layer '0': a tensor of the shape \(1, 5, 15, 21\)"):
        run_one(network, make_fields(REGION))


def test_layer_that_gives_fewer_dimensions_than_its_layout():
    layers = {"body": NCHW}
    network = ModuleNetwork(Sequence(), layers=layers, grid=REGION, variables=["msl", "t850"])
    with pytest.raises(InputError, match="does not fit the layout"):
        run_one(network, make_fields(REGION, ("msl", "t850")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch channel latitude", "lacks longitude"),
        ("batch channel latitude latitude longitude", "names latitude twice"),
        ("batch (channel latitude longitude", "parentheses"),
        ("batch channel lat longitude", "no axis 'lat'"),
    ],
)
def test_layouts_that_cannot_be_read(text, message):
    with pytest.raises((InputError, UnknownNameError), match=message):
        Layout.parse(text)


def test_layout_round_trip_with_axes_of_one():
    layout = Layout.parse("1 (latitude batch) channel 1 longitude")
    values = torch.arange(3 * 2 * 4 * 5.0).reshape(1, 6, 4, 1, 5)
    sizes = {"batch": 2, "latitude": 3, "longitude": 5}
    tokens = layout.to_tokens(values, sizes)
    assert tuple(tokens.shape) == (2, 15, 4)
    assert tokens[1, 4 * 3 + 2, 3] == values[0, 2 * 2 + 1, 3, 0, 4]
    assert torch.equal(layout.from_tokens(tokens, values, sizes), values)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch": (0, 1)}, "patch is not positive"),
        ({"levels": 0}, "levels is not positive"),
        ({"levels": 2}, "names none"),
        ({"patch": {"1": (2, 2)}}, "no layer '1'"),
        ({"patch": (40, 40)}, "do not fit"),
        ({"default_layer": "2"}, "no layer '2'"),
        ({"variables": []}, "names no layer, no variable"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    given = {"layers": {"0": NCHW}, "grid": REGION, "variables": ["msl"]} | settings
    with pytest.raises((InputError, UnknownNameError), match=message):
        ModuleNetwork(convolution(), **given)


def test_patches_that_do_not_start_at_the_networks_first_longitude():
    grid = Grid.regular(GLOBE.latitude, -180 + np.arange(12) * 30.0)
    with pytest.raises(InputError, match="starts at 0 degrees"):
        ModuleNetwork(
            convolution(),
            layers={"0": NCHW},
            grid=grid,
            variables=["msl"],
            patch=(4, 4),
            first_longitude=0.0,
        )


def test_grids_that_do_not_match():
    network = ModuleNetwork(convolution(), layers={"0": NCHW}, grid=REGION, variables=["msl"])
    assert network.bind(REGION).field_grid is REGION
    with pytest.raises(InputError, match="rows and columns"):
        network.bind(GLOBE)
    with pytest.raises(InputError, match="up to 1 degrees"):
        network.bind(Grid.regular(REGION.latitude - 1, REGION.longitude))
    with pytest.raises(InputError, match="cells lie"):
        check_geometry(network, make_fields(Grid.regular(REGION.latitude, REGION.longitude + 5)))


def test_network_without_a_grid_and_inputs_of_another_shape():
    network = ModuleNetwork(convolution(), layers={"0": NCHW}, grid=None, variables=["msl"])
    with pytest.raises(InputError, match="not been given a grid"):
        network.token_grid("0")
    with pytest.raises(InputError, match=r"inputs have the shape \(1, 1, 2, 15, 21\)"):
        network.bind(REGION).run(np.zeros((1, 1, 2, 15, 21), np.float32), np.zeros(1), ["0"])
    with pytest.raises(UnknownNameError, match="no layer '9'"):
        network.bind(REGION).run(np.zeros((1, 1, 1, 15, 21), np.float32), np.zeros(1), ["9"])


def test_forecasts_that_do_not_exist_or_have_another_shape():
    settings = {"layers": {"0": NCHW}, "grid": REGION, "variables": ["msl"]}
    inputs, hours = np.zeros((1, 1, 1, 15, 21), np.float32), np.zeros(1)
    with pytest.raises(InputError, match="forecasts nothing"):
        ModuleNetwork(convolution(), **settings).forecast(inputs, hours)
    wrong = ModuleNetwork(convolution(), targets=["msl", "t850"], lead=24, **settings)
    with pytest.raises(InputError, match="has the shape"):
        wrong.forecast(inputs, hours)
    right = ModuleNetwork(
        convolution(),
        targets=["msl", "t850"],
        lead=24,
        finish=lambda output: output.repeat(1, 2, 1, 1),
        **settings,
    )
    assert right.forecast(inputs, hours).shape == (1, 2, 15, 21)


def test_inputs_are_read_by_time_and_missing_times_are_named():
    network = ModuleNetwork(
        convolution(channels=4),
        layers={"0": NCHW},
        grid=REGION,
        variables=["msl", "t850"],
        offsets=(-24, 0),
    )
    fields = make_fields(REGION, ("msl", "t850"))
    inputs, hours = read_inputs(network, fields, np.array([3, 1]))
    assert inputs.shape == (2, 2, 2, 15, 21) and hours[0] - hours[1] == 48
    assert np.array_equal(inputs[0, 0, 1], fields.read("t850", slice(2, 3))[0])
    assert np.array_equal(inputs[1, 1, 0], fields.read("msl", slice(1, 2))[0])
    with pytest.raises(InputError, match="lack the time -24 hours from 2009-01-01"):
        read_inputs(network, fields, np.array([0]))
    assert check_geometry(network, fields, record="2009-01-03T00").near.all()
    with pytest.raises(InputError, match="no record has all input times"):
        check_geometry(network, make_fields(REGION, ("msl", "t850"), n=1))
