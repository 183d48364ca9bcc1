"""One Prefect task per stage: read, check, call, check, publish. No logic of their own."""
