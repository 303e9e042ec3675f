"""What a project brings along: its settings, its files, the comments that silence findings."""
