"""One function a format; `audiokd.tokens.export.export_store` picks among them."""
