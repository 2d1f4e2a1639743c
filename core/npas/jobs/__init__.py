"""The stages of a job: race, teach, search, train, deliver."""
