"""How many requests the API answers, beside MLflow's tracking server on the same Postgres."""
