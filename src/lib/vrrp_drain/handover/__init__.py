"""Moving the VIP and proving it: the transition tables of demote and promote, what they hear, what they do."""
