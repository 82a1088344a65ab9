"""What is imported: files, folders, archives and media; and the notes of what was."""
