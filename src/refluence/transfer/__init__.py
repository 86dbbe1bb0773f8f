"""A large classifier into a small one, training instances weighted by their influence; one file a mechanism."""
