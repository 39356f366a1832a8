"""The images of OpenAI's HTTP interface, at ``/v1``, for models whose pictures have classes.

``images`` makes of a request what ``service.generate`` answers, and of its reply one in OpenAI's
shape; ``schemas`` and ``documents`` have these shapes, ``refusals`` that of errors.
"""
