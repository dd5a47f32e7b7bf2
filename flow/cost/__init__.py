"""Component laws: what C synthesis reports for memories, FIFOs, multipliers and the rest."""
