"""The keepalived process: its configuration, start and stop, the track files that it obeys, where on the machine it is attached."""
