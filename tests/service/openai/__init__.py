"""OpenAI's interface at ``/v1``."""
