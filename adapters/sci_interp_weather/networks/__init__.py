"""Forecast networks behind one interface."""
