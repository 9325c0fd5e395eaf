"""The network, its action distributions, and policies loaded from checkpoints."""
