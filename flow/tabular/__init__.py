"""NAS-Bench-201 with our accelerators: every network and every accelerator of a family, so that true fronts are known.

Accuracies come from a table of trained networks (:mod:`flow.tabular.accuracies`), costs from our blocks on a board
(:mod:`flow.tabular.costs`), the joint space and its evaluation from :mod:`flow.tabular.problem`, each network's best
accelerator by exhaustion from :mod:`flow.tabular.optimum`.
"""
