"""What BOSH itself says to the release: the real bosh CLI and the real bosh-agent."""
