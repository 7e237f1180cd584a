"""The learner's side of a puzzle: the file and its history, the progress, hints and the solution."""
