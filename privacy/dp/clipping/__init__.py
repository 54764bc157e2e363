"""A clip that nobody has to know: it follows a quantile of the clients' norms, by noisy counts.

quantile  what the count costs, the count, and the clip that follows from it
"""
