"""Proximal policy optimisation as pure functions of arrays."""
