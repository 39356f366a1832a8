"""The routes, by what they are about. Beside ``service.app``, only this package knows FastAPI."""
