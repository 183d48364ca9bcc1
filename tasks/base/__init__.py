"""Where and on what a task runs: workspace folder, S3 place, device, workers, progress."""
