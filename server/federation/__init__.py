"""The rounds: from messages to new global weights.

rounds        one after another, each recorded
grid          the in-process grid, and the cohort of a round
aggregation   what of a cohort's replies may be aggregated
pruned        what is pruned of released weights
strategies    Flower's strategies, built, remembered, resumed
groups        a cohort's secure sums, of all or of groups, without liars
secure        one sum behind secure aggregation
writing       rounds on their way to the disk, while the next is trained
spending      what the clients have spent, as the server knows it
schemes       the server's half of masks and of CKKS
"""
