"""demo_training."""
