"""A user's own package: a choice of every group, with its file of defaults in ``conf``."""
