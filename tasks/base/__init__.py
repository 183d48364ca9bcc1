"""Where and on what a task runs: workspace folder, objects on S3, workers and devices, Prefect's log."""
