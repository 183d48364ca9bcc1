"""The services of docker-compose.yml on this machine, without containers: for tests, and where no Docker is allowed."""
