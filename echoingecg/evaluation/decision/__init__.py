"""What is chosen on the validation split: thresholds, calibration, limits of referral."""
