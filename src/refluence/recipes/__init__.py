"""Tables and figures of the papers as functions that return a full configuration: one file each, with a `RECIPE`."""
