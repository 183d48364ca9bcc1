"""The networks: ECG encoder, text encoder, Gaussian heads."""
