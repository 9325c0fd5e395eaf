"""Measuring drivers: races from fixed seeds, their statistics, and films of them."""
