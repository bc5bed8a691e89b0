"""Whether haproxy serves: its port, its processes, its progress; how it is told to finish."""
