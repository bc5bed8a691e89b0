"""What every room needs: paths, files that nobody can swap, lock, pid file, log, signals, errors and exit codes, IP addresses."""
