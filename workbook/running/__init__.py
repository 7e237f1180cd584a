"""Running an attempt: the worker, its device, the compiler, and what is known of earlier runs."""
