"""Processes that simulate and the shared memory that their frames travel through; no JAX."""
