"""The panels of the dashboards, one module each."""
