"""Who uses the VIP or is told about it: load, long transfers, idle crowds, receivers of mail and webhooks."""
