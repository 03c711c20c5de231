"""A bundle as a server: a page to try it on, and a JSON interface for programs.

What it answers is written down as types in `ecgcls.serving.answers`, and once more, for other programs, in its
``/openapi.json`` and on its page ``/docs``.

- ``GET /``, ``GET /static/...``: the page, from the folder ``static/`` beside this file.
- ``GET /healthz``: whether it is up (`Health`).
- ``GET /api/bundle``: what the bundle is, takes and cannot know (`BundleAnswer`).
- ``POST /api/predict``: one recording (`PredictAnswer`). A form (``multipart/form-data``) with ``file``: one file, or
  the two or more files of a WFDB record, each as a ``file`` of its own, or a ZIP file of them. Optional fields:
  ``metadata`` (a JSON object such as ``{"age": 63, "sex": 1}``), ``error_rate`` (such as ``0.1``), ``attribution`` (the
  name of a class, up to five times), ``draw`` (``false``: without `signal`), ``draw_from_s`` (where that begins).
- ``POST /api/batch``: any number of recordings, as ``file`` or in ZIP files, with ``error_rate``. The answer is
  ``application/x-ndjson``: one `BatchLine` for each recording, as soon as it is done.

Whatever cannot be used is answered with a status from 400 on and one line, ``{"error": "..."}`` (`Refusal`); 503 with
``Retry-After`` where too many others wait. Nothing of a request is kept, and nothing is logged.
"""
