"""Networks declared as graphs: modules and functions of a list, their shapes, their running."""
