"""What a job leaves behind: the model file, the report, the other files."""
