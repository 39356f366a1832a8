"""What needs external tools or long runs: ``make acceptance``."""
