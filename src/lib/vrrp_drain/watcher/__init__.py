"""The process that always runs: sees adverts, addresses, keepalived and haproxy, tells what happened, and acts on what nobody else does."""
