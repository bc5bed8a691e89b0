"""Telling others: notices, hooks, webhooks, the history, and what is left out when too much happens."""
