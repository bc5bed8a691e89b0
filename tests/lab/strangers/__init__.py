"""Who is on the segment and sends what he should not."""
