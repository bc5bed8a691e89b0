"""What is played and recorded: rolling upgrades, ways to move a VIP, and the accounts that instances give of themselves."""
