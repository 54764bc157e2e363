"""A clip that nobody has to know: it follows a quantile of the clients' norms, by noisy counts.

split     what a count costs, and the clip that follows from it
quantile  the noisy count
"""
