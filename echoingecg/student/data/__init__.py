"""Training batches: pairs, their order, transforms of the signals."""
