"""Running statistics: estimated from data, frozen, guarded."""
