"""What keeps a cluster's objects in order, done by workers."""
