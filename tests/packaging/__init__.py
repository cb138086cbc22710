"""What is shipped around the code: distributions, the Dockerfile, the Compose files."""
