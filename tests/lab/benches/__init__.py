"""What measures and shows: `make demo`, `make bench` and their pictures."""
