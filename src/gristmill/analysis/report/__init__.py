"""A model as one page of HTML: its graph, ops, constants; what a plan, an inspection, another model says of it."""
