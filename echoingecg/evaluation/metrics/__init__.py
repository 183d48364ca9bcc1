"""How answers are measured: discrimination, calibration, selective risk, shift, bootstrap intervals."""
