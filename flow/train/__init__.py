"""Data sets, training with quantisation-aware fine-tuning, and the integers that come of it."""
