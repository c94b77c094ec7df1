"""WeatherAdapter: gridded fields x forecast network -> activations on a grid, labels, loss."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sci_interp.adapter import (
    Covariate,
    Dataset,
    Label,
    ModelIdentity,
    Nuisances,
    RecordActivations,
    RecordAnnotations,
    RecordView,
    Replacement,
    TokenLoss,
)
from sci_interp.errors import InputError, UnknownNameError

from .covariates import covariate_values, list_covariates
from .dataset_opening import open_dataset
from .datasets import WeatherDataset
from .decoys import randomise_dataset
from .endpoints import list_endpoints, measure_forecast
from .losses import forecast_loss, require_forecast
from .models import load_network
from .networks.base import Network
from .networks.module_network import ModuleNetwork
from .nuisances import NUISANCES, nuisance_codes
from .times import hour_of, month_of
from .views import view_record
from .windows import describe_cell_windows

__all__ = ["WeatherAdapter"]


class WeatherAdapter:
    """Forecast networks on gridded fields; a token is a cell, a record a time.

    Arithmetic is float32: pressure in Pa has no place in 16 bits. A network that knows where less
    will do (Aurora's ``architecture={"autocast": True}``) does it itself.

    Parameters
    ----------
    model
        None: the network that comes with the package. Otherwise ``"bundled:NAME"``,
        ``"aurora:NAME_OR_FILE"``, ``"sfno:FILE"`` or ``"onnx:FILE"``; see
        :func:`sci_interp_weather.models.load_network`. A network of your own is given as it is.
    device
        Where the network runs; by default a CUDA device where there is one, else the CPU. A
        network that is given stays where it is; ONNX runs on the CPU.
    batch_size
        Most records in one forward pass.
    layer
        The layer to start with. Layers whose tokens lie on another grid than this one's are not
        offered: all records of a dataset have the same tokens.
    **options
        Further options of the network.

    Raises
    ------
    InputError
        If the model cannot be loaded or a setting is out of range.
    UnknownNameError
        If there is no such layer.
    MissingExtraError
        If an optional package is needed.
    """

    name = "weather"
    coordinates = ("latitude", "longitude", "level")

    def __init__(
        self,
        model: str | Network | None = None,
        *,
        device: str | torch.device | None = None,
        batch_size: int = 64,
        layer: str | None = None,
        **options: Any,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}", allowed="at least 1")
        self._network = _load(model, device, options)
        if layer is not None and layer not in self._network.layers:
            raise UnknownNameError("layer", layer, self._network.layers)
        self._layer = layer or self._network.default_layer
        self._batch_size = batch_size
        self._bound: dict[str, Network] = {}

    @property
    def model(self) -> ModelIdentity:
        """Name and weight digest of the network."""
        return ModelIdentity(self._network.name, self._network.digest, "float32")

    @property
    def default_layer(self) -> str:
        """The layer to start with."""
        return self._layer

    def layers(self) -> Mapping[str, int]:
        """Return the hookable layers on the grid of the default layer, and their widths."""
        network = self._network
        wanted = _tokens_of(network, self._layer)
        return {
            name: width
            for name, width in network.layers.items()
            if _tokens_of(network, name) == wanted
        }

    def open(self, path: Any = None, **options: Any) -> WeatherDataset:
        """Open fields, or without a path the sample that comes with the package.

        Parameters
        ----------
        path
            NetCDF, Zarr (a folder or an address) or GRIB; several files as a list.
        **options
            As :class:`sci_interp_weather.options.OpenOptions`.

        Raises
        ------
        InputError
            If a file cannot be used; the message names the file, the variable and the time.
        UnknownNameError
            If there is no option of that name.
        """
        return open_dataset(path, self._network, self._layer, options)

    def activations(
        self, dataset: Dataset, records: Sequence[str], layers: Sequence[str]
    ) -> Iterator[RecordActivations]:
        """Run the network and yield every record once, in the order given.

        Raises
        ------
        UnknownNameError
            If there is no such layer or record.
        InputError
            If a layer's tokens lie on another grid than the dataset's.
        """
        data = _weather(dataset)
        names = list(dict.fromkeys(layers))
        network = self._network_for(data, names)
        for batch in self._batches(records):
            inputs, hours = data.inputs(batch)
            found = network.run(inputs, hours, names)
            values = {name: found[name].float().cpu().numpy() for name in names}
            for at, record in enumerate(batch):
                yield RecordActivations(record, {name: values[name][at] for name in names})

    def token_coordinates(self, dataset: Dataset, record: str) -> Mapping[str, NDArray[np.float64]]:
        """Return latitude and longitude in degrees, and the level from 0."""
        data = _weather(dataset)
        data.index_of(record)
        return dict(data.coordinates)

    def labels(self, dataset: Dataset) -> Sequence[Label]:
        """Return the labels that the dataset's variables and files allow; decoys have none."""
        annotations = _weather(dataset).annotations
        return () if annotations is None else tuple(annotations.labels)

    def annotate(self, dataset: Dataset, records: Sequence[str]) -> Iterator[RecordAnnotations]:
        """Yield what is known of every record, in the order given."""
        data = _weather(dataset)
        for record in records:
            at = data.index_of(record)
            if data.annotations is None:
                yield RecordAnnotations(record, (), ())
            else:
                yield data.annotations.of(at)

    def nuisances(self) -> Nuisances:
        """Return bands of latitude and longitude, months and hours."""
        return NUISANCES

    def nuisance_codes(
        self, dataset: Dataset, record: str
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (token, feature) pairs of one record, sorted by token then feature."""
        data = _weather(dataset)
        at = data.index_of(record)
        times = data.fields.times[at : at + 1]
        return nuisance_codes(
            data.coordinates["latitude"],
            data.coordinates["longitude"],
            month=int(month_of(times)[0]),
            hour=float(hour_of(times)[0]),
        )

    def covariates(self, dataset: Dataset) -> Sequence[Covariate]:
        """Return place, time of year and day, surface, and the fields with their anomalies."""
        return list_covariates(_weather(dataset))

    def covariate_values(self, dataset: Dataset, record: str) -> NDArray[np.float32]:
        """Return the covariates of one record ``(n_tokens, n_covariates)``."""
        return covariate_values(_weather(dataset), record)

    def describe_windows(
        self, dataset: Dataset, record: str, tokens: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Describe the anomalies around tokens: unit rows."""
        return describe_cell_windows(_weather(dataset), record, tokens)

    def shuffle_weights(self, seed: int) -> WeatherAdapter:
        """Return this adapter with every weight tensor permuted within itself."""
        other = copy.copy(self)
        other._network, other._bound = self._network.shuffled(seed), {}
        return other

    def decoy(self, dataset: Dataset, seed: int) -> WeatherDataset:
        """Return the records with randomised, levelled fields and no labels."""
        return randomise_dataset(_weather(dataset), seed)

    def loss(
        self,
        dataset: Dataset,
        records: Sequence[str],
        layer: str,
        replacement: Replacement | None,
        *,
        seed: int = 0,  # noqa: ARG002 - nothing is hidden, so nothing is drawn
    ) -> TokenLoss:
        """Return the squared forecast error in climatological variances, over cells.

        Raises
        ------
        InputError
            If the network forecasts nothing.
        UnknownNameError
            If there is no such layer or record.
        """
        data = _weather(dataset)
        forecast = self._forecaster(data, layer, replacement)
        return forecast_loss(data, records, forecast, batch_size=self._batch_size)

    def endpoints(self, dataset: Dataset) -> Mapping[str, str]:
        """Return what can be measured of a forecast; nothing where there is none."""
        return list_endpoints(_weather(dataset)) if self._network.lead else {}

    def measure(
        self,
        dataset: Dataset,
        records: Sequence[str],
        layer: str,
        replacement: Replacement | None,
    ) -> Iterator[tuple[str, Mapping[str, float]]]:
        """Yield every record, in the order given, with the value of every endpoint.

        Raises
        ------
        InputError
            If the network forecasts nothing.
        UnknownNameError
            If there is no such layer or record.
        """
        data = _weather(dataset)
        forecast = self._forecaster(data, layer, replacement)
        for batch in self._batches(records):
            for record, found in zip(batch, forecast(batch), strict=True):
                yield record, measure_forecast(data, record, found)

    def view(self, dataset: Dataset, record: str) -> RecordView:
        """Return the map of one record."""
        return view_record(_weather(dataset), record)

    def _batches(self, records: Sequence[str]) -> Iterator[Sequence[str]]:
        for start in range(0, len(records), self._batch_size):
            yield records[start : start + self._batch_size]

    def _forecaster(
        self, data: WeatherDataset, layer: str, replacement: Replacement | None
    ) -> Callable[[Sequence[str]], NDArray[np.float32]]:
        network = self._network_for(data, [layer])
        require_forecast(network.name, network.lead)

        def forecast(records: Sequence[str]) -> NDArray[np.float32]:
            inputs, hours = data.inputs(records)
            return network.forecast(inputs, hours, layer, replacement)

        return forecast

    def _network_for(self, data: WeatherDataset, layers: Sequence[str]) -> Network:
        """Return the network on the dataset's grid, after a check of the layers."""
        for layer in layers:
            if layer not in self._network.layers:
                raise UnknownNameError("layer", layer, self.layers())
        grid = data.fields.grid
        if grid.digest not in self._bound:
            self._bound[grid.digest] = self._network.bind(grid)
        network = self._bound[grid.digest]
        for layer in layers:
            if _tokens_of(network, layer) != (data.grid.digest, data.n_levels):
                raise InputError(
                    f"the tokens of layer {layer!r} lie on another grid than the dataset's",
                    allowed=", ".join(self.layers()),
                    todo=f"Use WeatherAdapter(..., layer={layer!r}) and open the data with it",
                )
        return network


def _load(
    model: str | Network | None,
    device: str | torch.device | None,
    options: Mapping[str, Any],
) -> Network:
    """Return the network, where it shall run; one that is given stays where it is."""
    if model is not None and not isinstance(model, str):
        if options:
            raise InputError(
                f"{next(iter(options))} was given beside a network",
                todo="Give options with the name of a network",
            )
        network = model
    else:
        network = load_network(model, **options)
        if device is None and torch.cuda.is_available() and isinstance(network, ModuleNetwork):
            device = "cuda"
    if isinstance(network, ModuleNetwork):
        if device is not None:
            network.to(device)
    elif device is not None and torch.device(device).type != "cpu":
        raise InputError(f"{network.name} runs on the CPU alone", allowed="device='cpu'")
    return network


def _tokens_of(network: Network, layer: str) -> tuple[str, int]:
    """Return what tells whether two layers have the same tokens, as far as a grid is known."""
    grid = "" if network.field_grid is None else network.token_grid(layer).digest
    return grid, network.n_levels(layer)


def _weather(dataset: Dataset) -> WeatherDataset:
    if not isinstance(dataset, WeatherDataset):
        raise InputError(
            f"the weather adapter cannot read a {type(dataset).__name__}",
            allowed="datasets that this adapter opened",
        )
    return dataset
