"""Autoencoders of other programs: read safely, checked against their network, written back."""

from __future__ import annotations

from .checking import LayerCheck, check_sae
from .exporting import ExportFormat, export_sae
from .loading import load_sae

__all__ = ["ExportFormat", "LayerCheck", "check_sae", "export_sae", "load_sae"]
