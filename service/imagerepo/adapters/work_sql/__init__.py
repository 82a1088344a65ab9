"""What is to be done and cannot be made anew from segments: tasks, in a SQLite file of their own."""
