"""Other compilers' projects for the same quantised network: for comparison, and as a way into tools users have."""
