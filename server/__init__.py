"""Top floor: coordinates, observes, tells. One experiment file in, one run directory out."""
