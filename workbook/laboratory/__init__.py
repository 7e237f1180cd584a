"""Small ops that one notebook takes apart, and mistakes made on purpose."""
