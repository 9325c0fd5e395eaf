"""What the commands share: how they end, and their options."""
