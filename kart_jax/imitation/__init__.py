"""Learning from an expert's demonstrations, before PPO."""
