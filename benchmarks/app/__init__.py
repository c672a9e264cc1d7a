"""The commands: running jobs, reporting on them, explaining one photograph."""
