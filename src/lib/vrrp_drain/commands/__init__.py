"""The command line: vrrpctl's commands and BOSH's lifecycle scripts, status and top."""
