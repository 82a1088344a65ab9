"""What keeps the promises of ports; named in processes/assembly alone."""
