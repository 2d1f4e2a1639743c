"""How a plan is made: networks and a budget in, which layers share what out."""
