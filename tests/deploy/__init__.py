"""The files in deploy/, and those at the root that go with them."""
